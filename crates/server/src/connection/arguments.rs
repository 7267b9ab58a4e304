//! Reading the arguments of connection-level commands, as strictly as Redis does.

use bytes::Bytes;

use crate::handle::Reply;

pub(super) use quorate_machine::integer::parse as integer;

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

/// Whether `name`, in any case, matches a pattern in which `*` stands for any bytes and `?` for one. These are
/// names of settings and commands, which have no other special bytes. Takes time in the product of the lengths.
pub(super) fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while position < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, position));
                at += 1;
            }
            Some(byte) if *byte == b'?' || byte.eq_ignore_ascii_case(&name[position]) => {
                at += 1;
                position += 1;
            }
            Some(_) | None => {
                // Let the last star stand for one byte more.
                let Some((star_at, stood_for)) = star else { return false };
                star = Some((star_at, stood_for + 1));
                at = star_at + 1;
                position = stood_for + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names() {
        for (pattern, name) in
            [("*", ""), ("max*", "maxclients"), ("M?x*S", "maxclients"), ("*a*a", "banana")]
        {
            assert!(glob(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [("", "a"), ("max", "maxclients"), ("*b", "banana"), ("?", ""), ("a?", "a")] {
            assert!(!glob(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
    }
}
