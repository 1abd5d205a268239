//! Views, which may need one another: those that cannot be made yet are tried again.

use coffer_addon_sdk::{Context, Error, Fact, Result, debug, warn};

use crate::failure::{Failure, Outcome};
use crate::layout::quote;
use crate::plan::Token;
use crate::wire::Wire;

/// A view, not yet made.
#[derive(Debug)]
pub(crate) struct View {
    /// Its database in the snapshot.
    pub(crate) database: String,
    /// The same in the target.
    pub(crate) target: String,
    /// Its name.
    pub(crate) name: String,
    /// From `USE` to `CREATE VIEW`.
    pub(crate) statements: Vec<Vec<u8>>,
}

impl View {
    pub(crate) fn title(&self) -> String {
        format!("view {}.{}", quote(&self.target), quote(&self.name))
    }
}

/// Creates views. One that needs another that is not there yet is tried again, as long as that gets any further.
pub(crate) fn make(wire: &mut Wire, context: &Context, mut waiting: Vec<View>, token: &Token) -> Result<Vec<Fact>> {
    let count = waiting.len();
    let mut made = 0_usize;
    loop {
        let before = waiting.len();
        let mut failed = Vec::new();
        for view in waiting {
            context.check_cancelled()?;
            match make_one(wire, &view) {
                Ok(()) => made = made.saturating_add(1),
                // An earlier run of this restore made it.
                Err(failure) if failure.code() == Some(1050) && token.resume.contains(&view.database) => {
                    made = made.saturating_add(1);
                }
                Err(failure) if failure.code().is_some() && !failure.is_denied() => failed.push((view, failure)),
                Err(failure) => return Err(Error::from(failure).with_context(view.title())),
            }
        }
        if failed.len() == before {
            return give_up(context, &failed, token, made);
        }
        debug!(context, "{made} of {count} views are there");
        waiting = failed.into_iter().map(|(view, _)| view).collect();
        if waiting.is_empty() {
            return Ok(vec![Fact::new("views", made)]);
        }
    }
}

fn make_one(wire: &mut Wire, view: &View) -> Outcome<()> {
    // Names are UTF-8, whatever the view before was.
    wire.execute("SET NAMES utf8mb4")?;
    view.statements.iter().try_for_each(|statement| wire.execute(statement).map(drop))
}

/// Views that cannot be made are an error unless the source could not use them either.
fn give_up(context: &Context, failed: &[(View, Failure)], token: &Token, made: usize) -> Result<Vec<Fact>> {
    let known = |view: &View| token.is_invalid(&view.database, &view.name);
    if let Some((view, failure)) = failed.iter().find(|(view, _)| !known(view)) {
        let error = Error::from(failure.clone());
        return Err(error.with_context(format!(
            "{} views cannot be made, the first is {}",
            failed.len(),
            view.title()
        )));
    }
    for (view, failure) in failed {
        warn!(context, "{} was of no use in the source either and is left out: {failure}", view.title());
    }
    Ok(vec![Fact::new("views", made)])
}
