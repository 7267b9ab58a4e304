//! `cjson.encode`: a value of a script as JSON.
//!
//! A table is an array if all its keys are places, and an object otherwise; an empty one is an object, since nothing
//! tells it from an empty array. Holes are written as `null`, up to a measure ([`Sparseness`]).

use mlua::{Function, Table, Value};

use super::super::number::general;
use super::{Answer, DEPTH_MAX, Failure, Work, number_of, places, type_name};

/// Places are counted in 32 bits: a table with a greater one is an object.
const PLACE_MAX: u64 = i32::MAX as u64;

/// Bytes of a string that are escaped before what they became is counted.
const ESCAPED_AT_ONCE_BYTES: usize = 4 << 10;

/// How many holes an array may have.
#[derive(Clone, Copy, Debug)]
struct Sparseness {
    /// Whether one with too many is written as an object, rather than refused.
    converts: bool,
    /// So many places for each element are few enough; 0 allows any number.
    ratio: u64,
    /// So many places are always few enough.
    safe: u64,
}

/// What becomes of NaN and the infinities, for which JSON has no words.
#[derive(Clone, Copy, Debug)]
enum Unspeakable {
    Refused,
    Named,
    Null,
}

/// A table that is begun and not ended.
#[derive(Debug)]
enum Open {
    Array { table: Table, written: u64, length: u64 },
    Object { table: Table, keys: Table, written: usize },
}

#[derive(Debug)]
struct Writer<'a, 'b> {
    work: &'a mut Work<'b>,
    /// Answers the keys of a table in order.
    order: Function,
    sparseness: Sparseness,
    depth_max: usize,
    digits: usize,
    unspeakable: Unspeakable,
    text: Vec<u8>,
    open: Vec<Open>,
}

type Arguments = (Function, bool, u64, u64, usize, usize, String, Value);

pub(super) fn encode(work: &mut Work<'_>, arguments: Arguments) -> Answer<Vec<Value>> {
    let (order, converts, ratio, safe, depth_max, digits, unspeakable, value) = arguments;
    let mut writer = Writer {
        work,
        order,
        sparseness: Sparseness { converts, ratio, safe },
        depth_max: depth_max.min(DEPTH_MAX),
        digits,
        unspeakable: match unspeakable.as_str() {
            "on" => Unspeakable::Named,
            "null" => Unspeakable::Null,
            _ => Unspeakable::Refused,
        },
        text: Vec::new(),
        open: Vec::new(),
    };
    writer.value(&value)?;
    while let Some(open) = writer.open.pop() {
        writer.go_on(open)?;
    }
    let text = writer.text;
    work.string(&text).map(|text| vec![text])
}

impl Writer<'_, '_> {
    /// Writes a value; of a table, only how it begins.
    fn value(&mut self, value: &Value) -> Answer<()> {
        self.work.element()?;
        match value {
            Value::String(text) => self.string(&text.as_bytes())?,
            Value::Integer(_) | Value::Number(_) => self.number(number_of(value).expect("it is a number"))?,
            Value::Boolean(true) => self.text.extend_from_slice(b"true"),
            Value::Boolean(false) => self.text.extend_from_slice(b"false"),
            Value::Table(table) => self.begin(table)?,
            value if value.is_nil() || value.is_null() => self.text.extend_from_slice(b"null"),
            other => return Err(cannot(type_name(Some(other)), "type not supported")),
        }
        self.work.check_size(self.text.len())
    }

    fn begin(&mut self, table: &Table) -> Answer<()> {
        let depth = self.open.len() + 1;
        if depth > self.depth_max {
            return Err(Failure::told(format!("Cannot serialise, excessive nesting ({depth})")));
        }
        let table = table.clone();
        self.open.push(match self.length(&table)? {
            Some(length) => {
                self.text.push(b'[');
                Open::Array { table, written: 0, length }
            }
            None => {
                self.text.push(b'{');
                let keys = self.order.call(&table)?;
                Open::Object { table, keys, written: 0 }
            }
        });
        Ok(())
    }

    /// How long an array it is, `None` if it is an object.
    fn length(&self, table: &Table) -> Answer<Option<u64>> {
        let Some(places) = places(self.work, table, PLACE_MAX)?.filter(|places| places.count > 0) else {
            return Ok(None);
        };
        let Sparseness { converts, ratio, safe } = self.sparseness;
        let is_sparse =
            ratio > 0 && places.greatest > places.count.saturating_mul(ratio) && places.greatest > safe;
        match (is_sparse, converts) {
            (false, _) => Ok(Some(places.greatest)),
            (true, true) => Ok(None),
            (true, false) => Err(cannot("table", "excessively sparse array")),
        }
    }

    /// Writes the next element of a table that was opened, or its end.
    fn go_on(&mut self, open: Open) -> Answer<()> {
        match open {
            Open::Array { written, length, .. } if written == length => self.text.push(b']'),
            Open::Array { table, written, length } => {
                self.separate(written > 0);
                let element: Value = table.raw_get(written + 1)?;
                self.open.push(Open::Array { table, written: written + 1, length });
                self.value(&element)?;
            }
            Open::Object { table, keys, written } => match keys.raw_get(written + 1)? {
                Value::Nil => self.text.push(b'}'),
                key => {
                    self.separate(written > 0);
                    self.key(&key)?;
                    let element: Value = table.raw_get(key)?;
                    self.open.push(Open::Object { table, keys, written: written + 1 });
                    self.value(&element)?;
                }
            },
        }
        Ok(())
    }

    fn separate(&mut self, is_later: bool) {
        if is_later {
            self.text.push(b',');
        }
    }

    fn key(&mut self, key: &Value) -> Answer<()> {
        self.work.element()?;
        match (key, number_of(key)) {
            (Value::String(name), _) => self.string(&name.as_bytes())?,
            (_, Some(number)) => {
                self.text.push(b'"');
                self.number(number)?;
                self.text.push(b'"');
            }
            (other, None) => {
                return Err(cannot(type_name(Some(other)), "table key must be a number or string"));
            }
        }
        self.text.push(b':');
        Ok(())
    }

    fn number(&mut self, number: f64) -> Answer<()> {
        match self.unspeakable {
            Unspeakable::Refused if !number.is_finite() => {
                return Err(cannot("number", "must not be NaN or Inf"));
            }
            Unspeakable::Null if !number.is_finite() => self.text.extend_from_slice(b"null"),
            Unspeakable::Refused | Unspeakable::Named | Unspeakable::Null => {
                self.text.extend_from_slice(general(number, self.digits).as_bytes());
            }
        }
        Ok(())
    }

    fn string(&mut self, text: &[u8]) -> Answer<()> {
        self.text.push(b'"');
        // What it becomes may be six times as long, so that is what is counted.
        for part in text.chunks(ESCAPED_AT_ONCE_BYTES) {
            let before = self.text.len();
            self.escape(part);
            self.work.bytes(self.text.len() - before)?;
            self.work.check_size(self.text.len())?;
        }
        self.text.push(b'"');
        Ok(())
    }

    fn escape(&mut self, text: &[u8]) {
        const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";
        for byte in text {
            match byte {
                b'"' | b'\\' | b'/' => self.text.extend_from_slice(&[b'\\', *byte]),
                0x08 => self.text.extend_from_slice(b"\\b"),
                b'\t' => self.text.extend_from_slice(b"\\t"),
                b'\n' => self.text.extend_from_slice(b"\\n"),
                0x0c => self.text.extend_from_slice(b"\\f"),
                b'\r' => self.text.extend_from_slice(b"\\r"),
                0x00..=0x1f | 0x7f => {
                    let [high, low] = [byte >> 4, byte & 0x0f].map(|digit| HEXADECIMAL[usize::from(digit)]);
                    self.text.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
                }
                _ => self.text.push(*byte),
            }
        }
    }
}

fn cannot(kind: &str, why: &str) -> Failure {
    Failure::told(format!("Cannot serialise {kind}: {why}"))
}
