//! Where a large table is cut into several streams: at multiples of a power of two of its integer key. Such borders stay where they
//! are from run to run, so that what did not change is found again in the repository.

use coffer_addon_sdk::{Error, Result};

use crate::layout::quote;

/// About how many bytes of a table go into one stream.
pub(crate) const CHUNK: u64 = 64 << 20;
/// More streams of one table than this only cost time.
const MOST: i128 = 4096;

/// The ranges of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunks {
    /// The exponent of the range's length.
    exponent: u32,
    /// Which multiple the first range begins at.
    first: i128,
    /// How many ranges there are.
    pub(crate) count: u32,
}

impl Chunks {
    /// Cuts a table of `bytes` whose keys go from `min` to `max` into ranges of about `chunk` bytes. `None`: it is small.
    pub(crate) fn cut(bytes: u64, min: i128, max: i128, chunk: u64) -> Option<Self> {
        let keys = max.checked_sub(min)?.checked_add(1).filter(|keys| *keys > 0)?;
        if bytes < chunk.saturating_mul(2) {
            return None;
        }
        let wanted = i128::from(bytes / chunk.max(1)).clamp(1, MOST / 2);
        let mut exponent = (keys / wanted).checked_ilog2().unwrap_or(0);
        loop {
            let (first, last) = (min >> exponent, max >> exponent);
            let count = last - first + 1;
            if count <= MOST {
                return (count > 1).then_some(Self { exponent, first, count: u32::try_from(count).ok()? });
            }
            exponent += 1;
        }
    }

    /// The names of the ranges in paths, in order.
    pub(crate) fn names(count: u32) -> impl Iterator<Item = String> {
        (0..count).map(|index| format!("{index:04}"))
    }

    /// The borders of the ranges, as tokens of their items. The first and the last range are open.
    pub(crate) fn tokens(self) -> impl Iterator<Item = String> {
        (0..self.count).map(move |index| {
            let border = |index: u32| ((self.first + i128::from(index)) << self.exponent).to_string();
            let from = if index == 0 { String::new() } else { border(index) };
            let to = if index + 1 == self.count { String::new() } else { border(index + 1) };
            format!("{from}..{to}")
        })
    }
}

/// The SQL condition that a token stands for; `None` for a table in one stream.
pub(crate) fn condition(token: &str, key: Option<&str>) -> Result<Option<String>> {
    if token.is_empty() {
        return Ok(None);
    }
    let wrong = || Error::internal(format!("{token:?} is not a range of a key"));
    let (from, to) = token.split_once("..").ok_or_else(wrong)?;
    let key = quote(
        key.ok_or_else(|| Error::data("the table's primary key was changed while the backup ran; start it again"))?,
    );
    let number = |text: &str| text.parse::<i128>().map_err(|_| wrong());
    Ok(Some(match (from, to) {
        ("", to) => format!("{key} < {}", number(to)?),
        (from, "") => format!("{key} >= {}", number(from)?),
        (from, to) => format!("{key} >= {} AND {key} < {}", number(from)?, number(to)?),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(bytes: u64, min: i128, max: i128) -> Vec<String> {
        Chunks::cut(bytes, min, max, 100).map(|chunks| chunks.tokens().collect()).unwrap_or_default()
    }

    #[test]
    fn borders_are_aligned_and_stable() {
        assert_eq!(
            ranges(400, 1, 1000),
            ["..128", "128..256", "256..384", "384..512", "512..640", "640..768", "768..896", "896.."]
        );
        assert_eq!(ranges(440, 3, 1100), ["..256", "256..512", "512..768", "768..1024", "1024.."]);
        assert_eq!(
            ranges(400, -500, 499),
            ["..-384", "-384..-256", "-256..-128", "-128..0", "0..128", "128..256", "256..384", "384.."]
        );
    }

    #[test]
    fn small_tables_stay_whole() {
        assert!(ranges(199, 1, 1000).is_empty());
        assert!(ranges(10_000, 5, 5).is_empty());
    }

    #[test]
    fn extreme_keys_are_no_trouble() {
        let max = i128::from(u64::MAX);
        assert_eq!(ranges(400, 0, max).len(), 4);
        assert_eq!(
            Chunks::cut(u64::MAX, i128::from(i64::MIN), i128::from(i64::MAX), 1).map(|chunks| chunks.count <= 4096),
            Some(true)
        );
        assert_eq!(ranges(400, 0, max).last().unwrap(), "13835058055282163712..");
    }

    #[test]
    fn conditions() {
        assert_eq!(condition("", None).unwrap(), None);
        assert_eq!(condition("..5", Some("i`d")).unwrap().unwrap(), "`i``d` < 5");
        assert_eq!(condition("-5..5", Some("id")).unwrap().unwrap(), "`id` >= -5 AND `id` < 5");
        assert_eq!(condition("5..", Some("id")).unwrap().unwrap(), "`id` >= 5");
        assert!(condition("5..x", Some("id")).is_err());
        assert!(condition("5..", None).is_err());
    }
}
