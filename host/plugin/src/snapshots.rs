//! `snapshots`: the Snapshots, oldest first.

use coffer_api::ResourceExt as _;
use coffer_api::shared::SnapshotPhase;
use coffer_api::storage::{Snapshot, VerificationStatus};
use jiff::Timestamp;
use serde_json::Value;

use crate::Plugin;
use crate::error::PluginError;
use crate::format::{self, Format};
use crate::table::{Table, age};

/// Which Snapshots: everything that is set must match.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Namespace; all when absent.
    pub namespace: Option<String>,
    /// Name of the Repository.
    pub repository: Option<String>,
    /// Session that made it.
    pub session: Option<String>,
    /// Phase, in any case.
    pub phase: Option<String>,
    /// Only the newest so many of each Repository and session.
    pub latest: Option<usize>,
    /// How they are shown.
    pub format: Format,
}

/// The Snapshots that match, as text.
pub fn snapshots(plugin: &Plugin, filter: &Filter) -> Result<String, PluginError> {
    let all: Vec<Snapshot> = plugin.objects().list(filter.namespace.as_deref(), "")?;
    let chosen = choose(all, filter);
    let values = chosen.iter().map(format::value).collect::<Result<Vec<Value>, _>>()?;
    if let Some(text) = format::list(filter.format, &values)? {
        return Ok(text);
    }
    let table = table(&chosen, filter.namespace.is_none(), filter.format == Format::Wide, Plugin::now());
    if table.is_empty() {
        return Ok(match &filter.namespace {
            Some(namespace) => format!("No such Snapshots found in namespace {namespace}."),
            None => "No such Snapshots found.".to_owned(),
        });
    }
    Ok(table.render())
}

/// When a Snapshot was taken.
pub(crate) fn taken(snapshot: &Snapshot) -> Option<Timestamp> {
    let noted = snapshot.status.as_ref().and_then(|status| status.snapshot_time.as_ref());
    noted.or(snapshot.metadata.creation_timestamp.as_ref()).map(|time| time.0)
}

/// Those that match, oldest first.
fn choose(mut all: Vec<Snapshot>, filter: &Filter) -> Vec<Snapshot> {
    let is = |wanted: Option<&str>, real: Option<&str>| wanted.is_none() || wanted == real;
    all.retain(|one| {
        let phase = phase(one);
        is(filter.repository.as_deref(), one.spec.repository.as_deref())
            && is(filter.session.as_deref(), one.spec.session.as_deref())
            && filter.phase.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(&phase))
    });
    all.sort_by_cached_key(|one| (taken(one), one.namespace(), one.name_any()));
    if let Some(latest) = filter.latest {
        let key = |one: &Snapshot| (one.namespace(), one.spec.repository.clone(), one.spec.session.clone());
        let keys: Vec<_> = all.iter().map(key).collect();
        let newer =
            |index: usize, one: &Snapshot| keys.iter().skip(index + 1).filter(|other| **other == key(one)).count();
        let keep: Vec<bool> = all.iter().enumerate().map(|(index, one)| newer(index, one) < latest).collect();
        let mut keep = keep.into_iter();
        all.retain(|_| keep.next().unwrap_or(true));
    }
    all
}

fn phase(snapshot: &Snapshot) -> String {
    if snapshot.metadata.deletion_timestamp.is_some() {
        return "Terminating".to_owned();
    }
    let phase = snapshot.status.as_ref().and_then(|status| status.phase);
    format!("{:?}", phase.unwrap_or(SnapshotPhase::Pending))
}

fn table(snapshots: &[Snapshot], namespaces: bool, wide: bool, now: Timestamp) -> Table {
    let mut titles = if namespaces { vec!["NAMESPACE"] } else { Vec::new() };
    titles.extend(["NAME", "REPOSITORY", "SESSION", "PHASE", "SIZE", "INTEGRITY", "AGE"]);
    if wide {
        titles.extend(["TIME", "DATA", "ADDED", "DURATION", "COMPONENTS", "VERIFIED", "RESTIC-ID"]);
    }
    let mut table = Table::new(&titles);
    for one in snapshots {
        let status = one.status.clone().unwrap_or_default();
        let taken = taken(one);
        let integrity = status.integrity.map(|right| right.to_string());
        let mut row = if namespaces { vec![one.namespace().unwrap_or_default()] } else { Vec::new() };
        row.extend([
            one.name_any(),
            one.spec.repository.clone().unwrap_or_default(),
            one.spec.session.clone().unwrap_or_default(),
            phase(one),
            status.size.clone().unwrap_or_default(),
            integrity.unwrap_or_default(),
            taken.map(|taken| age(taken, now)).unwrap_or_default(),
        ]);
        if wide {
            let components = status.components.values();
            let summaries: Vec<_> = components
                .clone()
                .flat_map(|one| &one.restic_stats)
                .filter_map(|stats| stats.summary.as_ref())
                .collect();
            let joined = |texts: Vec<String>| texts.join(",");
            row.extend([
                taken.map(|taken| taken.to_string()).unwrap_or_default(),
                joined(summaries.iter().filter_map(|one| one.size.clone()).collect()),
                joined(summaries.iter().filter_map(|one| one.uploaded.clone()).collect()),
                joined(components.filter_map(|one| one.duration.clone()).collect()),
                joined(status.components.keys().cloned().collect()),
                status.verification_status.map(verified).unwrap_or_default(),
                joined(summaries.iter().filter_map(|one| Some(one.id.as_ref()?.get(..8)?.to_owned())).collect()),
            ]);
        }
        table.row(row);
    }
    table
}

fn verified(status: VerificationStatus) -> String {
    format!("{status:?}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn snapshot(name: &str, repository: &str, session: &str, phase: &str, minute: u8) -> Snapshot {
        let summary = json!({ "id": "0123456789abcdef", "size": "80.000 MiB", "uploaded": "3.000 MiB" });
        let component = json!({ "phase": phase, "duration": "4s", "resticStats": [{ "summary": summary }] });
        serde_json::from_value(json!({
            "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot", "metadata": { "name": name, "namespace": "demo" },
            "spec": { "repository": repository, "session": session },
            "status": {
                "phase": phase, "size": "7.003 KiB", "integrity": true, "snapshotTime": format!("2026-01-01T00:{minute:02}:00Z"),
                "components": { "dump": component },
            },
        }))
        .unwrap()
    }

    fn some() -> Vec<Snapshot> {
        vec![
            snapshot("c", "repo", "daily", "Succeeded", 30),
            snapshot("a", "repo", "daily", "Failed", 10),
            snapshot("b", "far", "daily", "Succeeded", 20),
            snapshot("d", "repo", "weekly", "Succeeded", 40),
        ]
    }

    fn chosen(filter: &Filter) -> Vec<String> {
        choose(some(), filter).iter().map(coffer_api::ResourceExt::name_any).collect()
    }

    #[test]
    fn everything_that_is_set_must_match() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(chosen(&Filter::default()), ["a", "b", "c", "d"]);
        assert_eq!(chosen(&Filter { repository: text("repo"), ..Filter::default() }), ["a", "c", "d"]);
        assert_eq!(chosen(&Filter { session: text("weekly"), ..Filter::default() }), ["d"]);
        assert_eq!(chosen(&Filter { phase: text("failed"), ..Filter::default() }), ["a"]);
        assert_eq!(chosen(&Filter { latest: Some(1), ..Filter::default() }), ["b", "c", "d"]);
        assert_eq!(chosen(&Filter { latest: Some(0), ..Filter::default() }), [""; 0]);
        let both = Filter { repository: text("repo"), phase: text("Succeeded"), latest: Some(1), ..Filter::default() };
        assert_eq!(chosen(&both), ["c", "d"]);
    }

    #[test]
    fn tables_are_narrow_or_wide() {
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let one = [snapshot("a", "repo", "daily", "Succeeded", 10)];
        assert_eq!(
            table(&one, false, false, now).render(),
            "NAME   REPOSITORY   SESSION   PHASE       SIZE        INTEGRITY   AGE\n\
             a      repo         daily     Succeeded   7.003 KiB   true        50m"
        );
        let wide = table(&one, true, true, now).render();
        for part in ["NAMESPACE", "demo", "2026-01-01T00:10:00Z", "80.000 MiB", "3.000 MiB", "4s", "dump", "01234567"] {
            assert!(wide.contains(part), "{part}: {wide}");
        }
    }
}
