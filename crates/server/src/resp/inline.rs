//! Inline commands: a line of words, for people with telnet or netcat.
//!
//! Words are separated by white space. `"double quotes"` know the escapes `\n \r \t \b \a \xHH` and a
//! backslash before any other byte; `'single quotes'` know only `\'`. A closing quote ends its word, so
//! white space or the end of the line must follow.

use bytes::Bytes;

/// The line had an open quote, or something right behind a closing one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unbalanced;

/// Splits a line into words.
pub(super) fn split(line: &[u8]) -> Result<Vec<Bytes>, Unbalanced> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let start = rest.iter().position(|byte| !is_space(*byte)).unwrap_or(rest.len());
        rest = &rest[start..];
        if rest.is_empty() {
            return Ok(words);
        }
        let (word, after) = take_word(rest)?;
        words.push(word);
        rest = after;
    }
}

/// The white space of C's `isspace`, which is a byte more than Rust's.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Takes one word from the front of a line that begins with one. Quotes may begin inside of a word.
fn take_word(line: &[u8]) -> Result<(Bytes, &[u8]), Unbalanced> {
    let mut word = Vec::new();
    let mut rest = line;
    while let [byte, after @ ..] = rest {
        rest = match byte {
            b'"' => return quoted(word, after, double_quoted),
            b'\'' => return quoted(word, after, single_quoted),
            byte if is_space(*byte) => break,
            byte => {
                word.push(*byte);
                after
            }
        };
    }
    Ok((word.into(), rest))
}

/// One step inside of quotes: the byte meant (none at the closing quote), and what follows.
type Step = for<'a> fn(&'a [u8]) -> Option<(Option<u8>, &'a [u8])>;

fn quoted(mut word: Vec<u8>, mut rest: &[u8], step: Step) -> Result<(Bytes, &[u8]), Unbalanced> {
    loop {
        let (byte, after) = step(rest).ok_or(Unbalanced)?;
        rest = after;
        match byte {
            Some(byte) => word.push(byte),
            None if rest.first().is_none_or(|next| is_space(*next)) => return Ok((word.into(), rest)),
            None => return Err(Unbalanced),
        }
    }
}

fn double_quoted(rest: &[u8]) -> Option<(Option<u8>, &[u8])> {
    match rest {
        [] => None,
        [b'"', after @ ..] => Some((None, after)),
        [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            Some((Some(hex(*high) << 4 | hex(*low)), after))
        }
        [b'\\', escape, after @ ..] => Some((Some(unescape(*escape)), after)),
        [byte, after @ ..] => Some((Some(*byte), after)),
    }
}

fn single_quoted(rest: &[u8]) -> Option<(Option<u8>, &[u8])> {
    match rest {
        [] => None,
        [b'\'', after @ ..] => Some((None, after)),
        [b'\\', b'\'', after @ ..] => Some((Some(b'\''), after)),
        [byte, after @ ..] => Some((Some(*byte), after)),
    }
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => digit.wrapping_sub(b'0'),
    }
}

fn unescape(escape: u8) -> u8 {
    match escape {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split(line.as_bytes()).ok()?;
        Some(words.iter().map(|word| word.escape_ascii().to_string()).collect())
    }

    #[test]
    fn words_are_separated_by_any_white_space() {
        assert_eq!(words(" set\ta \x0b b "), Some(vec!["set".into(), "a".into(), "b".into()]));
        assert_eq!(words(" \t "), Some(vec![]));
    }

    #[test]
    fn double_quotes_know_escapes() {
        let expected = vec!["x\\n\\x01\\xff\\\"q".to_owned(), String::new()];
        assert_eq!(words(r#""x\n\x01\xfF\"\q" """#), Some(expected));
        assert_eq!(words(r#""\xg1""#), Some(vec!["xg1".into()]));
    }

    #[test]
    fn single_quotes_know_only_themselves() {
        assert_eq!(words(r"'a\nb\'c'"), Some(vec![r"a\\nb\'c".into()]));
    }

    #[test]
    fn quotes_that_do_not_close_or_do_not_end_a_word_are_refused() {
        for line in [r#""abc"#, "'abc", r#""a"b"#, "'a'b", r#""abc\"#, r#"x"y"z"#] {
            assert_eq!(words(line), None, "{line}");
        }
    }
}
