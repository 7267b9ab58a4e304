//! Lists: elements in the order in which they were put.

use crate::command::Spec;

pub(crate) const COMMANDS: &[Spec] = &[];
