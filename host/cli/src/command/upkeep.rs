//! `coffer check`, `coffer prune` and `coffer unlock`

use coffer_api::{duration, size};
use coffer_repository::{CheckOptions, CheckReport, LockInfo, PruneOptions, PruneReport, Unlocked};
use serde_json::json;

use super::{each, each_there};
use crate::args::{Check, Prune, Unlock};
use crate::context::{App, Place};
use crate::exit::{End, Failure, Outcome};
use crate::output::{complain, counted, line};

pub(crate) fn check(args: &Check, app: &App) -> Outcome {
    let places = app.places(&args.which)?;
    each(app, &places, |place| {
        let repository = app.open(place)?;
        app.output.note(|| format!("checking {} at {}", place.label(), repository.location()));
        let options = CheckOptions { read_data: args.read_data };
        let report = repository.check(options).map_err(|error| place.failed(error))?;
        report_check(&report, args.read_data, place, app)
    })
}

fn report_check(report: &CheckReport, read_data: bool, place: &Place, app: &App) -> Outcome {
    app.output.object(&place.tag(
        "check",
        json!({ "errors": report.errors, "warnings": report.warnings, "read_data": read_data, "ok": report.is_ok() }),
    ));
    if !app.output.is_json() {
        report.warnings.iter().for_each(|warning| complain(&format!("note: {warning}")));
        report.errors.iter().for_each(|error| complain(&format!("damage: {error}")));
    }
    if report.is_ok() {
        let what = if read_data { "all data was read" } else { "the structure is whole (all data: --read-data)" };
        app.output.note(|| format!("no errors were found: {what}"));
        return Ok(End::Done);
    }
    Err(Failure::Damaged(format!(
        "{} is damaged: {} found; restore what you need from another repository, and find out what changed the storage \
         before the next backup",
        place.label(),
        counted(report.errors.len() as u64, "error")
    )))
}

pub(crate) fn prune(args: &Prune, app: &App) -> Outcome {
    let keep_marked = duration::parse(&args.keep_marked).map_err(|error| {
        Failure::Usage(format!("--keep-marked {:?}: {error}; write for example 23h", args.keep_marked))
    })?;
    let place = app.place(&args.which)?;
    let repository = app.open(&place)?;
    let options = PruneOptions { dry_run: args.dry_run, keep_marked, instant: args.instant };
    let report = repository.prune(&options).map_err(|error| place.failed(error))?;
    report_prune(&report, &place, app);
    Ok(End::Done)
}

/// Says what a prune did.
pub(super) fn report_prune(report: &PruneReport, place: &Place, app: &App) {
    app.output.result(
        || {
            place.tag(
                "prune",
                json!({
                    "dry_run": report.dry_run, "total": report.total, "used": report.used, "unused": report.unused,
                    "freed": report.freed, "marked": report.marked, "waiting": report.waiting, "repacked": report.repacked,
                }),
            )
        },
        || {
            let (freed, marked) = if report.dry_run { ("would be freed", "would be marked") } else { ("freed", "marked") };
            let mut lines = vec![
                format!("{}: {} in use of {}", place.label(), size::format(report.used), size::format(report.total)),
                format!("{} {freed} now", size::format(report.freed)),
            ];
            if report.marked > 0 {
                lines.push(format!("{} {marked} for a later prune", size::format(report.marked)));
            }
            if report.waiting > 0 {
                lines.push(format!("{} marked earlier, not old enough yet", size::format(report.waiting)));
            }
            if report.repacked > 0 {
                let verb = if report.dry_run { "would be rewritten" } else { "rewritten" };
                lines.push(format!("{} {verb}", size::format(report.repacked)));
            }
            lines.join("\n")
        },
    );
}

pub(crate) fn unlock(args: &Unlock, app: &App) -> Outcome {
    let places = if args.remove_all && !args.dry_run {
        // Taking away locks that are in use is for one repository at a time.
        vec![app.place(&args.which)?]
    } else {
        app.places(&args.which)?
    };
    unlock_places(&places, args, app)
}

/// Removes the locks of these repositories.
pub(crate) fn unlock_places(places: &[Place], args: &Unlock, app: &App) -> Outcome {
    each_there(app, places, |place, repository| {
        let which = if args.remove_all { coffer_repository::Unlock::All } else { coffer_repository::Unlock::Stale };
        let unlocked = if args.dry_run {
            repository.locks().map(|locks| Unlocked { locks, ..Unlocked::default() })
        } else {
            repository.unlock(which)
        };
        let Unlocked { locks, unreadable } = unlocked.map_err(|error| place.failed(error))?;
        for lock in &locks {
            report_lock(lock, args, place, app);
        }
        for id in &unreadable {
            app.output.result(
                || place.tag("removed_lock", json!({ "id": id })),
                || format!("{}: removed lock file {id}, which was empty or could not be read", place.label()),
            );
        }
        if locks.is_empty() && unreadable.is_empty() {
            app.output.note(|| format!("{}: no locks to remove", place.label()));
        }
        Ok(End::Done)
    })
}

fn report_lock(lock: &LockInfo, args: &Unlock, place: &Place, app: &App) {
    let goes = args.remove_all || lock.stale;
    let message = match (args.dry_run, goes) {
        (false, _) => "removed_lock",
        (true, true) => "would_remove_lock",
        (true, false) => "lock",
    };
    if app.output.is_json() {
        app.output.object(&place.tag(
            message,
            json!({
                "id": lock.id, "time": lock.time, "exclusive": lock.exclusive, "host": lock.host, "user": lock.owner,
                "pid": lock.pid, "stale": lock.stale,
            }),
        ));
        return;
    }
    let kind = if lock.exclusive { "exclusive lock" } else { "lock" };
    let verb = match (args.dry_run, goes) {
        (false, _) => "removed",
        (true, true) => "would remove",
        (true, false) => "would keep",
    };
    line(&format!("{}: {verb} the {kind} of {lock}", place.label()));
}
