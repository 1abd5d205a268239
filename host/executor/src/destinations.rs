//! The repositories of a plan: opened before anything else is touched, made when all else is known to be right.

use std::sync::Arc;

use coffer_api::cancel::Cancel;
use coffer_api::plan::Destination;
use coffer_repository::{InitOptions, Repository, RepositoryError};
use coffer_storage::Storage;

use crate::backup::DestinationOutcome;
use crate::events::Event;
use crate::{Context, ExecutorError};

/// Two destinations in one place would write the same repository twice at once, whatever they are called.
fn check_places(
    destinations: &[Destination],
    storages: &[Result<Storage, ExecutorError>],
) -> Result<(), ExecutorError> {
    let mut seen: Vec<(&Destination, &Storage)> = Vec::new();
    for (destination, storage) in destinations.iter().zip(storages) {
        let Ok(storage) = storage else { continue };
        if let Some((other, _)) = seen.iter().find(|(_, other)| storage.is_same_place(other)) {
            return Err(ExecutorError::Destinations(format!(
                "the repositories {:?} and {:?} are one and the same place ({}); give them different directories",
                other.repository,
                destination.repository,
                storage.location()
            )));
        }
        seen.push((destination, storage));
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
    run: &'a Cancel,
    opened: Opened,
    missing: Vec<(usize, Storage)>,
    outcomes: Outcomes,
}

impl<'a> Destinations<'a> {
    /// Opens each repository that exists. One that cannot be opened is an outcome, unless it is the last hope. `run` may be stopped at any time.
    pub(crate) fn open(
        destinations: &'a [Destination],
        context: &'a Context,
        run: &'a Cancel,
    ) -> Result<Self, ExecutorError> {
        let storages: Vec<_> = destinations.iter().map(|destination| storage(destination, context)).collect();
        check_places(destinations, &storages)?;
        let outcomes = destinations.iter().map(|_| None).collect();
        let mut this = Self { all: destinations, context, run, opened: Vec::new(), missing: Vec::new(), outcomes };
        for (number, (destination, storage)) in destinations.iter().zip(storages).enumerate() {
            let opened = storage.and_then(|storage| this.open_one(number, destination, storage));
            this.stopped(destination)?;
            if let Err(error) = opened {
                this.failed(number, error);
            }
        }
        if this.opened.is_empty() && this.missing.is_empty() {
            return Err(first_error(this.outcomes.into_iter().flatten().collect()));
        }
        Ok(this)
    }

    fn open_one(&mut self, number: usize, destination: &Destination, storage: Storage) -> Result<(), ExecutorError> {
        let name = &destination.repository;
        let found = Repository::find(&storage, &destination.password, self.run)
            .map_err(|source| ExecutorError::Repository { repository: name.clone(), source })?;
        let Some(repository) = found else {
            self.missing.push((number, storage));
            return Ok(());
        };
        self.context.events.event(Event::Repository { name, location: storage.location(), created: false });
        self.opened.push((number, Arc::new(repository)));
        Ok(())
    }

    /// An error when the run is to end.
    fn stopped(&self, destination: &Destination) -> Result<(), ExecutorError> {
        self.run.reason().map_or(Ok(()), |reason| {
            let repository = destination.repository.clone();
            Err(ExecutorError::Repository { repository, source: RepositoryError::Cancelled(reason) })
        })
    }

    /// Makes the repositories that are missing, and tells of those that the run goes on without.
    pub(crate) fn make_missing(mut self) -> Result<(Opened, Outcomes), ExecutorError> {
        for (number, storage) in std::mem::take(&mut self.missing) {
            let Some(destination) = self.all.get(number) else { continue };
            let name = &destination.repository;
            // Another run may have made it meanwhile. Once its making has begun, it is made.
            let made = match Repository::find(&storage, &destination.password, self.run) {
                Ok(None) => Repository::open_or_init(&storage, &destination.password, &InitOptions::default()),
                Ok(Some(repository)) => Ok(repository),
                Err(error) => Err(error),
            };
            self.stopped(destination)?;
            match made {
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

fn storage(destination: &Destination, context: &Context) -> Result<Storage, ExecutorError> {
    let opened = Storage::open(&destination.storage, context.local)
        .map_err(|source| ExecutorError::Storage { repository: destination.repository.clone(), source })?;
    Ok(opened.subdirectory(&destination.path))
}

pub(crate) fn first_error(outcomes: Vec<DestinationOutcome>) -> ExecutorError {
    outcomes
        .into_iter()
        .find_map(|outcome| outcome.result.err())
        .unwrap_or_else(|| ExecutorError::Destinations("the plan names no repository".to_owned()))
}
