//! A BackupSession that the operator creates: the first backup, and the retry of a failed one.

use std::collections::BTreeMap;

use coffer_api::core::{BackupConfiguration, BackupSession, BackupSessionSpec, GROUP, Session};
use coffer_api::meta::label;
use coffer_api::names;
use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ObjectMeta;

use crate::build::owner;
use crate::error::Error;

/// Annotation: what the session was created for. Two causes cannot share a session.
pub(crate) const CAUSE: &str = "coffer.dev/cause";

/// Why the operator creates a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The BackupConfiguration became ready for the first time.
    First,
    /// The session of this name failed.
    RetryOf(String),
}

impl Cause {
    /// The value of [`CAUSE`].
    pub(crate) fn text(&self) -> String {
        match self {
            Self::First => "first-backup".to_owned(),
            Self::RetryOf(name) => format!("retry-of/{name}"),
        }
    }
}

/// A BackupSession whose name comes from its cause: `moment` is when the configuration was created, or when the retry
/// was due, never the time of the call.
pub(crate) fn build(
    configuration: &BackupConfiguration,
    session: &Session,
    cause: &Cause,
    moment: Timestamp,
    retry_left: i32,
) -> Result<BackupSession, Error> {
    let configuration_name = configuration.name_any();
    let session_name = session.name.clone().unwrap_or_default();
    Ok(BackupSession {
        metadata: ObjectMeta {
            name: Some(names::backup_session(&configuration_name, &session_name, moment.as_second())),
            namespace: configuration.namespace(),
            labels: Some(BTreeMap::from([(label::INVOKER_NAME.to_owned(), names::valid(&[&configuration_name]))])),
            annotations: Some(BTreeMap::from([(CAUSE.to_owned(), cause.text())])),
            owner_references: Some(vec![owner(configuration)?]),
            ..ObjectMeta::default()
        },
        spec: BackupSessionSpec {
            invoker: Some(TypedLocalObjectReference {
                api_group: Some(GROUP.to_owned()),
                kind: "BackupConfiguration".to_owned(),
                name: configuration_name,
            }),
            session: Some(session_name),
            retry_left: Some(retry_left),
            backup_timeout: session.backup_timeout.clone(),
        },
        status: None,
    })
}
