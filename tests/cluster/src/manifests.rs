//! Manifests: read from YAML, applied to the API server as `kubectl apply --server-side` does.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams, TypeMeta},
    core::GroupVersionKind,
    discovery,
};
use serde_json::Value;

/// The field manager of everything that tests apply.
pub const MANAGER: &str = "coffer-test";
/// How many objects are created at the same time.
const AT_ONCE: usize = 8;

/// The objects of a YAML text, in its order; comments and empty documents are none.
pub fn parse(yaml: &str) -> Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    for document in yaml.split("\n---").map(|document| document.strip_prefix("---").unwrap_or(document)) {
        let value: Value = serde_saphyr::from_str(document).with_context(|| format!("not YAML:\n{document}"))?;
        if value.is_null() {
            continue;
        }
        objects.push(serde_json::from_value(value).with_context(|| format!("no Kubernetes object:\n{document}"))?);
    }
    Ok(objects)
}

/// The objects of a file, or of all `*.yaml` files of a folder in the order of their names.
pub fn read(path: &Path) -> Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    for file in files(path)? {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        objects.extend(parse(&text).with_context(|| format!("in {}", file.display()))?);
    }
    Ok(objects)
}

/// The file itself, or the `*.yaml` files of a folder in the order of their names.
pub fn files(path: &Path) -> Result<Vec<std::path::PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.into()]);
    }
    let entries = fs::read_dir(path).with_context(|| format!("cannot read the folder {}", path.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// How to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For real.
    Real,
    /// Validated, defaulted and admitted by the server, then forgotten.
    DryRun,
}

/// Applies one object; one without a namespace goes to `namespace` where its kind has namespaces. Unknown fields are refused. Returns what the server
/// made of it.
pub async fn apply(client: &Client, object: &DynamicObject, namespace: &str, mode: Mode) -> Result<DynamicObject> {
    let api = api_of(client, object, namespace).await?;
    let mut params = PatchParams::apply(MANAGER).force().validation_strict();
    params.dry_run = mode == Mode::DryRun;
    let mut object = object.clone();
    object.metadata.managed_fields = None;
    Ok(api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await?)
}

/// Applies objects in their order.
pub async fn apply_all(client: &Client, objects: &[DynamicObject], namespace: &str) -> Result<()> {
    for object in objects {
        let kind = object.types.as_ref().map_or("object", |types| &types.kind);
        apply(client, object, namespace, Mode::Real)
            .await
            .with_context(|| format!("cannot apply {kind} {}", object.name_any()))?;
    }
    Ok(())
}

/// Creates objects of one kind, some of them at the same time.
pub async fn create_all(api: &Api<DynamicObject>, objects: impl IntoIterator<Item = DynamicObject>) -> Result<()> {
    let params = PostParams::default();
    let each = stream::iter(objects).map(|object| {
        let params = &params;
        async move { api.create(params, &object).await.with_context(|| format!("cannot create {}", object.name_any())) }
    });
    each.buffer_unordered(AT_ONCE).try_for_each(async |_| Ok(())).await
}

/// The API of an object's kind, in its namespace if the kind has namespaces.
pub async fn api_of(client: &Client, object: &DynamicObject, namespace: &str) -> Result<Api<DynamicObject>> {
    let Some(TypeMeta { api_version, kind }) = &object.types else { bail!("the object has no kind") };
    let (resource, capabilities) = known(client, api_version, kind).await?;
    Ok(match capabilities.scope {
        discovery::Scope::Cluster => Api::all_with(client.clone(), &resource),
        discovery::Scope::Namespaced => {
            let namespace = object.namespace().unwrap_or_else(|| namespace.to_owned());
            Api::namespaced_with(client.clone(), &namespace, &resource)
        }
    })
}

/// An object as it is now; `None` if it is not there.
pub async fn get(
    client: &Client,
    api_version: &str,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<DynamicObject>> {
    Ok(api(client, api_version, kind, namespace).await?.get_opt(name).await?)
}

/// All objects of a kind in a namespace.
pub async fn list(client: &Client, api_version: &str, kind: &str, namespace: &str) -> Result<Vec<DynamicObject>> {
    Ok(api(client, api_version, kind, namespace).await?.list(&ListParams::default()).await?.items)
}

/// The API of a kind, in a namespace if it has any.
pub async fn api(client: &Client, api_version: &str, kind: &str, namespace: &str) -> Result<Api<DynamicObject>> {
    let types = TypeMeta { api_version: api_version.into(), kind: kind.into() };
    let mut object = DynamicObject::new("", &ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind)));
    object.types = Some(types);
    api_of(client, &object, namespace).await
}

/// The API of a kind in all namespaces.
pub async fn everywhere(client: &Client, api_version: &str, kind: &str) -> Result<Api<DynamicObject>> {
    let (resource, _) = known(client, api_version, kind).await?;
    Ok(Api::all_with(client.clone(), &resource))
}

/// What the server knows of a kind.
async fn known(client: &Client, api_version: &str, kind: &str) -> Result<(ApiResource, discovery::ApiCapabilities)> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    discovery::pinned_kind(client, &GroupVersionKind::gvk(group, version, kind))
        .await
        .with_context(|| format!("the server does not know {api_version} {kind}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn documents_are_separate_objects() {
        let yaml = "---\n# refused: nothing\napiVersion: v1\nkind: Secret\nmetadata: { name: a }\n---\n# only a comment\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: b\n";
        let names: Vec<_> = super::parse(yaml).unwrap().iter().map(kube::ResourceExt::name_any).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
