//! `coffer restore`

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coffer_api::ResourceExt as _;
use coffer_api::core::{AddonInfo, BackupConfiguration, RestoreSession};
use coffer_api::plan::SecretData;
use coffer_api::{addons, appcatalog, size, storage};
use coffer_resolve::{Catalog, Directory, ErrorKind, Kind, Reader, ResolveError, RestoreSelection};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::warn_of_hooks;
use crate::args::{Restore, Which};
use crate::catalog;
use crate::context::App;
use crate::exit::{End, Failure, Outcome};
use crate::output::counted;
use crate::progress::{Reporter, rate};

/// Name of the RestoreSession that a command line alone stands for.
const AD_HOC: &str = "command-line";

pub(crate) fn run(args: &Restore, app: &App) -> Outcome {
    let manifests = app.manifests()?;
    let engine = app.engine()?;
    let catalog = catalog::builtin(&engine)?;
    let session = session(args, app, &manifests, &catalog)?;
    let snapshot = args.snapshot.clone().filter(|snapshot| snapshot.parse::<Timestamp>().is_err());
    let selection = RestoreSelection {
        namespace: Some(text(&session, "/metadata/namespace")),
        name: Some(text(&session, "/metadata/name")),
        session: args.session.clone(),
        snapshot,
    };
    let reader = WithSession { manifests: &manifests, session };
    let plan = coffer_resolve::restore(&reader, &catalog, &selection)?;
    app.output.object(&json!({
        "message_type": "start", "command": "restore", "namespace": plan.namespace, "restore_session": plan.name,
        "repository": plan.source.repository, "target": plan.target.name,
    }));
    app.output.note(|| {
        let target = &plan.target;
        let into = format!("{} {}/{} at {}", target.kind, target.namespace, target.name, target.endpoint);
        format!("restoring repository {}/{} into {into}", plan.source.namespace, plan.source.repository)
    });
    if let Some(session) = coffer_resolve::get::<RestoreSession>(&reader, &plan.namespace, &plan.name)? {
        let hooks = session.spec.hooks.iter().flat_map(|hooks| hooks.pre_restore.iter().chain(&hooks.post_restore));
        warn_of_hooks(hooks, &format!("RestoreSession {}/{}", plan.namespace, plan.name), app);
    }
    let reporter = Arc::new(Reporter::new(app.output, app.global.verbose > 0));
    let report = coffer_executor::restore(&plan, &app.run_context(engine, reporter.clone()));
    reporter.finish();
    let report = report?;
    let seconds = report.end_time.duration_since(report.start_time).as_secs_f64();
    app.output.result(
        || {
            json!({
                "message_type": "summary", "command": "restore", "snapshot_id": report.snapshot,
                "snapshot_time": report.snapshot_time, "items": report.items, "streams": report.streams,
                "streams_in_snapshot": report.streams_in_snapshot, "bytes": report.bytes,
                "verified": report.verified, "start_time": report.start_time, "end_time": report.end_time,
                "seconds": seconds,
            })
        },
        || {
            let proof = match (report.verified, report.streams, report.streams_in_snapshot) {
                (false, ..) => "no manifest to compare with".to_owned(),
                (true, 0, _) => "nothing was left to restore".to_owned(),
                // What only helps to restore by hand is never read.
                (true, some, all) => format!("{some} of its {all} streams, each as the manifest says"),
            };
            format!(
                "restored snapshot {} into {} {}: {}, {} in {seconds:.1} s ({}), {proof}",
                report.snapshot.get(..8).unwrap_or(&report.snapshot),
                plan.target.kind,
                plan.target.name,
                counted(report.items as u64, "item"),
                size::format(report.bytes),
                rate(report.bytes, seconds),
            )
        },
    );
    Ok(End::Done)
}

/// The RestoreSession to run: one of the manifests with what the command line changes, or one made of the command line.
fn session(args: &Restore, app: &App, manifests: &Directory, catalog: &Catalog) -> Result<Value, Failure> {
    let named = args.name.as_deref();
    let mut session = match (named, &args.repository, &args.target) {
        (None, Some(repository), Some(_)) => ad_hoc(args, app, manifests, catalog, repository)?,
        _ => existing(app, manifests, named)?,
    };
    let target = args.target.as_deref().map(target).transpose()?;
    if let Some(target) = target {
        put(&mut session, &["spec", "target"], target);
    }
    if let Some(repository) = &args.repository {
        put(&mut session, &["spec", "dataSource", "repository"], json!(repository));
    }
    if let Some(addon) = &args.addon {
        put(&mut session, &["spec", "addon", "name"], json!(addon));
    }
    if let (Some(task), Some(known)) = (&args.task, session.pointer_mut("/spec/addon/tasks/0")) {
        put(known, &["name"], json!(task));
    }
    if let Some(time) = args.snapshot.as_deref().filter(|text| text.parse::<Timestamp>().is_ok()) {
        put(&mut session, &["spec", "dataSource", "pitr"], json!({ "targetTime": time, "exclusive": false }));
    }
    for parameter in &args.parameters {
        let (name, value) = parameter
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--param {parameter:?} has no '='; write --param name=value")))?;
        let Some(task) = session.pointer_mut("/spec/addon/tasks/0") else {
            return Err(Failure::Usage("--param needs a task; add spec.addon.tasks to the RestoreSession".to_owned()));
        };
        put(task, &["params", name], json!(value));
    }
    Ok(session)
}

fn existing(app: &App, manifests: &Directory, name: Option<&str>) -> Result<Value, Failure> {
    let all = manifests.list(Kind::RestoreSession, app.global.namespace.as_deref())?;
    let mut matching: Vec<Value> =
        all.iter().filter(|one| name.is_none_or(|name| text(one, "/metadata/name") == name)).cloned().collect();
    if let ([_], Some(only)) = (matching.as_slice(), matching.first().cloned()) {
        return Ok(only);
    }
    let unknown = name.filter(|_| matching.is_empty());
    let shown = if matching.is_empty() { all } else { std::mem::take(&mut matching) };
    let names: Vec<_> = shown
        .iter()
        .map(|one| format!("{}/{}", text(one, "/metadata/namespace"), text(one, "/metadata/name")))
        .collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    if let Some(unknown) = unknown {
        return Err(Failure::Manifests(ResolveError::new(
            ErrorKind::Missing,
            format!("RestoreSession {unknown} not found"),
            format!("the RestoreSessions in {} are: {names}", manifests.place()),
            "name one of them (and its namespace with -n), or say what to restore with --repository NAME --target KIND/NAME",
        )));
    }
    Err(Failure::Usage(format!(
        "cannot tell which RestoreSession to run: the candidates in {} are: {names}; name one (and its namespace with -n), \
         or say what to restore with --repository NAME --target KIND/NAME",
        manifests.place()
    )))
}

/// A RestoreSession that restores a repository with the restore task of the addon that wrote it.
fn ad_hoc(
    args: &Restore,
    app: &App,
    manifests: &Directory,
    catalog: &Catalog,
    repository: &str,
) -> Result<Value, Failure> {
    let (namespace, written_by) = writer(args, app, manifests, repository)?;
    let addon = args.addon.clone().or(written_by).ok_or_else(|| {
        Failure::Usage(format!(
            "cannot tell which addon restores repository {repository}: no BackupConfiguration of the manifests writes it; \
             name it with --addon, for example --addon mysql-addon"
        ))
    })?;
    let task = match &args.task {
        Some(task) => task.clone(),
        None => restore_task(manifests, catalog, &addon)?,
    };
    Ok(json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "RestoreSession",
        "metadata": { "name": AD_HOC, "namespace": namespace },
        "spec": {
            "dataSource": { "repository": repository, "snapshot": "latest" },
            "addon": { "name": addon, "tasks": [{ "name": task }] },
        },
    }))
}

/// The namespace of a repository, and the addon that writes it, if the manifests say so. Nothing is guessed: the target is
/// looked for in the same namespace, and is overwritten.
fn writer(
    args: &Restore,
    app: &App,
    manifests: &Directory,
    repository: &str,
) -> Result<(String, Option<String>), Failure> {
    let namespace = app.global.namespace.as_deref();
    let (mut namespaces, mut addons) = (BTreeSet::new(), BTreeSet::new());
    for configuration in coffer_resolve::list::<BackupConfiguration>(manifests, namespace)? {
        for session in &configuration.spec.sessions {
            let uses = session.repositories.iter().any(|one| one.name.as_deref() == Some(repository));
            let wanted = args.session.is_none() || session.name == args.session;
            if uses && wanted {
                namespaces.insert(configuration.namespace().unwrap_or_default());
                addons.extend(session.addon.as_ref().and_then(|addon: &AddonInfo| addon.name.clone()));
            }
        }
    }
    for object in coffer_resolve::list::<storage::Repository>(manifests, namespace)? {
        if object.name_any() == repository {
            namespaces.insert(object.namespace().unwrap_or_default());
        }
    }
    let several = |what: &str, names: BTreeSet<String>, option: &str| {
        let names: Vec<_> = names.into_iter().collect();
        Failure::Usage(format!("{what} {repository}: {}; choose with {option}", names.join(", ")))
    };
    if namespaces.len() > 1 {
        return Err(several("several namespaces have a repository", namespaces, "-n"));
    }
    if addons.len() > 1 && args.addon.is_none() {
        return Err(several("several addons write repository", addons, "--session or --addon"));
    }
    if let (Some(namespace), Some(addon)) = (namespaces.pop_first(), addons.pop_first()) {
        return Ok((namespace, Some(addon)));
    }
    let which = Which { repository: Some(repository.to_owned()), session: args.session.clone(), component: None };
    Ok((app.place(&which)?.destination.namespace, None))
}

/// The only restore task of an addon.
fn restore_task(manifests: &Directory, catalog: &Catalog, name: &str) -> Result<String, Failure> {
    let own = coffer_resolve::get::<addons::Addon>(manifests, "", name)?;
    let known = catalog.addons.iter().find(|addon| addon.name_any() == name).cloned();
    let addon = own.or(known).ok_or_else(|| {
        let names: Vec<_> = catalog.addons.iter().map(coffer_api::ResourceExt::name_any).collect();
        Failure::Usage(format!("there is no Addon {name:?}; there are: {}", names.join(", ")))
    })?;
    let tasks: Vec<_> = addon.spec.restore_tasks.iter().filter_map(|task| task.name.clone()).collect();
    match tasks.as_slice() {
        [only] => Ok(only.clone()),
        _ => Err(Failure::Usage(format!(
            "Addon {name} has these restore tasks: {}; choose one with --task",
            tasks.join(", ")
        ))),
    }
}

/// The reference that `KIND/NAME` stands for.
fn target(text: &str) -> Result<Value, Failure> {
    let wrong = || Failure::Usage(format!("--target {text:?} is not KIND/NAME; write for example AppBinding/shop"));
    let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
    if kind.is_empty() || name.is_empty() || name.contains('/') {
        return Err(wrong());
    }
    let group = if kind.eq_ignore_ascii_case("AppBinding") { appcatalog::GROUP } else { "kubedb.com" };
    let kind = if group == appcatalog::GROUP { "AppBinding" } else { kind };
    Ok(json!({ "apiGroup": group, "kind": kind, "name": name }))
}

/// Sets a field, making the objects on the way to it.
fn put(value: &mut Value, path: &[&str], new: Value) {
    let mut place = value;
    for key in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Some(fields) = place.as_object_mut() else { return };
        place = fields.entry(*key).or_insert(Value::Null);
    }
    *place = new;
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The manifests, with one RestoreSession as the command line wants it.
struct WithSession<'a> {
    manifests: &'a Directory,
    session: Value,
}

impl WithSession<'_> {
    fn is(&self, namespace: &str, name: &str) -> bool {
        text(&self.session, "/metadata/namespace") == namespace && text(&self.session, "/metadata/name") == name
    }
}

impl Reader for WithSession<'_> {
    fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Value>, ResolveError> {
        if kind == Kind::RestoreSession && self.is(namespace, name) {
            return Ok(Some(self.session.clone()));
        }
        self.manifests.get(kind, namespace, name)
    }

    fn list(&self, kind: Kind, namespace: Option<&str>) -> Result<Vec<Value>, ResolveError> {
        let mut all = self.manifests.list(kind, namespace)?;
        let here = text(&self.session, "/metadata/namespace");
        if kind == Kind::RestoreSession && namespace.is_none_or(|namespace| namespace == here) {
            all.retain(|one| !self.is(&text(one, "/metadata/namespace"), &text(one, "/metadata/name")));
            all.push(self.session.clone());
        }
        Ok(all)
    }

    fn secret(&self, namespace: &str, name: &str) -> Result<Option<SecretData>, ResolveError> {
        self.manifests.secret(namespace, name)
    }

    fn namespace_labels(&self, namespace: &str) -> Result<Option<BTreeMap<String, String>>, ResolveError> {
        self.manifests.namespace_labels(namespace)
    }

    fn saw(&self, kind: &str, namespace: &str, name: &str) -> bool {
        self.manifests.saw(kind, namespace, name)
    }

    fn place(&self) -> String {
        self.manifests.place()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_kinds_with_names() {
        assert_eq!(target("appbinding/shop").unwrap()["apiGroup"], "appcatalog.appscode.com");
        assert_eq!(target("MySQL/shop").unwrap()["apiGroup"], "kubedb.com");
        for text in ["shop", "/shop", "MySQL/", "a/b/c"] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fields_are_set_in_depth() {
        let mut value = json!({ "spec": { "dataSource": { "snapshot": "x" }, "target": null } });
        put(&mut value, &["spec", "dataSource", "repository"], json!("r"));
        put(&mut value, &["spec", "target", "name"], json!("t"));
        assert_eq!(
            value["spec"],
            json!({ "dataSource": { "snapshot": "x", "repository": "r" }, "target": { "name": "t" } })
        );
    }
}
