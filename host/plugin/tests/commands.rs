//! The commands against an API in memory, the same as host/job's tests have.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../job/tests/common/fake.rs"]
#[allow(dead_code, reason = "its other user needs the rest")]
mod fake;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use coffer_api::cancel::Cancel;
use coffer_api::meta::annotation::PAUSED_BY;
use coffer_plugin::{
    Debug, DryRun, Filter, Format, Logs, Plugin, PluginError, Restore, Subject, Trigger, Waiting, Which,
};
use coffer_resolve::cluster::Cluster;
use coffer_storage::LocalRoot;
use fake::Fake;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

const QUICK: Waiting = Waiting { every: Duration::from_millis(1) };

/// A namespace `demo` with a BackupConfiguration `shop`, its Repository and one good Snapshot.
fn cluster() -> Fake {
    let fake = Fake::default();
    fake.put(json!({
        "apiVersion": "addons.kubestash.com/v1alpha1", "kind": "Addon", "metadata": { "name": "mysql-addon" },
        "spec": { "restoreTasks": [{ "name": "logical-backup-restore" }] },
    }));
    fake.put(json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration", "metadata": { "name": "shop", "namespace": "demo" },
        "spec": {
            "target": { "apiGroup": "appcatalog.appscode.com", "kind": "AppBinding", "name": "shop" },
            "sessions": [{
                "name": "daily", "scheduler": { "schedule": "0 0 * * *", "jobTemplate": {} }, "backupTimeout": "30m",
                "retryConfig": { "maxRetry": 2 }, "repositories": [{ "name": "repo", "backend": "b", "directory": "/repo" }],
                "addon": { "name": "mysql-addon", "tasks": [{ "name": "logical-backup", "params": { "databases": "shop" } }] },
            }],
        },
        "status": { "phase": "Ready", "conditions": [condition("Ready", "True", "")] },
    }));
    fake.put(json!({
        "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository", "metadata": { "name": "repo", "namespace": "demo" },
        "spec": { "appRef": { "kind": "AppBinding", "name": "shop" }, "storageRef": { "name": "s3" }, "path": "/repo" },
        "status": { "phase": "Ready", "conditions": [condition("Ready", "True", "")] },
    }));
    fake.put(snapshot("repo-shop-daily-1", "Succeeded"));
    fake
}

fn condition(kind: &str, status: &str, message: &str) -> Value {
    json!({ "type": kind, "status": status, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z" })
}

fn snapshot(name: &str, phase: &str) -> Value {
    json!({
        "apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot", "metadata": { "name": name, "namespace": "demo" },
        "spec": { "repository": "repo", "session": "daily", "backupSession": name.trim_start_matches("repo-") },
        "status": { "phase": phase, "snapshotTime": "2026-01-01T00:00:00Z", "components": { "dump": { "phase": phase } } },
    })
}

fn plugin(fake: &Fake) -> Plugin {
    // A client starts a task of its own.
    let _inside = RUNTIME.enter();
    let cluster = Cluster::new(fake.client(), RUNTIME.handle().clone());
    Plugin { cluster, runtime: RUNTIME.handle().clone(), cancel: Cancel::new() }
}

/// The same, with somebody on the way to the cluster, who sees each request before it arrives and says whether its answer is lost.
fn plugin_through(fake: &Fake, somebody: impl FnMut(&http::Method) -> bool + Send + 'static) -> Plugin {
    let _inside = RUNTIME.enter();
    let (real, somebody) = (fake.client(), Mutex::new(somebody));
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let lost = (somebody.lock().unwrap())(request.method());
        let real = real.clone();
        async move {
            let answer = real.send(request).await;
            if lost { Err(kube::Error::Service("the connection is lost".into())) } else { answer }
        }
    });
    let cluster = Cluster::new(kube::Client::new(service, "default"), RUNTIME.handle().clone());
    Plugin { cluster, ..plugin(fake) }
}

/// Whether it is the first time.
fn first(seen: &mut bool) -> bool {
    !std::mem::replace(seen, true)
}

/// Pauses `shop` as the operator does it for a running restore.
fn hold(fake: &Fake) {
    let annotations = json!({ PAUSED_BY: "demo/again/u-1,demo/copy/u-2" });
    let held = json!({ "metadata": { "annotations": annotations }, "spec": { "paused": true } });
    fake.change("backupconfigurations", "demo", "shop", &held);
}

fn pause(plugin: &Plugin, paused: bool) -> Result<String, String> {
    let which = Which::Named(vec!["shop".into()]);
    let done = coffer_plugin::pause(plugin, "demo", &which, paused, (DryRun::None, Format::Table));
    done.map(|done| done.text).map_err(|error| error.to_string())
}

fn is_restore_named(refusal: &str) -> bool {
    let parts = ["RestoreSession demo/again or RestoreSession demo/copy", "resume by themselves"];
    parts.iter().all(|part| refusal.contains(part)) && !refusal.contains("kubectl coffer resume")
}

fn subject(words: &str) -> Subject {
    Subject::parse(&[words.to_owned()]).unwrap()
}

fn shop() -> Trigger {
    Trigger { namespace: "demo".into(), configuration: "shop".into(), ..Trigger::default() }
}

/// Requests that change something.
fn changes(fake: &Fake) -> Vec<String> {
    let all = fake.requests();
    let changes = all.iter().filter(|request| !["get", "list"].contains(&request.verb));
    changes.map(|request| format!("{} {}", request.verb, request.resource)).collect()
}

#[test]
fn a_triggered_session_is_the_one_that_the_cron_job_makes() {
    let fake = cluster();
    let plugin = plugin(&fake);
    let done = coffer_plugin::trigger(&plugin, &shop()).unwrap();
    let [name] = done.names.as_slice() else { panic!("{done:?}") };
    assert_eq!(done.text, format!("backupsession.core.kubestash.com/{name} created"));
    let mut ours = fake.get("backupsessions", "demo", name).unwrap();
    fake.remove("backupsessions", "demo", name);
    let job = coffer_job::Job { cluster: plugin.cluster.clone(), local: LocalRoot::MountPath, cancel: Cancel::new() };
    coffer_job::trigger(&job, "demo", "shop", "daily", None).unwrap();
    let names = fake.names("backupsessions");
    let mut theirs = fake.get("backupsessions", "demo", &names[0]).unwrap();
    let annotations = ours["metadata"].as_object_mut().unwrap().remove("annotations").unwrap();
    assert!(annotations["coffer.dev/request"].is_string(), "{annotations}");
    for object in [&mut ours, &mut theirs] {
        let metadata = object["metadata"].as_object_mut().unwrap();
        for moment in ["name", "uid", "resourceVersion", "creationTimestamp"] {
            metadata.remove(moment).unwrap();
        }
    }
    assert_eq!(ours, theirs);
    assert_eq!((&ours["spec"]["retryLeft"], &ours["spec"]["backupTimeout"]), (&json!(2), &json!("30m")));
}

#[test]
fn nothing_is_triggered_that_would_be_skipped() {
    let fake = cluster();
    let plugin = plugin(&fake);
    let which = Which::Named(vec!["shop".into()]);
    let pause =
        |paused| coffer_plugin::pause(&plugin, "demo", &which, paused, (DryRun::None, Format::Table)).unwrap().text;
    assert_eq!(pause(true), "backupconfiguration.core.kubestash.com/shop paused");
    assert_eq!(fake.get("backupconfigurations", "demo", "shop").unwrap()["spec"]["paused"], true);
    let refused = coffer_plugin::trigger(&plugin, &shop()).unwrap_err().to_string();
    assert!(refused.contains("it is paused") && refused.contains("kubectl coffer resume shop -n demo"), "{refused}");
    assert_eq!(changes(&fake), ["patch backupconfigurations"], "a refusal changes nothing");
    assert_eq!(pause(true), "backupconfiguration.core.kubestash.com/shop is paused already");
    assert_eq!(pause(false), "backupconfiguration.core.kubestash.com/shop resumed");
    assert_eq!(pause(false), "backupconfiguration.core.kubestash.com/shop is not paused");
    assert_eq!(changes(&fake).len(), 2, "what is so already is left alone");
    let missing = Trigger { configuration: "shpo".into(), ..shop() };
    let missing = coffer_plugin::trigger(&plugin, &missing).unwrap_err().to_string();
    assert!(missing.contains("BackupConfiguration demo/shpo not found") && missing.contains("are: shop"), "{missing}");
}

#[test]
fn what_a_restore_has_paused_stays_paused_as_long_as_somebody_wants_it() {
    let fake = cluster();
    let plugin = plugin(&fake);
    hold(&fake);
    let refused = pause(&plugin, false).unwrap_err();
    assert!(
        refused.contains("BackupConfiguration demo/shop is not changed") && is_restore_named(&refused),
        "{refused}"
    );
    let refused = coffer_plugin::trigger(&plugin, &shop()).unwrap_err().to_string();
    assert!(refused.contains("would be skipped") && is_restore_named(&refused), "{refused}");
    assert!(changes(&fake).is_empty());
    assert_eq!(pause(&plugin, true).unwrap(), "backupconfiguration.core.kubestash.com/shop paused");
    let ours = fake.get("backupconfigurations", "demo", "shop").unwrap();
    assert_eq!((&ours["spec"]["paused"], ours["metadata"]["annotations"].get(PAUSED_BY)), (&json!(true), None));
    assert!(pause(&plugin, true).unwrap().ends_with("is paused already"));
    assert!(pause(&plugin, false).unwrap().ends_with("resumed"));
}

/// What a person had paused before the restore began, or pauses meanwhile, carries no note of the operator's.
#[test]
fn nothing_is_resumed_in_the_middle_of_a_restore() {
    let fake = cluster();
    let plugin = plugin(&fake);
    let restore = |namespace: &str, target: &Value, status: &Value| {
        fake.put(json!({
            "apiVersion": "core.kubestash.com/v1alpha1", "kind": "RestoreSession",
            "metadata": { "name": "again", "namespace": namespace }, "spec": { "target": target }, "status": status,
        }));
    };
    let shop =
        json!({ "apiGroup": "appcatalog.appscode.com", "kind": "AppBinding", "namespace": "demo", "name": "shop" });
    let running = json!({ "phase": "Running", "totalComponents": 1 });
    pause(&plugin, true).unwrap();
    restore("ops", &shop, &running);
    let refused = pause(&plugin, false).unwrap_err();
    for part in
        ["RestoreSession ops/again writes into its target", "`kubectl coffer status restoresession/again -n ops`"]
    {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let all = coffer_plugin::pause(&plugin, "demo", &Which::All, false, (DryRun::None, Format::Table));
    assert!(all.unwrap_err().to_string().contains("RestoreSession ops/again"));
    assert_eq!(changes(&fake).len(), 1, "a refusal changes nothing");
    // The namespace of a target is that of the restore where none is written.
    let mut here = shop.clone();
    here.as_object_mut().unwrap().remove("namespace");
    restore("demo", &here, &running);
    fake.grant(|request| request.resource != "restoresessions" || request.namespace == "demo");
    let refused = pause(&plugin, false).unwrap_err();
    assert!(refused.contains("RestoreSession demo/again"), "{refused}");
    fake.grant(|_| true);
    restore("ops", &here, &running);
    for (target, status) in [
        (&here, &json!({ "phase": "Pending" })),
        (&here, &json!({ "phase": "Succeeded", "totalComponents": 1 })),
        (&json!({ "kind": "AppBinding", "name": "copy" }), &running),
    ] {
        restore("demo", target, status);
        assert!(pause(&plugin, false).unwrap().ends_with("shop resumed"), "{target} {status}");
        pause(&plugin, true).unwrap();
    }
    restore("demo", &here, &running);
    fake.grant(|request| request.resource != "restoresessions");
    assert!(pause(&plugin, false).unwrap().ends_with("shop resumed"));
}

#[test]
fn a_restore_that_begins_at_the_same_time_is_noticed() {
    // It comes just before the patch.
    let come = |fake: &Fake| {
        let (restore, mut seen) = (fake.clone(), false);
        plugin_through(fake, move |method| {
            if method == http::Method::PATCH && first(&mut seen) {
                hold(&restore);
            }
            false
        })
    };
    let fake = cluster();
    fake.change("backupconfigurations", "demo", "shop", &json!({ "spec": { "paused": true } }));
    let refused = pause(&come(&fake), false).unwrap_err();
    assert!(is_restore_named(&refused), "{refused}");
    assert_eq!(fake.get("backupconfigurations", "demo", "shop").unwrap()["spec"]["paused"], true);
    let fake = cluster();
    assert!(pause(&come(&fake), true).unwrap().ends_with("shop paused"));
    let ours = fake.get("backupconfigurations", "demo", "shop").unwrap();
    assert_eq!((&ours["spec"]["paused"], ours["metadata"]["annotations"].get(PAUSED_BY)), (&json!(true), None));
}

#[test]
fn a_resume_whose_answer_is_lost_is_still_one() {
    let fake = cluster();
    fake.change("backupconfigurations", "demo", "shop", &json!({ "spec": { "paused": true } }));
    let mut seen = false;
    let plugin = plugin_through(&fake, move |method| method == http::Method::PATCH && first(&mut seen));
    assert!(pause(&plugin, false).unwrap().ends_with("shop resumed"));
}

#[test]
fn what_was_made_is_found_when_the_answer_is_lost() {
    let fake = cluster();
    let lossy = || {
        let mut seen = false;
        plugin_through(&fake, move |method| method == http::Method::POST && first(&mut seen))
    };
    let args = Restore { name: Some("again".into()), target: Some("AppBinding/copy".into()), ..restore() };
    let done = coffer_plugin::restore(&lossy(), &args).unwrap();
    assert_eq!(done.text, "restoresession.core.kubestash.com/again created");
    let other = coffer_plugin::restore(&lossy(), &args).unwrap_err().to_string();
    assert!(other.contains("demo/again already"), "{other}");
    let done = coffer_plugin::trigger(&lossy(), &shop()).unwrap();
    assert_eq!(done.text, format!("backupsession.core.kubestash.com/{} created", done.names[0]));
    assert_eq!(fake.names("backupsessions"), done.names);
}

#[test]
fn a_backup_needs_a_configuration_that_stays_and_the_end_of_the_one_before() {
    let fake = cluster();
    let plugin = plugin(&fake);
    let twice = Trigger { sessions: vec!["daily".into(), "daily".into()], ..shop() };
    let done = coffer_plugin::trigger(&plugin, &twice).unwrap();
    assert_eq!((done.names.len(), done.text.lines().count()), (1, 1), "{done:?}");
    // Begun in the future, by this machine's clock.
    let mut other = fake.get("backupsessions", "demo", &done.names[0]).unwrap();
    fake.remove("backupsessions", "demo", &done.names[0]);
    other["metadata"]["name"] = json!("shop-daily-4070908800");
    other["metadata"]["creationTimestamp"] = json!("2099-01-01T00:00:00Z");
    fake.put(other);
    let busy = coffer_plugin::trigger(&plugin, &shop()).unwrap_err().to_string();
    assert!(busy.contains("shop-daily-4070908800 of the same session has not finished"), "{busy}");
    fake.remove("backupsessions", "demo", "shop-daily-4070908800");
    let going = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
    fake.change("backupconfigurations", "demo", "shop", &going);
    let going = coffer_plugin::trigger(&plugin, &shop()).unwrap_err().to_string();
    assert!(going.contains("it is being deleted"), "{going}");
    assert!(fake.names("backupsessions").is_empty());
}

#[test]
fn what_was_done_before_a_failure_is_told() {
    let fake = cluster();
    let plugin = plugin(&fake);
    let shop_now = fake.get("backupconfigurations", "demo", "shop").unwrap();
    let sessions: Vec<Value> = ["daily", "weekly", "monthly"].map(|name| json!({ "name": name })).into();
    fake.change("backupconfigurations", "demo", "shop", &json!({ "spec": { "sessions": sessions } }));
    for name in ["a", "b", "c"] {
        let mut one = shop_now.clone();
        one["metadata"] = json!({ "name": name, "namespace": "demo" });
        fake.put(one);
    }
    let made = AtomicUsize::new(0);
    fake.grant(move |request| match request.verb {
        "create" => made.fetch_add(1, Ordering::Relaxed) < 2,
        "patch" => request.name != "c",
        _ => true,
    });
    let failed = coffer_plugin::trigger(&plugin, &shop()).unwrap_err().to_string();
    let made = fake.names("backupsessions");
    assert_eq!(made.len(), 2, "{made:?}");
    let (done, error) = failed.split_once("\nthen: ").unwrap_or_else(|| panic!("{failed}"));
    for name in &made {
        assert!(done.contains(&format!("backupsession.core.kubestash.com/{name} created")), "{failed}");
    }
    assert!(error.contains("the right to create backupsessions"), "{failed}");
    let which = Which::Named(["a", "b", "c"].map(str::to_owned).into());
    let paused = coffer_plugin::pause(&plugin, "demo", &which, true, (DryRun::None, Format::Table));
    let failed = paused.unwrap_err().to_string();
    let (done, error) = failed.split_once("\nthen: ").unwrap_or_else(|| panic!("{failed}"));
    assert!(done.contains("/a paused\n") && done.ends_with("/b paused"), "{failed}");
    assert!(error.contains("the right to patch backupconfigurations"), "{failed}");
}

#[test]
fn a_dry_run_shows_the_object_and_makes_none() {
    let fake = cluster();
    let plugin = plugin(&fake);
    let done = coffer_plugin::trigger(&plugin, &Trigger { dry_run: DryRun::Client, ..shop() }).unwrap();
    assert!(done.names.is_empty());
    let object: Value = coffer_plugin_yaml(&done.text);
    assert_eq!((&object["kind"], &object["spec"]["session"]), (&json!("BackupSession"), &json!("daily")));
    assert!(object["metadata"].get("creationTimestamp").is_none(), "{object:#}");
    let restore = Restore { dry_run: DryRun::Client, target: Some("AppBinding/copy".into()), ..restore() };
    let object: Value = coffer_plugin_yaml(&coffer_plugin::restore(&plugin, &restore).unwrap().text);
    assert_eq!(object["kind"], "RestoreSession");
    let paused = coffer_plugin::pause(&plugin, "demo", &Which::All, true, (DryRun::Client, Format::Table)).unwrap();
    assert!(paused.text.ends_with("paused (dry run)"), "{}", paused.text);
    assert!(changes(&fake).is_empty());
}

fn coffer_plugin_yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn restore() -> Restore {
    Restore { namespace: "demo".into(), repository: Some("repo".into()), ..Restore::default() }
}

#[test]
fn a_restore_needs_sense() {
    let fake = cluster();
    fake.put(snapshot("repo-shop-daily-2", "Failed"));
    let plugin = plugin(&fake);
    let target = || Some("AppBinding/copy".to_owned());
    let text = |args: Restore| coffer_plugin::restore(&plugin, &args).unwrap_err().to_string();
    for (args, parts) in [
        (Restore { repository: None, ..restore() }, &["are: repo", "--repository"][..]),
        (restore(), &["--target AppBinding/shop is what was backed up"]),
        (Restore { target: Some("copy".into()), ..restore() }, &["KIND/NAME"]),
        (
            Restore { repository: Some("other".into()), target: target(), ..restore() },
            &["demo/other not found", "are: repo"],
        ),
        (
            Restore { snapshot: Some("repo-shop-daily-2".into()), target: target(), ..restore() },
            &["is Failed", "--phase Succeeded"],
        ),
        (
            Restore { snapshot: Some("nothing".into()), target: target(), ..restore() },
            &["Snapshot demo/nothing not found"],
        ),
        (Restore { addon: Some("mine".into()), target: target(), ..restore() }, &["no Addon mine"]),
    ] {
        let error = text(args);
        for part in parts {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    assert!(changes(&fake).is_empty());
}

#[test]
fn a_restore_session_follows_from_a_snapshot() {
    let fake = cluster();
    let plugin = plugin(&fake);
    let args = Restore {
        repository: None,
        snapshot: Some("repo-shop-daily-1".into()),
        target: Some("AppBinding/shop".into()),
        to_database: vec!["copy".into()],
        name: Some("again".into()),
        ..restore()
    };
    let done = coffer_plugin::restore(&plugin, &args).unwrap();
    assert_eq!(
        (done.text.as_str(), done.names),
        ("restoresession.core.kubestash.com/again created", vec!["again".to_owned()])
    );
    let made = fake.get("restoresessions", "demo", "again").unwrap();
    let task = json!({ "name": "logical-backup-restore", "params": { "renameDatabase": "shop=copy" } });
    assert_eq!(made["spec"]["addon"], json!({ "name": "mysql-addon", "tasks": [task] }));
    assert_eq!(made["spec"]["dataSource"], json!({ "repository": "repo", "snapshot": "repo-shop-daily-1" }));
    let again = coffer_plugin::restore(&plugin, &args).unwrap_err().to_string();
    assert!(again.contains("demo/again already") && again.contains("--name"), "{again}");
}

#[test]
fn a_restore_does_not_guess_between_sessions() {
    let fake = cluster();
    let plugin = plugin(&fake);
    let mut sessions = fake.get("backupconfigurations", "demo", "shop").unwrap()["spec"]["sessions"].clone();
    let mut all = sessions[0].clone();
    all["name"] = json!("all");
    all["addon"]["tasks"] = json!([{ "name": "logical-backup" }]);
    sessions.as_array_mut().unwrap().push(all);
    fake.change("backupconfigurations", "demo", "shop", &json!({ "spec": { "sessions": sessions } }));
    let args = Restore { target: Some("AppBinding/shop".into()), to_database: vec!["copy".into()], ..restore() };
    let refused = coffer_plugin::restore(&plugin, &args).unwrap_err().to_string();
    for part in ["write repository repo: daily (shop), all (all)", "--snapshot"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert!(changes(&fake).is_empty());
    let args = Restore { snapshot: Some("repo-shop-daily-1".into()), name: Some("again".into()), ..args };
    coffer_plugin::restore(&plugin, &args).unwrap();
    let made = fake.get("restoresessions", "demo", "again").unwrap();
    assert_eq!(made["spec"]["addon"]["tasks"][0]["params"], json!({ "renameDatabase": "shop=copy" }));
}

/// The one who listens is the one who does the work: what is waited for changes each time it was told.
#[test]
fn waiting_tells_how_far_it_is_until_the_end() {
    let fake = cluster();
    let plugin = plugin(&fake);
    let name = coffer_plugin::trigger(&plugin, &shop()).unwrap().names.remove(0);
    let steps = [
        json!({ "status": { "phase": "Running", "snapshots": [{ "name": "repo-shop-daily-1" }] } }),
        json!({ "status": { "phase": "Succeeded" } }),
    ];
    let (mut steps, mut told) = (steps.into_iter(), Vec::new());
    coffer_plugin::wait_for_backup(&plugin, ("demo", &name), QUICK, &mut |text| {
        told.push(text.to_owned());
        if let Some(step) = steps.next() {
            fake.change("backupsessions", "demo", &name, &step);
        }
    })
    .unwrap();
    let this = format!("BackupSession {name}");
    let expected = [
        format!("{this}: not begun"),
        format!("{this}: Running, repo Succeeded"),
        format!("{this}: Succeeded, repo Succeeded"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn waiting_fails_when_what_was_waited_for_does() {
    let fake = cluster();
    let mut plugin = plugin(&fake);
    let args = Restore { target: Some("AppBinding/shop".into()), name: Some("again".into()), ..restore() };
    coffer_plugin::restore(&plugin, &args).unwrap();
    let wait = |plugin: &Plugin| coffer_plugin::wait_for_restore(plugin, ("demo", "again"), QUICK, &mut |_| {});
    plugin.cancel = Cancel::new().with_deadline(Duration::ZERO);
    let stopped = wait(&plugin).unwrap_err();
    plugin.cancel = Cancel::new();
    assert!(matches!(stopped, PluginError::Stopped { .. }), "{stopped}");
    assert!(stopped.to_string().contains("kubectl coffer status restoresession/again -n demo"), "{stopped}");
    let failed = json!({ "status": { "phase": "Failed", "components": { "dump": { "phase": "Failed", "error": "database shop is there" } } } });
    fake.change("restoresessions", "demo", "again", &failed);
    let failed = wait(&plugin).unwrap_err();
    assert!(matches!(failed, PluginError::Ended { .. }), "{failed}");
    assert!(failed.to_string().contains("database shop is there"), "{failed}");
    fake.remove("restoresessions", "demo", "again");
    assert!(wait(&plugin).unwrap_err().to_string().contains("is gone"));
    coffer_plugin::restore(&plugin, &args).unwrap();
    plugin.cancel.cancel("interrupted by SIGINT");
    assert!(wait(&plugin).unwrap_err().to_string().contains("interrupted by SIGINT"));
}

#[test]
fn what_may_not_be_read_is_said() {
    let fake = cluster();
    let plugin = plugin(&fake);
    let partly = |subject: Option<&Subject>, format| coffer_plugin::status(&plugin, Some("demo"), subject, format);
    let status = |subject: Option<&Subject>, format| {
        partly(subject, format).map(|(text, unread)| {
            assert_eq!(unread, [""; 0]);
            text
        })
    };
    let text = status(None, Format::Table).unwrap();
    for part in ["shop", "0 0 * * *", "repo", "never", "No problems."] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let all: Value = serde_json::from_str(&status(None, Format::Json).unwrap()).unwrap();
    assert_eq!(all["items"].as_array().unwrap().len(), 2);
    assert_eq!(status(Some(&subject("bc/shop")), Format::Name).unwrap(), "backupconfiguration.core.kubestash.com/shop");
    let missing = status(Some(&subject("repo/other")), Format::Table).unwrap_err().to_string();
    assert!(missing.contains("Repository demo/other not found") && missing.contains("are: repo"), "{missing}");
    fake.grant(|request| request.resource != "backupstorages");
    let right = "the right to list backupstorages";
    let text = status(None, Format::Table).unwrap();
    assert!(text.contains("No problems in what could be read.\n\nNOT SHOWN") && text.contains(right), "{text}");
    for format in [Format::Json, Format::Yaml, Format::Name] {
        let (_, unread) = partly(None, format).unwrap();
        assert!(unread.len() == 1 && unread[0].contains(right), "{unread:?}");
    }
    fake.grant(|_| false);
    let nothing = status(None, Format::Table).unwrap_err().to_string();
    assert!(nothing.contains("the right to list") && nothing.contains("in namespace demo"), "{nothing}");
}

#[test]
fn snapshots_are_listed() {
    let fake = cluster();
    let plugin = plugin(&fake);
    let list = |filter: Filter| coffer_plugin::snapshots(&plugin, &filter).unwrap();
    let demo = || Filter { namespace: Some("demo".into()), ..Filter::default() };
    assert!(list(demo()).contains("repo-shop-daily-1"));
    assert_eq!(
        list(Filter { format: Format::Name, ..Filter::default() }),
        "snapshot.storage.kubestash.com/repo-shop-daily-1"
    );
    let none = list(Filter { repository: Some("other".into()), ..demo() });
    assert_eq!(none, "No such Snapshots found in namespace demo.");
}

#[test]
fn an_object_without_pods_has_no_logs_and_says_why() {
    let fake = cluster();
    let plugin = plugin(&fake);
    let logs = |words: &str| {
        let printed = coffer_plugin::logs(
            &plugin,
            "demo",
            &subject(words),
            &Logs::default(),
            &mut |line| panic!("{line}"),
            &mut |text| panic!("{text}"),
        );
        printed.unwrap_err().to_string()
    };
    assert!(logs("bc/shop").contains("no BackupSession that matches"), "{}", logs("bc/shop"));
    let name = coffer_plugin::trigger(&plugin, &shop()).unwrap().names.remove(0);
    let none = logs("bc/shop");
    assert!(none.contains(&name) && none.contains("it has no Job"), "{none}");
    fake.put(json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": { "name": name, "namespace": "demo", "labels": { "kubestash.com/invoker-kind": "BackupSession", "kubestash.com/invoker-name": name } },
        "status": { "conditions": [{ "type": "Failed", "status": "True", "reason": "DeadlineExceeded" }] },
    }));
    assert!(logs("bc/shop").contains("Failed (DeadlineExceeded)"), "{}", logs("bc/shop"));
}

/// The pod comes when somebody was told that there is none, and has not started at first.
#[test]
fn a_log_that_is_followed_says_what_it_waits_for() {
    let fake = cluster();
    let plugin = plugin(&fake);
    let name = coffer_plugin::trigger(&plugin, &shop()).unwrap().names.remove(0);
    let labels = json!({ "kubestash.com/invoker-kind": "BackupSession", "kubestash.com/invoker-name": name });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "pod-1", "namespace": "demo", "labels": labels },
        "spec": { "containers": [{ "name": "main" }] }, "status": { "phase": "Pending" }, "log": "it works",
    });
    let (mut printed, mut told, mut seen) = (Vec::new(), Vec::new(), false);
    coffer_plugin::logs(
        &plugin,
        "demo",
        &subject(&format!("bs/{name}")),
        &Logs { follow: true, ..Logs::default() },
        &mut |line| printed.push(line.to_owned()),
        &mut |text| {
            told.push(text.to_owned());
            if first(&mut seen) {
                fake.put(pod.clone());
                fake.trouble("get", &[400]);
            }
        },
    )
    .unwrap();
    assert_eq!(told, [format!("waiting: BackupSession demo/{name} has no pod yet"), "waiting: so it is".to_owned()]);
    assert_eq!(printed, ["\"it works\""]);
}

const DATABASE_PASSWORD: &str = "database-hunter2";
const PLAIN_PASSWORD: &str = "plain-hunter2";

/// A cluster whose people wrote secrets where they do not belong.
fn careless() -> Fake {
    let fake = cluster();
    fake.apply(&format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: shop-auth, namespace: demo}}
stringData: {{username: root, password: {DATABASE_PASSWORD}}}
---
apiVersion: appcatalog.appscode.com/v1alpha1
kind: AppBinding
metadata: {{name: shop, namespace: demo, annotations: {{note: \"it is {DATABASE_PASSWORD}\"}}}}
spec: {{type: mysql, clientConfig: {{url: \"mysql://root:{PLAIN_PASSWORD}@db:3306/\"}}, secret: {{name: shop-auth}}}}
"
    ));
    let labels = json!({
        "app.kubernetes.io/managed-by": "kubestash.com", "kubestash.com/invoker-kind": "BackupSession", "kubestash.com/invoker-name": "x",
    });
    fake.put(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "pod-1", "namespace": "demo", "labels": labels },
        "spec": { "containers": [{ "name": "main", "env": [{ "name": "A", "value": PLAIN_PASSWORD }] }] },
        "status": { "phase": "Failed", "message": format!("--password={PLAIN_PASSWORD}") },
        "log": format!("token: {PLAIN_PASSWORD}, and {DATABASE_PASSWORD} by mistake"),
    }));
    fake.put(json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "e", "namespace": "demo" }, "reason": "Failed", "type": "Warning",
        "message": format!("said {DATABASE_PASSWORD}"), "lastTimestamp": "2026-01-01T00:00:00Z",
        "involvedObject": { "apiVersion": "v1", "kind": "Pod", "namespace": "demo", "name": "pod-1" },
    }));
    fake.put(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "coffer-operator", "namespace": "ops",
            "labels": { "app.kubernetes.io/name": "coffer", "app.kubernetes.io/component": "operator" },
        },
        "spec": { "selector": {}, "template": {} },
    }));
    fake
}

fn everything(plugin: &Plugin) -> coffer_plugin::Bundle {
    let args = Debug { namespace: Some("demo".into()), operator_namespace: None, tail: 10, program: "coffer 9".into() };
    coffer_plugin::debug(plugin, &args).unwrap()
}

#[test]
fn what_is_gathered_holds_no_secret() {
    let fake = careless();
    let bundle = everything(&plugin(&fake));
    let text = bundle.text();
    let paths: Vec<_> = bundle.parts.iter().map(|part| part.path.as_str()).collect();
    for path in [
        "about.txt",
        "status.txt",
        "objects/backupconfiguration.yaml",
        "objects/appbinding.yaml",
        "work/pods.yaml",
        "work/events.txt",
        "work/logs/demo/pod-1.main.txt",
        "operator/deployments.yaml",
    ] {
        assert!(paths.contains(&path), "{path}: {paths:?}");
    }
    for part in [
        "coffer 9",
        "v1.36.0",
        "pod-1",
        "(hidden)@db:3306",
        "--password=(hidden)",
        "said (hidden)",
        "token: (hidden), and (hidden) by mistake",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let encoded = "ZGF0YWJhc2UtaHVudGVyMg==";
    for secret in [DATABASE_PASSWORD, PLAIN_PASSWORD, encoded] {
        assert!(!text.contains(secret), "{secret} is shown: {text}");
    }
    assert!(!fake.requests().iter().any(|request| request.resource == "secrets" && request.verb == "list"));
}

#[test]
fn without_the_right_to_secrets_that_is_said_and_the_rest_is_hidden_all_the_same() {
    let fake = careless();
    fake.grant(|request| request.resource != "secrets" && request.resource != "deployments");
    let text = everything(&plugin(&fake)).text();
    assert!(text.contains("cannot get Secret demo/shop-auth") && text.contains("cannot list"), "{text}");
    assert!(!text.contains(PLAIN_PASSWORD), "{text}");
}
