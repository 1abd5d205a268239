//! The end of a Snapshot: what its repository looks like now, its file in the storage, its place in the Repository's status.

use coffer_api::cancel::Cancel;
use coffer_api::condition::{self, RECENT_SNAPSHOT_LIST_UPDATED, SNAPSHOT_METADATA_UPLOADED};
use coffer_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use coffer_api::shared::SnapshotPhase;
use coffer_api::storage::{Repository, Snapshot, SnapshotStatus};
use coffer_api::{ResourceExt as _, meta, names, phase, size};
use coffer_repository::CheckOptions;
use coffer_storage::Storage;
use jiff::Timestamp;

use crate::error::JobError;
use crate::facts::{self, Measured};
use crate::{Job, files, locks, status};

/// What is needed to conclude a Snapshot whose component is final.
pub(crate) struct Conclusion<'a> {
    pub(crate) job: &'a Job,
    pub(crate) component: &'a str,
    pub(crate) cancel: &'a Cancel,
}

impl Conclusion<'_> {
    /// Writes what is still missing, and tells whether the Snapshot succeeded.
    pub(crate) fn draw(&self, namespace: &str, name: &str) -> Result<bool, JobError> {
        let snapshot: Snapshot = self.job.required(namespace, name)?;
        let before = snapshot.status.clone().unwrap_or_default();
        if condition::exists(&before.conditions, SNAPSHOT_METADATA_UPLOADED) {
            return Ok(phase::snapshot(&before) == SnapshotPhase::Succeeded);
        }
        let repository_name = snapshot.spec.repository.clone().unwrap_or_default();
        let repository = self.job.required::<Repository>(namespace, &repository_name);
        // Given up before anything had begun: there is nothing to keep.
        let Some(mut component) = before.components.get(self.component).cloned() else { return Ok(false) };
        if component.phase == Some(SnapshotPhase::Succeeded)
            && let Ok(repository) = &repository
        {
            let session = snapshot.spec.session.clone().unwrap_or_default();
            component = facts::measured(component, &self.measure(repository, &session));
        }
        let mut after = snapshot.clone();
        let mut state = before;
        state.components.insert(self.component.to_owned(), component.clone());
        after.status = Some(concluded(&state));

        let uploaded = repository.and_then(|repository| {
            let storage = files::write_snapshot(self.job, &repository, &after)?;
            if let Err(error) = files::list_in_index(&storage, &files::entry(&repository)?) {
                tracing::warn!("the index of the storage may lack the repository: {error}");
            }
            Ok(())
        });
        let uploaded = match uploaded {
            Ok(()) => SNAPSHOT_METADATA_UPLOADED.holds(),
            Err(error) => {
                tracing::error!("Snapshot {namespace}/{name} is not written beside its repository: {error}");
                SNAPSHOT_METADATA_UPLOADED.fails_because(facts::error_text(&error.to_string()))
            }
        };
        let mut conditions = state.conditions.clone();
        condition::set(&mut conditions, uploaded.clone(), Timestamp::now());
        after.status = Some(summed_up(SnapshotStatus { conditions, ..state }));
        let listed = match refresh(self.job, namespace, &repository_name, Some(&after)) {
            Ok(()) => RECENT_SNAPSHOT_LIST_UPDATED.holds(),
            Err(error) => RECENT_SNAPSHOT_LIST_UPDATED.fails_because(facts::error_text(&error.to_string())),
        };
        let written = self.job.edit_status::<Snapshot>(namespace, name, |now| {
            let conditions = now.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            Some(status::snapshot(self.component, &component, conditions, vec![listed.clone(), uploaded.clone()]))
        })?;
        Ok(written.status.is_some_and(|status| phase::snapshot(&status) == SnapshotPhase::Succeeded))
    }

    /// Size and integrity of the restic repository. That one of them cannot be had is no failure of the backup.
    fn measure(&self, repository: &Repository, session: &str) -> Measured {
        self.try_measure(repository, session).unwrap_or_else(|error| {
            tracing::warn!("the repository is not checked: {error}");
            Measured::default()
        })
    }

    fn try_measure(&self, object: &Repository, session: &str) -> Result<Measured, JobError> {
        let name = object.name_any();
        let destination = coffer_resolve::destination(&self.job.cluster, object, (session, self.component))?;
        let storage = Storage::open(&destination.storage, self.job.local)?.subdirectory(&destination.path);
        let repository = coffer_repository::Repository::open(&storage.stop_on(self.cancel), &destination.password)
            .map_err(JobError::repository(&name))?;
        let size = repository.stored_bytes().map_err(JobError::repository(&name))?;
        let check = || repository.check(CheckOptions { read_data: false });
        let integrity = match locks::when_free(&repository, self.cancel, check) {
            Ok(report) => {
                for damage in &report.errors {
                    tracing::error!("repository {name} is damaged: {damage}");
                }
                Some(report.is_ok())
            }
            Err(error) => {
                tracing::warn!("repository {name} is not checked: {error}");
                None
            }
        };
        Ok(Measured { size: Some(size), integrity })
    }
}

/// A status as it is once its file is written and its Repository knows it.
fn concluded(status: &SnapshotStatus) -> SnapshotStatus {
    let mut status = status.clone();
    let now = Timestamp::now();
    condition::set(&mut status.conditions, RECENT_SNAPSHOT_LIST_UPDATED.holds(), now);
    condition::set(&mut status.conditions, SNAPSHOT_METADATA_UPLOADED.holds(), now);
    summed_up(status)
}

/// A status with what follows from its components and conditions.
fn summed_up(mut status: SnapshotStatus) -> SnapshotStatus {
    let sizes = status.components.values().map(|component| component.size.as_deref().and_then(size::parse));
    status.size = sizes.sum::<Option<u64>>().map(size::format);
    status.integrity = phase::snapshot_integrity(&status);
    status.phase = Some(phase::snapshot(&status));
    status.last_update_time = Some(Time(Timestamp::now()));
    status
}

/// Writes into a Repository's status what its Snapshots say. `changed` is one of them as it is about to be.
pub(crate) fn refresh(
    job: &Job,
    namespace: &str,
    repository: &str,
    changed: Option<&Snapshot>,
) -> Result<(), JobError> {
    job.try_edit_status::<Repository>(namespace, repository, |now| {
        // Read after the Repository, and again in each try: whoever was faster wrote of Snapshots that an older list lacks.
        let mut snapshots = snapshots(job, namespace, repository)?;
        if let Some(changed) = changed {
            snapshots.retain(|snapshot| snapshot.metadata.name != changed.metadata.name);
            snapshots.push(changed.clone());
        }
        let before = now.status.clone().unwrap_or_default();
        Ok(Some(status::repository(&facts::repository(&before, &snapshots))))
    })?;
    Ok(())
}

/// The Snapshots of a Repository.
pub(crate) fn snapshots(job: &Job, namespace: &str, repository: &str) -> Result<Vec<Snapshot>, JobError> {
    // A longer name is no value of a label.
    let labels = if repository.len() <= names::MAX_LABEL {
        format!("{}={repository}", meta::label::REPOSITORY_NAME)
    } else {
        String::new()
    };
    let mut found = job.objects().list::<Snapshot>(Some(namespace), &labels)?;
    found.retain(|snapshot| snapshot.spec.repository.as_deref() == Some(repository));
    Ok(found)
}
