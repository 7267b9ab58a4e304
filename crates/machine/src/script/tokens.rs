//! The words and signs of a script, cut as Luau cuts them.
//!
//! What ends a comment or a number is where two readers most easily disagree, and what this reader takes for a comment
//! the compiler must not run: comments are therefore never written back.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// White space.
    Space,
    Comment,
    /// A string.
    Text,
    /// A name or a keyword.
    Word,
    Number,
    /// Anything else: one sign, or as many as belong together.
    Symbol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a [u8],
    /// The line on which it begins.
    pub(super) line: usize,
}

impl Token<'_> {
    pub(super) fn is_significant(&self) -> bool {
        !matches!(self.kind, Kind::Space | Kind::Comment)
    }

    pub(super) fn line_breaks(&self) -> usize {
        self.text.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// Signs of more than one byte; the longest come first.
const SIGNS: &[&[u8]] = &[
    b"...", b"..=", b"//=", b"..", b"==", b"~=", b"<=", b">=", b"::", b"->", b"//", b"+=", b"-=", b"*=",
    b"/=", b"%=", b"^=",
];

/// The tokens of a script.
pub(super) fn tokens(source: &[u8]) -> Vec<Token<'_>> {
    let mut tokens = Vec::with_capacity(source.len() / 4);
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.first() {
        let (kind, length) = measure(rest, *first);
        let (text, after) = rest.split_at(length.min(rest.len()));
        let token = Token { kind, text, line };
        line += token.line_breaks();
        tokens.push(token);
        rest = after;
    }
    tokens
}

fn measure(rest: &[u8], first: u8) -> (Kind, usize) {
    match first {
        b'-' if rest.starts_with(b"--") => {
            let body = &rest[2..];
            (Kind::Comment, 2 + long_bracket(body).unwrap_or_else(|| line_length(body)))
        }
        b'[' => long_bracket(rest).map_or((Kind::Symbol, 1), |length| (Kind::Text, length)),
        b'"' | b'\'' => (Kind::Text, quoted(rest)),
        b'0'..=b'9' => (Kind::Number, number(rest)),
        b'.' if rest.get(1).is_some_and(u8::is_ascii_digit) => (Kind::Number, 1 + number(&rest[1..])),
        _ if is_word(first) => (Kind::Word, prefix(rest, is_word)),
        _ if first.is_ascii_whitespace() || first == 0x0B => (Kind::Space, 1),
        _ => (Kind::Symbol, SIGNS.iter().find(|sign| rest.starts_with(sign)).map_or(1, |sign| sign.len())),
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

/// The length of what Luau takes for one number: the sign of an exponent belongs to it, but not in `0x1e-1`.
fn number(text: &[u8]) -> usize {
    let mut at = prefix(text, |byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'_'));
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(text.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
    }
    at + prefix(&text[at..], is_word)
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

    fn words(source: &str) -> Vec<String> {
        let seen = tokens(source.as_bytes()).into_iter().filter(|token| token.is_significant());
        seen.map(|token| String::from_utf8_lossy(token.text).into_owned()).collect()
    }

    #[test]
    fn numbers_end_where_luau_ends_them() {
        assert_eq!(words("1e-5-1"), ["1e-5", "-", "1"]);
        assert_eq!(words("0x1e-5"), ["0x1e", "-", "5"]);
        assert_eq!(words("a-.5e+3_0"), ["a", "-", ".5e+3_0"]);
        assert_eq!(words("0x1p4 1_000..2"), ["0x1p4", "1_000..2"]);
        assert_eq!(words("a..1 ...5"), ["a", "..", "1", "...", "5"]);
    }

    #[test]
    fn the_longest_sign_is_one_token() {
        assert_eq!(
            words("a..=b//=c==d~=e<=f//g"),
            ["a", "..=", "b", "//=", "c", "==", "d", "~=", "e", "<=", "f", "//", "g"]
        );
    }

    #[test]
    fn a_carriage_return_ends_a_comment() {
        assert_eq!(words("--\ra"), ["a"]);
        assert_eq!(words("--[\rfor"), ["for"]);
        assert_eq!(words("--[=[ ]] ]=]b --"), ["b"]);
        assert_eq!(words("--[==[ a\n]=] ]==] b"), ["b"]);
    }

    #[test]
    fn strings_are_whole() {
        assert_eq!(words(r#"x = "\" [k]" y"#), ["x", "=", r#""\" [k]""#, "y"]);
        assert_eq!(words("[==[ ] ]=] ]==] [ 'a\\z\n b'"), ["[==[ ] ]=] ]==]", "[", "'a\\z\n b'"]);
    }
}
