//! Which object a command is about: `KIND NAME` or `KIND/NAME`, as kubectl takes it.

use coffer_resolve::Kind;

use crate::error::PluginError;

/// One object of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// The kinds that commands know, with the names that kubectl takes for them: singular, plural, short.
const KINDS: [(Kind, &[&str]); 6] = [
    (Kind::BackupConfiguration, &["backupconfiguration", "backupconfigurations", "bc"]),
    (Kind::BackupSession, &["backupsession", "backupsessions", "bs"]),
    (Kind::RestoreSession, &["restoresession", "restoresessions", "restore", "rs"]),
    (Kind::BackupStorage, &["backupstorage", "backupstorages", "storage"]),
    (Kind::Repository, &["repository", "repositories", "repo"]),
    (Kind::Snapshot, &["snapshot", "snapshots"]),
];

impl Subject {
    /// Reads `KIND/NAME`, or `KIND NAME` in two words.
    pub fn parse(words: &[String]) -> Result<Self, PluginError> {
        let wrong = |what: String| {
            let kinds: Vec<_> = KINDS.iter().filter_map(|(_, names)| names.first().copied()).collect();
            PluginError::refused(
                what,
                format!("the kinds are {}", kinds.join(", ")),
                "write for example backupconfiguration/shop",
            )
        };
        let (kind, name) = match words {
            [one] => one.split_once('/').ok_or_else(|| wrong(format!("{one:?} names no object")))?,
            [kind, name] => (kind.as_str(), name.as_str()),
            other => return Err(wrong(format!("{:?} names no object", other.join(" ")))),
        };
        // `backupsessions.core.kubestash.com`, as `kubectl get -o name` prints it.
        let plain = kind.split('.').next().unwrap_or_default().to_ascii_lowercase();
        let known = KINDS.iter().find(|(_, names)| names.contains(&plain.as_str()));
        let (kind, _) = known.ok_or_else(|| wrong(format!("there is no kind {kind:?}")))?;
        if name.is_empty() || name.contains('/') {
            return Err(wrong(format!("{name:?} is no name")));
        }
        Ok(Self { kind: *kind, name: name.to_owned() })
    }

    /// `backupsession/name`, which every command takes.
    pub fn word(&self) -> String {
        word(self.kind, &self.name)
    }
}

/// `backupsession/name`, which every command takes.
pub(crate) fn word(kind: Kind, name: &str) -> String {
    format!("{}/{name}", kind.name().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<(Kind, String), String> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        Subject::parse(&words).map(|subject| (subject.kind, subject.name)).map_err(|error| error.to_string())
    }

    #[test]
    fn kinds_have_the_names_that_kubectl_takes() {
        for (words, kind) in [
            (&["bc/x"][..], Kind::BackupConfiguration),
            (&["BackupConfiguration", "x"], Kind::BackupConfiguration),
            (&["backupsessions.core.kubestash.com/x"], Kind::BackupSession),
            (&["restore/x"], Kind::RestoreSession),
            (&["repo", "x"], Kind::Repository),
            (&["backupstorage/x"], Kind::BackupStorage),
            (&["snapshots/x"], Kind::Snapshot),
        ] {
            assert_eq!(parse(words), Ok((kind, "x".to_owned())), "{words:?}");
        }
        assert_eq!(Subject::parse(&["repo/x".to_owned()]).unwrap().word(), "repository/x");
    }

    #[test]
    fn the_rest_is_refused_and_the_kinds_are_named() {
        for words in [&["x"][..], &["pod/x"], &["bc/"], &["bc/x/y"], &["bc", "x", "y"], &[]] {
            let message = parse(words).unwrap_err();
            assert!(message.contains("backupconfiguration/shop") && message.contains("repository"), "{message}");
        }
    }
}
