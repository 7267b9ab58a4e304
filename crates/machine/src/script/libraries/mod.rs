//! What Redis gives scripts besides Lua's own libraries: `cjson`, `cmsgpack` and `struct`; `bit` is written in Luau.
//!
//! The formats are here, in Rust; what surrounds them, such as the settings of `cjson`, is `libraries.luau`. The bytes
//! and the texts of errors are those of Redis 7.0, except where those follow from the memory of a process: the members
//! of a table are written in the order in which scripts iterate it (numbers, strings, booleans), and every NaN is the
//! same one.
//!
//! * Each element that is read or written costs steps, and so do its bytes ([`Work`]). No size that an input merely
//!   claims is allocated.
//! * What nests is walked with a stack on the heap, whose depth has a limit ([`DEPTH_MAX`]).
//! * A failure is a value, which `libraries.luau` raises: an error that a function of the host raises ends the script.
//! * No table gets a key that a script could not give it ([`check_key`]).

mod json_reader;
mod json_writer;
mod message_pack;
mod structs;

#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::rc::Rc;

use mlua::{BorrowedBytes, FromLuaMulti, Function, Lua, MultiValue, Table, Value};

use super::budget::{Limit, Meter};
use super::number::{general, significand_digits, whole_number};
use super::reader::is_arithmetic_metamethod;

/// Steps for a number, a string or a table that is read or written, apart from the one that passes on what a large heap
/// makes dearer: to move a value between a script and the host takes two or three hundred ns.
const STEPS_PER_ELEMENT: u64 = 3;
/// Bytes that take as long to read, copy or escape as a step takes.
const BYTES_PER_STEP: usize = 32;
/// Digits of a number that fit into 64 bits. One with more of them may lie so close to the middle between two doubles that
/// only arithmetic with all of its digits decides.
const EXACT_DIGITS: usize = 19;
/// Steps for that arithmetic with a small or a large exponent, apart from one for each digit.
const STEPS_PER_LONG_NUMBER: u64 = 64;
/// Digits beyond which it no longer matters what they are.
const DECIDING_DIGITS: usize = 768;
/// Values of a VM that a call holds at once at most, a bound of ours: they lie on a stack that mlua lets grow much further,
/// within the memory of the script. Where that stack cannot grow, mlua answers an error or panics.
const HELD_MAX: usize = 8000;
/// Tables within tables, whatever a script sets: the default of `cjson`. Redis comes to an end where its stack does.
const DEPTH_MAX: usize = 1000;
/// Values that a function may return, about half as many as Redis has room for.
const RESULTS_MAX: usize = 3999;
/// A table and what goes with it for each level, and the values that are read already.
const _: () = assert!(2 * DEPTH_MAX + RESULTS_MAX < HELD_MAX - 1000);
/// Returned values that a step moves.
const RESULTS_PER_STEP: usize = 16;
/// Digits of a number where a string is wanted.
const DIGITS: usize = 14;

/// Why a function of a library does not answer.
#[derive(Debug)]
enum Failure {
    /// The argument at this position is wrong: of what kind it should be, for instance.
    Argument(usize, Vec<u8>),
    /// What the script is told.
    Told(Vec<u8>),
    /// The run is over: a budget is used up, or memory is.
    Final(mlua::Error),
}

type Answer<T> = Result<T, Failure>;

impl Failure {
    fn argument(position: usize, text: impl Into<Vec<u8>>) -> Self {
        Self::Argument(position, text.into())
    }

    fn told(text: impl Into<Vec<u8>>) -> Self {
        Self::Told(text.into())
    }
}

impl From<mlua::Error> for Failure {
    fn from(error: mlua::Error) -> Self {
        Self::Final(error)
    }
}

/// Counts what a call takes, and holds what it keeps outside of the script's heap to the budget.
#[derive(Debug)]
struct Work<'a> {
    lua: &'a Lua,
    meter: &'a Meter,
    /// Bytes that are not charged yet: less than a step.
    rest: usize,
}

impl Work<'_> {
    fn element(&self) -> Answer<()> {
        self.meter.steps(self.lua, 1)?;
        Ok(self.meter.charge(STEPS_PER_ELEMENT)?)
    }

    fn bytes(&mut self, count: usize) -> Answer<()> {
        self.rest += count;
        self.meter.charge((self.rest / BYTES_PER_STEP) as u64)?;
        self.rest %= BYTES_PER_STEP;
        Ok(())
    }

    /// What it takes to read a number in decimal digits beyond what its bytes cost.
    fn long_number(&self, text: &[u8]) -> Answer<()> {
        let digits = significand_digits(text);
        if digits > EXACT_DIGITS {
            self.meter.charge(STEPS_PER_LONG_NUMBER + digits.min(DECIDING_DIGITS) as u64)?;
        }
        Ok(())
    }

    /// Called with the bytes of a result whenever they have grown.
    fn check_size(&self, bytes: usize) -> Answer<()> {
        if bytes > self.meter.memory_bytes() { Err(self.meter.exhaust(Limit::Memory).into()) } else { Ok(()) }
    }

    /// Called with the number of values that will be returned.
    fn returned(&self, count: usize) -> Answer<()> {
        if count >= RESULTS_PER_STEP {
            self.meter.charge((count / RESULTS_PER_STEP) as u64)?;
            self.meter.widen(count as u64);
        }
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) -> Answer<Value> {
        self.bytes(bytes.len())?;
        Ok(Value::String(self.lua.create_string(bytes)?))
    }
}

/// Adds the functions that `libraries.luau` is written over.
pub(super) fn install(lua: &Lua, natives: &Table, meter: &Rc<Meter>) -> mlua::Result<()> {
    natives.set("null", Value::NULL)?;
    natives.set("arguments_max", RESULTS_MAX)?;
    natives.set("json_encode", function(lua, meter, json_writer::encode)?)?;
    natives.set("json_decode", function(lua, meter, json_reader::decode)?)?;
    natives.set("message_pack", function(lua, meter, message_pack::pack)?)?;
    natives.set("message_unpack", function(lua, meter, message_pack::unpack)?)?;
    natives.set("message_unpack_one", function(lua, meter, message_pack::unpack_one)?)?;
    natives.set("message_unpack_limit", function(lua, meter, message_pack::unpack_limit)?)?;
    natives.set("struct_pack", function(lua, meter, structs::pack)?)?;
    natives.set("struct_unpack", function(lua, meter, structs::unpack)?)?;
    natives.set("struct_size", function(lua, meter, structs::size)?)
}

/// A function that answers two times nil and its results, or the text of its failure, with the position of the
/// argument that is to blame.
fn function<A: FromLuaMulti + 'static>(
    lua: &Lua,
    meter: &Rc<Meter>,
    body: fn(&mut Work<'_>, A) -> Answer<Vec<Value>>,
) -> mlua::Result<Function> {
    let meter = Rc::clone(meter);
    lua.create_function(move |lua, arguments: A| {
        let mut work = Work { lua, meter: &meter, rest: 0 };
        let answer = work.element().and_then(|()| body(&mut work, arguments));
        match answer {
            Ok(results) => Ok([Value::Nil, Value::Nil].into_iter().chain(results).collect::<MultiValue>()),
            Err(Failure::Argument(position, text)) => {
                Ok([Value::String(lua.create_string(text)?), Value::Number(position as f64)]
                    .into_iter()
                    .collect())
            }
            Err(Failure::Told(text)) => Ok([Value::String(lua.create_string(text)?)].into_iter().collect()),
            Err(Failure::Final(error)) => Err(error),
        }
    })
}

/// The name of a value's type in errors.
fn type_name(value: Option<&Value>) -> &'static str {
    match value {
        None => "no value",
        Some(Value::Integer(_) | Value::Number(_)) => "number",
        Some(Value::LightUserData(_) | Value::UserData(_)) => "userdata",
        Some(value) => value.type_name(),
    }
}

fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// The bytes of a script's string, or of a number as one.
#[derive(Debug)]
enum Text {
    Lent(BorrowedBytes),
    Made(String),
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Made(text) => text.as_bytes(),
        }
    }
}

/// A string, or a number as one, at a position that errors name.
fn text_argument(value: Option<&Value>, position: usize) -> Answer<Text> {
    match value {
        Some(Value::String(text)) => Ok(Text::Lent(text.as_bytes())),
        other => match other.and_then(number_of) {
            Some(number) => Ok(Text::Made(general(number, DIGITS))),
            None => Err(expected("string", other, position)),
        },
    }
}

/// A number, or a string that is one.
fn number_argument(work: &mut Work<'_>, value: Option<&Value>, position: usize) -> Answer<f64> {
    let number = match value {
        Some(Value::String(text)) => number_in(work, &text.as_bytes())?,
        other => other.and_then(number_of),
    };
    number.ok_or_else(|| expected("number", value, position))
}

/// The number that a string is.
fn number_in(work: &mut Work<'_>, text: &[u8]) -> Answer<Option<f64>> {
    work.bytes(text.len())?;
    work.long_number(text)?;
    Ok(whole_number(text))
}

fn expected(kind: &str, got: Option<&Value>, position: usize) -> Failure {
    Failure::argument(position, format!("{kind} expected, got {}", type_name(got)))
}

/// Refuses what a script could not make a key either: what is known by its address, and what would make arithmetic
/// call a function.
fn check_key(key: &Value) -> Answer<()> {
    match key {
        Value::String(name) if is_arithmetic_metamethod(&name.as_bytes()) => {
            Err(Failure::told("metamethods of arithmetic cannot be used"))
        }
        Value::String(_) | Value::Boolean(_) | Value::Integer(_) => Ok(()),
        Value::Number(number) if number.is_nan() => Err(Failure::told("table index is NaN")),
        Value::Number(_) => Ok(()),
        Value::Nil => Err(Failure::told("table index is nil")),
        other => Err(Failure::told(format!("a {} cannot be a key of a table", type_name(Some(other))))),
    }
}

/// What the keys of a table are like: whole numbers above zero and nothing else, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Places {
    count: u64,
    greatest: u64,
}

/// The places of a table's elements, `None` if it has another key than places, or one above `greatest`.
fn places(work: &Work<'_>, table: &Table, greatest: u64) -> Answer<Option<Places>> {
    let mut places = Places::default();
    let mut is_list = true;
    let walked = table.for_each(|key: Value, _: bool| {
        let place = number_of(&key).filter(|number| number.fract() == 0.0 && *number >= 1.0);
        match place.filter(|number| *number <= greatest as f64) {
            Some(place) => {
                work.meter.charge(1)?;
                places.count += 1;
                places.greatest = places.greatest.max(place as u64);
                Ok(())
            }
            None => {
                is_list = false;
                Err(mlua::Error::runtime("one key is enough"))
            }
        }
    });
    match (walked, is_list) {
        (_, false) => Ok(None),
        (Ok(()), true) => Ok(Some(places)),
        (Err(error), true) => Err(error.into()),
    }
}
