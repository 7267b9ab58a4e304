//! `cjson.decode`: JSON as a value of a script. `null` becomes `cjson.null`, since a table cannot keep a nil.
//!
//! Like Redis it is lenient: the text ends at a byte 0, numbers are whatever C takes for one unless a script wants
//! them strict, and the bytes of a string need not be UTF-8.

use mlua::{Table, Value};

use super::super::number::leading_number;
use super::{Answer, DEPTH_MAX, Failure, Work, check_key, text_argument};

/// What a text consists of.
#[derive(Debug, PartialEq)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Text(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    /// None of them, and why.
    Invalid(&'static str),
}

impl Token {
    /// What errors call it.
    fn name(&self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::Text(_) => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Invalid(why) => why,
        }
    }
}

/// A token, and where it begins or is wrong.
#[derive(Debug)]
struct Found {
    token: Token,
    at: usize,
}

/// A table that is begun and not ended.
#[derive(Debug)]
enum Open {
    Array {
        table: Table,
        length: usize,
    },
    /// The key is that of the value which is read now.
    Object {
        table: Table,
        key: Value,
    },
}

/// What comes after a value.
#[derive(Debug)]
enum After {
    /// Another value, which begins with this token.
    Value(Found),
    /// The end of the table that it was the last of.
    Table(Value),
}

#[derive(Debug)]
struct Reader<'a, 'b> {
    work: &'a mut Work<'b>,
    text: &'a [u8],
    /// Bytes that are read.
    at: usize,
    open: Vec<Open>,
    depth_max: usize,
    is_lenient: bool,
}

pub(super) fn decode(work: &mut Work<'_>, arguments: (usize, bool, Value)) -> Answer<Vec<Value>> {
    let (depth_max, is_lenient, value) = arguments;
    let text = text_argument(Some(&value), 1)?;
    work.bytes(text.len())?;
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(Failure::told("JSON parser does not support UTF-16 or UTF-32"));
    }
    let depth_max = depth_max.min(DEPTH_MAX);
    Reader { work, text: &text, at: 0, open: Vec::new(), depth_max, is_lenient }
        .read()
        .map(|value| vec![value])
}

impl Reader<'_, '_> {
    fn read(mut self) -> Answer<Value> {
        let mut found = self.next()?;
        loop {
            let mut value = match self.begin(found)? {
                After::Table(value) => value,
                After::Value(first) => {
                    found = first;
                    continue;
                }
            };
            loop {
                let Some(open) = self.open.pop() else { return self.end(value) };
                match self.put(open, value)? {
                    After::Table(table) => value = table,
                    After::Value(next) => {
                        found = next;
                        break;
                    }
                }
            }
        }
    }

    /// A value as a whole, or the first token of the first value in a table.
    fn begin(&mut self, found: Found) -> Answer<After> {
        self.work.element()?;
        Ok(After::Table(match found.token {
            Token::Text(text) => Value::String(self.work.lua.create_string(text)?),
            Token::Number(number) => Value::Number(number),
            Token::Boolean(value) => Value::Boolean(value),
            Token::Null => Value::NULL,
            Token::ObjectBegin => {
                let table = self.descend()?;
                let first = self.next()?;
                if first.token != Token::ObjectEnd {
                    return self.member(table, first);
                }
                Value::Table(table)
            }
            Token::ArrayBegin => {
                let table = self.descend()?;
                let first = self.next()?;
                if first.token != Token::ArrayEnd {
                    self.open.push(Open::Array { table, length: 0 });
                    return Ok(After::Value(first));
                }
                Value::Table(table)
            }
            _ => return Err(unexpected("value", &found)),
        }))
    }

    /// Puts a value into the table that it belongs to, and looks at what comes after it.
    fn put(&mut self, open: Open, value: Value) -> Answer<After> {
        match open {
            Open::Array { table, length } => {
                table.raw_set(length + 1, value)?;
                let separator = self.next()?;
                match separator.token {
                    Token::ArrayEnd => Ok(After::Table(Value::Table(table))),
                    Token::Comma => {
                        self.open.push(Open::Array { table, length: length + 1 });
                        Ok(After::Value(self.next()?))
                    }
                    _ => Err(unexpected("comma or array end", &separator)),
                }
            }
            Open::Object { table, key } => {
                table.raw_set(key, value)?;
                let separator = self.next()?;
                match separator.token {
                    Token::ObjectEnd => Ok(After::Table(Value::Table(table))),
                    Token::Comma => {
                        let first = self.next()?;
                        self.member(table, first)
                    }
                    _ => Err(unexpected("comma or object end", &separator)),
                }
            }
        }
    }

    /// A member of an object from its key on, up to the first token of its value.
    fn member(&mut self, table: Table, key: Found) -> Answer<After> {
        self.work.element()?;
        let Token::Text(name) = &key.token else { return Err(unexpected("object key string", &key)) };
        let name = Value::String(self.work.lua.create_string(name)?);
        let colon = self.next()?;
        if colon.token != Token::Colon {
            return Err(unexpected("colon", &colon));
        }
        check_key(&name)?;
        self.open.push(Open::Object { table, key: name });
        Ok(After::Value(self.next()?))
    }

    fn descend(&mut self) -> Answer<Table> {
        let depth = self.open.len() + 1;
        if depth > self.depth_max {
            let text = format!("Found too many nested data structures ({depth}) at character {}", self.at);
            return Err(Failure::told(text));
        }
        Ok(self.work.lua.create_table()?)
    }

    fn end(&mut self, value: Value) -> Answer<Value> {
        let found = self.next()?;
        if found.token == Token::End { Ok(value) } else { Err(unexpected("the end", &found)) }
    }

    /// A byte of the text, 0 where it has ended.
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn next(&mut self) -> Answer<Found> {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let at = self.at;
        let rest = &self.text[at.min(self.text.len())..];
        let (token, length) = match self.byte(at) {
            b'{' => (Token::ObjectBegin, 1),
            b'}' => (Token::ObjectEnd, 1),
            b'[' => (Token::ArrayBegin, 1),
            b']' => (Token::ArrayEnd, 1),
            b',' => (Token::Comma, 1),
            b':' => (Token::Colon, 1),
            0 => (Token::End, 0),
            b'"' => return Ok(self.string()),
            b'-' | b'0'..=b'9' if !self.is_lenient && is_no_json_number(rest) => {
                (Token::Invalid("invalid number"), 0)
            }
            b'-' | b'0'..=b'9' => number(rest),
            _ if rest.starts_with(b"true") => (Token::Boolean(true), 4),
            _ if rest.starts_with(b"false") => (Token::Boolean(false), 5),
            _ if rest.starts_with(b"null") => (Token::Null, 4),
            b'+' | b'i' | b'I' | b'n' | b'N' if self.is_lenient && is_no_json_number(rest) => number(rest),
            _ => (Token::Invalid("invalid token"), 0),
        };
        if matches!(token, Token::Number(_)) {
            self.work.long_number(&rest[..length])?;
        }
        self.at += length;
        Ok(Found { token, at })
    }

    /// A string, from its opening quotation mark on.
    fn string(&mut self) -> Found {
        let begin = self.at;
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let problem = match self.byte(self.at) {
                b'"' => {
                    self.at += 1;
                    return Found { token: Token::Text(text), at: begin };
                }
                0 => "unexpected end of string",
                b'\\' => match self.escape(&mut text) {
                    Ok(length) => {
                        self.at += length;
                        continue;
                    }
                    Err(problem) => problem,
                },
                byte => {
                    text.push(byte);
                    self.at += 1;
                    continue;
                }
            };
            return Found { token: Token::Invalid(problem), at: self.at };
        }
    }

    /// Adds what an escape stands for, and answers its length.
    fn escape(&self, text: &mut Vec<u8>) -> Result<usize, &'static str> {
        text.push(match self.byte(self.at + 1) {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 0x08,
            b't' => b'\t',
            b'n' => b'\n',
            b'f' => 0x0c,
            b'r' => b'\r',
            b'u' => return self.unicode(text).ok_or("invalid unicode escape code"),
            _ => return Err("invalid escape code"),
        });
        Ok(2)
    }

    fn unicode(&self, text: &mut Vec<u8>) -> Option<usize> {
        const LENGTH: usize = 6;
        let first = self.unit(self.at)?;
        let (units, length) = match first {
            0xd800..=0xdfff => (&[first, self.unit(self.at + LENGTH)?][..], 2 * LENGTH),
            _ => (&[first][..], LENGTH),
        };
        let mut characters = char::decode_utf16(units.iter().copied());
        let character = characters.next()?.ok()?;
        if characters.next().is_some() {
            return None;
        }
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Some(length)
    }

    /// The number in `\uXXXX`.
    fn unit(&self, at: usize) -> Option<u16> {
        let digits = self.text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, digit| {
            char::from(*digit).to_digit(16).map(|digit| unit << 4 | u16::try_from(digit).expect("below 16"))
        })
    }
}

fn unexpected(wanted: &str, found: &Found) -> Failure {
    let text = format!("Expected {wanted} but found {} at character {}", found.token.name(), found.at + 1);
    Failure::told(text)
}

fn number(text: &[u8]) -> (Token, usize) {
    match leading_number(text) {
        Some((number, length)) => (Token::Number(number), length),
        None => (Token::Invalid("invalid number"), 0),
    }
}

/// Whether it begins as C takes a number to begin, but JSON does not.
fn is_no_json_number(text: &[u8]) -> bool {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let begins = |word: &[u8]| unsigned.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(word));
    match unsigned {
        _ if text.starts_with(b"+") => true,
        [b'0', b'x' | b'X' | b'0'..=b'9', ..] => true,
        _ => begins(b"inf") || begins(b"nan"),
    }
}
