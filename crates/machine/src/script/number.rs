//! Numbers as text, the way C's `%.17g` writes them: this is what Redis makes of a script's numbers.

/// Significant digits; 17 are enough to get any double back.
const DIGITS: usize = 17;

/// Formats like `%.17g`, except that NaN has no sign: its sign is whatever the processor left there.
pub(crate) fn shortest_17(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{:.*e}", DIGITS - 1, value);
    let (mantissa, exponent) = scientific.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    let digits_max = i32::try_from(DIGITS).expect("17 fits");
    if (-4..digits_max).contains(&exponent) {
        let decimals = usize::try_from(digits_max - 1 - exponent).expect("the exponent is below 17");
        return without_trailing_zeros(&format!("{value:.decimals$}")).into();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_trailing_zeros(mantissa), exponent.unsigned_abs())
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
}
