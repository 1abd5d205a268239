//! `unlock` and `download`: what works on a storage, from this machine, with the objects and Secrets that the user may read in the cluster.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};

use coffer_api::plan::StorageConfig;
use coffer_api::shared::SnapshotPhase;
use coffer_api::size;
use coffer_api::storage::{Provider, Repository, Snapshot};
use coffer_executor::{Event, Events as _};
use coffer_plugin::DryRun;
use coffer_repository::{Entry, EntryKind, SnapshotChoice};
use coffer_resolve::cluster::Cluster;
use coffer_resolve::{ErrorKind, Object, ResolveError};

use super::{args, private_folder};
use crate::args::{Local, Unlock, Which};
use crate::command::{snapshots, upkeep};
use crate::context::{App, Place};
use crate::exit::{End, Failure, Outcome};
use crate::output::{counted, line};
use crate::progress::Reporter;

/// Removes locks of a Repository.
pub(super) fn unlock(cluster: &Cluster, namespace: &str, args: &args::Unlock, app: &App) -> Outcome {
    let which = (args.session.as_deref(), args.component.as_deref());
    let destinations = coffer_resolve::repository_by_name(cluster, (namespace, &args.repository), which)?;
    destinations.iter().try_for_each(|one| reachable(&one.storage, args.volume.local_root, app))?;
    let places: Vec<Place> = destinations.into_iter().map(Place::new).collect();
    if args.remove_all && places.len() > 1 {
        let known: Vec<_> = places
            .iter()
            .map(|place| format!("\n  --session {} --component {}", place.session, place.component))
            .collect();
        return Err(Failure::Usage(format!(
            "removing locks that are in use is for one restic repository at a time; choose it with one of:{}",
            known.concat()
        )));
    }
    let unlock =
        Unlock { remove_all: args.remove_all, dry_run: args.rehearsal.mode() != DryRun::None, which: Which::default() };
    upkeep::unlock_places(&places, &unlock, app)
}

/// Fetches the files of a Snapshot into a new folder, which appears when it is whole.
pub(super) fn download(cluster: &Cluster, namespace: &str, args: &args::Download, app: &App) -> Outcome {
    let snapshot: Snapshot = required(cluster, namespace, &args.snapshot)?;
    let parts = parts(&snapshot, &args.components)?;
    let repository = snapshot.spec.repository.clone().unwrap_or_default();
    let repository: Repository = required(cluster, namespace, &repository)?;
    let session = snapshot.spec.session.clone().unwrap_or_default();
    let folder = args.destination.clone().unwrap_or_else(|| PathBuf::from(&args.snapshot));
    if folder.exists() {
        return Err(Failure::Usage(format!(
            "{} is there already; name a new folder with --destination",
            folder.display()
        )));
    }
    let whole = NewFolder::create(&folder)
        .map_err(|error| Failure::File(format!("cannot make a folder beside {}", folder.display()), error))?;
    let reporter = Reporter::new(app.output, app.global.verbose > 0);
    let fetched = parts.iter().try_fold((0_u64, 0_u64), |(files, bytes), (component, id)| {
        let destination = coffer_resolve::destination(cluster, &repository, (&session, component))?;
        reachable(&destination.storage, args.volume.local_root, app)?;
        let fetch = Fetch { place: &Place::new(destination), below: args.path.as_deref(), reporter: &reporter, app };
        let more = fetch.run(id, &whole.path().join(component))?;
        Ok::<_, Failure>((files + more.0, bytes.saturating_add(more.1)))
    });
    reporter.finish();
    let (files, bytes) = fetched?;
    if files == 0 {
        return Err(Failure::Other(format!(
            "no file of Snapshot {} is at or below {:?}; leave --path out to get all of them",
            args.snapshot,
            args.path.as_deref().unwrap_or_default()
        )));
    }
    whole.keep(&folder).map_err(|error| Failure::File(format!("cannot name {}", folder.display()), error))?;
    line(&format!("{}, {} written to {}", counted(files, "file"), size::format(bytes), folder.display()));
    Ok(End::Done)
}

fn required<T: Object>(cluster: &Cluster, namespace: &str, name: &str) -> Result<T, Failure> {
    coffer_resolve::get(cluster, namespace, name)?.ok_or_else(|| {
        let kind = T::KIND.name();
        Failure::Manifests(ResolveError::new(
            ErrorKind::Missing,
            format!("{kind} {namespace}/{name} not found"),
            "it is not in the cluster",
            "correct the name (`kubectl coffer snapshots` lists them), or choose the namespace with -n",
        ))
    })
}

/// The components to fetch with the ids of their restic snapshots.
fn parts(snapshot: &Snapshot, wanted: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let status = snapshot.status.clone().unwrap_or_default();
    if status.phase != Some(SnapshotPhase::Succeeded) {
        let phase = status.phase.map_or_else(|| "not begun".to_owned(), |phase| format!("{phase:?}"));
        return Err(Failure::Other(format!(
            "the Snapshot is {phase}, and only one that Succeeded has files; choose another one"
        )));
    }
    let known: Vec<_> = status.components.keys().cloned().collect();
    let names = if wanted.is_empty() { known.as_slice() } else { wanted };
    let part = |name: &String| {
        let stats = status.components.get(name).map(|component| component.restic_stats.as_slice()).unwrap_or_default();
        let ids = stats.iter().filter_map(|one| one.summary.as_ref()?.id.as_deref()).filter(|id| !id.is_empty());
        let ids: Vec<_> = ids.collect();
        match ids.as_slice() {
            _ if stats.len() > 1 => Err(Failure::Other(format!(
                "component {name} of the Snapshot has {} restic snapshots, and this fetches components of one only; get each with \
                 `restic restore ID`, and other components with --component; its ids: {}",
                stats.len(),
                ids.join(", ")
            ))),
            // The name becomes that of a folder.
            [id] if leads_down(name) => Ok((name.clone(), (*id).to_owned())),
            _ => Err(Failure::Other(format!(
                "the Snapshot has no component {name} that can be fetched; it has: {}",
                known.join(", ")
            ))),
        }
    };
    names.iter().map(part).collect()
}

/// Refuses a storage that only the cluster can reach, and warns of one that is probably so.
fn reachable(storage: &StorageConfig, local: Option<Local>, app: &App) -> Result<(), Failure> {
    let this = format!("BackupStorage {}/{}", storage.namespace, storage.name);
    match storage.spec.provider() {
        Ok(Provider::Local(_)) if local.is_none() => Err(Failure::Other(format!(
            "{this} is out of reach: it is a volume of the cluster, which this machine does not have; mount the volume here at the storage's \
             mountPath and say --local-root mount-path, or run `coffer` in a pod that mounts it"
        ))),
        Ok(Provider::S3(s3)) if s3.endpoint.as_deref().is_some_and(is_inside) => {
            app.output.warning(&format!(
                "{this} is at {}, a name that is known inside the cluster; from here it needs a tunnel",
                s3.endpoint.as_deref().unwrap_or_default()
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether a host is a Service of a cluster by its name.
fn is_inside(endpoint: &str) -> bool {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or_default();
    let is_service = |name: &str| name.rsplit_once('.').is_some_and(|(_, last)| last == "svc");
    is_service(host) || host.strip_suffix(".cluster.local").is_some_and(is_service)
}

/// The files of one restic snapshot.
struct Fetch<'a> {
    place: &'a Place,
    /// Only what is at or below this path.
    below: Option<&'a str>,
    reporter: &'a Reporter,
    app: &'a App,
}

impl Fetch<'_> {
    /// Writes the files into a folder. Returns how many, and their bytes.
    fn run(&self, id: &str, folder: &Path) -> Result<(u64, u64), Failure> {
        let Self { place, reporter, app, .. } = *self;
        let repository = app.open(place)?;
        let snapshot = repository.snapshot(&SnapshotChoice::Id(id.to_owned())).map_err(|error| place.failed(error))?;
        let entries = repository.entries(&snapshot).map_err(|error| place.failed(error))?;
        let below = self.below.map_or("", |path| path.trim_matches('/'));
        let wanted: Vec<_> = entries.iter().filter(|entry| snapshots::is_below(&entry.path, below)).collect();
        let items = wanted.iter().filter(|entry| entry.kind == EntryKind::File).count();
        let bytes = wanted.iter().filter_map(|entry| entry.size).sum();
        reporter.event(Event::Planned { items, bytes: Some(bytes), workers: 1 });
        let (mut files, mut total) = (0_u64, 0_u64);
        for entry in wanted {
            if entry.kind == EntryKind::Other {
                app.output.warning(&format!("{} is neither a file nor a folder, and is left out", entry.path));
            }
            if entry.kind != EntryKind::File {
                continue;
            }
            let path = safe(folder, entry)?;
            let failed = |error| Failure::File(format!("cannot write {}", path.display()), error);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            let mut file = File::create_new(&path).map_err(failed)?;
            let mut write = |chunk: &[u8]| {
                reporter.event(Event::Bytes { count: chunk.len() as u64 });
                file.write_all(chunk).map_err(failed)
            };
            let bytes = snapshots::copy((&repository, place), &snapshot, &entry.path, app, &mut write)?;
            file.sync_all().map_err(failed)?;
            reporter.event(Event::ItemFinished { path: &entry.path, bytes });
            files += 1;
            total = total.saturating_add(bytes);
        }
        Ok((files, total))
    }
}

/// Where a file goes: never outside of the folder, whatever the repository says.
fn safe(folder: &Path, entry: &Entry) -> Result<PathBuf, Failure> {
    if leads_down(&entry.path) {
        Ok(folder.join(&entry.path))
    } else {
        Err(Failure::Other(format!("{:?} leads out of the folder; this is no snapshot of Coffer's", entry.path)))
    }
}

/// Whether a path leads down only, wherever it begins.
fn leads_down(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// A folder that takes its name when it is whole, and vanishes otherwise.
pub(super) struct NewFolder(Option<PathBuf>);

impl NewFolder {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".part-{}", std::process::id()));
        let temporary = path.with_file_name(name);
        private_folder(&temporary)?;
        Ok(Self(Some(temporary)))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    pub(super) fn keep(mut self, path: &Path) -> io::Result<()> {
        fs::rename(self.path(), path)?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if let Some(temporary) = &self.0 {
            // The error that led here says more than one about the remains.
            let _ = fs::remove_dir_all(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use coffer_api::cancel::Cancel;
    use coffer_api::plan::SecretData;
    use serde_json::json;

    use super::*;
    use crate::args::Cli;
    use crate::output::Output;

    #[test]
    fn names_of_services_are_inside() {
        for (endpoint, inside) in [
            ("http://minio.storage.svc:9000", true),
            ("minio.storage.svc.cluster.local", true),
            ("https://s3.eu-central-1.amazonaws.com", false),
            ("http://127.0.0.1:9000/svc", false),
        ] {
            assert_eq!(is_inside(endpoint), inside, "{endpoint}");
        }
    }

    #[test]
    fn a_volume_of_the_cluster_is_out_of_reach() {
        let app = App {
            global: Cli::parse_from(["coffer", "version"]).global,
            output: Output::new(false, true),
            cancel: Cancel::new(),
        };
        let spec = json!({ "provider": "local", "local": { "hostPath": { "path": "/x" }, "mountPath": "/backups" } });
        let storage = StorageConfig {
            name: "nfs".to_owned(),
            namespace: "demo".to_owned(),
            spec: serde_json::from_value(spec).unwrap(),
            secret: SecretData::default(),
        };
        let refused = reachable(&storage, None, &app).unwrap_err().to_string();
        assert!(refused.contains("BackupStorage demo/nfs") && refused.contains("--local-root mount-path"), "{refused}");
        assert!(reachable(&storage, Some(Local::MountPath), &app).is_ok());
    }

    #[test]
    fn a_component_of_several_restic_snapshots_is_refused() {
        let stored = |ids: &[&str]| {
            let stats: Vec<_> = ids.iter().map(|id| json!({ "summary": { "id": id } })).collect();
            json!({ "resticStats": stats })
        };
        let snapshot: Snapshot = serde_json::from_value(json!({
            "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot",
            "metadata": { "name": "old", "namespace": "demo" },
            "spec": { "snapshotID": "ULID", "repository": "r", "session": "daily" },
            "status": {
                "phase": "Succeeded",
                "components": { "dump": stored(&["aa"]), "files": stored(&["bb", "cc"]), "none": stored(&[]) },
            },
        }))
        .unwrap();
        let of = |names: &[&str]| parts(&snapshot, &names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        let refused = of(&[]).unwrap_err().to_string();
        for part in ["component files", "2 restic snapshots", "`restic restore ID`", "bb, cc"] {
            assert!(refused.contains(part), "{part} is missing in: {refused}");
        }
        assert_eq!(of(&["dump"]).unwrap(), [("dump".to_owned(), "aa".to_owned())]);
        assert!(of(&["none"]).unwrap_err().to_string().contains("no component none that can be fetched"));
    }

    #[test]
    fn files_stay_in_their_folder() {
        let entry = |path: &str| Entry { path: path.into(), kind: EntryKind::File, size: None, modified: None };
        let folder = Path::new("/x");
        assert_eq!(safe(folder, &entry("a/b.sql")).unwrap(), Path::new("/x/a/b.sql"));
        for path in ["../b", "a/../../b", "/etc/passwd", "./../b"] {
            assert!(safe(folder, &entry(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_folder_appears_when_it_is_whole() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("out");
        let names = || fs::read_dir(place.path()).unwrap().map(|one| one.unwrap().file_name()).collect::<Vec<_>>();
        drop(NewFolder::create(&target).unwrap());
        assert!(names().is_empty(), "{:?}", names());
        let folder = NewFolder::create(&target).unwrap();
        fs::write(folder.path().join("f"), "x").unwrap();
        assert!(!target.exists());
        folder.keep(&target).unwrap();
        assert_eq!(names(), ["out"]);
        assert_eq!(fs::read_to_string(target.join("f")).unwrap(), "x");
    }
}
