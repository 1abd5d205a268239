//! What was measured, as a table for people or JSON for programs, and how it compares with the targets.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::usage::Usage;

/// The runs of one step by one side.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// What was done.
    pub(crate) step: &'static str,
    /// Who did it.
    pub(crate) who: String,
    /// One for each run.
    pub(crate) runs: Vec<Usage>,
    /// Bytes by which the repository grew, one for each run; empty where that means nothing.
    pub(crate) stored: Vec<u64>,
}

/// How long the writes of others took meanwhile.
#[derive(Debug, Clone)]
struct Latencies {
    /// What was done meanwhile.
    during: String,
    /// In milliseconds.
    writes: Vec<f64>,
}

/// One comparison.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    /// What is compared.
    pub(crate) what: String,
    /// The figure.
    pub(crate) value: f64,
    /// What it is counted in: `×`, `%`, `MiB`.
    pub(crate) unit: &'static str,
    /// What it should be; `None` is for information.
    pub(crate) target: Option<Target>,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Verdict {
    fn holds(&self) -> Option<bool> {
        Some(match self.target? {
            Target::AtMost(limit) => self.value <= limit,
            Target::AtLeast(limit) => self.value >= limit,
        })
    }
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    records: Vec<Record>,
    latencies: Vec<Latencies>,
}

impl Report {
    /// Adds one run.
    pub(crate) fn add(&mut self, step: &'static str, who: &str, usage: Usage, stored: Option<u64>) {
        let known = self.records.iter().position(|record| record.step == step && record.who == who);
        let index = known.unwrap_or_else(|| {
            self.records.push(Record { step, who: who.to_owned(), runs: Vec::new(), stored: Vec::new() });
            self.records.len() - 1
        });
        if let Some(record) = self.records.get_mut(index) {
            record.runs.push(usage);
            record.stored.extend(stored);
        }
    }

    /// Adds how long the writes of others took during something, in milliseconds.
    pub(crate) fn add_writes(&mut self, during: &str, writes: impl Iterator<Item = f64>) {
        match self.latencies.iter_mut().find(|known| known.during == during) {
            Some(known) => known.writes.extend(writes),
            None => self.latencies.push(Latencies { during: during.to_owned(), writes: writes.collect() }),
        }
    }

    /// How long the writes of others took: a share of them, such as 0.5, took no longer. In milliseconds.
    pub(crate) fn writes(&self, during: &str, share: f64) -> Option<f64> {
        self.latencies.iter().find(|known| known.during == during)?.quantile(share)
    }

    fn find(&self, step: &str, who: &str) -> Option<&Record> {
        self.records.iter().find(|record| record.step == step && record.who == who)
    }

    /// The median of a figure over the runs of a step.
    pub(crate) fn median(&self, step: &str, who: &str, figure: impl Fn(&Usage) -> f64) -> Option<f64> {
        median(self.find(step, who)?.runs.iter().map(figure))
    }

    /// The median of the bytes stored.
    #[expect(clippy::cast_precision_loss, reason = "bytes of a few GB")]
    pub(crate) fn stored(&self, step: &str, who: &str) -> Option<f64> {
        median(self.find(step, who)?.stored.iter().map(|bytes| *bytes as f64))
    }

    /// The largest peak memory of a side in any run of any step whose name begins so.
    pub(crate) fn peak(&self, steps: &[&str], who: &str) -> Option<f64> {
        let records = self.records.iter().filter(|record| record.who == who && steps.contains(&record.step));
        records.flat_map(|record| &record.runs).map(|usage| usage.peak).reduce(f64::max)
    }

    /// The table.
    pub(crate) fn to_text(&self, verdicts: &[Verdict]) -> String {
        let mut text = format!(
            "{:<24} {:<28} {:>8} {:>8} {:>10} {:>10} {:>8} {:>10}\n",
            "medians", "", "wall s", "CPU s", "of client", "of server", "peak MiB", "stored MB"
        );
        for record in &self.records {
            let value = |figure: fn(&Usage) -> f64| median(record.runs.iter().map(figure)).unwrap_or_default();
            let stored = self.stored(record.step, &record.who).map(|bytes| format!("{:.1}", bytes / 1e6));
            let _ = writeln!(
                text,
                "{:<24} {:<28} {:>8.2} {:>8.2} {:>10.2} {:>10.2} {:>8.0} {:>10}",
                record.step,
                record.who,
                value(|usage| usage.wall),
                value(Usage::cpu),
                value(|usage| usage.client),
                value(|usage| usage.server),
                value(|usage| usage.peak),
                stored.unwrap_or_default()
            );
        }
        if !self.latencies.is_empty() {
            let _ = writeln!(
                text,
                "\n{:<53} {:>8} {:>10} {:>10} {:>10}",
                "writes of others, ms", "writes", "median", "99 %", "slowest"
            );
        }
        for latencies in &self.latencies {
            let [median, most, slowest] = QUANTILES.map(|share| latencies.quantile(share).unwrap_or_default());
            let (during, count) = (&latencies.during, latencies.writes.len());
            let _ = writeln!(text, "{during:<53} {count:>8} {median:>10.2} {most:>10.2} {slowest:>10.2}");
        }
        let _ = writeln!(text);
        for verdict in verdicts {
            let (target, result) = match (verdict.target, verdict.holds()) {
                (Some(Target::AtMost(limit)), Some(holds)) => (format!("at most {limit}"), yes_or_no(holds)),
                (Some(Target::AtLeast(limit)), Some(holds)) => (format!("at least {limit}"), yes_or_no(holds)),
                _ => (String::new(), ""),
            };
            let _ = writeln!(
                text,
                "{:<64} {:>8.2} {:<4} {:<14} {result}",
                verdict.what, verdict.value, verdict.unit, target
            );
        }
        text
    }

    /// The same for programs, with every run.
    pub(crate) fn to_json(&self, verdicts: &[Verdict], about: &Value) -> Value {
        let records: Vec<Value> = self
            .records
            .iter()
            .map(|record| {
                let runs: Vec<Value> = record
                    .runs
                    .iter()
                    .map(|usage| {
                        json!({
                            "wall_seconds": usage.wall, "client_cpu_seconds": usage.client, "server_cpu_seconds": usage.server,
                            "peak_mib": usage.peak,
                        })
                    })
                    .collect();
                json!({ "step": record.step, "who": record.who, "runs": runs, "stored_bytes": record.stored })
            })
            .collect();
        let verdicts: Vec<Value> = verdicts
            .iter()
            .map(|verdict| {
                let (at_most, at_least) = match verdict.target {
                    Some(Target::AtMost(limit)) => (Some(limit), None),
                    Some(Target::AtLeast(limit)) => (None, Some(limit)),
                    None => (None, None),
                };
                json!({
                    "what": verdict.what, "value": verdict.value, "unit": verdict.unit, "at_most": at_most, "at_least": at_least,
                    "holds": verdict.holds(),
                })
            })
            .collect();
        let writes: Vec<Value> = self
            .latencies
            .iter()
            .map(|latencies| {
                let [median, most, slowest] = QUANTILES.map(|share| latencies.quantile(share));
                json!({
                    "during": latencies.during, "writes": latencies.writes.len(), "median_ms": median, "p99_ms": most,
                    "slowest_ms": slowest,
                })
            })
            .collect();
        json!({ "about": about, "records": records, "writes": writes, "verdicts": verdicts })
    }
}

/// What is told of the writes of others: median, 99 of 100, slowest.
const QUANTILES: [f64; 3] = [0.5, 0.99, 1.0];

impl Latencies {
    /// A share of the writes took no longer than this.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index of a list"
    )]
    fn quantile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.writes.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        sorted.get((last as f64 * share).ceil() as usize).copied()
    }
}

fn yes_or_no(holds: bool) -> &'static str {
    if holds { "ok" } else { "MISSED" }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    // Of an even number, the mean of the two in the middle.
    let lower = *values.get(values.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([3.0].into_iter()), Some(3.0));
        assert_eq!(median([9.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 9.0].into_iter()), Some(3.0));
    }

    #[test]
    fn quantiles() {
        let mut report = Report::default();
        assert_eq!(report.writes("a backup", 0.5), None);
        report.add_writes("a backup", (1..=50).rev().map(f64::from));
        report.add_writes("a backup", (51..=101).map(f64::from));
        assert_eq!(QUANTILES.map(|share| report.writes("a backup", share)), [Some(51.0), Some(100.0), Some(101.0)]);
        assert!(report.to_text(&[]).contains("51.00     100.00     101.00"), "{}", report.to_text(&[]));
    }

    #[test]
    fn a_missed_target_is_said() {
        let mut report = Report::default();
        report.add("step", "who", Usage { wall: 2.0, client: 1.0, server: 0.5, peak: 10.0 }, Some(5_000_000));
        let verdict = |target| Verdict { what: "ratio".to_owned(), value: 0.5, unit: "×", target: Some(target) };
        let text = report.to_text(&[verdict(Target::AtMost(0.4)), verdict(Target::AtLeast(0.4))]);
        let lines: Vec<&str> = text.lines().rev().take(2).collect();
        assert!(lines[1].ends_with("MISSED") && lines[0].ends_with("ok"), "{text}");
        assert!(text.contains("5.0"), "{text}");
        let json = report.to_json(&[verdict(Target::AtMost(0.4))], &json!({}));
        assert_eq!(json["verdicts"][0]["holds"], false);
        assert_eq!(json["records"][0]["runs"][0]["wall_seconds"], 2.0);
    }
}
