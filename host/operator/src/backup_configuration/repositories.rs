//! The Repositories of a BackupConfiguration.

use std::collections::{BTreeMap, BTreeSet};

use coffer_api::core::{BackupConfiguration, RepositoryDeletionPolicy};
use coffer_api::storage::Repository;
use kube::ResourceExt as _;

use super::all_repositories;
use super::view::View;
use crate::apply;
use crate::build;
use crate::context::Context;
use crate::error::Error;

/// Creates the Repositories whose storage can be used, and corrects what may change of those that exist.
pub(super) async fn ensure(view: &View, context: &Context) -> Result<(), Error> {
    let policies = policies(&view.configuration);
    let mut made = BTreeSet::new();
    for (_, reference, backend) in view.references() {
        let (Some(name), Some(backend)) = (&reference.name, backend) else { continue };
        let (Some(storage), Some(object)) = (&backend.storage.reference, &backend.storage.object) else { continue };
        let existing = view.repositories.get(name);
        let is_going = existing.is_some_and(|existing| existing.metadata.deletion_timestamp.is_some());
        if is_going || object.metadata.deletion_timestamp.is_some() || backend.storage.forbidden {
            continue;
        }
        let policy = policies.get(name).copied().flatten();
        let wanted = build::repository::build(&view.configuration, reference, storage, policy);
        if existing.is_none() {
            // Another session names it too.
            if !made.insert(name) {
                continue;
            }
            // What the cache does not know was not compared with what is wanted.
            if apply::read::<Repository>(&context.client, &view.namespace, name).await?.is_some() {
                return Err(Error::Waiting(format!("Repository {}/{name} has just appeared", view.namespace)));
            }
        }
        apply::ensure(&context.client, existing.map(AsRef::as_ref), wanted).await?;
    }
    Ok(())
}

/// What becomes of each Repository with its configuration. Where sessions disagree, what keeps more wins.
pub(super) fn policies(configuration: &BackupConfiguration) -> BTreeMap<String, Option<RepositoryDeletionPolicy>> {
    let mut policies: BTreeMap<String, Option<RepositoryDeletionPolicy>> = BTreeMap::new();
    for reference in all_repositories(configuration) {
        let Some(name) = reference.name.clone() else { continue };
        policies
            .entry(name)
            .and_modify(|policy| *policy = gentler(*policy, reference.deletion_policy))
            .or_insert(reference.deletion_policy);
    }
    policies
}

fn gentler(
    one: Option<RepositoryDeletionPolicy>,
    other: Option<RepositoryDeletionPolicy>,
) -> Option<RepositoryDeletionPolicy> {
    use RepositoryDeletionPolicy::{Delete, Retain, WipeOut};
    match (one?, other?) {
        (Retain, _) | (_, Retain) => Some(Retain),
        (Delete, _) | (_, Delete) => Some(Delete),
        (WipeOut, WipeOut) => Some(WipeOut),
    }
}

/// Whether another BackupConfiguration uses the Repository too.
pub(super) fn is_shared(view: &View, repository: &str, context: &Context) -> bool {
    let ours = view.configuration.name_any();
    context
        .stores
        .configurations
        .find(|other| {
            other.metadata.namespace.as_deref() == Some(&view.namespace)
                && other.name_any() != ours
                && all_repositories(other).any(|one| one.name.as_deref() == Some(repository))
        })
        .is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use RepositoryDeletionPolicy::{Delete, Retain, WipeOut};
    use rstest::rstest;

    #[rstest]
    #[case(Some(WipeOut), Some(WipeOut), Some(WipeOut))]
    #[case(Some(WipeOut), Some(Delete), Some(Delete))]
    #[case(Some(Delete), Some(Retain), Some(Retain))]
    #[case(Some(WipeOut), Some(Retain), Some(Retain))]
    #[case(Some(WipeOut), None, None)]
    #[case(None, None, None)]
    fn what_keeps_more_wins(
        #[case] one: Option<RepositoryDeletionPolicy>,
        #[case] other: Option<RepositoryDeletionPolicy>,
        #[case] expected: Option<RepositoryDeletionPolicy>,
    ) {
        assert_eq!(gentler(one, other), expected);
        assert_eq!(gentler(other, one), expected);
    }
}
