//! `initialize-repository`: a Repository gets its file and its place in the index of its storage.

use coffer_api::condition::REPOSITORY_INITIALIZED;
use coffer_api::storage::{Repository, RepositoryStatus};
use coffer_api::{ResourceExt as _, size};
use serde_json::Value;

use crate::error::JobError;
use crate::{End, Job, facts, files, status};

/// Writes `repository.yaml` and the entry in `metadata.yaml`.
///
/// # Errors
/// When it cannot, and the condition says why.
pub fn initialize_repository(job: &Job, namespace: &str, name: &str) -> Result<End, JobError> {
    let repository: Repository = job.required(namespace, name)?;
    let result = write(job, &repository);
    let change = match &result {
        Ok(()) => REPOSITORY_INITIALIZED.holds(),
        Err(error) => REPOSITORY_INITIALIZED.fails_because(facts::error_text(&error.to_string())),
    };
    let change = change.observed(repository.metadata.generation);
    let done = result.is_ok();
    job.edit_status::<Repository>(namespace, name, |now| {
        let before = now.status.clone().unwrap_or_default();
        let mut fields = status::conditions(&before.conditions, vec![change.clone()]);
        if done && before.snapshot_count.is_none() {
            let Value::Object(more) = status::repository(&fresh(&before)) else { return fields };
            let all = fields.get_or_insert_with(|| Value::Object(serde_json::Map::new()));
            all.as_object_mut()?.extend(more);
        }
        fields
    })?;
    result.map(|()| End::Done)
}

/// A Repository without any Snapshot.
fn fresh(before: &RepositoryStatus) -> RepositoryStatus {
    RepositoryStatus { snapshot_count: Some(0), size: Some(size::format(0)), ..before.clone() }
}

fn write(job: &Job, repository: &Repository) -> Result<(), JobError> {
    let storage = files::open_of(job, repository)?;
    let directory = files::directory(repository)?;
    if let Some(other) = storage.read_repository(directory)? {
        let same = other.metadata.name == repository.metadata.name
            && other.namespace().unwrap_or_default() == repository.namespace().unwrap_or_default();
        if !same {
            return Err(JobError::refused(
                format!("the directory {directory} of {} is not taken", storage.location()),
                format!("it is the one of Repository {}/{}", other.namespace().unwrap_or_default(), other.name_any()),
                "give this Repository another directory, or remove repository.yaml if that Repository is given up",
            ));
        }
    }
    files::write_repository(&storage, repository)?;
    files::list_in_index(&storage, &files::entry(repository)?)
}
