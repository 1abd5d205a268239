//! The CustomResourceDefinitions of all kinds: what the derive macros say, a schema that an API server takes, and rules
//! (CEL) for what must hold within one object.
//!
//! `host/deploy/crds` holds them as files; a test compares the two, and writes the files with `COFFER_BLESS=1`.

mod constraint;
mod rules;
mod schema;

use kube::CustomResourceExt;
use schemars::JsonSchema;
use serde_json::{Value, json};

use self::constraint::Constraint;
pub use self::constraint::ConstraintError;
use crate::addons::{Addon, Function};
use crate::appcatalog::AppBinding;
use crate::core::{
    BackupBatch, BackupBlueprint, BackupConfiguration, BackupSession, BackupVerificationSession, BackupVerifier,
    HookTemplate, RestoreSession,
};
use crate::storage::{BackupStorage, Repository, RetentionPolicy, Snapshot};

/// One CustomResourceDefinition.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// Its name: `addons.addons.kubestash.com`.
    pub name: String,
    /// Its file: `addons.kubestash.com_addons.yaml`.
    pub file: String,
    /// The kind that it defines.
    pub kind: String,
    /// The whole object.
    pub object: Value,
}

impl Definition {
    /// The schema of the objects.
    pub fn schema(&self) -> Option<&Value> {
        self.object.pointer(SCHEMA)
    }
}

const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema";

/// A definition that cannot be made; a mistake in this crate.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// A rule or a bound has no place in the schema.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// The derived definition cannot be written.
    #[error("a derived CustomResourceDefinition cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// All definitions, by group and kind.
pub fn definitions() -> Result<Vec<Definition>, DefinitionError> {
    Ok(vec![
        definition::<Addon>(&[])?,
        definition::<Function>(rules::FUNCTION)?,
        definition::<AppBinding>(rules::APP_BINDING)?,
        definition::<BackupBatch>(rules::BACKUP_BATCH)?,
        definition::<BackupBlueprint>(rules::BACKUP_BLUEPRINT)?,
        definition::<BackupConfiguration>(rules::BACKUP_CONFIGURATION)?,
        definition::<BackupSession>(rules::BACKUP_SESSION)?,
        definition::<BackupVerificationSession>(rules::BACKUP_VERIFICATION_SESSION)?,
        definition::<BackupVerifier>(rules::BACKUP_VERIFIER)?,
        definition::<HookTemplate>(rules::HOOK_TEMPLATE)?,
        definition::<RestoreSession>(rules::RESTORE_SESSION)?,
        definition::<BackupStorage>(rules::BACKUP_STORAGE)?,
        definition::<Repository>(rules::REPOSITORY)?,
        definition::<RetentionPolicy>(rules::RETENTION_POLICY)?,
        definition::<Snapshot>(rules::SNAPSHOT)?,
    ])
}

fn definition<T: CustomResourceExt + JsonSchema>(constraints: &[Constraint]) -> Result<Definition, DefinitionError> {
    let crd = T::crd();
    let names = &crd.spec.names;
    let (kind, file) = (names.kind.clone(), format!("{}_{}.yaml", crd.spec.group, names.plural));
    let mut schema = schema::structural::<T>();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), json!(format!("{kind} of group {}.", crd.spec.group)));
    }
    for constraint in constraints {
        constraint.apply(&mut schema, &kind)?;
    }
    let mut object = serde_json::to_value(&crd)?;
    if let Some(place) = object.pointer_mut(SCHEMA) {
        *place = schema;
    }
    Ok(Definition { name: T::crd_name().to_owned(), file, kind, object })
}
