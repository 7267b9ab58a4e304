//! Values of a script to and from arguments and replies, exactly as Redis converts them.
//!
//! What a script sees depends on the version that it chose by `redis.setresp`: under 2 a nil is `false` and a map is
//! a flat array, under 3 each kind has its own form. The way back is the same for both, booleans excepted.

use bytes::Bytes;
use mlua::{Lua, MultiValue, Table, Value};

use super::WORK_BYTES;
use super::budget::{Limit, Meter};
use super::number::{shortest_17, truncated};
use crate::double;
use crate::reply::Reply;

/// The protocol version whose kinds of replies a script sees and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resp {
    V2,
    V3,
}

/// The arguments of a command, or the text of what is wrong with them.
pub(super) fn arguments(
    values: &MultiValue,
    meter: &Meter,
) -> mlua::Result<Result<Vec<Bytes>, &'static str>> {
    if values.is_empty() {
        return Ok(Err("ERR Please specify at least one argument for this redis lib call"));
    }
    let mut arguments = Vec::with_capacity(values.len());
    let mut bytes = 0_usize;
    for value in values {
        // The same long string may be given many times, which the heap does not show.
        bytes += match value {
            Value::String(text) => text.as_bytes().len(),
            _ => size_of::<Bytes>(),
        };
        if bytes > meter.memory_bytes() {
            return Err(meter.exhaust(Limit::Memory));
        }
        arguments.push(match value {
            Value::String(text) => Bytes::copy_from_slice(&text.as_bytes()),
            Value::Integer(number) => Bytes::from(shortest_17(*number as f64)),
            Value::Number(number) => Bytes::from(shortest_17(*number)),
            _ => return Ok(Err("ERR Lua redis lib command arguments must be strings or integers")),
        });
    }
    meter.charge((bytes / WORK_BYTES) as u64)?;
    Ok(Ok(arguments))
}

/// What `redis.call` and `redis.pcall` give a script.
pub(super) fn to_script(lua: &Lua, reply: &Reply, resp: Resp) -> mlua::Result<Value> {
    let text = |text: &[u8]| lua.create_string(text).map(Value::String);
    match (reply, resp) {
        (Reply::Null | Reply::NullArray, Resp::V2) => Ok(Value::Boolean(false)),
        (Reply::Null | Reply::NullArray, Resp::V3) => Ok(Value::Nil),
        (Reply::Status(status), _) => field(lua, "ok", text(status)?),
        (Reply::Error(error), _) => field(lua, "err", text(error)?),
        (Reply::Integer(number), _) => Ok(Value::Number(*number as f64)),
        (Reply::Bulk(bytes), _) => text(bytes),
        (Reply::Array(elements) | Reply::Push(elements), _) => list(lua, elements.iter(), resp),
        (Reply::Map(pairs) | Reply::Pairs(pairs), Resp::V2) => {
            list(lua, pairs.iter().flat_map(|(first, second)| [first, second]), resp)
        }
        (Reply::Pairs(pairs), Resp::V3) => {
            let table = lua.create_table()?;
            for (place, (first, second)) in (1_i64..).zip(pairs) {
                table.raw_set(place, list(lua, [first, second].into_iter(), resp)?)?;
            }
            Ok(Value::Table(table))
        }
        (Reply::Map(pairs), Resp::V3) => {
            let map = lua.create_table()?;
            for (key, value) in pairs {
                if let Some(key) = to_key(lua, key)? {
                    map.raw_set(key, to_script(lua, value, resp)?)?;
                }
            }
            field(lua, "map", Value::Table(map))
        }
        (Reply::Set(elements), Resp::V2) => list(lua, elements.iter(), resp),
        (Reply::Set(elements), Resp::V3) => {
            let set = lua.create_table()?;
            for element in elements {
                if let Some(key) = to_key(lua, element)? {
                    set.raw_set(key, true)?;
                }
            }
            field(lua, "set", Value::Table(set))
        }
        (Reply::Double(number), Resp::V2) => text(double::format(*number).as_bytes()),
        (Reply::Double(number), Resp::V3) => field(lua, "double", Value::Number(*number)),
        (Reply::Boolean(value), Resp::V2) => Ok(Value::Number(f64::from(u8::from(*value)))),
        (Reply::Boolean(value), Resp::V3) => Ok(Value::Boolean(*value)),
        (Reply::BigNumber(digits), Resp::V2) => text(digits),
        (Reply::BigNumber(digits), Resp::V3) => field(lua, "big_number", text(digits)?),
        (Reply::Verbatim(string), Resp::V2) => text(string),
        (Reply::Verbatim(string), Resp::V3) => {
            let verbatim = lua.create_table()?;
            verbatim.raw_set("string", text(string)?)?;
            verbatim.raw_set("format", "txt")?;
            field(lua, "verbatim_string", Value::Table(verbatim))
        }
    }
}

/// The key that an element of a set or a map has in a script: a number, a string or a boolean. What would be a table
/// has none, and no command answers a set or a map of such.
fn to_key(lua: &Lua, reply: &Reply) -> mlua::Result<Option<Value>> {
    match reply {
        Reply::Status(text) | Reply::Bulk(text) | Reply::BigNumber(text) | Reply::Verbatim(text) => {
            lua.create_string(text).map(|text| Some(Value::String(text)))
        }
        Reply::Integer(number) => Ok(Some(Value::Number(*number as f64))),
        Reply::Double(number) if !number.is_nan() => Ok(Some(Value::Number(*number))),
        Reply::Boolean(value) => Ok(Some(Value::Boolean(*value))),
        Reply::Double(_)
        | Reply::Null
        | Reply::NullArray
        | Reply::Error(_)
        | Reply::Array(_)
        | Reply::Push(_)
        | Reply::Map(_)
        | Reply::Pairs(_)
        | Reply::Set(_) => Ok(None),
    }
}

fn field(lua: &Lua, name: &str, value: Value) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set(name, value)?;
    Ok(Value::Table(table))
}

fn list<'a>(lua: &Lua, elements: impl Iterator<Item = &'a Reply>, resp: Resp) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    // Each at its own place, since a nil takes one, too.
    for (place, element) in (1_i64..).zip(elements) {
        table.raw_set(place, to_script(lua, element, resp)?)?;
    }
    Ok(Value::Table(table))
}

/// Charges what it costs to hand a reply to a script.
pub(super) fn charge_for(reply: &Reply, meter: &Meter) -> mlua::Result<()> {
    meter.charge((reply.bytes() / WORK_BYTES) as u64)
}

/// Makes the reply to the client out of what a script returned.
pub(super) struct Returned<'a> {
    meter: &'a Meter,
    resp: Resp,
    bytes: usize,
}

impl<'a> Returned<'a> {
    pub(super) fn new(meter: &'a Meter, resp: Resp) -> Self {
        Self { meter, resp, bytes: 0 }
    }

    pub(super) fn reply(&mut self, value: &Value) -> mlua::Result<Reply> {
        self.nested(value, 0)
    }

    fn nested(&mut self, value: &Value, depth: usize) -> mlua::Result<Reply> {
        self.meter.charge(1)?;
        self.take(size_of::<Reply>())?;
        match value {
            Value::String(text) => Ok(Reply::Bulk(self.bytes_of(text)?)),
            Value::Number(number) => Ok(Reply::Integer(truncated(*number))),
            Value::Integer(number) => Ok(Reply::Integer(*number)),
            Value::Boolean(value) if self.resp == Resp::V3 => Ok(Reply::Boolean(*value)),
            Value::Boolean(true) => Ok(Reply::Integer(1)),
            Value::Table(_) if depth >= Reply::DEPTH_MAX - 1 => {
                Ok(Reply::error("ERR reached lua stack limit"))
            }
            Value::Table(table) => self.table(table, depth),
            // Functions and threads too: Redis answers nil for all that it cannot express.
            _ => Ok(Reply::Null),
        }
    }

    fn table(&mut self, table: &Table, depth: usize) -> mlua::Result<Reply> {
        if let Value::String(text) = table.raw_get("err")? {
            return Ok(Reply::error_text(self.bytes_of(&text)?));
        }
        if let Value::String(text) = table.raw_get("ok")? {
            return Ok(Reply::Status(one_line(&self.bytes_of(&text)?)));
        }
        match table.raw_get("double")? {
            Value::Number(number) => return Ok(Reply::Double(number)),
            Value::Integer(number) => return Ok(Reply::Double(number as f64)),
            _ => {}
        }
        if let Value::Table(map) = table.raw_get("map")? {
            return self.map(&map, depth);
        }
        if let Value::Table(set) = table.raw_get("set")? {
            return self.set(&set, depth);
        }
        if let Value::String(digits) = table.raw_get("big_number")? {
            return Ok(Reply::BigNumber(one_line(&self.bytes_of(&digits)?)));
        }
        if let Value::Table(verbatim) = table.raw_get("verbatim_string")?
            && let (Value::String(text), Value::String(_)) =
                (verbatim.raw_get("string")?, verbatim.raw_get("format")?)
        {
            return Ok(Reply::Verbatim(self.bytes_of(&text)?));
        }
        self.array(table, depth)
    }

    fn array(&mut self, table: &Table, depth: usize) -> mlua::Result<Reply> {
        let mut elements = Vec::new();
        loop {
            match table.raw_get(elements.len() + 1)? {
                Value::Nil => return Ok(Reply::Array(elements)),
                element => elements.push(self.nested(&element, depth + 1)?),
            }
        }
    }

    fn map(&mut self, map: &Table, depth: usize) -> mlua::Result<Reply> {
        let mut pairs = Vec::new();
        for key in self.ordered_keys(map)? {
            let value = map.raw_get(key.clone())?;
            pairs.push((self.nested(&key, depth + 1)?, self.nested(&value, depth + 1)?));
        }
        Ok(Reply::Map(pairs))
    }

    fn set(&mut self, set: &Table, depth: usize) -> mlua::Result<Reply> {
        let keys = self.ordered_keys(set)?;
        let elements: mlua::Result<_> = keys.iter().map(|key| self.nested(key, depth + 1)).collect();
        elements.map(Reply::Set)
    }

    fn bytes_of(&mut self, text: &mlua::LuaString) -> mlua::Result<Bytes> {
        let text = text.as_bytes();
        self.take(text.len())?;
        Ok(Bytes::copy_from_slice(&text))
    }

    /// A small table can name itself many times over: the reply has a budget of its own.
    fn take(&mut self, bytes: usize) -> mlua::Result<()> {
        self.bytes += bytes;
        if self.bytes > self.meter.memory_bytes() { Err(self.meter.exhaust(Limit::Memory)) } else { Ok(()) }
    }

    /// Keys in the order in which scripts iterate: numbers, then strings by their bytes, then booleans.
    fn ordered_keys(&mut self, table: &Table) -> mlua::Result<Vec<Value>> {
        let (mut numbers, mut strings, mut booleans) = (Vec::new(), Vec::new(), Vec::new());
        for pair in table.pairs::<Value, Value>() {
            self.take(size_of::<Value>())?;
            match pair?.0 {
                Value::Number(number) => numbers.push(number),
                Value::Integer(number) => numbers.push(number as f64),
                Value::String(text) => strings.push(text),
                Value::Boolean(value) => booleans.push(value),
                // Guards keep all others out of tables.
                _ => {}
            }
        }
        numbers.sort_by(f64::total_cmp);
        strings.sort();
        booleans.sort_unstable();
        let numbers = numbers.into_iter().map(Value::Number);
        let strings = strings.into_iter().map(Value::String);
        Ok(numbers.chain(strings).chain(booleans.into_iter().map(Value::Boolean)).collect())
    }
}

/// A status or a big number ends at the line's end.
fn one_line(text: &[u8]) -> Bytes {
    text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
}
