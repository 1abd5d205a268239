//! `restore`: a RestoreSession from a few words. What can be known from the cluster is looked up; what would be a guess is asked for.

use std::collections::BTreeSet;

use coffer_api::addons::Addon;
use coffer_api::core::{
    AddonInfo, BackupConfiguration, DataSource, PointInTime, RestoreSession, RestoreSessionSpec, Session, TaskReference,
};
use coffer_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use coffer_api::shared::{FreeForm, ObjectReference, SnapshotPhase, TypedObjectReference};
use coffer_api::storage::{Repository, Snapshot};
use coffer_api::{ResourceExt as _, appcatalog, duration, names};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::error::PluginError;
use crate::format::{self, Format};
use crate::{Done, DryRun, Plugin};

/// Group of the databases that have an AppBinding of the same name.
const KUBEDB: &str = "kubedb.com";
/// Parameter of an addon that restores a database under another name.
const RENAME: &str = "renameDatabase";
/// What a data source calls the newest Snapshot.
const LATEST: &str = "latest";

/// What to restore, from where and into what.
#[derive(Debug, Clone, Default)]
pub struct Restore {
    /// Namespace of everything.
    pub namespace: String,
    /// Name of the RestoreSession; made of the repository and the time when absent.
    pub name: Option<String>,
    /// Name of the Repository.
    pub repository: Option<String>,
    /// `latest`, or the name of a Snapshot.
    pub snapshot: Option<String>,
    /// The newest Snapshot up to this moment.
    pub time: Option<Timestamp>,
    /// What to restore into: `AppBinding/name`, or a kind of kubedb.com with a name.
    pub target: Option<String>,
    /// Databases that get another name: `old=new`, or only the new name where it is clear which.
    pub to_database: Vec<String>,
    /// Parameters of the task: `name=value`.
    pub parameters: Vec<String>,
    /// Name of the Addon, instead of the one that wrote the repository.
    pub addon: Option<String>,
    /// Name of the restore task, when the Addon has several.
    pub task: Option<String>,
    /// Secret with the repository's password, instead of the Repository's.
    pub encryption_secret: Option<String>,
    /// The longest time that the restore may take, as a Go duration.
    pub timeout: Option<String>,
    /// What is done for real.
    pub dry_run: DryRun,
    /// How the RestoreSession is shown.
    pub format: Format,
}

/// Creates the RestoreSession.
pub fn restore(plugin: &Plugin, args: &Restore) -> Result<Done, PluginError> {
    let found = Found::look(plugin, args)?;
    let task = match (&args.task, &found.addon) {
        (Some(task), _) => task.clone(),
        (None, name) => restore_task(plugin, name)?,
    };
    let session = session(args, &found, &task, Plugin::now())?;
    let name = session.name_any();
    let object = match args.dry_run {
        DryRun::Client => session,
        dry_run => match plugin.create(&session, dry_run == DryRun::Server)? {
            Some(made) => made,
            None => {
                return Err(refused(
                    format!("there is a RestoreSession {}/{name} already", args.namespace),
                    "choose another name with --name, or delete that one",
                ));
            }
        },
    };
    let shown = match (args.dry_run, args.format) {
        (DryRun::Client, Format::Table | Format::Wide) => Format::Yaml,
        (_, format) => format,
    };
    let value = format::value(&object)?;
    let text = format::object(shown, &value)?;
    let text = text.unwrap_or_else(|| format!("{} created{}", format::name(&value), args.dry_run.note()));
    Ok(Done { text, names: if args.dry_run == DryRun::None { vec![name] } else { Vec::new() } })
}

/// What the cluster knows of the source.
#[derive(Debug, Clone, Default)]
struct Found {
    repository: String,
    /// The addon that writes it.
    addon: String,
    /// The databases that its session backs up, if the session says so.
    databases: Vec<String>,
}

impl Found {
    fn look(plugin: &Plugin, args: &Restore) -> Result<Self, PluginError> {
        let namespace = &args.namespace;
        let snapshot: Option<Snapshot> = match args.snapshot.as_deref().filter(|name| *name != LATEST) {
            Some(name) => Some(plugin.required(namespace, name)?),
            None => None,
        };
        if let Some(snapshot) = &snapshot {
            usable(snapshot)?;
        }
        let of_snapshot = snapshot.as_ref().and_then(|snapshot| snapshot.spec.repository.clone());
        let repository = match (&args.repository, of_snapshot) {
            (Some(wanted), Some(real)) if *wanted != real => {
                return Err(refused(
                    format!("the Snapshot is in repository {real}, not in {wanted}"),
                    "correct --snapshot or --repository",
                ));
            }
            (Some(name), _) => name.clone(),
            (None, Some(name)) => name,
            (None, None) => {
                let all: Vec<Repository> = plugin.objects().list(Some(namespace), "")?;
                return Err(refused(
                    format!(
                        "it is not said what to restore; the repositories of namespace {namespace} are: {}",
                        listed(&all)
                    ),
                    "name one with --repository, or a Snapshot with --snapshot",
                ));
            }
        };
        let object: Repository = plugin.required(namespace, &repository)?;
        if args.target.is_none() {
            let own = object.spec.app_ref.as_ref();
            let own = own.map(|app| format!("{}/{}", app.kind.as_deref().unwrap_or("AppBinding"), app.name));
            return Err(refused(
                "it is not said what to restore into",
                match own {
                    Some(own) => format!("name it with --target KIND/NAME; --target {own} is what was backed up"),
                    None => "name it with --target KIND/NAME".to_owned(),
                },
            ));
        }
        let configurations: Vec<BackupConfiguration> = plugin.objects().list(Some(namespace), "")?;
        let session = snapshot.as_ref().and_then(|snapshot| snapshot.spec.session.as_deref());
        Self::of(&repository, session, &configurations, args.addon.as_deref())
    }

    /// What the sessions that write a repository say of it.
    fn of(
        repository: &str,
        session: Option<&str>,
        configurations: &[BackupConfiguration],
        addon: Option<&str>,
    ) -> Result<Self, PluginError> {
        let sessions = configurations.iter().flat_map(|one| &one.spec.sessions);
        let writes = |one: &&Session| one.repositories.iter().any(|one| one.name.as_deref() == Some(repository));
        let wanted = |one: &&Session| session.is_none() || one.name.as_deref() == session;
        let writers: Vec<&Session> = sessions.filter(writes).filter(wanted).collect();
        let mut addons: Vec<_> = writers.iter().filter_map(|one| one.addon.as_ref()?.name.as_deref()).collect();
        addons.sort_unstable();
        addons.dedup();
        let addon = match (addon, addons.as_slice()) {
            (Some(addon), _) => addon.to_owned(),
            (None, [only]) => (*only).to_owned(),
            (None, []) => {
                return Err(refused(
                    format!("no BackupConfiguration writes repository {repository}, so nobody knows which addon does"),
                    "name it with --addon, for example --addon mysql-addon",
                ));
            }
            (None, several) => {
                return Err(refused(
                    format!("several addons write repository {repository}: {}", several.join(", ")),
                    "choose with --addon",
                ));
            }
        };
        let each: Vec<Vec<String>> = writers.iter().map(|one| databases(one)).collect();
        let differ = each.iter().zip(each.iter().skip(1)).any(|(one, next)| one != next);
        if session.is_none() && differ {
            return Err(unclear(repository, &writers, &each));
        }
        // A session that names none backs up all.
        let mut databases = if each.iter().any(Vec::is_empty) { Vec::new() } else { each.concat() };
        databases.sort();
        databases.dedup();
        Ok(Self { repository: repository.to_owned(), addon, databases })
    }
}

/// The newest Snapshot may be of any of these sessions, and what it restores depends on which.
fn unclear(repository: &str, writers: &[&Session], databases: &[Vec<String>]) -> PluginError {
    let one = |(session, names): (&&Session, &Vec<String>)| {
        let names = if names.is_empty() { "all".to_owned() } else { names.join(", ") };
        format!("{} ({names})", session.name.as_deref().unwrap_or_default())
    };
    let sessions: Vec<_> = writers.iter().zip(databases).map(one).collect();
    refused(
        format!("sessions that back up different databases write repository {repository}: {}", sessions.join(", ")),
        format!(
            "choose a Snapshot with --snapshot; `kubectl coffer snapshots --repository {repository}` lists them with their sessions"
        ),
    )
}

/// The databases that the tasks of a session name, sorted, each once.
fn databases(session: &Session) -> Vec<String> {
    let tasks = session.addon.iter().flat_map(|addon| &addon.tasks);
    let values = tasks.filter_map(|task| task.params.as_ref()?.0.get("databases"));
    // One text, or a list of them.
    let texts = values.flat_map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice));
    let names = texts.filter_map(Value::as_str).flat_map(|text| text.split(',')).map(str::trim);
    let names: BTreeSet<String> = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    names.into_iter().collect()
}

fn usable(snapshot: &Snapshot) -> Result<(), PluginError> {
    match snapshot.status.as_ref().and_then(|status| status.phase) {
        Some(SnapshotPhase::Succeeded) => Ok(()),
        phase => {
            let phase = phase.map_or_else(|| "not begun".to_owned(), |phase| format!("{phase:?}"));
            Err(refused(
                format!("Snapshot {} is {phase}, and only one that Succeeded can be restored", snapshot.name_any()),
                "choose another one, `kubectl coffer snapshots --phase Succeeded` lists them",
            ))
        }
    }
}

/// The only restore task of an addon.
fn restore_task(plugin: &Plugin, name: &str) -> Result<String, PluginError> {
    let addon = coffer_resolve::get::<Addon>(&plugin.cluster, "", name)?.ok_or_else(|| {
        refused(format!("there is no Addon {name}"), "correct it with --addon; `kubectl get addons` lists them")
    })?;
    let tasks: Vec<_> = addon.spec.restore_tasks.iter().filter_map(|task| task.name.clone()).collect();
    match tasks.as_slice() {
        [only] => Ok(only.clone()),
        several => Err(refused(
            format!("Addon {name} has these restore tasks: {}", several.join(", ")),
            "choose one with --task",
        )),
    }
}

fn session(args: &Restore, found: &Found, task: &str, now: Timestamp) -> Result<RestoreSession, PluginError> {
    let params = parameters(args, found)?;
    if let Some(timeout) = &args.timeout {
        duration::parse(timeout).map_err(|error| refused(error.to_string(), "correct --restore-timeout"))?;
    }
    let data_source = DataSource {
        repository: Some(found.repository.clone()),
        snapshot: args.time.is_none().then(|| args.snapshot.clone().unwrap_or_else(|| LATEST.to_owned())),
        pitr: args.time.map(|time| PointInTime { target_time: Some(Time(time)), exclusive: None }),
        encryption_secret: args
            .encryption_secret
            .as_ref()
            .map(|name| ObjectReference { namespace: Some(args.namespace.clone()), name: name.clone() }),
        ..DataSource::default()
    };
    let task = TaskReference {
        name: Some(task.to_owned()),
        params: (!params.is_empty()).then_some(FreeForm(params)),
        ..TaskReference::default()
    };
    let spec = RestoreSessionSpec {
        target: args.target.as_deref().map(|text| target(text, &args.namespace)).transpose()?,
        data_source: Some(data_source),
        addon: Some(AddonInfo { name: Some(found.addon.clone()), tasks: vec![task], ..AddonInfo::default() }),
        restore_timeout: args.timeout.clone(),
        ..RestoreSessionSpec::default()
    };
    let name = args.name.clone();
    let name = name.unwrap_or_else(|| names::valid(&["restore", &found.repository, &now.as_second().to_string()]));
    let metadata = ObjectMeta { name: Some(name), namespace: Some(args.namespace.clone()), ..ObjectMeta::default() };
    Ok(RestoreSession { metadata, spec, status: None })
}

/// The reference that `KIND/NAME` stands for.
fn target(text: &str, namespace: &str) -> Result<TypedObjectReference, PluginError> {
    let wrong = || refused(format!("--target {text:?} is not KIND/NAME"), "write for example --target AppBinding/shop");
    let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
    if kind.is_empty() || name.is_empty() || name.contains('/') {
        return Err(wrong());
    }
    let binding = kind.eq_ignore_ascii_case("AppBinding");
    Ok(TypedObjectReference {
        api_group: Some(if binding { appcatalog::GROUP } else { KUBEDB }.to_owned()),
        kind: Some(if binding { "AppBinding" } else { kind }.to_owned()),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    })
}

fn parameters(args: &Restore, found: &Found) -> Result<Map<String, Value>, PluginError> {
    let mut params = Map::new();
    for parameter in &args.parameters {
        let (name, value) = parameter
            .split_once('=')
            .ok_or_else(|| refused(format!("--param {parameter:?} has no '='"), "write --param name=value"))?;
        params.insert(name.to_owned(), Value::String(value.to_owned()));
    }
    let mut renames = Vec::new();
    for one in &args.to_database {
        renames.push(match (one.contains('='), found.databases.as_slice()) {
            (true, _) => one.clone(),
            (false, [only]) => format!("{only}={one}"),
            (false, several) => {
                let why = match several {
                    [] => "its backup does not name its databases".to_owned(),
                    several => format!("its backup has several: {}", several.join(", ")),
                };
                return Err(refused(
                    format!("it is not clear which database becomes {one}: {why}"),
                    format!("write --to-database OLD={one}"),
                ));
            }
        });
    }
    if !renames.is_empty() && params.insert(RENAME.to_owned(), Value::String(renames.join(","))).is_some() {
        return Err(refused(format!("--to-database and --param {RENAME}=… say the same"), "leave one of them out"));
    }
    Ok(params)
}

fn listed(repositories: &[Repository]) -> String {
    let names: Vec<_> = repositories.iter().map(coffer_api::ResourceExt::name_any).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn refused(why: impl Into<String>, fix: impl Into<String>) -> PluginError {
    PluginError::refused("no restore is begun", why, fix)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(databases: &[&str]) -> Found {
        let databases = databases.iter().map(|&name| name.to_owned()).collect();
        Found { repository: "repo".into(), addon: "mysql-addon".into(), databases }
    }

    fn made(args: Restore, found: &Found) -> Result<Value, String> {
        let args = Restore { namespace: "demo".into(), target: Some("AppBinding/shop".into()), ..args };
        let now = Timestamp::from_second(1_724_065_200).unwrap();
        let session = session(&args, found, "logical-backup-restore", now).map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(session).unwrap())
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_session_is_what_a_user_would_write() {
        let session = made(Restore::default(), &found(&[])).unwrap();
        assert_eq!(session["apiVersion"], "core.kubestash.com/v1alpha1");
        assert_eq!(session["metadata"], json!({ "name": "restore-repo-1724065200", "namespace": "demo" }));
        assert_eq!(
            session["spec"],
            json!({
                "target": { "apiGroup": "appcatalog.appscode.com", "kind": "AppBinding", "name": "shop", "namespace": "demo" },
                "dataSource": { "repository": "repo", "snapshot": "latest" },
                "addon": { "name": "mysql-addon", "tasks": [{ "name": "logical-backup-restore" }] },
            })
        );
    }

    #[test]
    fn a_moment_stands_for_a_snapshot() {
        let time = Some("2026-01-31T12:00:00Z".parse().unwrap());
        let session = made(Restore { time, ..Restore::default() }, &found(&[])).unwrap();
        let source = json!({ "repository": "repo", "pitr": { "targetTime": "2026-01-31T12:00:00Z" } });
        assert_eq!(session["spec"]["dataSource"], source);
    }

    #[test]
    fn options_become_fields() {
        let args = Restore {
            name: Some("mine".into()),
            snapshot: Some("snap".into()),
            encryption_secret: Some("other".into()),
            timeout: Some("30m".into()),
            parameters: words(&["existing=drop", "args=--a=b"]),
            ..Restore::default()
        };
        let session = made(args, &found(&[])).unwrap();
        assert_eq!((&session["metadata"]["name"], &session["spec"]["restoreTimeout"]), (&json!("mine"), &json!("30m")));
        assert_eq!(session["spec"]["dataSource"]["encryptionSecret"], json!({ "name": "other", "namespace": "demo" }));
        let params = json!({ "existing": "drop", "args": "--a=b" });
        assert_eq!(session["spec"]["addon"]["tasks"][0]["params"], params);
        for (args, part) in [
            (Restore { parameters: words(&["existing"]), ..Restore::default() }, "--param name=value"),
            (Restore { timeout: Some("soon".into()), ..Restore::default() }, "--restore-timeout"),
        ] {
            let error = made(args, &found(&[])).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_database_gets_another_name_where_it_is_clear_which() {
        let rename = |to: &[&str], databases: &[&str]| {
            let session = made(Restore { to_database: words(to), ..Restore::default() }, &found(databases))?;
            Ok::<_, String>(session["spec"]["addon"]["tasks"][0]["params"]["renameDatabase"].clone())
        };
        assert_eq!(rename(&["copy"], &["shop"]).unwrap(), "shop=copy");
        assert_eq!(rename(&["a=b", "c=d"], &[]).unwrap(), "a=b,c=d");
        for databases in [&[][..], &["one", "two"]] {
            let error = rename(&["copy"], databases).unwrap_err();
            assert!(error.contains("--to-database OLD=copy"), "{error}");
        }
        let both =
            Restore { to_database: words(&["a=b"]), parameters: words(&["renameDatabase=c=d"]), ..Restore::default() };
        assert!(made(both, &found(&[])).unwrap_err().contains("say the same"));
    }

    #[test]
    fn targets_are_kinds_with_names() {
        assert_eq!(target("appbinding/shop", "demo").unwrap().kind.as_deref(), Some("AppBinding"));
        assert_eq!(target("MySQL/shop", "demo").unwrap().api_group.as_deref(), Some("kubedb.com"));
        for text in ["shop", "/shop", "MySQL/", "a/b/c"] {
            assert!(target(text, "demo").is_err(), "{text}");
        }
    }

    #[test]
    fn sessions_of_different_databases_are_told_apart() {
        let configuration = |sessions: &[(&str, Value)]| -> BackupConfiguration {
            let session = |(name, params): &(&str, Value)| {
                let addon = json!({ "name": "mysql-addon", "tasks": [{ "name": "t", "params": params }] });
                json!({ "name": name, "repositories": [{ "name": "repo" }], "addon": addon })
            };
            let sessions: Vec<_> = sessions.iter().map(session).collect();
            let object = json!({
                "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration", "metadata": { "name": "c" },
                "spec": { "sessions": sessions },
            });
            serde_json::from_value(object).unwrap()
        };
        let of = |session: Option<&str>, sessions: &[(&str, Value)]| {
            let found = Found::of("repo", session, &[configuration(sessions)], None);
            found.map(|found| found.databases).map_err(|error| error.to_string())
        };
        let some = |names: &str| json!({ "databases": names });
        let mixed = [("shop", some("shop")), ("all", json!({}))];
        let refused = of(None, &mixed).unwrap_err();
        for part in ["repository repo: shop (shop), all (all)", "--snapshot", "snapshots --repository repo"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
        assert_eq!(of(Some("shop"), &mixed).unwrap(), ["shop"]);
        assert_eq!(of(Some("all"), &mixed).unwrap(), [""; 0]);
        let alike = [("daily", some("shop, crm")), ("weekly", some("crm,shop,crm"))];
        assert_eq!(of(None, &alike).unwrap(), ["crm", "shop"]);
        // Sessions of two BackupConfigurations that are called the same.
        let twins = [("daily", some("shop")), ("daily", json!({}))];
        assert_eq!(of(Some("daily"), &twins).unwrap(), [""; 0]);
    }

    #[test]
    fn the_addon_is_the_one_that_writes_the_repository() {
        let configuration = |name: &str, addon: &str, repository: &str| -> BackupConfiguration {
            let session = json!({
                "name": "daily", "repositories": [{ "name": repository }],
                "addon": { "name": addon, "tasks": [{ "name": "t", "params": { "databases": "shop, crm" } }] },
            });
            let object = json!({
                "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration", "metadata": { "name": name },
                "spec": { "sessions": [session] },
            });
            serde_json::from_value(object).unwrap()
        };
        let mut all = vec![configuration("a", "mysql-addon", "repo"), configuration("b", "other", "elsewhere")];
        let known = Found::of("repo", None, &all, None).unwrap();
        assert_eq!((known.addon.as_str(), known.databases), ("mysql-addon", words(&["crm", "shop"])));
        let text = |result: Result<Found, PluginError>| result.unwrap_err().to_string();
        assert!(text(Found::of("nobody", None, &all, None)).contains("--addon mysql-addon"));
        assert_eq!(Found::of("nobody", None, &all, Some("mine")).unwrap().addon, "mine");
        assert!(text(Found::of("repo", Some("weekly"), &all, None)).contains("no BackupConfiguration writes"));
        all.push(configuration("c", "mariadb-addon", "repo"));
        assert!(text(Found::of("repo", None, &all, None)).contains("mariadb-addon, mysql-addon"));
    }
}
