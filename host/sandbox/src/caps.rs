//! How much may cross the contract, in either direction, and what text must look like. Whatever exceeds a cap is a
//! [`Violation`]: the guest is stopped, or its answer refused, with a message that names the cap.

use std::collections::HashSet;

/// Bytes that one `read` or `write` of a pipe or a connection moves at most.
pub(crate) const CHUNK: usize = 1 << 20;
/// Random bytes that one call returns at most.
pub(crate) const RANDOM: u32 = 64 << 10;
/// Bytes of a log line; longer ones are cut.
pub(crate) const LOG_LINE: usize = 16 << 10;
/// Bytes of a progress note; longer ones are cut.
pub(crate) const NOTE: usize = 1 << 10;
/// Bytes of an error's message; longer ones are cut.
pub(crate) const ERROR_MESSAGE: usize = 16 << 10;
/// Bytes of a name: of an addon, a task, a parameter, a fact, a stage.
pub(crate) const NAME: usize = 256;
/// Bytes of a help text.
pub(crate) const HELP: usize = 4 << 10;
/// Bytes of a stream's path.
pub(crate) const PATH: usize = 1024;
/// Bytes of an item's token.
pub(crate) const TOKEN: usize = 64 << 10;
/// Bytes of a fact's or a parameter's value.
pub(crate) const VALUE: usize = 64 << 10;
/// Bytes of a view.
pub(crate) const VIEW: usize = 1 << 20;
/// Items of a plan, and entries of a snapshot.
pub(crate) const ITEMS: usize = 1_000_000;
/// Items of all stages of a restore.
pub(crate) const RESTORE_ITEMS: usize = 2_000_000;
/// Stages of a restore.
pub(crate) const STAGES: usize = 1000;
/// Facts of a stream or a plan.
pub(crate) const FACTS: usize = 10_000;
/// Tasks of an addon, parameters of a task, choices of a parameter, addons of a description.
pub(crate) const SMALL_LIST: usize = 256;
/// Bytes of all text of one answer.
pub(crate) const ANSWER: usize = 64 << 20;
/// Bytes that wasmtime may copy out of a guest for one call: the text above and the records that hold it.
pub(crate) const LIFT: usize = ANSWER + RESTORE_ITEMS * 64;

/// What exceeded a cap or broke a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

pub(crate) type Checked<T = ()> = Result<T, Violation>;

/// Adds up what crosses in one call.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    bytes: usize,
}

impl Meter {
    /// Checks the length of one text and the sum of all.
    pub(crate) fn text(&mut self, what: &str, text: &str, cap: usize) -> Checked {
        if text.len() > cap {
            return Err(Violation(format!("{what} has {} bytes, at most {cap} are allowed", text.len())));
        }
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > ANSWER {
            return Err(Violation(format!("the text of one call exceeds {} MiB", ANSWER >> 20)));
        }
        Ok(())
    }

    /// A non-empty text on one line.
    pub(crate) fn name(&mut self, what: &str, text: &str) -> Checked {
        self.text(what, text, NAME)?;
        if text.is_empty() {
            return Err(Violation(format!("{what} is empty")));
        }
        if text.chars().any(char::is_control) {
            return Err(Violation(format!("{what} {text:?} contains control characters")));
        }
        Ok(())
    }

    /// A lower-case word, or several joined by `-`.
    pub(crate) fn word(&mut self, what: &str, text: &str) -> Checked {
        self.name(what, text)?;
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !text.starts_with(|c: char| c.is_ascii_lowercase()) || !text.chars().all(valid) {
            return Err(Violation(format!("{what} {text:?} is not made of lower-case words joined by '-'")));
        }
        Ok(())
    }

    /// The path of a stream, as `backup.wit` defines it.
    pub(crate) fn path(&mut self, text: &str) -> Checked {
        self.text("the path of a stream", text, PATH)?;
        path_problem(text).map_or(Ok(()), |problem| Err(Violation(format!("the stream path {text:?} {problem}"))))
    }
}

/// Checks the length of a list.
pub(crate) fn count(what: &str, len: usize, cap: usize) -> Checked {
    if len > cap {
        return Err(Violation(format!("{what} has {len} entries, at most {cap} are allowed")));
    }
    Ok(())
}

/// Whether `path` may name a stream: relative, `/` between the parts, no part empty, `.` or `..`, no control characters,
/// at most 1,024 bytes. The error says what is wrong with it.
pub fn validate_path(path: &str) -> Result<(), String> {
    Meter::default().path(path).map_err(|violation| violation.0)
}

fn path_problem(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("is empty")
    } else if path.starts_with('/') {
        Some("is not relative")
    } else if path.chars().any(char::is_control) {
        Some("contains control characters")
    } else if path.split('/').any(str::is_empty) {
        Some("has an empty part")
    } else if path.split('/').any(|part| part == "." || part == "..") {
        Some("has a part that is '.' or '..'")
    } else {
        None
    }
}

/// Checks that paths are unique and that none is a directory of another, so that they form one tree.
pub(crate) fn one_tree<'a>(paths: impl Iterator<Item = &'a str> + Clone) -> Checked {
    let mut all = HashSet::new();
    for path in paths.clone() {
        if !all.insert(path) {
            return Err(Violation(format!("the stream path {path:?} occurs twice")));
        }
    }
    for path in paths {
        let parents = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        if let Some(parent) = parents.into_iter().find(|parent| all.contains(parent)) {
            return Err(Violation(format!("the stream path {parent:?} is also a directory of {path:?}")));
        }
    }
    Ok(())
}

/// Text of a guest made fit for one line of a log or terminal: at most `cap` bytes, no control characters.
pub(crate) fn line(text: &str, cap: usize) -> String {
    clean(text, cap, |c| if c == '\n' || c == '\t' { ' ' } else { '\u{fffd}' })
}

/// The same for a message that may have several lines.
pub(crate) fn message(text: &str, cap: usize) -> String {
    clean(text, cap, |c| if c == '\n' { '\n' } else { ' ' })
}

fn clean(text: &str, cap: usize, replace: impl Fn(char) -> char) -> String {
    let text = text.trim_end();
    let cut = text.floor_char_boundary(cap);
    let mut clean: String =
        text.get(..cut).unwrap_or_default().chars().map(|c| if c.is_control() { replace(c) } else { c }).collect();
    if cut < text.len() {
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_paths() {
        for path in ["dumpfile.sql", "shop/orders/rows-0001.txt", "a/..b/c.", "Kunden/Straße", "-", "a\\b", "…"] {
            assert_eq!(validate_path(path), Ok(()), "{path:?}");
        }
        assert!(validate_path(&"x".repeat(PATH)).is_ok());
    }

    #[test]
    fn bad_paths_say_why() {
        let cases = [
            ("", "is empty"),
            ("/etc/passwd", "not relative"),
            ("a//b", "empty part"),
            ("a/", "empty part"),
            (".", "'.' or '..'"),
            ("a/../b", "'.' or '..'"),
            ("a\nb", "control"),
            ("a\u{0}b", "control"),
            ("a\u{85}b", "control"),
        ];
        for (path, problem) in cases {
            let message = validate_path(path).unwrap_err();
            assert!(message.contains(problem), "{path:?}: {message}");
        }
        assert!(validate_path(&"x".repeat(PATH + 1)).unwrap_err().contains("at most 1024"));
    }

    #[test]
    fn paths_form_one_tree() {
        assert!(one_tree(["a/b", "a/c", "a-b", "b"].into_iter()).is_ok());
        assert!(one_tree(["a/b", "a/b"].into_iter()).unwrap_err().0.contains("twice"));
        assert!(one_tree(["a/b/c", "a/b"].into_iter()).unwrap_err().0.contains("directory"));
    }

    #[test]
    fn text_is_counted_alone_and_together() {
        let mut meter = Meter::default();
        assert!(meter.text("a token", &"x".repeat(11), 10).unwrap_err().0.contains("has 11 bytes"));
        let piece = "x".repeat(1 << 20);
        assert!((0..64).all(|_| meter.text("a view", &piece, VIEW).is_ok()));
        assert!(meter.text("a view", &piece, VIEW).unwrap_err().0.contains("64 MiB"));
    }

    #[test]
    fn words() {
        let mut meter = Meter::default();
        assert!(meter.word("a fact", "gtid-set2").is_ok());
        for bad in ["", "Rows", "a_b", "2a", "-a", "a b"] {
            assert!(meter.word("a fact", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn guests_cannot_draw_on_the_terminal() {
        assert_eq!(line("one\ntwo\u{1b}[2J\t!\n", 100), "one two\u{fffd}[2J !");
        assert_eq!(message("one\ntwo\r", 100), "one\ntwo");
        assert_eq!(line("ää", 3), "ä…");
    }
}
