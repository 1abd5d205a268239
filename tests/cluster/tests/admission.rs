//! What the API server itself lets in.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use coffer_test_cluster::manifests::{self, Mode};
use coffer_test_cluster::wait::eventually;
use coffer_test_cluster::{ControlPlane, Namespace};
use k8s_openapi::api::core::v1::Namespace as Namespaces;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use crate::world::install;

/// Pods that run jobs of ours must be let in here.
pub const RESTRICTED: (&str, &str) = ("pod-security.kubernetes.io/enforce", "restricted");

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// The generated CRDs, some megabytes of YAML.
fn crds() -> &'static [DynamicObject] {
    static CRDS: OnceLock<Vec<DynamicObject>> = OnceLock::new();
    CRDS.get_or_init(|| manifests::read(&folder("host/deploy/crds")).unwrap())
}

/// Applies the generated CRDs and waits until the server serves them.
async fn apply_crds(client: &Client) {
    assert_eq!(crds().len(), 15, "not all kinds");
    manifests::apply_all(client, crds(), "default").await.unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds() {
        let name = crd.name_any();
        let what = format!("the CRD {name} is established");
        let established = eventually(&what, || async {
            let conditions = api.get(&name).await.ok()?.status?.conditions?;
            let bad = conditions.iter().find(|condition| condition.type_ == "NonStructuralSchema");
            assert!(bad.is_none(), "{name}: {bad:?}");
            conditions.into_iter().find(|condition| condition.type_ == "Established" && condition.status == "True")
        });
        established.await;
    }
}

#[test]
fn crds_are_established() {
    let Some(plane) = ControlPlane::shared() else { return };
    plane.run(apply_crds(&plane.admin()));
}

/// Each kind as a user may write it.
#[test]
fn good_manifests_are_accepted() {
    let Some(plane) = ControlPlane::shared() else { return };
    plane.run(async {
        let client = plane.admin();
        apply_crds(&client).await;
        let files = manifests::files(&folder("tests/cluster/accepted")).unwrap();
        assert!(!files.is_empty());
        for file in files {
            for object in manifests::read(&file).unwrap() {
                ensure_namespace(&client, &object).await;
                let answer = manifests::apply(&client, &object, "default", Mode::DryRun).await;
                answer.unwrap_or_else(|error| panic!("{} was refused: {error:#}", file.display()));
            }
        }
    });
}

/// Each mistake that one object can hold, with the words that tell its author (`# refused: …` on the first line). Where a file has two objects, the
/// second is a change of the first that nobody may make.
#[test]
fn bad_manifests_are_refused_with_a_reason() {
    let Some(plane) = ControlPlane::shared() else { return };
    plane.run(async {
        let client = plane.admin();
        apply_crds(&client).await;
        let files = manifests::files(&folder("tests/cluster/refused")).unwrap();
        assert!(files.len() >= 40, "{} bad manifests are fewer than 40", files.len());
        let mut wrong = Vec::new();
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let expected = text.lines().next().and_then(|line| line.strip_prefix("# refused: ")).map(str::trim);
            let expected = expected.unwrap_or_else(|| panic!("{name} does not begin with `# refused: …`"));
            let objects = manifests::parse(&text).unwrap();
            let (object, before) = match objects.as_slice() {
                [object] => (object, None),
                [before, object] => (object, Some(before)),
                _ => panic!("{name} holds {} objects", objects.len()),
            };
            ensure_namespace(&client, object).await;
            if let Some(before) = before {
                manifests::apply(&client, before, "default", Mode::Real).await.unwrap();
                if let Some(status) = before.data.get("status") {
                    let api = manifests::api_of(&client, before, "default").await.unwrap();
                    let patch = Patch::Merge(serde_json::json!({ "status": status }));
                    api.patch_status(&before.name_any(), &PatchParams::default(), &patch).await.unwrap();
                }
            }
            match manifests::apply(&client, object, "default", Mode::DryRun).await {
                Ok(_) => wrong.push(format!("{name} was accepted")),
                Err(error) => {
                    let error = format!("{error:#}");
                    if !error.contains(expected) {
                        wrong.push(format!("{name} was refused, but without {expected:?}: {error}"));
                    }
                }
            }
            if let Some(before) = before {
                let api = manifests::api_of(&client, before, "default").await.unwrap();
                api.delete(&before.name_any(), &DeleteParams::default()).await.unwrap();
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// The API server refuses objects of namespaces that are not there before it looks at them.
async fn ensure_namespace(client: &Client, object: &DynamicObject) {
    let Some(name) = object.namespace() else { return };
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {name} }}\n");
    manifests::apply_all(client, &manifests::parse(&namespace).unwrap(), "").await.unwrap();
}

/// The control: the namespace's label bites, and a pod as we make them passes.
#[test]
fn restricted_namespaces_admit_restricted_pods_only() {
    let Some(plane) = ControlPlane::shared() else { return };
    plane.run(async {
        let namespace = Namespace::create(&plane, "restricted", &[RESTRICTED]).await.unwrap();
        let apply = |yaml: String| {
            let (client, namespace) = (plane.admin(), namespace.name());
            async move {
                let pod = manifests::parse(&yaml).unwrap().remove(0);
                manifests::apply(&client, &pod, namespace, Mode::DryRun).await
            }
        };
        apply(pod("good", "id", RESTRICTED_CONTEXT)).await.unwrap();
        let refused = format!("{:#}", apply(pod("bad", "id", "{}")).await.unwrap_err());
        assert!(refused.contains("violates PodSecurity \"restricted:"), "{refused}");
    });
}

/// The operator's own pod, where it is to run.
#[test]
fn the_operators_pod_is_admitted_where_it_is_installed() {
    let Some(plane) = ControlPlane::shared() else { return };
    plane.run(async {
        let deployment = install(&plane.admin()).await;
        let namespace = deployment.namespace().unwrap();
        let api: Api<Namespaces> = Api::all(plane.admin());
        let labels = api.get(&namespace).await.unwrap().metadata.labels.unwrap_or_default();
        assert_eq!(
            labels.get(RESTRICTED.0).map(String::as_str),
            Some(RESTRICTED.1),
            "the operator's namespace has to be restricted itself (deploy::workload::namespace)"
        );
        assert_admitted(&plane.admin(), &namespace, "operator", &deployment.data["spec"]["template"]).await;
    });
}

/// A restricted namespace lets a pod of this template in, and would not if it asked for more.
pub async fn assert_admitted(client: &Client, namespace: &str, what: &str, template: &Value) {
    let mut pod = template.clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = format!("tried-{what}").into();
    pod["metadata"]["namespace"] = namespace.into();
    // Jobs take their own accounts with them.
    pod["spec"]["serviceAccountName"] = "default".into();
    pod["spec"]["serviceAccount"] = "default".into();
    let try_it = async |pod: &Value| {
        let pod: DynamicObject = serde_json::from_value(pod.clone()).unwrap();
        manifests::apply(client, &pod, namespace, Mode::DryRun).await
    };
    let admitted = try_it(&pod).await;
    assert!(
        admitted.is_ok(),
        "the pod of {what} is refused where pods are restricted; see build::pod and deploy::workload: {:#}",
        admitted.unwrap_err()
    );
    for (field, value) in [("allowPrivilegeEscalation", true), ("runAsNonRoot", false)] {
        let mut worse = pod.clone();
        worse["spec"]["containers"][0]["securityContext"][field] = value.into();
        let refused = format!(
            "{:#}",
            try_it(&worse).await.expect_err("a pod that asks for more was let in, so the other proves nothing")
        );
        assert!(refused.contains("violates PodSecurity"), "{what}, {field}: {refused}");
    }
}

/// What `restricted` asks of a container.
pub const RESTRICTED_CONTEXT: &str = "{ runAsNonRoot: true, runAsUser: 65534, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, \
     capabilities: { drop: [ALL] }, seccompProfile: { type: RuntimeDefault } }";

/// A pod that runs a shell command in the image `system`.
pub fn pod(name: &str, command: &str, security: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  restartPolicy: Never\n  containers:\n    - name: main\n      image: system\n\
         \x20     command: [sh, -c, {command:?}]\n      securityContext: {security}\n"
    )
}
