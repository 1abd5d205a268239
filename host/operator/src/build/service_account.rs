//! Who a Job is: a service account of its own, of the same name.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

use crate::build::settings::Settings;
use crate::build::{INVOKER, Invoker, labels};

/// The service account of a Job or CronJob; `None` if the user has named one.
pub(crate) fn build(
    namespace: &str,
    name: &str,
    invoker: &Invoker,
    owner: Option<OwnerReference>,
    settings: &Settings,
) -> Option<ServiceAccount> {
    if settings.service_account().is_some() {
        return None;
    }
    let mut annotations = settings.service_account_annotations.clone();
    annotations.insert(INVOKER.to_owned(), invoker.annotation());
    Some(ServiceAccount {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels(invoker, None, None)),
            annotations: Some(annotations),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    })
}
