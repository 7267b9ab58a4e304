//! Doubles as Redis reads and writes them.

/// The double that `text` is a decimal form of, be it infinite: with a sign, a point and an exponent where wanted, and
/// nothing else. A number too large or too small for a double is none.
#[must_use]
pub fn parse(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok().filter(|value: &f64| !value.is_nan())?;
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let is_zero = !mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    let is_word = text.bytes().all(|byte| !byte.is_ascii_digit());
    let fits = value.is_infinite() == is_word && (value == 0.0) == (is_zero && !is_word);
    fits.then_some(value)
}

/// A double in the fewest digits that give it back, laid out as Redis 7.2 does: whole numbers as such, an
/// exponent only where zeros would be many.
#[must_use]
pub fn format(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    // Within this range each whole double is a whole i64.
    const WHOLE_MAX: f64 = (i64::MAX / 2) as f64;
    if value.fract() == 0.0 && value.abs() < WHOLE_MAX {
        let sign = if value == 0.0 && value.is_sign_negative() { "-" } else { "" };
        return format!("{sign}{}", value as i64);
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count() as i32;
    let trailing = exponent - digits + 1;
    let plain = match trailing >= 0 {
        true => exponent < digits + 7,
        false => trailing > -7 || exponent.abs() < 4,
    };
    if plain { format!("{value}") } else { format!("{mantissa}e{exponent:+}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_take_the_fewest_digits() {
        let golden = [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (1e15, "1000000000000000"),
            (1e20, "1e+20"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (1e-7, "1e-7"),
            (1.25e-10, "1.25e-10"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (value, expected) in golden {
            assert_eq!(format(value), expected);
        }
    }

    #[test]
    fn what_is_no_number_or_out_of_range_is_refused() {
        for text in [
            "", " ", "1 ", " 1", "e5", "1e", "1e+", ".", "-", "nan", "-nan", "1_0", "1e309", "-1e309",
            "1e-400",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        for (text, value) in [
            ("0", 0.0),
            ("-0e999", 0.0),
            (".5", 0.5),
            ("+5.", 5.0),
            ("1E3", 1000.0),
            ("5e-324", 5e-324),
            ("inf", f64::INFINITY),
            ("+Infinity", f64::INFINITY),
            ("-INF", f64::NEG_INFINITY),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(value), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assert_eq!(parse(format(value).as_bytes()).map(f64::to_bits), (!value.is_nan()).then_some(bits));
        }
    }
}
