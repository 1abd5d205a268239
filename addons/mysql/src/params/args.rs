//! Command lines as users write them for MySQL's programs: words, and options looked up in a table.

use coffer_addon_sdk::{Error, Result};

/// Whether an option is followed by a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// A switch: `--x`, `--skip-x`, `--x=0`.
    Nothing,
    /// `--x=value`, `--x value`, `-xvalue`, `-x value`.
    Value,
    /// `--x` or `--x=value`.
    Maybe,
}

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict<O> {
    /// It has this meaning here.
    Means(O),
    /// It changes nothing here, on or off.
    Harmless,
    /// On, it is what is done anyway; off, it is refused for this reason.
    Always(&'static str),
    /// It is refused for this reason. Off, it changes nothing.
    Refused(&'static str),
}

/// An option that users may write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spec<O> {
    pub(super) name: &'static str,
    pub(super) short: Option<char>,
    pub(super) takes: Takes,
    pub(super) verdict: Verdict<O>,
}

/// A switch that has a meaning.
pub(super) const fn switch<O>(name: &'static str, short: Option<char>, option: O) -> Spec<O> {
    Spec { name, short, takes: Takes::Nothing, verdict: Verdict::Means(option) }
}

/// An option with a value that has a meaning.
pub(super) const fn value<O>(name: &'static str, short: Option<char>, option: O) -> Spec<O> {
    Spec { name, short, takes: Takes::Value, verdict: Verdict::Means(option) }
}

/// An option with an optional value that has a meaning.
pub(super) const fn maybe<O>(name: &'static str, short: Option<char>, option: O) -> Spec<O> {
    Spec { name, short, takes: Takes::Maybe, verdict: Verdict::Means(option) }
}

/// An option without consequences.
pub(super) const fn harmless<O>(name: &'static str, short: Option<char>, takes: Takes) -> Spec<O> {
    Spec { name, short, takes, verdict: Verdict::Harmless }
}

/// A switch that is always on.
pub(super) const fn always<O>(name: &'static str, short: Option<char>, reason: &'static str) -> Spec<O> {
    Spec { name, short, takes: Takes::Nothing, verdict: Verdict::Always(reason) }
}

/// An option that is refused.
pub(super) const fn refused<O>(name: &'static str, short: Option<char>, takes: Takes, reason: &'static str) -> Spec<O> {
    Spec { name, short, takes, verdict: Verdict::Refused(reason) }
}

/// One thing on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Argument<O> {
    /// An option that has a meaning.
    Option {
        option: O,
        /// As the user wrote its name, for messages.
        written: String,
        /// For a switch: whether it is on. True for others.
        on: bool,
        value: Option<String>,
    },
    /// A word that is no option.
    Word(String),
}

/// Splits on white space. A word, or the value after an option's `=`, may be put between quotes to hold white space; the closing
/// quote must end the word. Any other quote is an ordinary character, as it is for KubeStash, which knows no quotes.
fn words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let plain_end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (plain, _) = rest.split_at(plain_end);
        // Where a quoted piece would begin: at the front, or behind the first `=` of an option.
        let quote_at = match plain.find('=') {
            Some(equals) if plain.starts_with('-') => equals.saturating_add(1),
            _ => 0,
        };
        let (head, tail) = rest.split_at_checked(quote_at).unwrap_or((rest, ""));
        match quoted(tail) {
            Quoted::Piece { inner, after } => {
                words.push(format!("{head}{inner}"));
                rest = after.trim_start();
            }
            Quoted::No => {
                words.push(plain.to_owned());
                rest = rest.strip_prefix(plain).unwrap_or_default().trim_start();
            }
            Quoted::Open(quote) => {
                return Err(Error::invalid(format!(
                    "parameter \"args\": the quote {quote} in {plain:?} is never closed"
                )));
            }
        }
    }
    Ok(words)
}

enum Quoted<'a> {
    Piece { inner: &'a str, after: &'a str },
    No,
    Open(char),
}

/// The quoted piece at the front of `text`, if it is one that ends a word.
fn quoted(text: &str) -> Quoted<'_> {
    let Some(quote @ ('\'' | '"')) = text.chars().next() else { return Quoted::No };
    let body = text.strip_prefix(quote).unwrap_or_default();
    let Some((inner, after)) = body.split_once(quote) else { return Quoted::Open(quote) };
    if after.is_empty() || after.starts_with(char::is_whitespace) { Quoted::Piece { inner, after } } else { Quoted::No }
}

/// Reads a command line. `program` is whose options these are, for messages.
pub(super) fn parse<O: Copy>(program: &str, text: &str, specs: &[Spec<O>]) -> Result<Vec<Argument<O>>> {
    let mut arguments = Vec::new();
    let mut words = words(text)?.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            arguments.extend(words.by_ref().map(Argument::Word));
        } else if let Some(long) = word.strip_prefix("--") {
            arguments.extend(parse_long(program, &word, long, specs, &mut words)?);
        } else if word.len() > 1 && word.starts_with('-') {
            parse_short(program, &word, specs, &mut words, &mut arguments)?;
        } else {
            arguments.push(Argument::Word(word));
        }
    }
    Ok(arguments)
}

fn parse_long<O: Copy>(
    program: &str,
    word: &str,
    long: &str,
    specs: &[Spec<O>],
    words: &mut impl Iterator<Item = String>,
) -> Result<Option<Argument<O>>> {
    let (written, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (long, None),
    };
    // MySQL's programs take `_` for `-` in the names of options.
    let name = written.replace('_', "-");
    let (spec, mut on) = find(&name, specs).ok_or_else(|| unknown(program, word, &name, specs))?;
    let written = format!("--{written}");
    let value = match (spec.takes, value) {
        (Takes::Nothing, Some(value)) => {
            // Off is off: `--skip-x=1` is not a way to switch on.
            on &= truth(&value).ok_or_else(|| {
                Error::invalid(format!("parameter \"args\": {written} is a switch; {value:?} is no value for it"))
            })?;
            None
        }
        (Takes::Value, None) if on => Some(words.next().ok_or_else(|| without_value(&written))?),
        (_, value) => value,
    };
    judge(program, spec, written, on, value)
}

fn parse_short<O: Copy>(
    program: &str,
    word: &str,
    specs: &[Spec<O>],
    words: &mut impl Iterator<Item = String>,
    arguments: &mut Vec<Argument<O>>,
) -> Result<()> {
    let mut letters = word.chars();
    letters.next();
    while let Some(letter) = letters.next() {
        let spec = specs.iter().find(|spec| spec.short == Some(letter)).ok_or_else(|| {
            Error::invalid(format!("parameter \"args\": {program} has no option -{letter} (in {word:?})"))
        })?;
        let written = format!("-{letter}");
        let value = match spec.takes {
            Takes::Nothing => None,
            Takes::Value | Takes::Maybe => {
                let rest: String = letters.by_ref().collect();
                if !rest.is_empty() {
                    Some(rest)
                } else if spec.takes == Takes::Value {
                    Some(words.next().ok_or_else(|| without_value(&written))?)
                } else {
                    None
                }
            }
        };
        arguments.extend(judge(program, spec, written, true, value)?);
    }
    Ok(())
}

/// The option of this name, and whether the name switches it on.
fn find<'a, O>(name: &str, specs: &'a [Spec<O>]) -> Option<(&'a Spec<O>, bool)> {
    let named = |name: &str| specs.iter().find(|spec| spec.name == name);
    let name = name.strip_prefix("loose-").unwrap_or(name);
    if let Some(spec) = named(name) {
        return Some((spec, true));
    }
    for (prefix, on) in [("skip-", false), ("disable-", false), ("enable-", true)] {
        if let Some(spec) = name.strip_prefix(prefix).and_then(named) {
            // What takes a value can only be switched off if it may also come without one.
            return (spec.takes != Takes::Value).then_some((spec, on));
        }
    }
    None
}

fn judge<O: Copy>(
    program: &str,
    spec: &Spec<O>,
    written: String,
    on: bool,
    value: Option<String>,
) -> Result<Option<Argument<O>>> {
    let refuse = |reason| {
        Err(Error::invalid(format!("parameter \"args\": {program}'s option {written} cannot be used here: {reason}")))
    };
    match spec.verdict {
        Verdict::Means(option) => Ok(Some(Argument::Option { option, written, on, value })),
        Verdict::Refused(reason) if on => refuse(reason),
        Verdict::Always(reason) if !on => refuse(reason),
        Verdict::Harmless | Verdict::Refused(_) | Verdict::Always(_) => Ok(None),
    }
}

/// What a switch's value says, as MySQL's programs read it.
pub(super) fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "on" | "true" => Some(true),
        "0" | "off" | "false" => Some(false),
        _ => None,
    }
}

pub(super) fn without_value(written: &str) -> Error {
    Error::invalid(format!("parameter \"args\": {written} needs a value"))
}

fn unknown<O>(program: &str, word: &str, name: &str, specs: &[Spec<O>]) -> Error {
    let bare = ["skip-", "disable-", "enable-"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let nearest = specs
        .iter()
        .map(|spec| (distance(bare, spec.name), spec))
        .filter(|(distance, _)| *distance <= bare.len() / 3)
        .min_by_key(|(distance, _)| *distance);
    let hint = match nearest {
        Some((_, spec)) => format!("; did you mean --{}?", spec.name),
        None => String::new(),
    };
    Error::invalid(format!("parameter \"args\": {program} has no option {word:?}{hint}"))
}

/// How many letters must be put in, taken out or replaced to make `a` of `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(row.first_mut().unwrap_or(&mut 0), i + 1);
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let cost = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left = cost.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[Spec<char>] = &[
        switch("routines", Some('R'), 'r'),
        value("where", Some('w'), 'w'),
        maybe("source-data", None, 's'),
        harmless("quick", Some('q'), Takes::Nothing),
        always("tz-utc", None, "times would shift"),
        refused("user", Some('u'), Takes::Value, "it comes from elsewhere"),
        refused("force", Some('f'), Takes::Nothing, "no"),
    ];

    fn show(text: &str) -> Result<String, String> {
        let arguments = parse("mysqldump", text, SPECS).map_err(|error| error.message)?;
        let shown: Vec<String> = arguments
            .into_iter()
            .map(|argument| match argument {
                Argument::Option { option, on, value, .. } => {
                    format!(
                        "{option}{}{}",
                        if on { "" } else { "!" },
                        value.map(|value| format!("={value}")).unwrap_or_default()
                    )
                }
                Argument::Word(word) => format!("[{word}]"),
            })
            .collect();
        Ok(shown.join(" "))
    }

    #[test]
    fn what_is_understood() {
        for (text, expected) in [
            ("", ""),
            ("  \n ", ""),
            ("--routines", "r"),
            ("--skip-routines --disable-routines --enable-routines --loose-routines", "r! r! r r"),
            ("--routines=0 --routines=ON --routines=FALSE", "r! r r!"),
            ("--skip-routines=1", "r!"),
            ("-R -qR", "r r"),
            ("--where=a=b", "w=a=b"),
            ("--where a<b", "w=a<b"),
            ("--where -R", "w=-R"),
            ("-wa>1 -w b", "w=a>1 w=b"),
            ("--source-data --source_data=2 --skip-source-data", "s s=2 s!"),
            ("--quick --skip-quick --tz-utc --skip-force", ""),
            ("a -R b", "[a] r [b]"),
            ("-R -- --routines", "r [--routines]"),
            ("-", "[-]"),
            ("--where='a > 1' x", "w=a > 1 [x]"),
            ("--where=\"a = 'b c'\"", "w=a = 'b c'"),
            ("--where=name='x'", "w=name='x'"),
            ("--where='a'='b'", "w='a'='b'"),
            ("-w 'a  b' -R", "w=a  b r"),
            ("'a b'", "[a b]"),
            ("--where=é 漢=字", "w=é [漢=字]"),
            ("--where=''", "w="),
        ] {
            assert_eq!(show(text), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (text, expected) in [
            ("--user=x", "mysqldump's option --user cannot be used here: it comes from elsewhere"),
            ("-uroot", "mysqldump's option -u cannot be used here: it comes from elsewhere"),
            ("--force", "mysqldump's option --force cannot be used here: no"),
            ("--skip-tz-utc", "mysqldump's option --skip-tz-utc cannot be used here: times would shift"),
            ("--tz-utc=0", "mysqldump's option --tz-utc cannot be used here: times would shift"),
            ("--routine", "mysqldump has no option \"--routine\"; did you mean --routines?"),
            ("--skip-rutines", "mysqldump has no option \"--skip-rutines\"; did you mean --routines?"),
            ("--zzz=1", "mysqldump has no option \"--zzz=1\""),
            ("-RZ", "mysqldump has no option -Z (in \"-RZ\")"),
            ("--where", "--where needs a value"),
            ("-w", "-w needs a value"),
            ("--routines=maybe", "--routines is a switch; \"maybe\" is no value for it"),
            ("--skip-where", "mysqldump has no option \"--skip-where\"; did you mean --where?"),
            ("--where='a b", "the quote ' in \"--where='a\" is never closed"),
        ] {
            assert_eq!(show(text), Err(format!("parameter \"args\": {expected}")), "{text}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("routine", "routines", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
