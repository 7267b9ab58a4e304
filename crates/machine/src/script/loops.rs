//! Sends each `for .. in` loop of a script through a guard.
//!
//! Luau lets a loop walk a bare table (`for k, v in t do`), in the order of its memory: with keys that are known by
//! their address that order differs between replicas, and nothing at run time can forbid it. So the text itself is
//! changed before it is compiled: `in EXPRESSIONS do` becomes `in __iterate(EXPRESSIONS) do`, on the same line. The
//! guard knows no such loops. Lua 5.1 does not have them either, and of what Luau added, two more things are
//! refused, because this reader could not tell where an expression ends: `if` as an expression, and interpolated
//! strings.
//!
//! The reader is no parser, and need not be one: it is given only what the compiler has accepted, and its result is
//! compiled again. Each `in` gets its opening bracket unconditionally, so whatever it might misjudge becomes a
//! syntax error, never an unguarded loop. Comments are left out of the result, since what ends one is where two
//! readers most easily disagree: what this reader takes for a comment is not there for the compiler to run.

use std::fmt;

/// What of Luau a script may not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    IfExpression,
    InterpolatedString,
    GuardName,
    Nul,
    Unbalanced,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IfExpression => "'if' cannot be used as an expression",
            Self::InterpolatedString => "strings cannot be written between backticks",
            Self::GuardName => "the name '__iterate' is reserved",
            Self::Nul => "a script cannot contain a byte 0",
            Self::Unbalanced => "blocks are not balanced",
        })
    }
}

/// An open construct that a later keyword closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// Ends with `end`.
    Block,
    /// Ends with `until`.
    Repeat,
    /// `while`, or `for` before its `in`: the next `do` makes it a block.
    Header,
    /// `for .. in`: the next `do` closes the guard's bracket and makes it a block.
    Guarded,
}

/// The script with its loops guarded, or the line on which it is refused and why.
pub(super) fn guard(source: &[u8]) -> Result<Vec<u8>, (usize, Refused)> {
    // Luau takes it for the end of the text.
    if let Some(at) = source.iter().position(|byte| *byte == 0) {
        return Err((line_of(&source[..at]), Refused::Nul));
    }
    let mut reader = Reader { source, at: 0 };
    let mut guarded = Vec::with_capacity(source.len() + 64);
    let mut open = Vec::new();
    // Whether a value must follow, so that an `if` here is an expression.
    let mut wants_value = false;
    while let Some((token, text)) = reader.next() {
        let refused = |reason| (line_of(&source[..reader.at]), reason);
        match token {
            Token::Space => {}
            Token::Comment => {
                guarded.extend_from_slice(&blank(text));
                continue;
            }
            Token::Text => wants_value = false,
            Token::Symbol if text == b"`" => return Err(refused(Refused::InterpolatedString)),
            Token::Symbol => wants_value = !matches!(text, b")" | b"]" | b"}" | b"..." | b";"),
            Token::Word => {
                if let b"do" = text
                    && open.last() == Some(&Open::Guarded)
                {
                    guarded.extend_from_slice(b") ");
                }
                track(text, wants_value, &mut open).map_err(refused)?;
                wants_value = wants_value_after(text);
            }
        }
        guarded.extend_from_slice(text);
        if token == Token::Word && text == b"in" {
            guarded.extend_from_slice(b" __iterate(");
        }
    }
    if open.is_empty() { Ok(guarded) } else { Err((line_of(source), Refused::Unbalanced)) }
}

/// Follows the nesting of blocks through one word.
fn track(word: &[u8], wants_value: bool, open: &mut Vec<Open>) -> Result<(), Refused> {
    match word {
        b"__iterate" => return Err(Refused::GuardName),
        b"if" if wants_value => return Err(Refused::IfExpression),
        b"if" | b"function" => open.push(Open::Block),
        b"repeat" => open.push(Open::Repeat),
        b"for" | b"while" => open.push(Open::Header),
        b"in" => match open.last_mut() {
            Some(header @ Open::Header) => *header = Open::Guarded,
            Some(Open::Block | Open::Repeat | Open::Guarded) | None => return Err(Refused::Unbalanced),
        },
        b"do" => match open.last_mut() {
            Some(header @ (Open::Header | Open::Guarded)) => *header = Open::Block,
            Some(Open::Block | Open::Repeat) | None => open.push(Open::Block),
        },
        b"end" if open.pop() != Some(Open::Block) => return Err(Refused::Unbalanced),
        b"until" if open.pop() != Some(Open::Repeat) => return Err(Refused::Unbalanced),
        _ => {}
    }
    Ok(())
}

fn wants_value_after(word: &[u8]) -> bool {
    matches!(word, b"and" | b"or" | b"not" | b"return" | b"in" | b"if" | b"elseif" | b"while" | b"until")
}

/// What stands for a comment: a space, and its line breaks, so that line numbers stay.
fn blank(comment: &[u8]) -> Vec<u8> {
    let breaks = comment.iter().filter(|byte| **byte == b'\n');
    std::iter::once(&b' ').chain(breaks).copied().collect()
}

fn line_of(read: &[u8]) -> usize {
    1 + read.iter().filter(|byte| **byte == b'\n').count()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// White space.
    Space,
    Comment,
    /// A string.
    Text,
    /// A name, a keyword or a number.
    Word,
    /// Anything else: one byte, or up to three dots.
    Symbol,
}

struct Reader<'a> {
    source: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(Token, &'a [u8])> {
        let start = self.at;
        let rest = &self.source[start..];
        let first = *rest.first()?;
        let (token, length) = match first {
            b'-' if rest.starts_with(b"--") => {
                (Token::Comment, 2 + long_bracket(&rest[2..]).unwrap_or_else(|| line_length(&rest[2..])))
            }
            b'[' => long_bracket(rest).map_or((Token::Symbol, 1), |length| (Token::Text, length)),
            b'"' | b'\'' => (Token::Text, quoted(rest)),
            b'.' => (Token::Symbol, prefix(&rest[..rest.len().min(3)], |byte| byte == b'.')),
            b'0'..=b'9' => (Token::Word, prefix(rest, |byte| is_word(byte) || byte == b'.')),
            _ if is_word(first) => (Token::Word, prefix(rest, is_word)),
            _ if first.is_ascii_whitespace() || first == 0x0B => (Token::Space, 1),
            _ => (Token::Symbol, 1),
        };
        self.at += length;
        Some((token, &self.source[start..self.at]))
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn prefix(text: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|byte| !belongs(*byte)).unwrap_or(text.len())
}

/// Up to the line's end, which for Luau is a carriage return as well.
fn line_length(text: &[u8]) -> usize {
    prefix(text, |byte| !matches!(byte, b'\n' | b'\r'))
}

/// The length of `[[..]]` or `[==[..]==]` at the beginning of the text.
fn long_bracket(text: &[u8]) -> Option<usize> {
    let level = prefix(text.strip_prefix(b"[")?, |byte| byte == b'=');
    let opening = level + 2;
    if text.get(opening - 1) != Some(&b'[') {
        return None;
    }
    let closes = |window: &[u8]| {
        window[0] == b']' && window[level + 1] == b']' && window[1..=level].iter().all(|byte| *byte == b'=')
    };
    let inside = text[opening..].windows(opening).position(closes);
    Some(inside.map_or(text.len(), |inside| opening + inside + opening))
}

/// The length of a string with its quotes; `\z` and an escaped line break need no care, since neither ends it.
fn quoted(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match *byte {
            b'\\' => at += 2,
            byte if byte == text[0] => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(source: &str) -> String {
        String::from_utf8(guard(source.as_bytes()).expect("accepted")).expect("text")
    }

    #[test]
    fn each_loop_over_expressions_passes_the_guard() {
        let cases = [
            ("for k, v in pairs(t) do f() end", "for k, v in __iterate( pairs(t) ) do f() end"),
            ("for i = 1, 3 do end", "for i = 1, 3 do end"),
            ("while x do do end end", "while x do do end end"),
            (
                "for k in (function() for a in b do end while c do end return d end)() do end",
                "for k in __iterate( (function() for a in __iterate( b ) do end while c do end return d end)() ) do end",
            ),
            ("repeat for a in b do end until c", "repeat for a in __iterate( b ) do end until c"),
        ];
        for (source, expected) in cases {
            assert_eq!(guarded(source), expected);
        }
    }

    #[test]
    fn comments_are_left_out_and_their_lines_are_kept() {
        let cases = [
            ("-- for a in b\nx = 1", " \nx = 1"),
            ("--[[ for a\nin b ]] x = 1", " \n x = 1"),
            ("--[ for a in b\nx = t[i]", " \nx = t[i]"),
            ("a--[=[ ]] ]=]b = 1 --", "a b = 1  "),
        ];
        for (source, expected) in cases {
            assert_eq!(guarded(source), expected);
        }
    }

    /// Luau ends a comment at a carriage return. A reader that did not took the loop after it for a comment, and left
    /// it unguarded: each replica walked the table in the order of its own memory.
    #[test]
    fn a_carriage_return_ends_a_comment() {
        assert_eq!(guarded("--\r for a in b do end"), " \r for a in __iterate( b ) do end");
        assert_eq!(guarded("--[\rfor a in b do end"), " \rfor a in __iterate( b ) do end");
    }

    #[test]
    fn strings_are_left_alone() {
        for source in [
            "x = 'for a in b do'",
            r#"x = "\" for a in b" y = 1"#,
            "x = [[ for a in b ]] y = [==[ for ]] in ]==]",
        ] {
            assert_eq!(guarded(source), source);
        }
    }

    #[test]
    fn statements_beginning_with_if_are_told_from_expressions() {
        for source in [
            "local a = ... if a then b() end",
            "f() if a then elseif b then else end",
            "x = 1 if a then return end",
            "x = {} if a then x = t[1] if b then end end",
            "if a then if b then c() end end",
        ] {
            assert_eq!(guarded(source), source);
        }
        for source in ["x = if a then b else c", "f(if a then b else c)", "return if a then b else c"] {
            assert_eq!(guard(source.as_bytes()), Err((1, Refused::IfExpression)));
        }
    }

    #[test]
    fn what_cannot_be_read_safely_is_refused_with_its_line() {
        assert_eq!(guard(b"\nx = `a{b}`"), Err((2, Refused::InterpolatedString)));
        assert_eq!(guard(b"local __iterate = f"), Err((1, Refused::GuardName)));
        assert_eq!(guard(b"x = {a; if b then c else d}"), Err((1, Refused::Unbalanced)));
        assert_eq!(guard(b"x = 1\n--\0"), Err((2, Refused::Nul)));
        assert_eq!(guard(b"end"), Err((1, Refused::Unbalanced)));
    }
}
