//! Where a control plane may be found, and the one loud line where there is none.

use std::{
    collections::BTreeSet,
    env,
    io::{self, Write as _},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// What the environment offers.
pub(crate) enum Cluster {
    /// Programs to start a control plane of our own from.
    Programs(Programs),
    /// A cluster that runs already, as this kubeconfig describes it.
    Running(PathBuf),
}

/// The programs of a control plane.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) etcd: PathBuf,
    pub(crate) api_server: PathBuf,
    pub(crate) controllers: Option<PathBuf>,
}

/// What there is; `None` if the environment names nothing, and then one line has been printed.
pub(crate) fn find() -> Option<Cluster> {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(kubeconfig) = named("KUBECONFIG").filter(|_| env::var("COFFER_E2E").is_ok_and(|value| value == "1")) {
        return Some(Cluster::Running(kubeconfig.into()));
    }
    let Some(folder) = named("KUBEBUILDER_ASSETS").map(PathBuf::from) else {
        skip(
            "no Kubernetes control plane: set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kube-controller-manager, or KUBECONFIG with COFFER_E2E=1",
        );
        return None;
    };
    let program = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
    let required = |name: &str| {
        program(name).unwrap_or_else(|| panic!("KUBEBUILDER_ASSETS is {}, where there is no {name}", folder.display()))
    };
    Some(Cluster::Programs(Programs {
        etcd: required("etcd"),
        api_server: required("kube-apiserver"),
        controllers: program("kube-controller-manager"),
    }))
}

/// Says, once for each reason and past the test harness's capture of output, that tests prove nothing here.
pub(crate) fn skip(reason: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(reason.to_owned()) {
        let _ = writeln!(io::stderr(), "\n!!!!!! CLUSTER TESTS SKIPPED: {reason} !!!!!!\n");
    }
}
