//! `initialize-storage`: a BackupStorage gets its index, or the cluster gets back what the index lists.

use coffer_api::ResourceExt as _;
use coffer_api::condition::{self, BACKEND_INITIALIZED, BACKEND_SECRET_FOUND, Change};
use coffer_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use coffer_api::shared::{DeletionPolicy, ObjectReference};
use coffer_api::storage::{BackupStorage, Repository, RepositoryInfo, Snapshot};
use coffer_api::{Resource as _, meta};
use coffer_resolve::{ErrorKind, Reader as _};
use coffer_storage::Storage;
use coffer_storage::metadata::IndexVersion;
use serde_json::{Value, json};

use crate::error::JobError;
use crate::{End, Job, facts, files, status};

/// How many of the Snapshots that cannot be brought back are told of, each with the reason.
const TOLD: usize = 5;

/// Writes `metadata.yaml` if there is none; otherwise makes the Repositories and Snapshots that it lists. Once that is done, another run tries again
/// only what the status names as lost: what has been deleted since is meant to be gone. Nor does it then speak of the storage as such, which has been
/// prepared, and which the operator takes back when the settings change.
///
/// # Errors
/// When the storage cannot be used, and the conditions say why. What cannot be brought back is noted in the status only, and does not keep the
/// rest from it.
pub fn initialize_storage(job: &Job, namespace: &str, name: &str) -> Result<End, JobError> {
    let object: BackupStorage = job.required(namespace, name)?;
    let generation = object.metadata.generation;
    let secret = secret_found(job, &object, namespace)?;
    let before = object.status.unwrap_or_default();
    let again = condition::is_true(&before.conditions, BACKEND_INITIALIZED);
    let lost: Vec<_> = before.repositories.iter().filter(|entry| entry.error.is_some()).cloned().collect();
    let result = initialize(job, namespace, name, again.then_some(lost.as_slice()));
    let initialized = match &result {
        _ if again => None,
        Ok(_) => Some(BACKEND_INITIALIZED.holds()),
        Err(error) => Some(BACKEND_INITIALIZED.fails_because(facts::error_text(&error.to_string()))),
    };
    let changes: Vec<Change> =
        secret.into_iter().chain(initialized).map(|change| change.observed(generation)).collect();
    job.edit_status::<BackupStorage>(namespace, name, |now| {
        let before = now.status.clone().unwrap_or_default();
        let mut fields = status::conditions(&before.conditions, changes.clone());
        let listed = match &result {
            Ok(tried) if again => with_results(&before.repositories, tried, namespace),
            Ok(tried) => tried.clone(),
            Err(_) => return fields,
        };
        if listed != before.repositories {
            let all = fields.get_or_insert_with(|| json!({}));
            all.as_object_mut()?.insert("repositories".to_owned(), json!(listed));
        }
        fields
    })?;
    let lost = result?.iter().any(|entry| entry.error.is_some());
    Ok(if lost { End::Partial } else { End::Done })
}

/// The entries of a status with what became of those that were tried again. What is lost and was not tried is not in the index any more.
fn with_results(before: &[RepositoryInfo], tried: &[RepositoryInfo], own: &str) -> Vec<RepositoryInfo> {
    let now = |entry: &RepositoryInfo| match tried.iter().find(|one| same(one, entry, own)) {
        Some(result) => Some(result.clone()),
        None => Some(entry.clone()).filter(|entry| entry.error.is_none()),
    };
    before.iter().filter_map(now).collect()
}

/// Whether an entry of the status and one of the index are of one Repository. The index may leave the namespace out: then it is the storage's `own`,
/// or the one that is in the directory, which only the status has.
fn same(one: &RepositoryInfo, other: &RepositoryInfo, own: &str) -> bool {
    let placed = |entry: &RepositoryInfo| {
        let namespace = entry.namespace.clone().or_else(|| Some(own.to_owned()));
        RepositoryInfo { namespace, ..entry.clone() }
    };
    files::same(&placed(one), &placed(other)) || (one.name == other.name && files::same_directory(one, other))
}

/// Whether the Secret is there, if the storage names one.
fn secret_found(job: &Job, object: &BackupStorage, namespace: &str) -> Result<Option<Change>, JobError> {
    let Some(name) = object.spec.storage.secret_name() else { return Ok(None) };
    match job.cluster.secret(namespace, name) {
        Ok(Some(_)) => Ok(Some(BACKEND_SECRET_FOUND.holds())),
        Ok(None) => Ok(Some(BACKEND_SECRET_FOUND.fails_because(format!(
            "Secret {name} not found in namespace {namespace}; create it, or correct secretName"
        )))),
        Err(error) if error.kind() == ErrorKind::Denied => {
            Ok(Some(BACKEND_SECRET_FOUND.fails_because(facts::error_text(&error.to_string()))))
        }
        Err(error) => Err(error.into()),
    }
}

/// The repositories in the storage, or those of them that are `lost`, each with what became of its objects.
fn initialize(
    job: &Job,
    namespace: &str,
    name: &str,
    lost: Option<&[RepositoryInfo]>,
) -> Result<Vec<RepositoryInfo>, JobError> {
    let storage = files::open(job, namespace, name)?;
    let lock = storage.lock_index();
    let index = match storage.read_index()? {
        Some(index) => index,
        None if storage.replace_index(&files::new_index(), &IndexVersion::Absent)? => return Ok(Vec::new()),
        // Somebody was faster.
        None => storage.read_index()?.unwrap_or_else(files::new_index),
    };
    drop(lock);
    let wanted = |entry: &RepositoryInfo| lost.is_none_or(|lost| lost.iter().any(|one| same(one, entry, namespace)));
    // There may be very many files.
    let storage = files::open_until(job, namespace, name, &job.cancel)?;
    let sync = Sync { job, storage: &storage, namespace, name };
    Ok(index.repositories.into_iter().filter(wanted).map(|entry| sync.bring_back(entry)).collect())
}

/// Whether an error is not one of the file or the object at hand, so that the next one would meet it too.
fn concerns_all(error: &JobError) -> bool {
    let denied = matches!(error, JobError::Resolve(error) if error.kind() == ErrorKind::Denied);
    denied || error.is_retryable()
}

/// Makes the objects of one storage's repositories.
struct Sync<'a> {
    job: &'a Job,
    storage: &'a Storage,
    namespace: &'a str,
    name: &'a str,
}

impl Sync<'_> {
    /// The entry with the result.
    fn bring_back(&self, mut entry: RepositoryInfo) -> RepositoryInfo {
        let result = self.try_bring_back(&mut entry);
        entry.synced = Some(result.is_ok());
        entry.error = result.err().map(|error| {
            tracing::error!("repository {}: {error}", entry.name.as_deref().unwrap_or_default());
            facts::error_text(&error.to_string())
        });
        entry
    }

    fn try_bring_back(&self, entry: &mut RepositoryInfo) -> Result<(), JobError> {
        let directory = entry.path.clone().unwrap_or_default();
        let stored = self.storage.read_repository(&directory)?.ok_or_else(|| {
            JobError::refused(
                format!("the repository in {directory} is not brought back"),
                format!("there is no repository.yaml in it, in {}", self.storage.location()),
                "apply a BackupConfiguration that writes there, or remove the entry from metadata.yaml",
            )
        })?;
        let namespace = entry.namespace.take().or(stored.namespace()).unwrap_or_else(|| self.namespace.to_owned());
        entry.namespace = Some(namespace);
        let repository = self.repository(stored, entry)?;
        let names = self.storage.snapshot_names(&directory)?;
        let (mut lost, mut why) = (0_usize, Vec::new());
        for name in &names {
            let Err(error) = self.try_snapshot(&directory, name, &repository) else { continue };
            if concerns_all(&error) || self.job.cancel.is_cancelled() {
                return Err(error);
            }
            tracing::error!("Snapshot {name} of repository {}: {error}", repository.name_any());
            lost += 1;
            if why.len() < TOLD {
                why.push(format!("{name}: {error}"));
            }
        }
        if lost == 0 {
            return Ok(());
        }
        Err(JobError::refused(
            format!("{lost} of {} Snapshots are not brought back", names.len()),
            why.join("; "),
            "the others are there; correct these files, or remove them",
        ))
    }

    fn try_snapshot(&self, directory: &str, name: &str, repository: &Repository) -> Result<(), JobError> {
        match self.storage.read_snapshot(directory, name)? {
            Some(snapshot) => self.snapshot(snapshot, repository),
            // Removed since it was listed.
            None => Ok(()),
        }
    }

    /// The Repository in the cluster, which may have been there all the time.
    fn repository(&self, stored: Repository, entry: &RepositoryInfo) -> Result<Repository, JobError> {
        let objects = self.job.objects();
        let namespace = entry.namespace.clone().unwrap_or_default();
        let name = stored.name_any();
        if let Some(existing) = objects.get::<Repository>(&namespace, &name)? {
            let (owner, storage) = files::storage_of(&existing)?;
            let here = (owner.as_str(), storage.as_str()) == (self.namespace, self.name)
                && files::same_directory(&files::entry(&existing)?, entry);
            if !here {
                return Err(JobError::refused(
                    format!("Repository {namespace}/{name} is not brought back"),
                    "there is one of that name that is somewhere else",
                    "delete that one, or leave this one where it is",
                ));
            }
            if existing.metadata.deletion_timestamp.is_some() {
                return Err(JobError::refused(
                    format!("Repository {namespace}/{name} is not brought back"),
                    "it is being deleted",
                    "nothing is to be done: when it is gone it is tried again, if its data is still there",
                ));
            }
            return Ok(existing);
        }
        let mut object = Repository::new(&name, stored.spec);
        object.metadata = files::portable(&stored.metadata);
        object.metadata.namespace = Some(namespace.clone());
        object.metadata.creation_timestamp = None;
        // Who brings data back has not decided that it may go: that is said again by a BackupConfiguration, or by hand.
        object.spec.deletion_policy = DeletionPolicy::Delete;
        // The storage may have another name than where the file was written.
        object.spec.storage_ref =
            Some(ObjectReference { namespace: Some(self.namespace.to_owned()), name: self.name.to_owned() });
        objects.create(&object, false)?;
        if let Some(state) = stored.status {
            let fields = status::repository(&state);
            self.job.edit_status::<Repository>(&namespace, &name, |_| Some(fields.clone()))?;
        }
        tracing::info!("Repository {namespace}/{name} is brought back");
        self.job.required(&namespace, &name)
    }

    /// Makes a Snapshot with its status, unless it is there.
    fn snapshot(&self, stored: Snapshot, repository: &Repository) -> Result<(), JobError> {
        let (namespace, name) = (repository.namespace().unwrap_or_default(), stored.name_any());
        let mut object = Snapshot::new(&name, stored.spec);
        object.spec.deletion_policy = DeletionPolicy::Delete;
        object.metadata = files::portable(&stored.metadata);
        object.metadata.namespace = Some(namespace.clone());
        object.metadata.creation_timestamp = None;
        let labels = object.metadata.labels.get_or_insert_default();
        labels.entry(meta::label::REPOSITORY_NAME.to_owned()).or_insert_with(|| repository.name_any());
        object.metadata.owner_references = repository.uid().map(|uid| {
            vec![OwnerReference {
                api_version: Repository::api_version(&()).into_owned(),
                kind: Repository::kind(&()).into_owned(),
                name: repository.name_any(),
                uid,
                controller: Some(true),
                block_owner_deletion: None,
            }]
        });
        let (of, id) = (object.spec.repository.clone(), object.spec.snapshot_id.clone());
        if self.job.objects().create(&object, false)?.is_none() {
            let there: Snapshot = self.job.required(&namespace, &name)?;
            if (&there.spec.repository, &there.spec.snapshot_id) != (&of, &id) {
                return Err(JobError::refused(
                    format!("Snapshot {namespace}/{name} is not brought back"),
                    "there is one of that name that is another",
                    "delete that one, or leave this one where it is",
                ));
            }
        }
        let Some(state) = stored.status else { return Ok(()) };
        let mut fields = json!(state);
        if let Value::Object(fields) = &mut fields {
            fields.retain(|_, value| !value.is_null());
        }
        // A status that is there is newer than the file, or the same.
        self.job.edit_status::<Snapshot>(&namespace, &name, |now| {
            let unknown = now.status.as_ref().is_none_or(|status| status.components.is_empty());
            unknown.then(|| fields.clone())
        })?;
        Ok(())
    }
}
