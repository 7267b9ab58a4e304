//! Reading the arguments of connection-level commands, as strictly as Redis does.

use bytes::Bytes;

use crate::handle::Reply;

pub(super) use quorate_machine::integer::parse as integer;

/// Whether a pattern as in KEYS, in any case, matches a lower-case name.
pub(super) fn matches(pattern: &[u8], name: &str) -> bool {
    quorate_machine::glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes())
}

/// Whether the argument is this word, in whatever case.
pub(super) fn is(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

/// The argument as text for a message: at most 128 bytes of it, as Redis quotes arguments.
pub(super) fn quoted(argument: &[u8]) -> String {
    String::from_utf8_lossy(&argument[..argument.len().min(128)]).into_owned()
}

/// `ERR unknown subcommand ..`, in the words of Redis 7.
pub(super) fn unknown_subcommand(command: &str, subcommand: &[u8]) -> Reply {
    Reply::error_text(format!("ERR unknown subcommand '{}'. Try {command} HELP.", quoted(subcommand)))
}

/// The same for a subcommand that takes a choice of arguments, and none like these.
pub(super) fn malformed_subcommand(command: &str, subcommand: &[u8]) -> Reply {
    let subcommand = quoted(subcommand);
    Reply::error_text(format!(
        "ERR unknown subcommand or wrong number of arguments for '{subcommand}'. Try {command} HELP."
    ))
}

/// What arguments take in memory, in bytes: empty ones are not for nothing.
pub(super) fn footprint(arguments: &[Bytes]) -> usize {
    arguments.iter().map(|argument| argument.len() + size_of::<Bytes>()).sum()
}

/// A bulk string of text that was put together.
pub(super) fn text(text: impl Into<String>) -> Reply {
    Reply::Bulk(Bytes::from(text.into()))
}

/// The lines of a HELP subcommand, as Redis frames them: the heading, each entry, and HELP itself.
pub(super) fn help(command: &str, entries: &[&'static str]) -> Reply {
    let heading = format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    let own = ["HELP", "    Print this help."];
    let lines = entries.iter().copied().chain(own).map(Reply::status);
    Reply::Array(std::iter::once(Reply::Status(heading.into())).chain(lines).collect())
}
