//! The repositories of a plan: opened before anything else is touched, made when all else is known to be right.

use std::collections::BTreeMap;
use std::sync::Arc;

use coffer_api::plan::Destination;
use coffer_repository::{InitOptions, Repository, RepositoryError};
use coffer_storage::Storage;

use crate::backup::DestinationOutcome;
use crate::events::Event;
use crate::{Context, ExecutorError};

/// Two destinations in one place would write the same repository twice at once.
pub(crate) fn check_destinations(destinations: &[Destination]) -> Result<(), ExecutorError> {
    let mut seen = BTreeMap::new();
    for destination in destinations {
        let place = (&destination.storage.namespace, &destination.storage.name, destination.path.trim_matches('/'));
        if let Some(other) = seen.insert(place, &destination.repository) {
            return Err(ExecutorError::Destinations(format!(
                "the repositories {other:?} and {:?} are one and the same place ({}); give them different directories",
                destination.repository, destination.path
            )));
        }
    }
    Ok(())
}

/// The repositories that could be opened, each with its number in the plan.
pub(crate) type Opened = Vec<(usize, Arc<Repository>)>;
/// What is known of each destination of the plan so far.
pub(crate) type Outcomes = Vec<Option<DestinationOutcome>>;

/// The repositories of a plan on their way to be open.
///
/// One that does not exist yet is made last: what is wrong with the target or the parameters shows before, and leaves no empty repository.
pub(crate) struct Destinations<'a> {
    all: &'a [Destination],
    context: &'a Context,
    opened: Opened,
    missing: Vec<(usize, Storage)>,
    outcomes: Outcomes,
}

impl<'a> Destinations<'a> {
    /// Opens each repository that exists. One that cannot be opened is an outcome, unless it is the last hope.
    pub(crate) fn open(destinations: &'a [Destination], context: &'a Context) -> Result<Self, ExecutorError> {
        let outcomes = destinations.iter().map(|_| None).collect();
        let mut this = Self { all: destinations, context, opened: Vec::new(), missing: Vec::new(), outcomes };
        for (number, destination) in destinations.iter().enumerate() {
            if let Err(error) = this.open_one(number, destination) {
                this.failed(number, error);
            }
        }
        if this.opened.is_empty() && this.missing.is_empty() {
            return Err(first_error(this.outcomes.into_iter().flatten().collect()));
        }
        Ok(this)
    }

    fn open_one(&mut self, number: usize, destination: &Destination) -> Result<(), ExecutorError> {
        let name = &destination.repository;
        let storage = Storage::open(&destination.storage, self.context.local)
            .map_err(|source| ExecutorError::Storage { repository: name.clone(), source })?
            .subdirectory(&destination.path);
        let failed = |source: RepositoryError| ExecutorError::Repository { repository: name.clone(), source };
        if !Repository::exists(&storage).map_err(failed)? {
            self.missing.push((number, storage));
            return Ok(());
        }
        let repository = Repository::open(&storage, &destination.password).map_err(failed)?;
        self.context.events.event(Event::Repository { name, location: storage.location(), created: false });
        self.opened.push((number, Arc::new(repository)));
        Ok(())
    }

    /// Makes the repositories that are missing, and tells of those that the run goes on without.
    pub(crate) fn make_missing(mut self) -> Result<(Opened, Outcomes), ExecutorError> {
        for (number, storage) in std::mem::take(&mut self.missing) {
            let Some(destination) = self.all.get(number) else { continue };
            let name = &destination.repository;
            // Another run may have made it meanwhile.
            match Repository::open_or_init(&storage, &destination.password, &InitOptions::default()) {
                Ok(repository) => {
                    self.context.events.event(Event::Repository { name, location: storage.location(), created: true });
                    self.opened.push((number, Arc::new(repository)));
                }
                Err(source) => self.failed(number, ExecutorError::Repository { repository: name.clone(), source }),
            }
        }
        if self.opened.is_empty() {
            return Err(first_error(self.outcomes.into_iter().flatten().collect()));
        }
        self.opened.sort_by_key(|(number, _)| *number);
        for outcome in self.outcomes.iter().flatten() {
            if let Err(error) = &outcome.result {
                self.context.events.event(Event::Warning { message: &format!("going on without it: {error}") });
            }
        }
        Ok((self.opened, self.outcomes))
    }

    fn failed(&mut self, number: usize, error: ExecutorError) {
        if let (Some(slot), Some(destination)) = (self.outcomes.get_mut(number), self.all.get(number)) {
            *slot = Some(DestinationOutcome { repository: destination.repository.clone(), result: Err(error) });
        }
    }
}

pub(crate) fn first_error(outcomes: Vec<DestinationOutcome>) -> ExecutorError {
    outcomes
        .into_iter()
        .find_map(|outcome| outcome.result.err())
        .unwrap_or_else(|| ExecutorError::Destinations("the plan names no repository".to_owned()))
}
