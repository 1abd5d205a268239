//! The values that parameters take, read from text. Errors say what was expected, without naming the parameter.

use std::time::Duration;

/// A whole number, optionally with a sign.
pub fn integer(text: &str) -> Result<i64, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not a whole number"))
}

/// `true` or `false`.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{text:?} is neither `true` nor `false`")),
    }
}

/// A number of seconds, or Go's form: `90s`, `5m`, `1h30m`, `1.5h`, `300ms`. Never negative.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write for example `90s`, `5m` or `1h30m`");
    let mut rest = text.trim();
    if !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return rest.parse().map(Duration::from_secs).map_err(|_| wrong());
    }
    let mut nanoseconds: u128 = 0;
    loop {
        let (number, tail) = split_number(rest).ok_or_else(wrong)?;
        let letters = tail.bytes().position(|byte| byte.is_ascii_digit() || byte == b'.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters).ok_or_else(wrong)?;
        let scale: u128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(wrong()),
        };
        let part = number.times(scale).ok_or_else(wrong)?;
        nanoseconds = nanoseconds.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| wrong())
}

/// A number of bytes, or Kubernetes' form: `64Ki`, `16Mi`, `1.5Gi`, `10M`. Fractions of a byte are cut off.
pub fn quantity(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a number of bytes; write for example `65536`, `64Ki` or `16Mi`");
    let (number, unit) = split_number(text.trim()).ok_or_else(wrong)?;
    let scale: u128 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "E" => 1_000_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        _ => return Err(wrong()),
    };
    number.times(scale).and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(wrong)
}

/// What one of these words stands for.
pub fn choice<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text.trim()).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        format!("{text:?} is not one of {}", words.join(", "))
    })
}

/// A decimal number without a sign: `digits / 10^decimals`.
struct Decimal {
    digits: u128,
    decimals: u32,
}

impl Decimal {
    fn times(&self, scale: u128) -> Option<u128> {
        Some(self.digits.checked_mul(scale)? / 10u128.checked_pow(self.decimals)?)
    }
}

/// Splits `1.5Gi` into 1.5 and `Gi`.
fn split_number(text: &str) -> Option<(Decimal, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit() && byte != b'.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: String = [whole, fraction].concat();
    let decimals = u32::try_from(fraction.len()).ok()?;
    // Empty, a second dot, too many digits: all are refused here.
    Some((Decimal { digits: digits.parse().ok()?, decimals }, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("0", 0),
            ("90", 90_000),
            ("90s", 90_000),
            (" 5m ", 300_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("300ms", 300),
            ("2m.5s", 120_500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "-5s", "1.5", "5 s", "1h 30m", "1.2.3s", "5d", ".", "99999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quantities() {
        for (text, bytes) in
            [("0", 0), ("65536", 65_536), ("64Ki", 65_536), ("1.5Gi", 1_610_612_736), ("10M", 10_000_000)]
        {
            assert_eq!(quantity(text), Ok(bytes), "{text}");
        }
        for text in ["", "Mi", "-1", "1 Mi", "1MB", "1..5Mi", "16Ei"] {
            assert!(quantity(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_rest() {
        assert_eq!(integer("-7"), Ok(-7));
        assert!(integer("7.5").is_err());
        assert_eq!(boolean("true"), Ok(true));
        assert!(boolean("yes").is_err());
        assert_eq!(choice("b", &[("a", 1), ("b", 2)]), Ok(2));
        assert_eq!(choice("c", &[("a", 1), ("b", 2)]), Err(r#""c" is not one of `a`, `b`"#.to_owned()));
    }
}
