//! What is said of a statement that the server refused, without a password that may be in it.

use coffer_addon_sdk::Error;

use crate::failure::Failure;

/// How much of a statement is shown when it fails.
const EXCERPT: usize = 120;

/// The error of a statement, with its beginning.
pub(crate) fn failed(failure: Failure, statement: &[u8]) -> Error {
    let error = in_words(failure, statement);
    let message = format!("{}; the statement: {}", error.message, excerpt(statement));
    Error { message, ..error }
}

/// The server's own words, but where they quote a statement that may hold a password.
pub(crate) fn in_words(failure: Failure, statement: &[u8]) -> Error {
    let code = failure.code();
    let error = Error::from(failure);
    match code {
        Some(code @ (1064 | 1149)) if may_hold_a_password(&String::from_utf8_lossy(statement)) => Error {
            message: format!(
                "MySQL error {code}: the server does not understand the statement; it may be of another version"
            ),
            ..error
        },
        _ => error,
    }
}

fn may_hold_a_password(statement: &str) -> bool {
    let upper = statement.to_ascii_uppercase();
    ["USER", "PASSWORD", "IDENTIFIED", "MASTER", "SOURCE", "SERVER"].iter().any(|word| upper.contains(word))
}

/// The beginning of a statement. Statements that may hold a password show nothing but their first words.
pub(crate) fn excerpt(statement: &[u8]) -> String {
    let text = String::from_utf8_lossy(statement.get(..EXCERPT).unwrap_or(statement)).replace(['\n', '\r'], " ");
    if may_hold_a_password(&text) {
        let upper = text.to_ascii_uppercase();
        return upper.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    }
    if statement.len() > EXCERPT { format!("{text}…") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_show_no_passwords() {
        assert_eq!(excerpt(b"INSERT INTO t\nVALUES (1)"), "INSERT INTO t VALUES (1)");
        assert_eq!(excerpt(&[b'x'; 200]), format!("{}…", "x".repeat(120)));
        assert_eq!(excerpt(b"create user a identified by 'secret'"), "CREATE USER");
        assert_eq!(excerpt(b"CHANGE MASTER TO MASTER_PASSWORD='secret'"), "CHANGE MASTER");
    }

    #[test]
    fn a_server_that_quotes_a_password_is_not_quoted() {
        let refused = |code: u16, words: &str| {
            let mut packet = vec![0xff, code.to_le_bytes()[0], code.to_le_bytes()[1]];
            packet.extend_from_slice(format!("#42000{words}").as_bytes());
            Failure::from_packet(&packet)
        };
        let grant = format!("GRANT SELECT ON {}.* TO a IDENTIFIED BY 'secret'", "d".repeat(EXCERPT));
        let said = failed(refused(1064, "near 'IDENTIFIED BY 'secret''"), grant.as_bytes());
        assert!(!said.message.contains("secret") && said.message.contains("1064"), "{said}");
        assert!(failed(refused(1064, "near 'x'"), b"SELECT x").message.contains("near 'x'"));
    }
}
