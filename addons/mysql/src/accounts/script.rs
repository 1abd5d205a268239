//! The accounts as SQL text: the stream of `format=parallel`, and the parts of a script for stock `mysql`.
//!
//! A script leaves accounts that are there already as they are, with all that they may do. So every statement asks first, through the
//! variable that [`guard`] names.

use coffer_addon_sdk::{Context, Result, Writer, warn};

use super::read::{self, Listed};
use super::{Account, Statement};
use crate::params::AccountChoice;
use crate::session::{Session, literal};

/// In a script, a variable that keeps it from touching accounts when it is set.
pub(crate) const NO_ACCOUNTS: &str = "@coffer_no_accounts";
/// MariaDB knows packages only in this mode.
const PACKAGES: &str = "SET SESSION sql_mode = 'ORACLE';\n";
const NO_PACKAGES: &str = "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES';\n";

/// Which statements of the second half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of them.
    All,
    /// Those on tables, views and routines, once more: views come late.
    Objects,
}

/// What there is to write.
#[derive(Debug)]
pub(crate) struct Accounts {
    listed: Vec<Listed>,
}

impl Accounts {
    /// Asks for the accounts that are chosen, and says what cannot be kept of them.
    pub(crate) fn list(session: &mut Session, context: &Context, choice: &AccountChoice) -> Result<Self> {
        let listed = read::list(session, choice)?;
        let twice: Vec<String> =
            listed.iter().filter(|listed| listed.second_password).map(|listed| listed.account.sql()).collect();
        if !twice.is_empty() {
            warn!(
                context,
                "these accounts have a second password beside the current one (RETAIN CURRENT PASSWORD), which no statement can make \
                 again; the backup has the current one only: {}",
                twice.join(", ")
            );
        }
        Ok(Self { listed })
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.listed.len()
    }

    /// Writes the stream of `format=parallel`.
    pub(crate) fn write(&self, session: &mut Session, context: &Context, out: &mut Writer) -> Result<()> {
        for listed in &self.listed {
            context.check_cancelled()?;
            match read::definition(session, listed)? {
                Some(statements) => write_lines(&statements, out)?,
                None => warn!(
                    context,
                    "the server does not show the account {}; it is not in the backup",
                    listed.account.sql()
                ),
            }
        }
        for listed in &self.listed {
            context.check_cancelled()?;
            for statement in read::grants(session, listed)?.unwrap_or_default() {
                out.write_all(in_its_mode(&statement, format!("{statement};\n")).as_bytes())?;
            }
        }
        Ok(())
    }

    /// Writes the first part of a script: makes the accounts that are missing.
    pub(crate) fn write_definitions(&self, session: &mut Session, context: &Context, out: &mut Writer) -> Result<()> {
        for (index, listed) in self.listed.iter().enumerate() {
            context.check_cancelled()?;
            let Some(statements) = read::definition(session, listed)? else {
                warn!(
                    context,
                    "the server does not show the account {}; it is not in the backup",
                    listed.account.sql()
                );
                continue;
            };
            out.write_all(
                format!(
                    "SET {} = {NO_ACCOUNTS} IS NULL AND NOT EXISTS (SELECT 1 FROM mysql.user WHERE User = {} AND Host = {});\n",
                    guard(index),
                    literal(&listed.account.name),
                    literal(listed.account.host.as_deref().unwrap_or_default())
                )
                .as_bytes(),
            )?;
            for statement in statements {
                let text = match statement.strip_prefix("CREATE USER ").map(|rest| ("USER", rest)) {
                    Some((what, rest)) => format!("CREATE {what} IF NOT EXISTS {rest};\n"),
                    None => match statement.strip_prefix("CREATE ROLE ") {
                        Some(rest) => format!("CREATE ROLE IF NOT EXISTS {rest};\n"),
                        None => guarded(&guard(index), &statement),
                    },
                };
                out.write_all(text.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Writes what the accounts may do, for those that the script made.
    pub(crate) fn write_grants(
        &self,
        session: &mut Session,
        context: &Context,
        part: Part,
        out: &mut Writer,
    ) -> Result<()> {
        let mut administrators: Vec<(Account, Account)> = Vec::new();
        for (index, listed) in self.listed.iter().enumerate() {
            context.check_cancelled()?;
            for statement in read::grants(session, listed)?.unwrap_or_default() {
                let grant = match Statement::of(statement.as_bytes()) {
                    Some(Statement::Grant(grant)) => grant,
                    Some(Statement::Definition(_)) | None => continue,
                };
                let condition = match &grant.object {
                    Some(object) => {
                        let (table, schema, name) = if object.routine {
                            ("ROUTINES", "ROUTINE_SCHEMA", "ROUTINE_NAME")
                        } else {
                            ("TABLES", "TABLE_SCHEMA", "TABLE_NAME")
                        };
                        format!(
                            "{} AND EXISTS (SELECT 1 FROM information_schema.{table} WHERE {schema} = {} AND {name} = {})",
                            guard(index),
                            literal(&object.database),
                            literal(&object.name)
                        )
                    }
                    None if part == Part::Objects => continue,
                    None => guard(index),
                };
                out.write_all(in_its_mode(&statement, guarded(&condition, &statement)).as_bytes())?;
                administrators.extend(grant.administered.map(|role| (role, grant.to)));
            }
        }
        if part == Part::All {
            self.write_farewell(&administrators, out)?;
        }
        Ok(())
    }

    /// In MariaDB, whoever makes a role administers it from then on; it was not so in the source.
    fn write_farewell(&self, administrators: &[(Account, Account)], out: &mut Writer) -> Result<()> {
        for (index, listed) in self.listed.iter().enumerate() {
            let role = &listed.account;
            if role.host.is_some() || role.is_public() {
                continue;
            }
            let keep = administrators.iter().filter(|(administered, _)| administered == role);
            let mut condition = guard(index);
            for (_, Account { name, host }) in keep {
                let user = format!("{name}@{}", host.as_deref().unwrap_or_default());
                condition.push_str(" AND CURRENT_USER() <> ");
                condition.push_str(&literal(&user));
            }
            out.write_all(guarded(&condition, &format!("REVOKE {} FROM CURRENT_USER", role.sql())).as_bytes())?;
        }
        Ok(())
    }
}

/// The variable that says whether the script made this account.
fn guard(index: usize) -> String {
    format!("@coffer_account_{index}")
}

/// Executes the statement on this condition only.
fn guarded(condition: &str, statement: &str) -> String {
    format!(
        "SET @coffer = IF({condition}, {}, 'DO 0');\nPREPARE coffer FROM @coffer;\nEXECUTE coffer;\nDEALLOCATE PREPARE coffer;\n",
        literal(statement)
    )
}

fn in_its_mode(statement: &str, text: String) -> String {
    if statement.contains(" ON PACKAGE ") { format!("{PACKAGES}{text}{NO_PACKAGES}") } else { text }
}

fn write_lines(statements: &[String], out: &mut Writer) -> Result<()> {
    statements.iter().try_for_each(|statement| out.write_all(format!("{statement};\n").as_bytes()))
}
