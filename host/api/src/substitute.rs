//! Variables in the texts of Addons, Functions and blueprints: `${name}` and `${name:=default}`.

/// A text whose variables cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubstituteError {
    /// A variable without value and without default.
    #[error("the variable ${{{0}}} has no value; set it, or give it a default with ${{{0}:=…}}")]
    Unset(String),
    /// A `${` without its `}`, or with no valid name.
    #[error(
        "{text:?} has a malformed variable at byte {at}; write ${{name}} or ${{name:=default}}, and $$ for a plain $"
    )]
    Malformed {
        /// The whole text.
        text: String,
        /// Where the variable begins.
        at: usize,
    },
}

/// Fills in the variables of `text`. A variable that `value` does not know, or knows as empty, takes its default.
///
/// `$$` stands for `$`; a `$` before anything but `{` stays. Values are not searched for variables again.
pub fn substitute<'a>(text: &str, value: impl Fn(&str) -> Option<&'a str>) -> Result<String, SubstituteError> {
    let malformed = |at| SubstituteError::Malformed { text: text.to_owned(), at };
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, variable) = rest.split_at(at);
        result.push_str(before);
        if let Some(after) = variable.strip_prefix("$$") {
            result.push('$');
            rest = after;
            continue;
        }
        let Some(inner) = variable.strip_prefix("${") else {
            result.push('$');
            rest = variable.strip_prefix('$').unwrap_or_default();
            continue;
        };
        let position = text.len() - variable.len();
        let (inner, after) = inner.split_once('}').ok_or_else(|| malformed(position))?;
        let (name, default) = match inner.split_once(":=") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-' || c == '.') {
            return Err(malformed(position));
        }
        match value(name).filter(|value| !value.is_empty()).or(default) {
            Some(value) => result.push_str(value),
            None => return Err(SubstituteError::Unset(name.to_owned())),
        }
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Result<String, SubstituteError> {
        substitute(text, |name| match name {
            "namespace" => Some("demo"),
            "empty" => Some(""),
            "args" => Some("${namespace}"),
            _ => None,
        })
    }

    #[test]
    fn fills_in_values_and_defaults() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("--namespace=${namespace:=default}", "--namespace=demo"),
            ("--a=${absent:=300} ${namespace}", "--a=300 demo"),
            ("--a=${absent:=}", "--a="),
            ("${empty:=x}", "x"),
            ("${args}", "${namespace}"),
            ("$$5 $6 $", "$5 $6 $"),
            ("é${namespace}é", "édemoé"),
        ] {
            assert_eq!(fill(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn names_what_is_missing_or_malformed() {
        assert_eq!(fill("x ${absent}"), Err(SubstituteError::Unset("absent".into())));
        assert_eq!(
            SubstituteError::Unset("absent".into()).to_string(),
            "the variable ${absent} has no value; set it, or give it a default with ${absent:=…}"
        );
        for (text, at) in [("a${b", 1), ("${}", 0), ("ab${c d}", 2), ("${:=x}", 0)] {
            assert_eq!(fill(text), Err(SubstituteError::Malformed { text: text.into(), at }), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text: String) {
            let _ = fill(&text);
        }

        #[test]
        fn text_without_variables_is_kept(text in "[^$]*") {
            proptest::prop_assert_eq!(fill(&text), Ok(text));
        }
    }
}
