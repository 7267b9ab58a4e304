//! `struct`: values of a script as the bytes of a C structure and back, by a format of one letter each.
//!
//! Sizes are those of C on a 64-bit machine. Bytes are in the order of x86 unless the format says otherwise, on every
//! processor; alignment is 1 unless it says otherwise.

use mlua::{MultiValue, Value};

use super::{Answer, Failure, RESULTS_MAX, Work, number_argument, number_in, number_of, text_argument};
use crate::script::number::truncated;

/// The greatest alignment that a type of C has, for a `!` without a number.
const ALIGNMENT: u64 = 8;
/// Bytes of the longest integer; those that a number does not reach are 0.
const INTEGER_BYTES_MAX: u64 = 32;
/// Numbers in a format are 32-bit integers of C.
const NUMBER_MAX: u64 = i32::MAX as u64;
/// What every NaN becomes: those that x86 makes of `0/0`, with their sign.
const NAN: u64 = 0xfff8_0000_0000_0000;
const NAN_SINGLE: u32 = 0xffc0_0000;

/// One letter of a format, with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Integer {
        size: u64,
        is_signed: bool,
    },
    Single,
    Double,
    Padding,
    /// So many bytes of a string; 0 means as many as there are, or as were read before.
    Characters(u64),
    /// A string and a byte 0.
    Terminated,
    /// Something that stands for no bytes.
    Setting(u8),
}

impl Item {
    fn size(self) -> u64 {
        match self {
            Self::Integer { size, .. } | Self::Characters(size) => size,
            Self::Single => 4,
            Self::Double => 8,
            Self::Padding => 1,
            Self::Terminated | Self::Setting(_) => 0,
        }
    }
}

/// A format that is being read, and what it has set so far.
#[derive(Debug)]
struct Format<'a> {
    rest: &'a [u8],
    is_big_endian: bool,
    alignment: u64,
}

impl<'a> Format<'a> {
    /// A byte 0 ends a format. All of its bytes are paid for at once: it is looked through for that byte, and a number in
    /// it has any number of digits.
    fn new(work: &mut Work<'_>, text: &'a [u8]) -> Answer<Self> {
        work.bytes(text.len())?;
        let rest = text.split(|byte| *byte == 0).next().unwrap_or(text);
        Ok(Self { rest, is_big_endian: false, alignment: 1 })
    }

    fn next(&mut self, work: &mut Work<'_>) -> Answer<Option<Item>> {
        let Some((letter, rest)) = self.rest.split_first() else { return Ok(None) };
        work.element()?;
        self.rest = rest;
        let integer = |size| Item::Integer { size, is_signed: letter.is_ascii_lowercase() };
        Ok(Some(match letter {
            b'b' | b'B' => integer(1),
            b'h' | b'H' => integer(2),
            b'l' | b'L' | b'T' => integer(8),
            b'i' | b'I' => {
                let size = self.number(4)?;
                if size > INTEGER_BYTES_MAX {
                    let text = format!("integral size {size} is larger than limit of {INTEGER_BYTES_MAX}");
                    return Err(Failure::told(text));
                }
                integer(size)
            }
            b'f' => Item::Single,
            b'd' => Item::Double,
            b'x' => Item::Padding,
            b'c' => Item::Characters(self.number(1)?),
            b's' => Item::Terminated,
            other => Item::Setting(*other),
        }))
    }

    fn number(&mut self, default: u64) -> Answer<u64> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        if digits == 0 {
            return Ok(default);
        }
        number.iter().try_fold(0, |number, digit| match number * 10 + u64::from(digit - b'0') {
            number if number > NUMBER_MAX => Err(Failure::told("integral size overflow")),
            number => Ok(number),
        })
    }

    fn set(&mut self, setting: u8) -> Answer<()> {
        match setting {
            b' ' => {}
            b'<' => self.is_big_endian = false,
            b'>' => self.is_big_endian = true,
            b'!' => {
                let alignment = self.number(ALIGNMENT)?;
                if !alignment.is_power_of_two() {
                    return Err(Failure::told(format!("alignment {alignment} is not a power of 2")));
                }
                self.alignment = alignment;
            }
            other => {
                let text = [b"invalid format option '", &[other][..], b"'"].concat();
                return Err(Failure::argument(1, text));
            }
        }
        Ok(())
    }

    /// Bytes to leave out before an item at a place.
    fn gap(&self, item: Item, at: u64) -> u64 {
        let size = match item {
            Item::Characters(_) => 0,
            other => other.size().min(self.alignment),
        };
        // As C has it, which is meant for powers of two, and defined for the others.
        if size == 0 { 0 } else { (size.wrapping_sub(at & (size - 1))) & (size - 1) }
    }

    /// The bytes of a number of C, the least first, in the order that the format wants.
    fn ordered(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self.is_big_endian {
            bytes.reverse();
        }
        bytes
    }
}

pub(super) fn pack(work: &mut Work<'_>, arguments: MultiValue) -> Answer<Vec<Value>> {
    let text = text_argument(arguments.front(), 1)?;
    let mut format = Format::new(work, &text)?;
    let mut bytes = Vec::new();
    let mut position = 1;
    while let Some(item) = format.next(work)? {
        bytes.resize(bytes.len() + format.gap(item, bytes.len() as u64) as usize, 0);
        match item {
            Item::Setting(setting) => format.set(setting)?,
            Item::Padding => bytes.push(0),
            value => {
                position += 1;
                // What is missing is taken for a nil.
                let given = arguments.get(position - 1).unwrap_or(&Value::Nil);
                let packed = packed(work, &format, value, given, position)?;
                bytes.extend_from_slice(&packed);
            }
        }
        work.check_size(bytes.len())?;
    }
    work.string(&bytes).map(|bytes| vec![bytes])
}

fn packed(
    work: &mut Work<'_>,
    format: &Format<'_>,
    item: Item,
    given: &Value,
    position: usize,
) -> Answer<Vec<u8>> {
    match item {
        Item::Integer { size, .. } => {
            let number = number_argument(work, Some(given), position)?;
            let mut bytes = whole(number).to_le_bytes().to_vec();
            bytes.resize(size as usize, 0);
            Ok(format.ordered(bytes))
        }
        Item::Single => {
            let number = number_argument(work, Some(given), position)? as f32;
            let bits = if number.is_nan() { NAN_SINGLE } else { number.to_bits() };
            Ok(format.ordered(bits.to_le_bytes().to_vec()))
        }
        Item::Double => {
            let number = number_argument(work, Some(given), position)?;
            let bits = if number.is_nan() { NAN } else { number.to_bits() };
            Ok(format.ordered(bits.to_le_bytes().to_vec()))
        }
        Item::Characters(_) | Item::Terminated | Item::Padding | Item::Setting(_) => {
            let text = text_argument(Some(given), position)?;
            let end = match item.size() {
                0 => text.len(),
                // Redis names the argument after the one that it means.
                size if size > text.len() as u64 => {
                    return Err(Failure::argument(position + 1, "string too short"));
                }
                size => size as usize,
            };
            work.bytes(end)?;
            let terminator: &[u8] = if item == Item::Terminated { &[0] } else { &[] };
            Ok([&text[..end], terminator].concat())
        }
    }
}

/// What a cast to 64 bits gives on x86: signed below 2^63, without a sign above.
fn whole(number: f64) -> u64 {
    const SIGNED_END: f64 = 9_223_372_036_854_775_808.0;
    match number {
        _ if number.is_nan() => 1 << 63,
        _ if number < SIGNED_END => truncated(number) as u64,
        _ if number < 2.0 * SIGNED_END => number as u64,
        _ => 0,
    }
}

pub(super) fn unpack(work: &mut Work<'_>, arguments: MultiValue) -> Answer<Vec<Value>> {
    let text = text_argument(arguments.front(), 1)?;
    let data = text_argument(arguments.get(1), 2)?;
    let start = match arguments.get(2) {
        None | Some(Value::Nil) => 1,
        given => truncated(number_argument(work, given, 3)?),
    };
    if start == 0 {
        return Err(Failure::argument(3, "offset must be 1 or greater"));
    }
    let mut format = Format::new(work, &text)?;
    // One below zero is far beyond the data.
    let mut at = (start as u64).wrapping_sub(1);
    let mut values = Vec::new();
    while let Some(item) = format.next(work)? {
        at = at.wrapping_add(format.gap(item, at));
        let rest = part(&data, at, item.size()).map(|_| &data[at as usize..])?;
        if values.len() >= RESULTS_MAX {
            return Err(Failure::told("stack overflow (too many results)"));
        }
        at += match item {
            Item::Setting(setting) => {
                format.set(setting)?;
                0
            }
            Item::Padding => 1,
            value => unpacked(work, &format, value, rest, &mut values)?,
        };
    }
    values.push(Value::Number((at as i64).wrapping_add(1) as f64));
    work.returned(values.len())?;
    Ok(values)
}

/// Adds the value at the beginning of `rest`, and answers its bytes.
fn unpacked(
    work: &mut Work<'_>,
    format: &Format<'_>,
    item: Item,
    rest: &[u8],
    values: &mut Vec<Value>,
) -> Answer<u64> {
    let size = item.size() as usize;
    let number = match item {
        Item::Integer { size: 0, .. } => 0.0,
        Item::Integer { is_signed, .. } => integer(&format.ordered(rest[..size].to_vec()), is_signed),
        Item::Single => {
            let bytes = format.ordered(rest[..size].to_vec()).try_into().expect("a single has 4 bytes");
            f64::from(f32::from_le_bytes(bytes))
        }
        Item::Double => {
            let bytes = format.ordered(rest[..size].to_vec()).try_into().expect("a double has 8 bytes");
            f64::from_le_bytes(bytes)
        }
        Item::Characters(size) => {
            let size = if size == 0 { size_before(work, values)? } else { size };
            values.push(work.string(part(rest, 0, size)?)?);
            return Ok(size);
        }
        Item::Terminated | Item::Padding | Item::Setting(_) => {
            let Some(length) = rest.iter().position(|byte| *byte == 0) else {
                work.bytes(rest.len())?;
                return Err(Failure::told("unfinished string in data"));
            };
            values.push(work.string(&rest[..length])?);
            return Ok(length as u64 + 1);
        }
    };
    values.push(Value::Number(if number.is_nan() { f64::NAN } else { number }));
    Ok(size as u64)
}

/// A number of any size, the least byte first, of which 64 bits count.
fn integer(bytes: &[u8], is_signed: bool) -> f64 {
    let is_negative = is_signed && bytes[bytes.len().min(8) - 1] & 0x80 != 0;
    let mut all = [if is_negative { 0xff } else { 0 }; 8];
    let count = bytes.len().min(8);
    all[..count].copy_from_slice(&bytes[..count]);
    let bits = u64::from_le_bytes(all);
    if is_signed { bits as i64 as f64 } else { bits as f64 }
}

/// The value before, taken away, as a length.
fn size_before(work: &mut Work<'_>, values: &mut Vec<Value>) -> Answer<u64> {
    let before = values.pop();
    let size = match &before {
        Some(Value::String(text)) => number_in(work, &text.as_bytes())?,
        other => other.as_ref().and_then(number_of),
    };
    let size = size.ok_or_else(|| Failure::told("format 'c0' needs a previous size"))?;
    Ok(truncated(size) as u64)
}

fn part(data: &[u8], at: u64, size: u64) -> Answer<&[u8]> {
    let end = at.checked_add(size).filter(|end| *end <= data.len() as u64);
    match end {
        Some(end) => Ok(&data[at as usize..end as usize]),
        None => Err(Failure::argument(2, "data string too short")),
    }
}

pub(super) fn size(work: &mut Work<'_>, arguments: MultiValue) -> Answer<Vec<Value>> {
    let text = text_argument(arguments.front(), 1)?;
    let mut format = Format::new(work, &text)?;
    let mut at = 0_u64;
    while let Some(item) = format.next(work)? {
        at += format.gap(item, at);
        match item {
            Item::Terminated => return Err(Failure::argument(1, "option 's' has no fixed size")),
            Item::Characters(0) => return Err(Failure::argument(1, "option 'c0' has no fixed size")),
            // Redis does not see here that it knows no such letter.
            Item::Setting(setting) if setting.is_ascii_alphanumeric() => {}
            Item::Setting(setting) => format.set(setting)?,
            sized => at += sized.size(),
        }
    }
    Ok(vec![Value::Number(at as f64)])
}
