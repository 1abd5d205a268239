//! `coffer forget`

use std::collections::BTreeMap;

use coffer_repository::{PruneOptions, Snapshot};
use jiff::tz::TimeZone;
use serde_json::json;

use super::policy::Policy;
use super::snapshots::{object, table, warn_of_damaged};
use super::upkeep::report_prune;
use crate::args::Forget;
use crate::context::{App, Place};
use crate::exit::{End, Failure, Outcome};
use crate::output::{counted, line};

pub(crate) fn run(args: &Forget, app: &App) -> Outcome {
    let policy = Policy::of(&args.keep)?;
    if policy.is_none() && args.snapshots.is_empty() {
        return Err(Failure::Usage(
            "nothing to forget: name snapshots, or say what to keep (for example --keep-last 5 --keep-weekly 4)"
                .to_owned(),
        ));
    }
    let place = app.place(&args.which)?;
    let repository = app.open(&place)?;
    let (ids, end) = match &policy {
        None => (args.snapshots.clone(), End::Done),
        Some(policy) => {
            let listing = repository.listing().map_err(|error| place.failed(error))?;
            // What a snapshot that cannot be read would be kept for is not known: it stays, and stands for none of the others.
            let end = warn_of_damaged(&listing.damaged, &place, app);
            (chosen(policy, &place, listing.snapshots, app), end)
        }
    };
    let removed = repository.forget(&ids, args.dry_run).map_err(|error| place.failed(error))?;
    report(&removed, args.dry_run, &place, app);
    if args.prune {
        let options = PruneOptions { dry_run: args.dry_run, ..PruneOptions::default() };
        let report = repository.prune(&options).map_err(|error| place.failed(error))?;
        report_prune(&report, &place, app);
        if args.dry_run && !removed.is_empty() {
            app.output.note(|| "(the data of the snapshots above is still in use in this preview)".to_owned());
        }
    }
    Ok(end)
}

/// The ids that the policy does not keep. Snapshots of different hosts or paths do not push each other out.
fn chosen(policy: &Policy, place: &Place, snapshots: Vec<Snapshot>, app: &App) -> Vec<String> {
    let mut groups: BTreeMap<(String, Vec<String>), Vec<Snapshot>> = BTreeMap::new();
    for snapshot in snapshots {
        groups.entry((snapshot.host.clone(), snapshot.paths.clone())).or_default().push(snapshot);
    }
    let zone = TimeZone::system();
    let mut remove = Vec::new();
    for group in groups.values() {
        for (snapshot, reasons) in group.iter().zip(policy.reasons(group, &zone)) {
            if reasons.is_empty() {
                remove.push(snapshot.id.clone());
            } else {
                let mut kept = object(snapshot);
                if let Some(fields) = kept.as_object_mut() {
                    fields.insert("reasons".to_owned(), json!(reasons));
                }
                app.output.object(&place.tag("kept", kept));
                app.output.note(|| format!("keeping {} ({})", snapshot.short_id(), reasons.join(", ")));
            }
        }
    }
    remove
}

fn report(removed: &[Snapshot], dry_run: bool, place: &Place, app: &App) {
    if app.output.is_json() {
        let message = if dry_run { "would_remove" } else { "removed" };
        for snapshot in removed {
            app.output.object(&place.tag(message, object(snapshot)));
        }
        return;
    }
    if !removed.is_empty() {
        line(&table(removed).render());
    }
    let verb = if dry_run { "would be removed" } else { "removed" };
    line(&format!("{} {verb} from {}", counted(removed.len() as u64, "snapshot"), place.label()));
}
