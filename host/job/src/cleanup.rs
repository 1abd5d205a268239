//! `cleanup`: the data of an object that is being deleted with the policy `WipeOut`.

use coffer_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use coffer_api::names::join_path;
use coffer_api::shared::DeletionPolicy;
use coffer_api::storage::{BackupStorage, Repository, RepositoryInfo, Snapshot};
use coffer_api::{ResourceExt as _, meta};
use coffer_resolve::objects::Namespaced;
use coffer_storage::Storage;

use crate::error::JobError;
use crate::forget::forget;
use crate::{End, Job, files};

/// What of a Repository's directory is a Repository's. Others may keep something beside it, or below it. What is said of the data goes before the data:
/// a wipe that is given up must not leave claims behind.
const FOLDERS: [&str; 2] = ["snapshots/", "repository/"];

/// The kinds that have data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiped {
    /// The repositories that a storage lists, and its index.
    BackupStorage,
    /// The restic repositories and the files of a Repository.
    Repository,
    /// The restic snapshots and the file of a Snapshot.
    Snapshot,
}

/// Removes the data of an object, and says so in an annotation of it.
///
/// # Errors
/// When the object is not being deleted with the policy `WipeOut`, or when something of it could not be removed.
pub fn cleanup(job: &Job, kind: Wiped, namespace: &str, name: &str) -> Result<End, JobError> {
    match kind {
        Wiped::BackupStorage => each::<BackupStorage>(
            job,
            namespace,
            name,
            |object| object.spec.deletion_policy,
            |object| wipe_storage(job, namespace, &object.name_any()),
        ),
        Wiped::Repository => each::<Repository>(
            job,
            namespace,
            name,
            |object| object.spec.deletion_policy,
            |object| wipe_repository(job, object),
        ),
        Wiped::Snapshot => each::<Snapshot>(
            job,
            namespace,
            name,
            |object| object.spec.deletion_policy,
            |object| wipe_snapshot(job, namespace, object),
        ),
    }
}

fn each<K: Namespaced>(
    job: &Job,
    namespace: &str,
    name: &str,
    policy: impl Fn(&K) -> DeletionPolicy,
    wipe: impl Fn(&K) -> Result<(), JobError>,
) -> Result<End, JobError> {
    let Some(object) = job.objects().get::<K>(namespace, name)? else {
        tracing::info!("{} {namespace}/{name} is gone already", K::kind(&()));
        return Ok(End::Done);
    };
    if object.annotations().get(meta::annotation::WIPED).is_some_and(|wiped| wiped == "true") {
        return Ok(End::Done);
    }
    check(&format!("{} {namespace}/{name}", K::kind(&())), object.meta(), policy(&object))?;
    wipe(&object)?;
    job.annotate::<K>(namespace, name, meta::annotation::WIPED, "true")?;
    Ok(End::Done)
}

/// Data goes by policy only, and never because somebody started this verb.
fn check(object: &str, metadata: &ObjectMeta, policy: DeletionPolicy) -> Result<(), JobError> {
    let refused =
        |why: &str, fix: &str| Err(JobError::refused(format!("the data of {object} is not removed"), why, fix));
    if metadata.deletion_timestamp.is_none() {
        return refused("the object is not being deleted", "delete it, if that is meant");
    }
    if policy != DeletionPolicy::WipeOut {
        return refused("its deletionPolicy is not WipeOut", "set spec.deletionPolicy, if that is meant");
    }
    Ok(())
}

fn wipe_snapshot(job: &Job, namespace: &str, snapshot: &Snapshot) -> Result<(), JobError> {
    let repository_name = snapshot.spec.repository.clone().unwrap_or_default();
    let repository: Repository = job.required(namespace, &repository_name)?;
    forget(job, &repository, &[snapshot])?;
    let storage = files::open_of(job, &repository)?;
    files::delete_snapshot(&storage, &repository, snapshot)
}

fn wipe_repository(job: &Job, repository: &Repository) -> Result<(), JobError> {
    let (namespace, name) = files::storage_of(repository)?;
    let storage = files::open_until(job, &namespace, &name, &job.cancel)?;
    wipe_entry(&storage, &files::entry(repository)?)
}

fn wipe_storage(job: &Job, namespace: &str, name: &str) -> Result<(), JobError> {
    let storage = files::open_until(job, namespace, name, &job.cancel)?;
    let Some(index) = storage.read_index()? else { return Ok(()) };
    for entry in &index.repositories {
        wipe_entry(&storage, entry)?;
    }
    remove(&storage, "metadata.yaml", false)
}

/// Removes one repository, its own file last: as long as that is there, the rest may be. Where it is not, nothing there is proven to be the
/// Repository's, and nothing goes.
fn wipe_entry(storage: &Storage, entry: &RepositoryInfo) -> Result<(), JobError> {
    let name = |namespace: Option<&str>, name: Option<&str>| {
        format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default())
    };
    let ours = name(entry.namespace.as_deref(), entry.name.as_deref());
    let refused =
        |why: String, fix: &str| JobError::refused(format!("the data of Repository {ours} is not removed"), why, fix);
    let Some(directory) = entry.path.as_deref() else {
        return Err(refused(
            format!("metadata.yaml of {} does not say in which directory it is", storage.location()),
            "add the path there, or remove the data by hand",
        ));
    };
    let Some(stored) = storage.read_repository(directory)? else {
        return files::unlist_in_index(storage, entry);
    };
    let theirs = name(stored.metadata.namespace.as_deref(), stored.metadata.name.as_deref());
    if theirs != ours {
        return Err(refused(
            format!("the directory {directory} of {} is the one of Repository {theirs}", storage.location()),
            "delete that one, or remove the data by hand",
        ));
    }
    let index = storage.read_index()?.map(|index| index.repositories).unwrap_or_default();
    if let Some(inner) = inside(entry, &index) {
        return Err(refused(
            format!(
                "Repository {} lies inside of its directory {directory}",
                name(inner.namespace.as_deref(), inner.name.as_deref())
            ),
            "delete that one first, or remove the data by hand",
        ));
    }
    for folder in FOLDERS {
        remove(storage, &format!("{}/", join_path(&[directory, folder])), true)?;
    }
    files::unlist_in_index(storage, entry)?;
    remove(storage, &join_path(&[directory, "repository.yaml"]), false)
}

/// Another repository whose directory would go with the folders of this one.
fn inside<'a>(entry: &RepositoryInfo, all: &'a [RepositoryInfo]) -> Option<&'a RepositoryInfo> {
    let path = |entry: &RepositoryInfo| format!("{}/", join_path(&[entry.path.as_deref().unwrap_or_default()]));
    let folders = FOLDERS.map(|folder| format!("{}/", join_path(&[entry.path.as_deref().unwrap_or_default(), folder])));
    all.iter()
        .filter(|other| !files::same_directory(other, entry))
        .find(|other| folders.iter().any(|folder| path(other).starts_with(folder)))
}

fn remove(storage: &Storage, path: &str, recursive: bool) -> Result<(), JobError> {
    let operator = storage.operator();
    let removed = Storage::runtime().block_on(operator.delete_with(path).recursive(recursive).into_future());
    Ok(removed.map_err(|error| storage.error(&format!("remove {path}"), &error))?)
}

#[cfg(test)]
mod tests {
    use coffer_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn repositories_inside_of_one_are_seen() {
        let at = |path: &str| RepositoryInfo { path: Some(path.to_owned()), ..RepositoryInfo::default() };
        for (outer, other, seen) in [
            ("/demo", "/demo/snapshots", true),
            ("demo/", "demo/repository/deep", true),
            ("/", "/repository", true),
            ("/demo", "/demo", false),
            ("/demo", "/demo2/repository", false),
            ("/demo", "/demo/inner", false),
            ("/demo/repository", "/demo", false),
        ] {
            assert_eq!(inside(&at(outer), &[at(other)]).is_some(), seen, "{other} in {outer}");
        }
    }

    #[test]
    fn data_goes_by_policy_only() {
        let going = ObjectMeta { deletion_timestamp: Some(Time(Timestamp::UNIX_EPOCH)), ..ObjectMeta::default() };
        let staying = ObjectMeta::default();
        for (metadata, policy, text) in [
            (&staying, DeletionPolicy::WipeOut, Some("not being deleted")),
            (&staying, DeletionPolicy::Delete, Some("not being deleted")),
            (&going, DeletionPolicy::Delete, Some("not WipeOut")),
            (&going, DeletionPolicy::WipeOut, None),
        ] {
            let result = check("Snapshot demo/s", metadata, policy);
            match text {
                None => result.unwrap(),
                Some(text) => {
                    let message = result.unwrap_err().to_string();
                    assert!(message.contains(text) && message.contains("Snapshot demo/s"), "{message}");
                }
            }
        }
    }
}
