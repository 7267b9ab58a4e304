//! Numbers as text and back, the way C writes and reads them: this is what Redis makes of a script's numbers.

/// Significant digits; 17 are enough to get any double back.
const DIGITS: usize = 17;
/// Binary digits of a hexadecimal number that are kept apart; what lies beyond only decides how the rest is rounded.
const HEXADECIMAL_BITS: u32 = 60;

/// Formats like `%.17g`.
pub(crate) fn shortest_17(value: f64) -> String {
    general(value, DIGITS)
}

/// Formats like `%.{digits}g`, except that NaN has no sign: its sign is whatever the processor left there.
pub(super) fn general(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{:.*e}", digits - 1, value);
    let (mantissa, exponent) = scientific.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    let digits_max = i32::try_from(digits).expect("there are few digits");
    if (-4..digits_max).contains(&exponent) {
        let decimals =
            usize::try_from(digits_max - 1 - exponent).expect("the exponent is less than the digits");
        return without_trailing_zeros(&format!("{value:.decimals$}")).into();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_trailing_zeros(mantissa), exponent.unsigned_abs())
}

/// The number that `text` begins with and its length, as `strtod` finds it in the C locale: decimal, hexadecimal,
/// infinite or none at all. There is no blank before it.
pub(super) fn leading_number(text: &[u8]) -> Option<(f64, usize)> {
    let sign_length = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let (value, length) = match unsigned_word(&text[sign_length..]) {
        Some(word) => word,
        None => unsigned_number(&text[sign_length..])?,
    };
    let value = if text[0] == b'-' { -value } else { value };
    // Which sign a NaN has would show nowhere but in its bytes.
    Some((if value.is_nan() { f64::NAN } else { value }, sign_length + length))
}

/// The number that all of `text` is, blanks around it apart, as Lua makes numbers of strings.
pub(super) fn whole_number(text: &[u8]) -> Option<f64> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_blank(byte))?;
    let (value, length) = leading_number(&text[start..])?;
    text[start + length..].iter().all(is_blank).then_some(value)
}

/// The digits before the exponent of a decimal number, wherever its point is.
pub(super) fn significand_digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| !matches!(byte, b'e' | b'E')).filter(|byte| byte.is_ascii_digit()).count()
}

fn unsigned_word(text: &[u8]) -> Option<(f64, usize)> {
    let begins = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if begins(b"infinity") {
        return Some((f64::INFINITY, 8));
    } else if begins(b"inf") {
        return Some((f64::INFINITY, 3));
    } else if !begins(b"nan") {
        return None;
    }
    let length =
        |rest: &[u8]| rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    let payload =
        text[3..].strip_prefix(b"(").map(length).filter(|length| text.get(4 + length) == Some(&b')'));
    Some((f64::NAN, payload.map_or(3, |length| length + 5)))
}

fn unsigned_number(text: &[u8]) -> Option<(f64, usize)> {
    if let [b'0', b'x' | b'X', digits @ ..] = text
        && let Some((value, length)) = hexadecimal(digits)
    {
        return Some((value, 2 + length));
    }
    let length = mantissa_length(text, u8::is_ascii_digit)?;
    let length = length + exponent_length(&text[length..], b'e');
    let text = std::str::from_utf8(&text[..length]).expect("digits, a point and an exponent are ASCII");
    Some((text.parse().expect("what was read is a decimal number"), length))
}

/// The length of digits with at most one point among them, `None` without a digit.
fn mantissa_length(text: &[u8], is_digit: impl Fn(&u8) -> bool) -> Option<usize> {
    let count = |text: &[u8]| text.iter().take_while(|byte| is_digit(byte)).count();
    let whole = count(text);
    let fraction = text[whole..].strip_prefix(b".").map(count);
    match fraction {
        Some(fraction) if whole + fraction > 0 => Some(whole + 1 + fraction),
        _ => (whole > 0).then_some(whole),
    }
}

/// The length of an exponent, 0 if it has no digits.
fn exponent_length(text: &[u8], letter: u8) -> usize {
    if !text.first().is_some_and(|first| first.eq_ignore_ascii_case(&letter)) {
        return 0;
    }
    let sign = usize::from(matches!(text.get(1), Some(b'+' | b'-')));
    match text[1 + sign..].iter().take_while(|byte| byte.is_ascii_digit()).count() {
        0 => 0,
        digits => 1 + sign + digits,
    }
}

fn hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    let length = mantissa_length(text, u8::is_ascii_hexdigit)?;
    let (mut mantissa, mut exponent, mut in_fraction) = (0_u64, 0_i32, false);
    for byte in &text[..length] {
        let Some(digit) = char::from(*byte).to_digit(16) else {
            in_fraction = true;
            continue;
        };
        if mantissa >> (HEXADECIMAL_BITS - 4) == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            exponent = exponent.saturating_sub(if in_fraction { 4 } else { 0 });
        } else {
            mantissa |= u64::from(digit != 0);
            exponent = exponent.saturating_add(if in_fraction { 0 } else { 4 });
        }
    }
    let exponent_length = exponent_length(&text[length..], b'p');
    if exponent_length > 0 {
        let stated = std::str::from_utf8(&text[length + 1..length + exponent_length]).expect("it is ASCII");
        // Beyond 32 bits there is nothing but zero and infinity.
        let beyond = if stated.starts_with('-') { i32::MIN / 2 } else { i32::MAX / 2 };
        exponent = exponent.saturating_add(stated.parse().unwrap_or(beyond));
    }
    Some((scaled(mantissa as f64, exponent), length + exponent_length))
}

/// `value * 2^exponent`, in steps that are powers of two themselves.
fn scaled(mut value: f64, mut exponent: i32) -> f64 {
    const STEP: i32 = 512;
    // The least of all exponents has no counterpart above zero.
    while exponent.unsigned_abs() > STEP.unsigned_abs() && value != 0.0 && value.is_finite() {
        value *= 2_f64.powi(STEP * exponent.signum());
        exponent -= STEP * exponent.signum();
    }
    value * 2_f64.powi(exponent.clamp(-STEP, STEP))
}

fn without_trailing_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// What a C cast to a 64-bit integer gives on x86: truncation, and the least integer for all that does not fit.
pub(crate) fn truncated(value: f64) -> i64 {
    /// 2^63, exactly.
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if (-BOUND..BOUND).contains(&value) { value as i64 } else { i64::MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_c_writes_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (3.1, "3.1000000000000001"),
            (1e15, "1000000000000000"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.5e300, "1.5000000000000001e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (-2.5, "-2.5"),
            (99_999_999_999_999_999.0, "1e+17"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (value, text) in cases {
            assert_eq!(shortest_17(value), text);
        }
    }

    #[test]
    fn casts_truncate_and_do_not_saturate() {
        assert_eq!(truncated(3.99), 3);
        assert_eq!(truncated(-3.99), -3);
        assert_eq!(truncated(f64::NAN), i64::MIN);
        assert_eq!(truncated(1e300), i64::MIN);
        assert_eq!(truncated(f64::INFINITY), i64::MIN);
    }

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        let cases: &[(&str, f64, usize)] = &[
            ("12", 12.0, 2),
            ("-1.5e3x", -1500.0, 6),
            ("1e", 1.0, 1),
            ("1e+", 1.0, 1),
            ("5.", 5.0, 2),
            (".5", 0.5, 2),
            ("1.5.5", 1.5, 3),
            ("0x10", 16.0, 4),
            ("0x", 0.0, 1),
            ("-0x1.8p1", -3.0, 8),
            ("0x1p", 1.0, 3),
            ("0x.8", 0.5, 4),
            ("0x1p-1074", 5e-324, 9),
            ("0x1p99999999999", f64::INFINITY, 15),
            ("0x1p2147483647", f64::INFINITY, 14),
            ("0x1p-2147483647", 0.0, 15),
            ("0x1p-2147483648", 0.0, 15),
            ("0x.01p-2147483648", 0.0, 17),
            ("0x100p2147483647", f64::INFINITY, 16),
            ("0x0p-2147483648", 0.0, 15),
            ("0x20000000000001", 9_007_199_254_740_992.0, 16),
            ("0x20000000000003", 9_007_199_254_740_996.0, 16),
            // Just above the middle between two doubles, by a digit that is not kept.
            ("0x20000000000001000000000000000000001p-84", 9_007_199_254_740_994.0, 41),
            ("+Infinity", f64::INFINITY, 9),
            ("-infi", f64::NEG_INFINITY, 4),
            ("1e400", f64::INFINITY, 5),
        ];
        for (text, value, length) in cases {
            assert_eq!(leading_number(text.as_bytes()), Some((*value, *length)), "{text}");
        }
        for (text, length) in [("nan", 3), ("-NaN(a_1)x", 9), ("nan(a-b)", 3), ("nan(", 3)] {
            let (value, found) = leading_number(text.as_bytes()).expect(text);
            assert!(value.is_nan() && value.is_sign_positive() && found == length, "{text}");
        }
        for text in ["", "-", "+x", "x", ".", "- 1", ".e1"] {
            assert_eq!(leading_number(text.as_bytes()), None, "{text}");
        }
        assert_eq!(whole_number(b" \t12 \n"), Some(12.0));
        assert_eq!(whole_number(b"12 x"), None);
        assert_eq!(whole_number(b" "), None);
    }

    #[test]
    fn fewer_digits_are_rounded() {
        let cases = [
            (0.1, 14, "0.1"),
            (1e15, 14, "1e+15"),
            (1.0 / 3.0, 14, "0.33333333333333"),
            (123_456_789_012_345.0, 14, "1.2345678901234e+14"),
            (15.0, 1, "2e+01"),
            (12.5, 1, "1e+01"),
            (0.05, 1, "0.05"),
            (5e-324, 14, "4.9406564584125e-324"),
            (99_999_999_999_999.5, 14, "1e+14"),
        ];
        for (value, digits, text) in cases {
            assert_eq!(general(value, digits), text);
        }
    }
}
