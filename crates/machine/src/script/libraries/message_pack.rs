//! `cmsgpack`: values of a script as MessagePack and back.
//!
//! A table whose keys are 1 to n is an array, every other one a map in the order of iteration. Numbers that are whole
//! are written as integers, others as the shortest float that keeps them. Lengths that an input claims are only
//! counted down: an element that is not there ends the reading.

use mlua::{Function, MultiValue, Table, Value};

use super::{
    Answer, DEPTH_MAX, Failure, RESULTS_MAX, Work, check_key, number_argument, number_of, places,
    text_argument,
};
use crate::script::number::truncated;

/// Tables within tables that are written; deeper ones become nil, as in Redis.
const WRITTEN_DEPTH_MAX: usize = 16;
/// What every NaN becomes: the one that x86 makes of `0/0`, with its sign.
const NAN: u64 = 0xfff8_0000_0000_0000;

pub(super) fn pack(work: &mut Work<'_>, (order, values): (Function, MultiValue)) -> Answer<Vec<Value>> {
    if values.is_empty() {
        return Err(Failure::argument(0, "MessagePack pack needs input."));
    }
    let mut writer = Writer { work, order: &order, bytes: Vec::new() };
    for value in &values {
        writer.value(value, 0)?;
    }
    let bytes = writer.bytes;
    work.string(&bytes).map(|bytes| vec![bytes])
}

#[derive(Debug)]
struct Writer<'a, 'b> {
    work: &'a mut Work<'b>,
    /// Answers the keys of a table in order.
    order: &'a Function,
    bytes: Vec<u8>,
}

impl Writer<'_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Answer<()> {
        self.work.element()?;
        match (value, number_of(value)) {
            (Value::String(text), _) => self.string(&text.as_bytes())?,
            (Value::Boolean(false), _) => self.bytes.push(0xc2),
            (Value::Boolean(true), _) => self.bytes.push(0xc3),
            (_, Some(number)) => self.number(number),
            (Value::Table(table), _) if depth < WRITTEN_DEPTH_MAX => self.table(table, depth)?,
            _ => self.bytes.push(0xc0),
        }
        self.work.check_size(self.bytes.len())
    }

    fn table(&mut self, table: &Table, depth: usize) -> Answer<()> {
        let places = places(self.work, table, u64::from(u32::MAX))?;
        if let Some(places) = places.filter(|places| places.greatest == places.count) {
            self.length(places.count, (0x90, 15), None, [0xdc, 0xdd]);
            for place in 1..=places.count {
                self.value(&table.raw_get(place)?, depth + 1)?;
            }
            return Ok(());
        }
        let keys: Table = self.order.call(table)?;
        self.length(keys.raw_len() as u64, (0x80, 15), None, [0xde, 0xdf]);
        for place in 1..=keys.raw_len() {
            let key: Value = keys.raw_get(place)?;
            self.value(&key, depth + 1)?;
            self.value(&table.raw_get(key)?, depth + 1)?;
        }
        Ok(())
    }

    fn string(&mut self, text: &[u8]) -> Answer<()> {
        self.work.bytes(text.len())?;
        self.length(text.len() as u64, (0xa0, 31), Some(0xd9), [0xda, 0xdb]);
        self.bytes.extend_from_slice(text);
        Ok(())
    }

    /// A length in the first form that holds it: within the tag (which holds up to so much), or behind one in 8, 16 or
    /// 32 bits.
    fn length(&mut self, length: u64, (tag, within): (u8, u8), in_8: Option<u8>, [in_16, in_32]: [u8; 2]) {
        match (u8::try_from(length), u16::try_from(length), in_8) {
            (Ok(length), _, _) if length <= within => self.bytes.push(tag | length),
            (Ok(length), _, Some(tag)) => self.tagged(tag, &[length]),
            (_, Ok(length), _) => self.tagged(in_16, &length.to_be_bytes()),
            _ => self.tagged(in_32, &(length as u32).to_be_bytes()),
        }
    }

    fn number(&mut self, number: f64) {
        let whole = truncated(number);
        if number.is_nan() {
            self.tagged(0xcb, &NAN.to_be_bytes());
        } else if number.is_finite() && whole as f64 == number {
            self.integer(whole);
        } else if f64::from(number as f32) == number {
            self.tagged(0xca, &(number as f32).to_be_bytes());
        } else {
            self.tagged(0xcb, &number.to_be_bytes());
        }
    }

    fn integer(&mut self, number: i64) {
        match number {
            -0x20..=0x7f => self.bytes.push(number as u8),
            0x80..=0xff => self.tagged(0xcc, &[number as u8]),
            0x100..=0xffff => self.tagged(0xcd, &(number as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.tagged(0xce, &(number as u32).to_be_bytes()),
            0x1_0000_0000.. => self.tagged(0xcf, &number.to_be_bytes()),
            -0x80.. => self.tagged(0xd0, &[number as u8]),
            -0x8000.. => self.tagged(0xd1, &(number as i16).to_be_bytes()),
            -0x8000_0000.. => self.tagged(0xd2, &(number as i32).to_be_bytes()),
            _ => self.tagged(0xd3, &number.to_be_bytes()),
        }
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.bytes.push(tag);
        self.bytes.extend_from_slice(bytes);
    }
}

pub(super) fn unpack(work: &mut Work<'_>, arguments: MultiValue) -> Answer<Vec<Value>> {
    let bytes = text_argument(arguments.front(), 1)?;
    some(work, &bytes, None, 0)
}

pub(super) fn unpack_one(work: &mut Work<'_>, arguments: MultiValue) -> Answer<Vec<Value>> {
    let bytes = text_argument(arguments.front(), 1)?;
    let offset = offset(work, &arguments, 2)?;
    some(work, &bytes, Some(1), offset)
}

pub(super) fn unpack_limit(work: &mut Work<'_>, arguments: MultiValue) -> Answer<Vec<Value>> {
    let bytes = text_argument(arguments.front(), 1)?;
    let limit = truncated(number_argument(work, arguments.get(1), 2)?);
    let offset = offset(work, &arguments, 3)?;
    // Redis takes these two zeros for a wish to have all, without an offset.
    let limit = if (limit, offset) == (0, 0) { None } else { Some(limit) };
    some(work, &bytes, limit, offset)
}

fn offset(work: &mut Work<'_>, arguments: &MultiValue, position: usize) -> Answer<i64> {
    match arguments.get(position - 1) {
        None | Some(Value::Nil) => Ok(0),
        given => number_argument(work, given, position).map(truncated),
    }
}

/// Up to `limit` values from an offset on, behind the offset where the next one begins (-1 at the end). Without a
/// limit, all of them and no offset.
fn some(work: &mut Work<'_>, bytes: &[u8], limit: Option<i64>, offset: i64) -> Answer<Vec<Value>> {
    let length = bytes.len();
    let start = match usize::try_from(offset) {
        Ok(start) if limit.is_none_or(|limit| limit >= 0) => start,
        _ => {
            let text = format!("Invalid request to unpack with offset of {offset} and limit of {length}.");
            return Err(Failure::told(text));
        }
    };
    let Some(rest) = bytes.get(start..) else {
        let text = format!("Start offset {offset} greater than input length {length}.");
        return Err(Failure::told(text));
    };
    let mut reader = Reader { work, rest, open: Vec::new() };
    let mut values = Vec::new();
    while !reader.rest.is_empty() && limit.is_none_or(|limit| (values.len() as i64) < limit) {
        if values.len() >= RESULTS_MAX {
            return Err(Failure::told(
                "stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)",
            ));
        }
        values.push(reader.read()?);
    }
    if limit.is_some() {
        let next = if reader.rest.is_empty() { -1.0 } else { (length - reader.rest.len()) as f64 };
        values.insert(0, Value::Number(next));
    }
    work.returned(values.len())?;
    Ok(values)
}

/// A table that is begun, and the number of elements that are still to come, which is not 0.
#[derive(Debug)]
enum Open {
    Array {
        table: Table,
        next: u64,
        left: u32,
    },
    /// The key is that of the value which is read now, if it is not the key itself that is.
    Map {
        table: Table,
        key: Option<Value>,
        left: u32,
    },
}

#[derive(Debug)]
struct Reader<'a, 'b> {
    work: &'a mut Work<'b>,
    rest: &'a [u8],
    open: Vec<Open>,
}

impl Reader<'_, '_> {
    fn read(&mut self) -> Answer<Value> {
        loop {
            self.work.element()?;
            let Some(mut value) = self.begin()? else { continue };
            // A value may be the last one of its table, and that one of the table around it.
            loop {
                let Some(open) = self.open.pop() else { return Ok(value) };
                match self.put(open, value)? {
                    Some(table) => value = table,
                    None => break,
                }
            }
        }
    }

    /// A value, or `None` where a table begins whose elements come first.
    fn begin(&mut self) -> Answer<Option<Value>> {
        let [tag] = self.take()?;
        let number = match tag {
            0x00..=0x7f => f64::from(tag),
            0x80..=0x8f => return self.map(u32::from(tag & 0x0f)),
            0x90..=0x9f => return self.array(u32::from(tag & 0x0f)),
            0xa0..=0xbf => return self.string(u32::from(tag & 0x1f)),
            0xc0 => return Ok(Some(Value::Nil)),
            0xc2 | 0xc3 => return Ok(Some(Value::Boolean(tag == 0xc3))),
            0xca => f64::from(f32::from_be_bytes(self.take()?)),
            0xcb => f64::from_be_bytes(self.take()?),
            0xcc => f64::from(self.take::<1>()?[0]),
            0xcd => f64::from(u16::from_be_bytes(self.take()?)),
            0xce => f64::from(u32::from_be_bytes(self.take()?)),
            // As in Redis, the upper half of the 64 bits without a sign comes out negative.
            0xcf | 0xd3 => i64::from_be_bytes(self.take()?) as f64,
            0xd0 => f64::from(i8::from_be_bytes(self.take()?)),
            0xd1 => f64::from(i16::from_be_bytes(self.take()?)),
            0xd2 => f64::from(i32::from_be_bytes(self.take()?)),
            0xd9 => {
                let [length] = self.take()?;
                return self.string(u32::from(length));
            }
            0xda..=0xdf => {
                let length = match tag {
                    0xda | 0xdc | 0xde => u32::from(u16::from_be_bytes(self.take()?)),
                    _ => u32::from_be_bytes(self.take()?),
                };
                return match tag {
                    0xda | 0xdb => self.string(length),
                    0xdc | 0xdd => self.array(length),
                    _ => self.map(length),
                };
            }
            0xe0..=0xff => f64::from(tag as i8),
            0xc1 | 0xc4..=0xc9 | 0xd4..=0xd8 => return Err(Failure::told("Bad data format in input.")),
        };
        Ok(Some(Value::Number(if number.is_nan() { f64::NAN } else { number })))
    }

    fn string(&mut self, length: u32) -> Answer<Option<Value>> {
        let (text, rest) = self.rest.split_at_checked(length as usize).ok_or_else(missing)?;
        self.rest = rest;
        self.work.string(text).map(Some)
    }

    fn array(&mut self, left: u32) -> Answer<Option<Value>> {
        let table = self.table("array")?;
        if left == 0 {
            return Ok(Some(Value::Table(table)));
        }
        self.open.push(Open::Array { table, next: 1, left });
        Ok(None)
    }

    fn map(&mut self, left: u32) -> Answer<Option<Value>> {
        let table = self.table("hash")?;
        if left == 0 {
            return Ok(Some(Value::Table(table)));
        }
        self.open.push(Open::Map { table, key: None, left });
        Ok(None)
    }

    fn table(&self, kind: &str) -> Answer<Table> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Failure::told(format!("stack overflow (in function mp_decode_to_lua_{kind})")));
        }
        Ok(self.work.lua.create_table()?)
    }

    /// Puts a value into the table that it belongs to, and answers that if it is complete.
    fn put(&mut self, open: Open, value: Value) -> Answer<Option<Value>> {
        match open {
            Open::Map { table, key: None, left } => {
                check_key(&value)?;
                self.open.push(Open::Map { table, key: Some(value), left });
            }
            Open::Map { table, key: Some(key), left } => {
                self.set(&table, key, value)?;
                if left == 1 {
                    return Ok(Some(Value::Table(table)));
                }
                self.open.push(Open::Map { table, key: None, left: left - 1 });
            }
            Open::Array { table, next, left } => {
                if !value.is_nil() {
                    table.raw_set(next, value)?;
                }
                if left == 1 {
                    return Ok(Some(Value::Table(table)));
                }
                self.open.push(Open::Array { table, next: next + 1, left: left - 1 });
            }
        }
        Ok(None)
    }

    /// Sets a member of a map, which may be there already. One that is taken away again leaves a table that the next new
    /// member can have laid out anew, however often; that is paid for here. A nil for one that is not there would do the
    /// same, and is left out.
    fn set(&self, table: &Table, key: Value, value: Value) -> Answer<()> {
        if value.is_nil() {
            if table.raw_get::<Value>(&key)?.is_nil() {
                return Ok(());
            }
            self.work.meter.scan(self.work.lua)?;
        }
        Ok(table.raw_set(key, value)?)
    }

    fn take<const N: usize>(&mut self) -> Answer<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(missing)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

fn missing() -> Failure {
    Failure::told("Missing bytes in input.")
}
