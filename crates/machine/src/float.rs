//! Decimal fractions as INCRBYFLOAT sees them: the x87 extended format of Redis on x86-64, without the hardware.
//!
//! Redis reads a number as a `long double` (64 bits of mantissa), adds, and prints 17 digits after the point with
//! trailing zeros cut. A double's 53 bits would print `10.6` as `10.59999999999999964`. So a number here is
//! `mantissa x 2^exponent` with a mantissa of 64 bits, every step is rounded to nearest, ties to even, and the result
//! is the same on every processor.
//!
//! It deliberately knows no hexadecimal notation and no infinity: Redis accepts the one and refuses the other later.

use std::cmp::Ordering;

/// Longer texts are no number here: parsing takes time in proportion to the square of their digits. Redis takes 5 KiB.
const TEXT_BYTES_MAX: usize = 256;

/// The format's greatest power of two; what lies beyond is out of range.
const EXPONENT_MAX: i32 = 16_383;

/// Digits after the point when printed.
const FRACTION_DIGITS: usize = 17;

/// A number; the mantissa's top bit is set unless it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extended {
    negative: bool,
    mantissa: u64,
    exponent: i32,
}

impl Extended {
    const ZERO: Self = Self { negative: false, mantissa: 0, exponent: 0 };

    /// The number nearest to a decimal text; `None` if it is none or out of range.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= TEXT_BYTES_MAX {
            return None;
        }
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let decimal = Decimal::parse(text)?;
        // Below the format's smallest number nothing is left after 17 digits; far above is out of range. The
        // bounds keep the powers of ten small.
        if decimal.digits.is_zero() || decimal.magnitude() < -5_000 {
            return Some(Self { negative, ..Self::ZERO });
        }
        if decimal.magnitude() > 5_000 {
            return None;
        }
        let (numerator, denominator) = decimal.into_ratio();
        let number = divide(numerator, denominator);
        let top = number.exponent + 63;
        (top <= EXPONENT_MAX).then_some(Self { negative, ..number })
    }

    /// The sum; `None` if it is out of range.
    pub(crate) fn add(self, other: Self) -> Option<Self> {
        if self.mantissa == 0 {
            return Some(other);
        }
        if other.mantissa == 0 {
            return Some(self);
        }
        let (large, small) = if (self.exponent, self.mantissa) >= (other.exponent, other.mantissa) {
            (self, other)
        } else {
            (other, self)
        };
        // The larger number has 62 bits below it; what of the smaller lies deeper is remembered as one bit.
        const GUARD_BITS: u32 = 62;
        let apart = large.exponent.abs_diff(small.exponent);
        let wide = u128::from(large.mantissa) << GUARD_BITS;
        let narrow = u128::from(small.mantissa) << GUARD_BITS;
        let aligned = narrow.checked_shr(apart).unwrap_or(0);
        let lost = apart >= u128::BITS || (aligned << apart) != narrow;
        let sum =
            if large.negative == small.negative { wide + aligned } else { wide - aligned - u128::from(lost) };
        if sum == 0 {
            return Some(Self::ZERO);
        }
        let rounded = round(sum, lost, large.exponent - GUARD_BITS as i32);
        (rounded.exponent + 63 <= EXPONENT_MAX).then_some(Self { negative: large.negative, ..rounded })
    }

    /// With 17 digits after the point, of which trailing zeros are cut.
    pub(crate) fn format(self) -> String {
        let digits = if self.exponent >= 0 {
            let mut integer = Big::from(u128::from(self.mantissa));
            integer.shift_left(self.exponent.unsigned_abs());
            integer.to_decimal()
        } else {
            self.format_fraction()
        };
        if self.negative && digits != "0" { format!("-{digits}") } else { digits }
    }

    fn format_fraction(self) -> String {
        const SCALE: u128 = 10u128.pow(FRACTION_DIGITS as u32);
        // At most 64 + 57 bits.
        let scaled = u128::from(self.mantissa) * SCALE;
        let shift = self.exponent.unsigned_abs();
        let whole = scaled.checked_shr(shift).unwrap_or(0);
        let rest = if shift < u128::BITS { scaled - (whole << shift) } else { scaled };
        let half = 1u128.checked_shl(shift - 1);
        let up = match half.map_or(Ordering::Less, |half| rest.cmp(&half)) {
            Ordering::Less => false,
            Ordering::Equal => whole % 2 == 1,
            Ordering::Greater => true,
        };
        let rounded = whole + u128::from(up);
        let (integer, fraction) = (rounded / SCALE, rounded % SCALE);
        let text = format!("{integer}.{fraction:017}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// The number nearest to `value x 2^exponent`; `lost` says that there was more below the lowest bit. `value` has 65
/// bits at least, or nothing was lost.
fn round(value: u128, lost: bool, exponent: i32) -> Extended {
    let bits = u128::BITS - value.leading_zeros();
    let Some(excess) = bits.checked_sub(64).filter(|excess| *excess > 0) else {
        let up = 64 - bits;
        return Extended { negative: false, mantissa: (value << up) as u64, exponent: exponent - up as i32 };
    };
    let (kept, rest, half) = (value >> excess, value & ((1 << excess) - 1), 1u128 << (excess - 1));
    let up = rest > half || rest == half && (lost || kept % 2 == 1);
    let rounded = kept + u128::from(up);
    let exponent = exponent + excess as i32;
    if rounded >> 64 == 0 {
        Extended { negative: false, mantissa: rounded as u64, exponent }
    } else {
        Extended { negative: false, mantissa: 1 << 63, exponent: exponent + 1 }
    }
}

/// The number nearest to a ratio of positive integers.
fn divide(mut numerator: Big, mut denominator: Big) -> Extended {
    /// Two more than the mantissa: enough to round, with the remainder.
    const QUOTIENT_BITS: i64 = 66;
    let shift = QUOTIENT_BITS + denominator.bits() - numerator.bits();
    if shift >= 0 {
        numerator.shift_left(shift as u32);
    } else {
        denominator.shift_left(shift.unsigned_abs() as u32);
    }
    // Long division: the quotient has at most one bit more than QUOTIENT_BITS.
    let mut quotient = 0u128;
    let steps = QUOTIENT_BITS as u32 + 1;
    denominator.shift_left(steps);
    for _ in 0..=steps {
        quotient <<= 1;
        if numerator.compare(&denominator) != Ordering::Less {
            numerator.subtract(&denominator);
            quotient |= 1;
        }
        denominator.halve();
    }
    round(quotient, !numerator.is_zero(), -(shift as i32))
}

/// A decimal text: `digits x 10^exponent`.
struct Decimal {
    digits: Big,
    digit_count: i64,
    exponent: i64,
}

impl Decimal {
    fn parse(text: &[u8]) -> Option<Self> {
        let (number, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (integer, fraction) = match number.iter().position(|byte| *byte == b'.') {
            Some(at) => (&number[..at], &number[at + 1..]),
            None => (number, &[][..]),
        };
        if integer.is_empty() && fraction.is_empty() {
            return None;
        }
        let (mut digits, mut digit_count) = (Big::from(0), 0);
        for digit in integer.iter().chain(fraction) {
            if !digit.is_ascii_digit() {
                return None;
            }
            digits.multiply_add(10, u32::from(digit - b'0'));
            digit_count += i64::from(digit_count > 0 || *digit != b'0');
        }
        Some(Self { digits, digit_count, exponent: exponent - fraction.len() as i64 })
    }

    /// The number is below 10 to this power.
    fn magnitude(&self) -> i64 {
        self.digit_count + self.exponent
    }

    fn into_ratio(self) -> (Big, Big) {
        let (mut numerator, mut denominator) = (self.digits, Big::from(1));
        let scaled = if self.exponent >= 0 { &mut numerator } else { &mut denominator };
        for _ in 0..self.exponent.unsigned_abs() {
            scaled.multiply_add(10, 0);
        }
        (numerator, denominator)
    }
}

/// The exponent's value, cut off far beyond what is in range.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let clamp = |value: i64, digit: &u8| (value * 10 + i64::from(digit - b'0')).min(100_000);
    Some(sign * digits.iter().fold(0, clamp))
}

/// A natural number of any size in base 2^32, least significant digit first, without leading zeros.
#[derive(Clone, Debug)]
struct Big(Vec<u32>);

impl From<u128> for Big {
    fn from(value: u128) -> Self {
        let mut big = Self((0..4).map(|digit| (value >> (32 * digit)) as u32).collect());
        big.trim();
        big
    }
}

impl Big {
    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn bits(&self) -> i64 {
        self.0.last().map_or(0, |top| self.0.len() as i64 * 32 - i64::from(top.leading_zeros()))
    }

    fn multiply_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for digit in &mut self.0 {
            carry += u64::from(*digit) * u64::from(factor);
            *digit = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn shift_left(&mut self, bits: u32) {
        self.multiply_add(1 << (bits % 32), 0);
        if !self.is_zero() {
            self.0.splice(0..0, std::iter::repeat_n(0, (bits / 32) as usize));
        }
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for digit in self.0.iter_mut().rev() {
            let low = *digit & 1;
            *digit = *digit >> 1 | carry << 31;
            carry = low;
        }
        self.trim();
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    /// `other` must not be greater.
    fn subtract(&mut self, other: &Self) {
        let mut borrow = 0;
        for (place, digit) in self.0.iter_mut().enumerate() {
            let taken = i64::from(other.0.get(place).copied().unwrap_or(0)) + borrow;
            let difference = i64::from(*digit) - taken;
            borrow = i64::from(difference < 0);
            *digit = difference as u32;
        }
        assert_eq!(borrow, 0, "the difference is not negative");
        self.trim();
    }

    fn to_decimal(&self) -> String {
        const BASE: u64 = 1_000_000_000;
        let (mut rest, mut groups) = (self.clone(), Vec::new());
        while !rest.is_zero() {
            let mut remainder = 0u64;
            for digit in rest.0.iter_mut().rev() {
                let value = remainder << 32 | u64::from(*digit);
                *digit = (value / BASE) as u32;
                remainder = value % BASE;
            }
            rest.trim();
            groups.push(remainder);
        }
        let first = groups.pop().unwrap_or(0).to_string();
        groups.iter().rev().fold(first, |text, group| format!("{text}{group:09}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(a: &str, b: &str) -> String {
        let parse = |text: &str| Extended::parse(text.as_bytes()).expect("a number");
        parse(a).add(parse(b)).expect("in range").format()
    }

    #[test]
    fn a_text_that_would_take_long_is_no_number() {
        assert!(Extended::parse("1".repeat(TEXT_BYTES_MAX - 1).as_bytes()).is_some());
        assert_eq!(Extended::parse("1".repeat(TEXT_BYTES_MAX).as_bytes()), None);
    }

    #[test]
    fn sums_are_printed_as_redis_prints_them() {
        // Each was answered by redis-server 7.0.15 on x86-64.
        for (a, b, expected) in [
            ("10.50", "0.1", "10.6"),
            ("10.6", "-5", "5.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "1.1", "4.1"),
            ("3e3", "0.1", "3000.10000000000000009"),
            ("3000.20000000000000018", "1e17", "100000000000003000.203125"),
            ("3000.10000000000000009", "123456789.123456", "123459789.22345599999971455"),
            ("0", "-0", "0"),
            ("1", "-1", "0"),
        ] {
            assert_eq!(sum(a, b), expected, "{a} + {b}");
        }
    }

    #[test]
    fn what_is_no_decimal_number_is_refused() {
        for text in ["", ".", "-", "e5", "1e", "1e+", " 1", "1 ", "0x1p3", "nan", "inf", "1.2.3", "1e5000"] {
            assert_eq!(Extended::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(sum("1e-5000", "0"), "0");
        assert_eq!(sum(".5", "5."), "5.5");
    }

    proptest! {
        #[test]
        fn integers_are_added_exactly(a in -(1i64 << 62)..1i64 << 62, b in -(1i64 << 62)..1i64 << 62) {
            prop_assert_eq!(sum(&a.to_string(), &b.to_string()), (a + b).to_string());
        }

        #[test]
        fn cents_stay_cents(a in 0i64..100, b in 0i64..100) {
            let cents = |value: i64| format!("{}.{:02}", value / 100, value % 100);
            let expected = cents(a + b);
            let expected = expected.trim_end_matches('0').trim_end_matches('.');
            prop_assert_eq!(sum(&cents(a), &cents(b)), expected);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+0-9.eE]{0,40}") {
            let _either_way = Extended::parse(text.as_bytes()).map(Extended::format);
        }
    }
}
