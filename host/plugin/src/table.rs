//! Text as kubectl shows it: tables without lines, ages in one or two units.

use jiff::Timestamp;

/// A table with aligned columns under titles in capitals.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(titles: &[&str]) -> Self {
        Self { rows: vec![titles.iter().map(|&title| title.to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        // An empty cell would shift the others for programs that split at spaces.
        self.rows.push(cells.into_iter().map(|cell| if cell.is_empty() { NOTHING.to_owned() } else { cell }).collect());
    }

    /// Whether it has titles only.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// The text, without a line end after the last row.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// What a cell shows that has nothing to show.
pub(crate) const NOTHING: &str = "-";

/// A time that has passed until `now`, as kubectl writes it: `47s`, `3m5s`, `26h`, `4d12h`, `2y30d`. A time to come counts as now.
pub(crate) fn age(since: Timestamp, now: Timestamp) -> String {
    span(now.duration_since(since).as_secs())
}

/// Until a time to come: `in 3m5s`; `now` when it has come.
pub(crate) fn until(time: Timestamp, now: Timestamp) -> String {
    match time.duration_since(now).as_secs() {
        ..=0 => "now".to_owned(),
        seconds => format!("in {}", span(seconds)),
    }
}

/// `3m5s ago`
pub(crate) fn ago(since: Timestamp, now: Timestamp) -> String {
    format!("{} ago", age(since, now))
}

fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big}{big_unit}"),
        _ => format!("{big}{big_unit}{small}{small_unit}"),
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        _ => two(days / 365, "y", days % 365, "d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_never_empty() {
        let mut table = Table::new(&["NAME", "SIZE"]);
        assert!(table.is_empty());
        table.row(["größer".into(), String::new()]);
        table.row(["a".into(), "1 B".into()]);
        assert_eq!(table.render(), "NAME     SIZE\ngrößer   -\na        1 B");
        assert!(!table.is_empty());
    }

    #[test]
    fn ages_are_kubectls() {
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (185, "3m5s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (12_000, "3h20m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (388_800, "4d12h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (65_664_000, "2y30d"),
        ] {
            assert_eq!(age(at(1_000_000_000), at(1_000_000_000 + seconds)), text, "{seconds}");
        }
        assert_eq!(until(at(185), at(0)), "in 3m5s");
        assert_eq!(until(at(0), at(0)), "now");
        assert_eq!(ago(at(0), at(7)), "7s ago");
    }
}
