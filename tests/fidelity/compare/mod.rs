//! Tells two servers apart: every object's definition, everything that `information_schema` says of it, every privilege, every row.
//!
//! Nothing of the product is used here, so that it cannot be wrong in the same way: the stock client asks, and the bits of floating point
//! numbers are read out of points.

mod accounts;
mod ask;
mod catalogue;
mod rows;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use coffer_test_support::mysql::Client;

/// What a server holds. Each entry is one thing that can be said of one object, as lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Portrait(BTreeMap<String, Vec<String>>);

/// One thing that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Of what: ``TABLE `db`.`name` ``, ``ROWS OF `db`.`name` ``, ``COLUMNS `db`.`table`.`column` ``.
    pub object: String,
    /// What differs.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.what)
    }
}

impl Portrait {
    /// Everything but the server's own databases.
    pub fn of(server: &Client) -> Self {
        let mut portrait = Self::default();
        catalogue::describe(server, &mut portrait);
        rows::describe(server, &mut portrait);
        portrait
    }

    /// The same, with the accounts but those that every server has.
    pub fn with_accounts(server: &Client) -> Self {
        let mut portrait = Self::of(server);
        accounts::describe(server, &mut portrait);
        portrait
    }

    /// Without the objects that these texts are part of the names of.
    pub fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|object, _| !names.iter().any(|name| object.contains(name)));
        self
    }

    /// How many things are said.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn say(&mut self, object: String, lines: Vec<String>) {
        assert!(!self.0.contains_key(&object), "two objects of the name {object}");
        self.0.insert(object, lines);
    }
}

/// What is not the same, by object.
pub fn differences(left: &Portrait, right: &Portrait) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut differ = |object: &String, what: String| all.push(Difference { object: object.clone(), what });
    for (object, lines) in &left.0 {
        match right.0.get(object) {
            None => differ(object, "missing on the right".to_owned()),
            Some(others) if others != lines => differ(object, difference(lines, others)),
            Some(_) => {}
        }
    }
    for object in right.0.keys().filter(|object| !left.0.contains_key(*object)) {
        differ(object, "missing on the left".to_owned());
    }
    all
}

/// That there is no difference.
#[track_caller]
pub fn assert_same(left: &Portrait, right: &Portrait) {
    assert_same_but(left, right, &[]);
}

/// That there is no difference but those that are known: part of the object's name, and why. Each of them must be there.
#[track_caller]
pub fn assert_same_but(left: &Portrait, right: &Portrait, known: &[(&str, &str)]) {
    let all = differences(left, right);
    let (expected, real): (Vec<_>, Vec<_>) =
        all.iter().partition(|difference| known.iter().any(|(object, _)| difference.object.contains(object)));
    let shown: Vec<String> = real.iter().take(40).map(ToString::to_string).collect();
    assert!(real.is_empty(), "{} differences in {} things:\n{}", real.len(), left.len(), shown.join("\n"));
    for (object, why) in known {
        assert!(
            expected.iter().any(|difference| difference.object.contains(object)),
            "{object} does not differ any more ({why})"
        );
    }
}

/// How many lines of a difference are shown, and how much of each.
const LINES: usize = 3;
const WIDTH: usize = 240;

fn difference(left: &[String], right: &[String]) -> String {
    let mut counts: BTreeMap<&String, i64> = BTreeMap::new();
    for line in left {
        *counts.entry(line).or_default() += 1;
    }
    for line in right {
        *counts.entry(line).or_default() -= 1;
    }
    let only = |lines: &[String], sign: i64| -> Vec<String> {
        let mut seen = std::collections::BTreeSet::new();
        lines.iter().filter(|line| counts[line] * sign > 0 && seen.insert(*line)).cloned().collect()
    };
    let (lost, gained) = (only(left, 1), only(right, -1));
    if lost.is_empty() && gained.is_empty() {
        let at = left.iter().zip(right).position(|(left, right)| left != right).unwrap_or_default();
        return format!("the same lines in another order, from line {}: {}", at + 1, cut(&left[at], 0));
    }
    let mut text = format!("{} lines against {}", left.len(), right.len());
    for index in 0..LINES.min(lost.len().max(gained.len())) {
        let (left, right) = (lost.get(index), gained.get(index));
        let from = left.zip(right).map_or(0, |(left, right)| common_prefix(left, right));
        let mut show = |sign: char, line: Option<&String>| {
            if let Some(line) = line {
                let _ = write!(text, "\n  {sign} {}", cut(line, from));
            }
        };
        show('-', left);
        show('+', right);
    }
    let more = lost.len().max(gained.len()).saturating_sub(LINES);
    if more > 0 {
        let _ = write!(text, "\n  and {more} more");
    }
    text
}

fn common_prefix(left: &str, right: &str) -> usize {
    left.chars().zip(right.chars()).take_while(|(left, right)| left == right).count()
}

/// The line around the place where it differs.
fn cut(line: &str, from: usize) -> String {
    let from = from.saturating_sub(WIDTH / 3);
    let text: String = line.chars().skip(from).take(WIDTH).collect();
    let before = if from > 0 { "…" } else { "" };
    let behind = if line.chars().count() > from + WIDTH { "…" } else { "" };
    format!("{before}{text}{behind}")
}

/// An identifier in backquotes.
fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
