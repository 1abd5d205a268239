//! `coffer snapshots`, `coffer ls` and `coffer dump`

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use coffer_api::size;
use coffer_repository::{
    DamagedSnapshot, Entry, EntryKind, Listing, Repository, RepositoryError, Snapshot, SnapshotChoice,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::each_there;
use crate::args::{Dump, Ls, Snapshots, Which};
use crate::context::{App, Place};
use crate::exit::{End, Failure, Outcome};
use crate::output::{Table, counted, line};

pub(crate) fn list(args: &Snapshots, app: &App) -> Outcome {
    let places = app.places(&args.which)?;
    each_there(app, &places, |place, repository| {
        let Listing { mut snapshots, damaged } = repository.listing().map_err(|error| place.failed(error))?;
        if let Some(latest) = args.latest {
            snapshots.drain(..snapshots.len().saturating_sub(latest));
        }
        if app.output.is_json() {
            for snapshot in &snapshots {
                app.output.object(&place.tag("snapshot", object(snapshot)));
            }
        } else {
            app.output.note(|| format!("{} at {}", place.label(), repository.location()));
            line(&table(&snapshots).render());
            app.output.note(|| format!("{}\n", counted(snapshots.len() as u64, "snapshot")));
        }
        Ok(warn_of_damaged(&damaged, place, app))
    })
}

/// Names the snapshots that cannot be read. The command did what it could without them.
pub(super) fn warn_of_damaged(damaged: &[DamagedSnapshot], place: &Place, app: &App) -> End {
    for one in damaged {
        app.output.warning(&format!("{}: {one}", place.label()));
    }
    if damaged.is_empty() { End::Done } else { End::Partial }
}

/// A table like restic's.
pub(super) fn table(snapshots: &[Snapshot]) -> Table {
    let mut table = Table::new(&["ID", "Time", "Host", "Tags", "Paths", "Size"], &[5]);
    for snapshot in snapshots {
        table.row([
            snapshot.short_id().to_owned(),
            time(snapshot.time),
            snapshot.host.clone(),
            snapshot.tags.join(","),
            snapshot.paths.join(","),
            snapshot.summary.as_ref().map(|summary| size::format(summary.bytes)).unwrap_or_default(),
        ]);
    }
    table
}

/// A snapshot for programs.
pub(super) fn object(snapshot: &Snapshot) -> Value {
    let summary = snapshot.summary.as_ref().map(|summary| {
        json!({
            "files": summary.files, "bytes": summary.bytes, "data_added": summary.added,
            "data_added_packed": summary.added_packed, "start_time": summary.started, "end_time": summary.ended,
        })
    });
    json!({
        "id": snapshot.id, "short_id": snapshot.short_id(), "time": snapshot.time, "host": snapshot.host,
        "tags": snapshot.tags, "paths": snapshot.paths, "program_version": snapshot.program, "summary": summary,
    })
}

/// In the time zone of this machine, as restic shows it.
fn time(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

pub(crate) fn files(args: &Ls, app: &App) -> Outcome {
    let (place, repository, snapshot) = find(&args.snapshot, &args.which, app)?;
    let entries = repository.entries(&snapshot).map_err(|error| place.failed(error))?;
    let below = args.path.as_deref().map(|path| path.trim_matches('/'));
    let shown: Vec<&Entry> =
        entries.iter().filter(|entry| below.is_none_or(|path| is_below(&entry.path, path))).collect();
    if let Some(path) = below.filter(|path| shown.is_empty() && !path.is_empty()) {
        let missing = RepositoryError::PathNotFound { snapshot: snapshot.short_id().to_owned(), path: path.to_owned() };
        return Err(place.failed(missing));
    }
    app.output.note(|| format!("snapshot {} of {}", snapshot.short_id(), time(snapshot.time)));
    let mut table = Table::new(&["Size", "Time", "Path"], &[0]);
    for entry in shown {
        if app.output.is_json() {
            app.output.object(&json!({
                "message_type": "node", "path": entry.path, "type": kind(entry.kind), "size": entry.size,
                "mtime": entry.modified,
            }));
        } else if args.long {
            let size = match (entry.kind, entry.size) {
                (_, Some(size)) => size::format(size),
                (EntryKind::File, None) => "damaged".to_owned(),
                _ => String::new(),
            };
            table.row([size, entry.modified.map(time).unwrap_or_default(), name(entry)]);
        } else {
            line(&name(entry));
        }
    }
    if args.long && !app.output.is_json() {
        line(&table.render());
    }
    Ok(End::Done)
}

pub(crate) fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty() || path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn name(entry: &Entry) -> String {
    if entry.kind == EntryKind::Folder { format!("{}/", entry.path) } else { entry.path.clone() }
}

fn kind(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Folder => "dir",
        EntryKind::Other => "other",
    }
}

pub(crate) fn dump(args: &Dump, app: &App) -> Outcome {
    if let Some(path) = args.target.as_deref().filter(|path| is_taken(path)) {
        return Err(Failure::Usage(format!("{} is there already; name a new file with --target", path.display())));
    }
    let (place, repository, snapshot) = find(&args.snapshot, &args.which, app)?;
    let read = |sink: Sink| copy((&repository, &place), &snapshot, &args.path, app, sink);
    match &args.target {
        None => {
            // Not the end of the process: the repository's lock must go first.
            let failed = |error| Failure::File("cannot write to standard output".to_owned(), error);
            let mut out = io::stdout().lock();
            read(&mut |chunk| out.write_all(chunk).map_err(failed))?;
            out.flush().map_err(failed)?;
        }
        Some(path) => {
            let failed = |error| Failure::File(format!("cannot write {}", path.display()), error);
            let mut file = NewFile::create(path).map_err(failed)?;
            let bytes = read(&mut |chunk| file.file.write_all(chunk).map_err(failed))?;
            file.keep().map_err(failed)?;
            app.output.result(
                || json!({ "message_type": "summary", "command": "dump", "target": path, "bytes": bytes }),
                || format!("{} written to {}", size::format(bytes), path.display()),
            );
        }
    }
    Ok(End::Done)
}

/// Where the bytes of a file go.
type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Failure>;

/// Reads one file of a snapshot to its end. Returns how long it is.
pub(crate) fn copy(
    (repository, place): (&Repository, &Place),
    snapshot: &Snapshot,
    path: &str,
    app: &App,
    sink: Sink,
) -> Result<u64, Failure> {
    let mut reader = repository.read(snapshot, path).map_err(|error| place.failed(error))?;
    let mut bytes = 0_u64;
    while let Some(chunk) = reader.next_chunk().map_err(|error| place.failed(error))? {
        if let Some(reason) = app.cancel.reason() {
            return Err(Failure::Other(format!("stopped: {reason}")));
        }
        sink(&chunk)?;
        bytes = bytes.saturating_add(chunk.len() as u64);
    }
    Ok(bytes)
}

/// Whether something has this name that is not to be replaced.
fn is_taken(path: &Path) -> bool {
    !is_stream(path) && fs::symlink_metadata(path).is_ok()
}

/// Whether this is a pipe or a device, which is written to as it is.
fn is_stream(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// A file that takes its name when it is whole, and vanishes otherwise. Nobody else can read it.
struct NewFile {
    file: File,
    /// The name until then; none for a pipe or a device.
    temporary: Option<PathBuf>,
    path: PathBuf,
}

impl NewFile {
    fn create(path: &Path) -> io::Result<Self> {
        let temporary = (!is_stream(path)).then(|| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".part-{}", std::process::id()));
            path.with_file_name(name)
        });
        let file = match &temporary {
            Some(temporary) => File::options().write(true).create_new(true).mode(0o600).open(temporary)?,
            None => File::options().write(true).open(path)?,
        };
        Ok(Self { file, temporary, path: path.to_owned() })
    }

    fn keep(&mut self) -> io::Result<()> {
        let Some(temporary) = &self.temporary else { return Ok(()) };
        self.file.sync_all()?;
        if is_taken(&self.path) {
            let why = "something was put there meanwhile; name a new file with --target";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        fs::rename(temporary, &self.path)?;
        self.temporary = None;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // The error that led here says more than one about the remains.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// The snapshot that `text` names, with its repository. `latest` needs one repository; an id is looked for in all.
fn find(text: &str, which: &Which, app: &App) -> Result<(Place, Repository, Snapshot), Failure> {
    if text == "latest" {
        let place = app.place(which)?;
        let repository = app.open(&place)?;
        let snapshot = repository.snapshot(&SnapshotChoice::Latest).map_err(|error| place.failed(error))?;
        return Ok((place, repository, snapshot));
    }
    let choice = SnapshotChoice::Id(text.to_owned());
    let places = app.places(which)?;
    let mut found = Vec::new();
    let mut first: Option<Failure> = None;
    for place in places {
        let looked = app.open(&place).and_then(|repository| {
            let snapshot = repository.snapshot(&choice).map_err(|error| place.failed(error))?;
            Ok((repository, snapshot))
        });
        match looked {
            Ok((repository, snapshot)) => found.push((place, repository, snapshot)),
            // That a repository has no backup yet says less than anything else.
            Err(failure) if first.as_ref().is_none_or(Failure::is_missing_repository) => first = Some(failure),
            Err(_) => {}
        }
    }
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            let labels: Vec<_> = found.iter().chain([&last]).map(|(place, ..)| place.label()).collect();
            Err(Failure::Usage(format!(
                "{text} begins the ids of snapshots in several repositories: {}; give more digits, or choose with --repository",
                labels.join(", ")
            )))
        }
        (None, _) => Err(first.unwrap_or_else(|| Failure::Other(format!("there is no snapshot {text}")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.sql");
        let mut file = NewFile::create(&path).unwrap();
        fs::write(&path, "older").unwrap();
        assert_eq!(file.keep().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "older");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(is_taken(folder.path()) && !is_taken(Path::new("/dev/null")));
    }

    #[test]
    fn folders_hold_what_is_below_them() {
        assert!(is_below("shop/orders.sql", "shop") && is_below("shop", "shop") && is_below("x", ""));
        assert!(!is_below("shop2/orders.sql", "shop"));
    }
}
