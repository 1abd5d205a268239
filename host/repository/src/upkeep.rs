//! Forgetting snapshots, freeing space, and checking.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Span;
use rustic_core::repofile::{IndexFile, SnapshotId};
use rustic_core::{CheckOptions as EngineCheck, CheckResults, PruneOptions as EnginePrune};

use crate::error::RepositoryError;
use crate::repository::Repository;
use crate::snapshots::{Snapshot, SnapshotChoice};

/// How long data that no snapshot needs is kept after it was marked, by default.
pub const KEEP_MARKED: Duration = Duration::from_hours(23);

/// Unfinished files that nobody touched for this long are of processes that are gone.
const UNFINISHED: Duration = Duration::from_hours(24);

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Only say what would be done.
    pub dry_run: bool,
    /// How long marked packs stay before a later prune removes them. A backup that began before the mark may still refer to them, if its
    /// program knows no locks.
    pub keep_marked: Duration,
    /// Remove at once instead of marking first. Safe as long as everybody who writes to the repository honours locks.
    pub instant: bool,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self { dry_run: false, keep_marked: KEEP_MARKED, instant: false }
    }
}

/// What a prune did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Bytes in all packs before, without those marked earlier.
    pub total: u64,
    /// Bytes that snapshots need.
    pub used: u64,
    /// Bytes that no snapshot needs.
    pub unused: u64,
    /// Bytes freed now: what an earlier prune marked, and with `instant` everything that is not needed.
    pub freed: u64,
    /// Bytes marked now (packs of interrupted backups included), which a prune after [`PruneOptions::keep_marked`] frees.
    pub marked: u64,
    /// Bytes marked earlier that are not old enough yet.
    pub waiting: u64,
    /// Bytes rewritten because only a part of their packs is needed.
    pub repacked: u64,
    /// Whether nothing was changed.
    pub dry_run: bool,
}

/// How to check.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckOptions {
    /// Read and verify all data, not only the structure.
    pub read_data: bool,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Damage: something cannot be restored.
    pub errors: Vec<String>,
    /// Oddities, such as packs of an interrupted backup.
    pub warnings: Vec<String>,
}

impl CheckReport {
    /// Whether everything can be restored.
    pub fn is_ok(&self) -> bool {
        self.errors.is_empty()
    }
}

impl Repository {
    /// Removes snapshots by (the beginning of) their ids, all or none of them; their data stays until a prune. Returns those removed.
    pub fn forget(&self, ids: &[impl AsRef<str>], dry_run: bool) -> Result<Vec<Snapshot>, RepositoryError> {
        let _lock = if dry_run { None } else { Some(self.lock(true)?) };
        let mut seen = BTreeSet::new();
        let mut chosen = Vec::new();
        for id in ids {
            let snapshot = self.snapshot(&SnapshotChoice::Id(id.as_ref().to_owned()))?;
            if seen.insert(snapshot.id.clone()) {
                chosen.push(snapshot);
            }
        }
        if !dry_run {
            let backend = self.backend();
            let engine = self.engine(&backend)?;
            let ids = chosen.iter().map(|snapshot| snapshot.id.parse::<SnapshotId>());
            let ids: Vec<_> = ids.collect::<Result<_, _>>().map_err(|error| backend.explain(error))?;
            engine.delete_snapshots(&ids).map_err(|error| backend.explain(error))?;
        }
        Ok(chosen)
    }

    /// Bytes of all packs in the storage, those included that a prune has marked.
    pub fn stored_bytes(&self) -> Result<u64, RepositoryError> {
        let packs = self.store().list("data/", true).map_err(|error| self.store().error("list the packs", &error))?;
        Ok(packs.iter().map(|(_, size)| size).sum())
    }

    /// Frees what no snapshot needs, in two phases: packs are marked first and removed by a later prune.
    pub fn prune(&self, options: &PruneOptions) -> Result<PruneReport, RepositoryError> {
        // Even a dry run reads what an exclusive operation beside it may remove.
        let lock = self.lock(!options.dry_run)?;
        let backend = self.backend();
        let engine = self.engine(&backend)?;
        let mut engine_options = EnginePrune::default();
        let seconds = i64::try_from(options.keep_marked.as_secs()).unwrap_or(i64::MAX);
        engine_options.keep_delete = Span::new().try_seconds(seconds).map_err(|error| {
            RepositoryError::Invalid(format!("the time to keep marked packs is impossible: {error}"))
        })?;
        engine_options.instant_delete = options.instant;
        let plan = engine.prune_plan(&engine_options).map_err(|error| backend.explain(error))?;
        let sizes = plan.stats.size_sum();
        let marked = sizes.remove + sizes.repackrm + plan.stats.size_unref;
        let old = plan.stats.size_to_delete.remove;
        let report = PruneReport {
            total: sizes.total(),
            used: sizes.used,
            unused: sizes.unused,
            freed: if options.instant { old + marked } else { old },
            marked: if options.instant { 0 } else { marked },
            waiting: plan.stats.size_to_delete.keep,
            repacked: sizes.repack,
            dry_run: options.dry_run,
        };
        if !options.dry_run {
            lock.ensure(self.key())?;
            engine.prune(&engine_options, plan).map_err(|error| backend.explain(error))?;
            backend.barrier()?;
            self.forget_index();
            let removed = self.store().remove_unfinished(UNFINISHED);
            let removed = removed.map_err(|error| self.store().error("remove unfinished files", &error))?;
            tracing::debug!(removed, "files of writes that ended in the middle are gone");
        }
        Ok(report)
    }

    /// Checks the structure, or all data. Damage is in the report; an error means that the check itself could not be done.
    pub fn check(&self, options: CheckOptions) -> Result<CheckReport, RepositoryError> {
        let _lock = self.lock(false)?;
        let mut report = CheckReport::default();
        report.errors.extend(self.listing()?.damaged.iter().map(ToString::to_string));
        let backend = self.backend();
        let engine = self.engine(&backend)?;
        let found = engine.check(EngineCheck::default().read_data(options.read_data));
        let findings = match found.map_err(|error| backend.explain(error)) {
            Ok(findings) => findings,
            // The engine ends with a snapshot that it cannot read.
            Err(RepositoryError::Damaged { .. } | RepositoryError::Engine { .. }) if !report.is_ok() => {
                report.warnings.push("what the other snapshots hold was not checked".to_owned());
                return Ok(report);
            }
            Err(error) => return Err(error),
        };
        for finding in findings.0 {
            let text = plain(&finding.1.to_string());
            // The level's type has no public name, but a list of findings knows whether one of them is an error.
            let damage = CheckResults(vec![finding]).is_ok().is_err();
            if damage { report.errors.push(text) } else { report.warnings.push(text) }
        }
        if options.read_data {
            // The engine reads what snapshots need. What they do not need now may be needed by the next one, which finds it in the index.
            let read = backend.packs_read();
            for file in engine.stream_files::<IndexFile>().map_err(|error| backend.explain(error))? {
                let (_, index) = file.map_err(|error| backend.explain(error))?;
                for pack in index.packs.iter().filter(|pack| !read.contains(&pack.id)) {
                    if let Err(error) = backend.verify_pack(&pack.id) {
                        report.errors.push(error.to_string());
                    }
                }
            }
        }
        Ok(report)
    }
}

/// The engine's findings recommend its own command line.
fn plain(finding: &str) -> String {
    finding.split(" To repair: ").next().unwrap_or(finding).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_do_not_recommend_another_program() {
        assert_eq!(plain("pack 12 is lost. To repair: 'rustic repair index'."), "pack 12 is lost.");
        assert_eq!(plain("odd "), "odd");
    }
}
