//! Brings accounts into a server: makes them first of all, gives them their privileges when what these are on is there.

use std::collections::BTreeSet;

use coffer_addon_sdk::{Context, Error, ErrorKind, Reader, Result, info, warn};

use super::{Account, Grant, Statement};
use crate::failure::{Failure, Outcome};
use crate::params::ExistingUsers;
use crate::splitter::Statements;
use crate::wire::Wire;

/// A statement about an account is short, but a table may have thousands of columns.
const LONGEST_STATEMENT: usize = 4 << 20;
/// So many names are shown in a message.
const SHOWN: usize = 20;

/// Which part of the stream a stage applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Makes the accounts.
    Definitions,
    /// Gives them what they have, but for what is not there yet.
    Grants,
    /// Once more, on tables, views and routines: now all that the snapshot has is there.
    Late,
}

impl Phase {
    /// The phases, by the word for them in tokens, in their order.
    pub(crate) const WORDS: [(&'static str, Self); 3] =
        [("definitions", Self::Definitions), ("grants", Self::Grants), ("late", Self::Late)];
}

/// Who was there before the restore began.
#[derive(Debug)]
pub(crate) struct Before {
    accounts: BTreeSet<Account>,
    /// The account of this session.
    own: Account,
}

impl Before {
    /// Asks the server.
    pub(crate) fn ask(wire: &mut Wire) -> Outcome<Self> {
        let roles = if wire.server().is_mariadb() { "is_role = 'Y'" } else { "0" };
        let rows = wire.query_text(format!("SELECT User, Host, {roles} FROM mysql.user"))?;
        let accounts = rows.into_iter().filter_map(|row| match <[String; 3]>::try_from(row) {
            Ok([name, _, role]) if role == "1" => Some(Account::role(name)),
            Ok([name, host, _]) => Some(Account::user(name, host)),
            Err(_) => None,
        });
        let accounts = accounts.collect();
        let own = wire.query_value("SELECT CURRENT_USER()")?.unwrap_or_default();
        let (name, host) = own.rsplit_once('@').unwrap_or((&own, "%"));
        Ok(Self { accounts, own: Account::user(name, host) })
    }

    /// Whether the restore leaves this account as it is.
    fn spares(&self, account: &Account, existing: ExistingUsers) -> bool {
        *account == self.own
            || account.is_servers_own()
            || (existing != ExistingUsers::Drop && self.accounts.contains(account))
    }
}

/// Applies one part of the stream. Returns how many accounts, or statements, it was about.
pub(crate) fn apply(
    wire: &mut Wire,
    context: &Context,
    before: &Before,
    existing: ExistingUsers,
    phase: Phase,
    input: Reader,
) -> Result<u64> {
    let statements = Statements::new(input, LONGEST_STATEMENT);
    match phase {
        Phase::Definitions => define(wire, context, before, existing, statements),
        Phase::Grants | Phase::Late => give(wire, context, before, existing, phase, statements),
    }
}

fn define(
    wire: &mut Wire,
    context: &Context,
    before: &Before,
    existing: ExistingUsers,
    mut statements: Statements,
) -> Result<u64> {
    // All of them first: an account that must not be there is an error before anything is changed.
    let mut definitions: Vec<(Account, Vec<u8>)> = Vec::new();
    while let Some(statement) = statements.next()? {
        if let Some(Statement::Definition(account)) = Statement::of(statement) {
            definitions.push((account, statement.to_vec()));
        }
    }
    let names = |wanted: &dyn Fn(&Account) -> bool| -> Vec<String> {
        let chosen: BTreeSet<&Account> = definitions.iter().map(|(account, _)| account).filter(|a| wanted(a)).collect();
        chosen.into_iter().map(Account::sql).collect()
    };
    let there = names(&|account| before.accounts.contains(account) && *account != before.own);
    if existing == ExistingUsers::Error && !there.is_empty() {
        return Err(Error::invalid(format!(
            "{} accounts of the snapshot are there already; nothing was changed. `existingUsers: skip` leaves them as they are, \
             `existingUsers: drop` replaces them, `users: false` restores no accounts: {}",
            there.len(),
            shortened(&there)
        )));
    }
    let spared = names(&|account| before.spares(account, existing));
    if !spared.is_empty() {
        warn!(
            context,
            "accounts that are there already are left as they are, with what they may do: {}",
            shortened(&spared)
        );
    }
    let mut made = BTreeSet::new();
    for (account, statement) in &definitions {
        context.check_cancelled()?;
        if before.spares(account, existing) {
            continue;
        }
        if made.insert(account) && before.accounts.contains(account) {
            info!(context, "dropping the account {}", account.sql());
            let what = if account.host.is_some() { "USER" } else { "ROLE" };
            wire.execute(format!("DROP {what} {}", account.sql())).map_err(|failure| explain(failure, account))?;
        }
        wire.execute(statement).map_err(|failure| explain(failure, account))?;
    }
    Ok(u64::try_from(made.len()).unwrap_or(u64::MAX))
}

fn give(
    wire: &mut Wire,
    context: &Context,
    before: &Before,
    existing: ExistingUsers,
    phase: Phase,
    mut statements: Statements,
) -> Result<u64> {
    if wire.server().is_mariadb() || !wire.server().is_mysql(8, 0, 0) {
        // Without it, a privilege for an account that somebody dropped meanwhile would make one that needs no password.
        wire.execute("SET SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',NO_AUTO_CREATE_USER')")?;
    }
    let mut roles = Vec::new();
    let mut keeps = BTreeSet::new();
    let mut given = 0_u64;
    let mut lost: Vec<String> = Vec::new();
    while let Some(statement) = statements.next()? {
        context.check_cancelled()?;
        let grant = match Statement::of(statement) {
            Some(Statement::Grant(grant)) => grant,
            Some(Statement::Definition(account)) => {
                if account.host.is_none() && !before.spares(&account, existing) {
                    roles.push(account);
                }
                continue;
            }
            // The mode that packages need.
            None => {
                wire.execute(statement)?;
                continue;
            }
        };
        if let Some(role) = grant.administered.clone().filter(|_| grant.to == before.own) {
            keeps.insert(role);
        }
        let spared =
            if grant.to.is_public() { before.accounts.contains(&grant.to) } else { before.spares(&grant.to, existing) };
        if spared || (phase == Phase::Late && grant.object.is_none()) {
            continue;
        }
        match wire.execute(statement) {
            Ok(_) => given = given.saturating_add(1),
            Err(failure) if is_missing(&failure, &grant) => lost.push(String::from_utf8_lossy(statement).into_owned()),
            Err(failure) => return Err(explain(failure, &grant.to)),
        }
    }
    if phase == Phase::Late {
        if !lost.is_empty() {
            warn!(
                context,
                "{} privileges are on tables or routines that neither the snapshot nor the target has; they are left out: {}",
                lost.len(),
                shortened(&lost)
            );
        }
        return Ok(given);
    }
    // In MariaDB, whoever makes a role administers it from then on; it was not so in the source.
    for role in roles.iter().filter(|role| !keeps.contains(*role)) {
        wire.execute(format!("REVOKE {} FROM CURRENT_USER", role.sql())).map_err(|failure| explain(failure, role))?;
    }
    Ok(given)
}

/// Whether what the privilege is on is not there.
fn is_missing(failure: &Failure, grant: &Grant) -> bool {
    grant.object.is_some() && matches!(failure.code(), Some(1049 | 1054 | 1146 | 1305 | 1356))
}

/// The server's own words, but where they may quote the statement, and with it how the account logs in.
fn explain(failure: Failure, account: &Account) -> Error {
    let code = failure.code();
    let hint = match code {
        Some(1045 | 1698) => {
            "; the user of the restore must be allowed to pass it on: PROXY by `GRANT PROXY ON ''@'' TO` it `WITH GRANT OPTION`, a role of \
             MariaDB that was there already by `GRANT` the role `TO` it `WITH ADMIN OPTION`"
        }
        Some(1044 | 1142 | 1227) => "; who gives a privilege needs it, with GRANT OPTION",
        Some(1141) => {
            "; a privilege that is taken back for single databases needs `partial_revokes = ON` on the target"
        }
        Some(1524) => "; install the plugin on the target first",
        Some(1819) => "; the password of the account does not satisfy the target's rules",
        _ => "",
    };
    let error = Error::from(failure);
    let message = match code {
        Some(code @ (1064 | 1149)) => format!(
            "MySQL error {code}: the target does not understand what the source says of the account; is it of another version?"
        ),
        _ => error.message,
    };
    let kind = if code == Some(1064) { ErrorKind::Unsupported } else { error.kind };
    Error { kind, message: format!("{message}{hint}"), retryable: error.retryable }
        .with_context(format!("account {}", account.sql()))
}

fn shortened(names: &[String]) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.get(..SHOWN).unwrap_or(names).join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
