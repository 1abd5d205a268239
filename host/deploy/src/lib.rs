//! What is installed into a cluster, as manifests: the CRDs, the rights, the operator and the catalog.
//!
//! `coffer install` prints [`manifests`]; the Helm chart in `chart/` has templates that are made of the same objects ([`templates`]). The files
//! in this folder are generated, and a test holds them against the code.

mod chart;
pub mod rbac;
mod workload;

use std::collections::BTreeMap;

use coffer_api::crd::definitions;
use serde::Serialize;
use serde_json::Value;

pub use chart::{Template, templates};
pub use workload::LISTEN;

/// Addons and Functions of the built-in components, as `coffer addon catalog` prints them.
pub const CATALOG: &str = include_str!("../catalog.yaml");

/// The image of this version.
pub const IMAGE: &str = concat!("ghcr.io/coffer-backup/coffer:", env!("CARGO_PKG_VERSION"));
/// The namespace of the operator.
pub const NAMESPACE: &str = "coffer";

/// What may be chosen of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Namespace of the operator.
    pub namespace: String,
    /// Image of the operator and of all Jobs.
    pub image: String,
    /// When nodes pull it: `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: String,
    /// How many operators run; one leads.
    pub replicas: i32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: NAMESPACE.to_owned(),
            image: IMAGE.to_owned(),
            pull_policy: "IfNotPresent".to_owned(),
            replicas: 2,
        }
    }
}

/// An object that cannot be written as YAML; never in practice.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// A CRD.
    #[error(transparent)]
    Definition(#[from] coffer_api::crd::DefinitionError),
    /// As JSON.
    #[error("a manifest cannot be made: {0}")]
    Json(#[from] serde_json::Error),
    /// As YAML.
    #[error("a manifest cannot be written: {0}")]
    Yaml(#[from] serde_saphyr::SerializeError),
}

/// Everything, in an order in which it can be applied, as one text of several documents.
pub fn manifests(settings: &Settings) -> Result<String, DeployError> {
    let documents = [
        yaml(&[value(&workload::namespace(settings))?])?,
        crds()?,
        yaml(&rights(&settings.namespace)?)?,
        yaml(&operator(settings)?)?,
        CATALOG.to_owned(),
    ];
    Ok(documents.join("---\n"))
}

/// The CRDs alone. `kubectl apply` asks for every kind before it applies anything, so they have to be there before the catalog is sent.
pub fn crds() -> Result<String, DeployError> {
    let all: Vec<_> = definitions()?.into_iter().map(|definition| definition.object).collect();
    yaml(&all)
}

/// The rights of the operator, which runs in this namespace, and of its Jobs, as one text.
pub fn rights_of(namespace: &str) -> Result<String, DeployError> {
    yaml(&rights(namespace)?)
}

fn rights(namespace: &str) -> Result<Vec<Value>, DeployError> {
    let mut objects = Vec::new();
    for role in rbac::cluster_roles() {
        objects.push(value(&role)?);
    }
    for binding in rbac::cluster_role_bindings(namespace) {
        objects.push(value(&binding)?);
    }
    let (role, binding) = rbac::own(namespace);
    objects.push(value(&role)?);
    objects.push(value(&binding)?);
    Ok(objects)
}

/// What runs.
fn operator(settings: &Settings) -> Result<Vec<Value>, DeployError> {
    Ok(vec![
        value(&workload::service_account(settings))?,
        value(&workload::service(settings))?,
        value(&workload::deployment(settings))?,
    ])
}

fn value(object: &impl Serialize) -> Result<Value, DeployError> {
    Ok(serde_json::to_value(object)?)
}

fn yaml(objects: &[Value]) -> Result<String, DeployError> {
    let documents = objects.iter().map(serde_saphyr::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(documents.join("---\n"))
}

/// The labels of everything that is installed.
fn labels() -> BTreeMap<String, String> {
    let mut labels = selector();
    labels.insert("app.kubernetes.io/managed-by".to_owned(), "coffer".to_owned());
    labels
}

/// The labels of the operator's pods.
fn selector() -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", "coffer"), ("app.kubernetes.io/component", "operator")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
