//! Retention periods as KubeStash writes them: `30d`, `1y6mo`, `2w3d12h`.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Text that is not a retention period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no retention period: {problem}; write it like 30d, 12h or 1y6mo (units: y, mo, w, d, h, m)")]
pub struct PeriodError {
    text: String,
    problem: &'static str,
}

/// Reads a retention period: numbers with a unit of `y` (365 days), `mo` (30 days), `w`, `d`, `h` or `m` (minutes).
/// Nothing is zero. A unit that is repeated counts once, with its last number.
///
/// KubeStash also reads negative numbers. A period cannot be negative, so a minus sign is refused here.
pub fn parse(text: &str) -> Result<Duration, PeriodError> {
    let error = |problem| PeriodError { text: text.to_owned(), problem };
    let mut rest = text.trim();
    let mut parts = [0_u64; 6];
    while !rest.is_empty() {
        if rest.starts_with('-') {
            return Err(error("it is negative"));
        }
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(|| error("a unit is missing"))?;
        let (number, tail) = rest.split_at(end);
        let number: u64 = number.parse().map_err(|_| error("a number is missing or too large"))?;
        let (slot, seconds, tail) = unit(tail).ok_or_else(|| error("a unit is not one of y, mo, w, d, h, m"))?;
        let seconds = number.checked_mul(seconds).ok_or_else(|| error("a number is missing or too large"))?;
        if let Some(part) = parts.get_mut(slot) {
            *part = seconds;
        }
        rest = tail;
    }
    let total = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(*part));
    total.map(Duration::from_secs).ok_or_else(|| error("it is too long"))
}

/// The unit that a text begins with: its place, its seconds, and what comes after. `mo` goes before `m`.
fn unit(text: &str) -> Option<(usize, u64, &str)> {
    const UNITS: [(&str, u64); 6] =
        [("y", 365 * DAY), ("mo", 30 * DAY), ("w", 7 * DAY), ("d", DAY), ("h", HOUR), ("m", MINUTE)];
    UNITS.iter().enumerate().find_map(|(slot, (unit, seconds))| Some((slot, *seconds, text.strip_prefix(unit)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubestash_reads() {
        for (text, seconds) in [
            ("", 0),
            ("  ", 0),
            ("30d", 30 * DAY),
            (" 30d ", 30 * DAY),
            ("2mo", 60 * DAY),
            ("5m", 300),
            ("1y6mo2w3d4h5m", (365 + 180 + 14 + 3) * DAY + 4 * HOUR + 300),
            ("5m1mo", 30 * DAY + 300),
            ("1d2d", 2 * DAY),
            ("0h", 0),
            ("08h", 8 * HOUR),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_what_to_write() {
        for text in
            ["30", "d", "30s", "1 d", "1d 2h", "-1d", "1.5d", "1D", "99999999999999999999d", "9999999999999y", "é"]
        {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains("write it like 30d"), "{message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[0-9ymowdh -]{0,12}|.*") {
            let _ = parse(&text);
        }
    }
}
