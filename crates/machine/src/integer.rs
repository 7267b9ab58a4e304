//! Integers as Redis reads and writes them: decimal, in their only form, and nothing else.

use bytes::Bytes;

/// The integer that `text` is the decimal form of. Neither space, plus sign, leading zero nor `-0` is allowed, so
/// that the integer gives back the text.
#[must_use]
pub fn parse(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    let mut value = 0i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        let digit = i64::from(digit - b'0');
        value = value.checked_mul(10)?;
        value = if negative { value.checked_sub(digit)? } else { value.checked_add(digit)? };
    }
    Some(value)
}

/// The decimal form.
#[must_use]
pub fn format(value: i64) -> Bytes {
    Bytes::from(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_canonical_form_is_an_integer() {
        for text in ["", "-", "-0", "00", "01", "+1", " 1", "1 ", "1.0", "0x1", "1e3", "9223372036854775808"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse(b"0"), Some(0));
    }

    proptest! {
        #[test]
        fn every_integer_survives_the_round_trip(value in any::<i64>()) {
            prop_assert_eq!(parse(&format(value)), Some(value));
        }
    }
}
