//! Hashes: fields with values at a key.

use crate::command::Spec;

pub(crate) const COMMANDS: &[Spec] = &[];
