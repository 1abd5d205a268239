//! Usage policies: which namespaces may refer to an object.

use coffer_api::shared::UsagePolicy;
use coffer_api::usage::{allowed, refusal};

use crate::error::{ErrorKind, ResolveError};
use crate::reader::Reader;

/// Fails unless `namespace` may refer to the object.
pub(crate) fn check(
    reader: &dyn Reader,
    policy: Option<&UsagePolicy>,
    (kind, object_namespace, name): (&str, &str, &str),
    namespace: &str,
) -> Result<(), ResolveError> {
    let what = || refusal(kind, object_namespace, name, namespace);
    match allowed(policy, object_namespace, namespace, || reader.namespace_labels(namespace))? {
        Some(true) => Ok(()),
        Some(false) => Err(ResolveError::new(
            ErrorKind::NotAllowed,
            what(),
            "its usagePolicy does not include the namespace",
            "allow it there with `spec.usagePolicy.allowedNamespaces`, or refer to another one",
        )),
        None => Err(ResolveError::new(
            ErrorKind::NotAllowed,
            what(),
            format!("it selects namespaces by label, and Namespace {namespace} is not in {}", reader.place()),
            format!("add the manifest of Namespace {namespace} with its labels"),
        )),
    }
}
