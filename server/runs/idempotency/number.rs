//! The canonical form of a number.
//!
//! It owns the one departure from RFC 8785: that rounds every number to a double, and two seeds above 2^53 would become one (R-s5).
//! Here a number keeps all its digits. Where a double holds them, the form is the one of RFC 8785, byte by byte.

/// A number with more digits before the point than this has an exponent, as in ECMAScript.
const MAX_WHOLE_DIGITS: i64 = 21;

/// A number whose first digit stands further behind the point than this has an exponent: at most six places, five of them zeros.
const MIN_POINT: i64 = -5;

/// An exact decimal number: `0.digits × 10^point`.
struct Decimal {
    negative: bool,
    /// Without zeros at either end; empty for 0.
    digits: String,
    point: i64,
}

/// Appends the canonical form of a JSON number: the same bytes for the same value, however it is spelled. An exponent beyond 64
/// bits, which no number of any program has, keeps its spelling.
pub(super) fn write(number: &str, to: &mut String) {
    match Decimal::read(number) {
        Some(decimal) => decimal.write(to),
        None => to.push_str(number),
    }
}

impl Decimal {
    fn read(number: &str) -> Option<Self> {
        let (negative, number) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole, fraction].concat();
        let digits = all.trim_start_matches('0');
        if digits.is_empty() {
            return Some(Self { negative: false, digits: String::new(), point: 0 });
        }
        let leading_zeros = all.len() - digits.len();
        let shift = i64::try_from(whole.len()).ok()?.checked_sub(i64::try_from(leading_zeros).ok()?)?;
        let point = exponent.parse::<i64>().ok()?.checked_add(shift)?;
        Some(Self { negative, digits: digits.trim_end_matches('0').to_owned(), point })
    }

    /// As `Number::toString` of ECMAScript writes a number of these digits.
    fn write(&self, to: &mut String) {
        if self.digits.is_empty() {
            return to.push('0');
        }
        if self.negative {
            to.push('-');
        }
        match self.point {
            1..=MAX_WHOLE_DIGITS => self.write_plain(to),
            MIN_POINT..=0 => self.write_fraction(to),
            _ => self.write_exponent(to),
        }
    }

    /// `12`, `1200` or `1.2`.
    fn write_plain(&self, to: &mut String) {
        let whole_digits = usize::try_from(self.point).unwrap_or(0);
        match self.digits.split_at_checked(whole_digits) {
            Some((whole, "")) => to.push_str(whole),
            Some((whole, fraction)) => to.extend([whole, ".", fraction]),
            None => {
                to.push_str(&self.digits);
                to.extend((self.digits.len()..whole_digits).map(|_| '0'));
            }
        }
    }

    /// `0.0012`.
    fn write_fraction(&self, to: &mut String) {
        to.push_str("0.");
        to.extend((self.point..0).map(|_| '0'));
        to.push_str(&self.digits);
    }

    /// `1.2e+30`.
    fn write_exponent(&self, to: &mut String) {
        let (first, others) = self.digits.split_at_checked(1).unwrap_or((&self.digits, ""));
        to.push_str(first);
        if !others.is_empty() {
            to.extend([".", others]);
        }
        let exponent = i128::from(self.point) - 1;
        to.push_str(if exponent < 0 { "e-" } else { "e+" });
        to.push_str(&exponent.unsigned_abs().to_string());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(number: &str) -> String {
        let mut text = String::new();
        write(number, &mut text);
        text
    }

    #[test]
    fn numbers_that_a_double_holds_have_the_form_of_rfc_8785() {
        // Appendix B of the RFC, and both sides of every border of the form.
        for (spelled, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0e7", "0"),
            ("5e-324", "5e-324"),
            ("-5E-324", "-5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("9007199254740992", "9007199254740992"),
            ("-9007199254740992.0", "-9007199254740992"),
            ("295147905179352830000", "295147905179352830000"),
            ("9.999999999999997e22", "9.999999999999997e+22"),
            ("100000000000000000000000", "1e+23"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("999999999999999900000", "999999999999999900000"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("0.0000012300", "0.00000123"),
            ("333333333.3333332", "333333333.3333332"),
            ("4.50", "4.5"),
            ("2e-3", "0.002"),
            ("1E30", "1e+30"),
            ("0.000000000000000000000000001", "1e-27"),
            ("1424953923781206.2", "1424953923781206.2"),
            ("-0.0000033333333333333333", "-0.0000033333333333333333"),
        ] {
            assert_eq!(canonical(spelled), expected, "{spelled}");
        }
    }

    #[test]
    fn a_value_has_one_form_however_it_is_spelled() {
        for spellings in [
            &["1", "1.0", "1e0", "1E+0", "10e-1", "0.1e1", "0.001e3", "1.000"][..],
            &["120", "1.2e2", "12E1", "0.12e+3", "120.0", "1200e-01"],
            &["-0.5", "-5e-1", "-0.50", "-50e-2"],
        ] {
            for spelled in spellings {
                assert_eq!(canonical(spelled), canonical(spellings[0]), "{spelled}");
            }
        }
    }

    #[test]
    fn digits_that_a_double_would_lose_are_kept() {
        for (one, other) in [
            ("9007199254740992", "9007199254740993"),
            ("18446744073709551615", "18446744073709551616"),
            ("123456789012345678901234567890", "123456789012345678901234567891"),
            ("0.1", "0.1000000000000000055511151231257827"),
            ("1e400", "1e401"),
        ] {
            assert_ne!(canonical(one), canonical(other), "{one} and {other}");
        }
        assert_eq!(canonical("9007199254740993"), "9007199254740993");
        assert_eq!(canonical("18446744073709551615"), "18446744073709551615");
    }

    #[test]
    fn exponents_of_any_size_are_taken() {
        assert_eq!(canonical("1e99999999999999999999"), "1e99999999999999999999");
        assert_eq!(canonical("10e9223372036854775807"), "10e9223372036854775807");
        assert_eq!(canonical("0e99999999999999999999"), "0");
        assert_eq!(canonical("0.1e-9223372036854775808"), "1e-9223372036854775809");
        assert_eq!(canonical("1e00000000000000000000002"), "100");
    }

    proptest! {
        /// serde_json writes the shortest digits of a double, RFC 8785 asks for the same digits.
        #[test]
        fn every_double_reads_back_from_its_form(number in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL) {
            let form = canonical(&serde_json::to_string(&number).unwrap());
            prop_assert_eq!(form.parse::<f64>().unwrap(), number);
            prop_assert_eq!(&canonical(&form), &form);
        }
    }
}
