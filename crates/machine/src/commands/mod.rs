//! The commands, a file for each family: what a command is called and takes, what it does and what it answers
//! stand together.

mod connection;
mod strings;

use crate::command::Spec;

/// Every family's table.
pub(crate) const FAMILIES: &[&[Spec]] = &[strings::COMMANDS, connection::COMMANDS];
