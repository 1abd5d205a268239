//! Durations as Go writes them and Kubernetes stores them: `1h30m`, `1.5s`, `300ms`.

use std::fmt::Write as _;
use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no duration: {problem}; write it like 90s, 30m or 1h30m")]
pub struct DurationError {
    text: String,
    problem: &'static str,
}

/// Reads a duration: one or more decimal numbers, each with a unit of `h`, `m`, `s`, `ms`, `us`, `µs` or `ns`; or `0`.
///
/// Go also allows negative durations. A timeout cannot be one, so a minus sign is refused here.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let error = |problem| DurationError { text: text.to_owned(), problem };
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.starts_with('-') {
        return Err(error("it is negative"));
    }
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(error("it is empty"));
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(|| error("a unit is missing"))?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        rest = tail;
        let scale = unit_nanos(unit).ok_or_else(|| error("a unit is not one of h, m, s, ms, us, ns"))?;
        let nanos = scaled(number, scale).ok_or_else(|| error("a number is malformed or too large"))?;
        total = total.checked_add(nanos).ok_or_else(|| error("it is too long"))?;
    }
    Ok(Duration::from_nanos(total))
}

/// Writes a duration as Go does: `1h30m0s`, `1.5s`, `300ms`, `0s`.
pub fn format(duration: Duration) -> String {
    let nanos = duration.subsec_nanos();
    let seconds = duration.as_secs();
    if seconds == 0 {
        return match nanos {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => fraction(u64::from(nanos), 1_000, "µs"),
            _ => fraction(u64::from(nanos), 1_000_000, "ms"),
        };
    }
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    // Writing to a String cannot fail.
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    text.push_str(&fraction(seconds * NANOS_PER_SECOND + u64::from(nanos), NANOS_PER_SECOND, "s"));
    text
}

/// `value / scale` in decimal without trailing zeros, then the unit.
fn fraction(value: u64, scale: u64, unit: &str) -> String {
    let (whole, rest) = (value / scale, value % scale);
    if rest == 0 {
        return format!("{whole}{unit}");
    }
    let digits = scale.ilog10() as usize;
    let decimals = format!("{rest:0digits$}");
    format!("{whole}.{}{unit}", decimals.trim_end_matches('0'))
}

fn unit_nanos(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // Both code points that look like a micro sign.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS_PER_SECOND,
        "m" => 60 * NANOS_PER_SECOND,
        "h" => 3600 * NANOS_PER_SECOND,
        _ => return None,
    })
}

/// A decimal number times `scale`, what is below one nanosecond cut off.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && decimals.is_empty() || decimals.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // An hour has 3.6e12 ns: further digits cannot matter.
    let decimals = decimals.get(..18).unwrap_or(decimals);
    let digits = u32::try_from(decimals.len()).ok()?;
    let fraction: u128 = if decimals.is_empty() { 0 } else { decimals.parse().ok()? };
    let below_one = u64::try_from(fraction * u128::from(scale) / 10_u128.pow(digits)).ok()?;
    whole.checked_mul(scale)?.checked_add(below_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("30m", 1_800_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("+1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1h0.000000001s", 3_600_000_000_001),
            ("0.3333333333333333333333h", 1_199_999_999_999),
            ("300ms", 300_000_000),
            ("1us2ns", 1_002),
            ("1µs", 1_000),
            ("1μs", 1_000),
            ("1s1s", 2_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_what_to_write() {
        for text in ["", "5", "-5s", "s", ".s", "1.2.3s", "1d", "5 s", "h1", "99999999999999h", "1e3s", "5s "] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains("write it like 90s"), "{message}");
        }
    }

    #[test]
    fn writes_what_go_writes() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_661_000_000_001, "1h1m1.000000001s"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanos)), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn writing_and_reading_is_the_identity(nanos: u64) {
            let duration = Duration::from_nanos(nanos);
            proptest::prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn reading_never_panics(text in "[0-9.hmsun+µ -]{0,12}") {
            let _ = parse(&text);
        }
    }
}
