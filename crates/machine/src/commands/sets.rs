//! Sets: members, each of them once.

use crate::command::Spec;

pub(crate) const COMMANDS: &[Spec] = &[];
