//! Sorted sets: members in the order of their scores.

use crate::command::Spec;

pub(crate) const COMMANDS: &[Spec] = &[];
