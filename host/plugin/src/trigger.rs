//! `trigger`: a BackupSession now, the same that the session's CronJob would create.

use coffer_api::ResourceExt as _;
use coffer_api::condition::{self, READY};
use coffer_api::core::{BackupConfiguration, BackupSession, InvokerPhase};
use coffer_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use coffer_api::lifecycle;
use jiff::Timestamp;

use crate::error::PluginError;
use crate::format::{self, Format};
use crate::{Done, DryRun, Plugin, objects, pause};

/// What to trigger.
#[derive(Debug, Clone, Default)]
pub struct Trigger {
    /// Namespace of the BackupConfiguration.
    pub namespace: String,
    /// Its name.
    pub configuration: String,
    /// Its sessions; all when empty.
    pub sessions: Vec<String>,
    /// What is done for real.
    pub dry_run: DryRun,
    /// How the BackupSessions are shown.
    pub format: Format,
}

/// Creates a BackupSession of each session, unless one of them would not run: then none is created.
pub fn trigger(plugin: &Plugin, args: &Trigger) -> Result<Done, PluginError> {
    let configuration: BackupConfiguration = plugin.required(&args.namespace, &args.configuration)?;
    let candidates = candidates(&configuration, &args.sessions, Plugin::now())?;
    let existing: Vec<BackupSession> = plugin.objects().list(Some(&args.namespace), "")?;
    for candidate in &candidates {
        may_run(candidate, &configuration, &existing)?;
    }
    let mut done = Done::default();
    let mut lines = Vec::new();
    for candidate in candidates {
        let name = candidate.name_any();
        let line = make(plugin, candidate, args);
        lines.push(line.map_err(|error| objects::after(&joined(&lines), error))?);
        if args.dry_run == DryRun::None {
            done.names.push(name);
        }
    }
    done.text = joined(&lines);
    Ok(done)
}

/// Creates a BackupSession, and says so.
fn make(plugin: &Plugin, candidate: BackupSession, args: &Trigger) -> Result<String, PluginError> {
    let (object, verb) = match args.dry_run {
        DryRun::Client => (candidate, "created"),
        dry_run => match plugin.create(&candidate, dry_run == DryRun::Server)? {
            Some(made) => (made, "created"),
            None => (candidate, "created by somebody else in this very second"),
        },
    };
    let shown = match (args.dry_run, args.format) {
        (DryRun::Client, Format::Table | Format::Wide) => Format::Yaml,
        (_, format) => format,
    };
    let value = format::value(&object)?;
    let text = format::object(shown, &value)?;
    Ok(text.unwrap_or_else(|| format!("{} {verb}{}", format::name(&value), args.dry_run.note())))
}

fn joined(lines: &[String]) -> String {
    let yaml = lines.first().is_some_and(|line| line.starts_with("apiVersion"));
    lines.join(if yaml { "\n---\n" } else { "\n" })
}

/// The BackupSession of each session that is asked for, once.
fn candidates(
    configuration: &BackupConfiguration,
    wanted: &[String],
    now: Timestamp,
) -> Result<Vec<BackupSession>, PluginError> {
    let known = || configuration.spec.sessions.iter().filter_map(|session| Some((session.name.as_ref()?, session)));
    if let Some(unknown) = wanted.iter().find(|wanted| !known().any(|(name, _)| name == *wanted)) {
        let names: Vec<_> = known().map(|(name, _)| name.as_str()).collect();
        return Err(refused(
            configuration,
            format!("it has no session {unknown}; it has: {}", names.join(", ")),
            "correct the session",
        ));
    }
    let sessions = known().filter(|(name, _)| wanted.is_empty() || wanted.contains(name));
    let made: Vec<_> =
        sessions.map(|(_, session)| coffer_job::backup_session(configuration, session, now.as_second())).collect();
    if made.is_empty() {
        return Err(refused(configuration, "it has no session", "add one to spec.sessions"));
    }
    Ok(made)
}

/// A BackupSession that would be skipped helps nobody.
fn may_run(
    candidate: &BackupSession,
    configuration: &BackupConfiguration,
    existing: &[BackupSession],
) -> Result<(), PluginError> {
    if configuration.metadata.deletion_timestamp.is_some() {
        return Err(refused(configuration, "it is being deleted", "create it again when it is gone"));
    }
    // As if it were younger than all: when the others began is by the server's clock, and this machine has another.
    let mut youngest = candidate.clone();
    youngest.metadata.creation_timestamp = Some(Time(Timestamp::MAX));
    let Some(why) = lifecycle::skip(&youngest, configuration, existing) else { return Ok(()) };
    let name = configuration.name_any();
    let namespace = configuration.namespace().unwrap_or_default();
    if configuration.spec.paused == Some(true) {
        if let Some((why, fix)) = pause::held(configuration) {
            return Err(refused(configuration, format!("{why}, so the backup would be skipped"), fix));
        }
        let fix = format!("resume it with `kubectl coffer resume {name} -n {namespace}`");
        return Err(refused(configuration, "it is paused, so the backup would be skipped", fix));
    }
    let status = configuration.status.as_ref();
    if status.and_then(|status| status.phase) != Some(InvokerPhase::Ready) {
        let ready = condition::find(status.map(|status| status.conditions.as_slice()).unwrap_or_default(), READY);
        let why = ready
            .and_then(|ready| ready.message.clone())
            .unwrap_or_else(|| "the operator has not looked at it yet".to_owned());
        let fix = format!("see `kubectl coffer status backupconfiguration/{name} -n {namespace}`");
        return Err(refused(configuration, format!("it is not Ready, so the backup would be skipped ({why})"), fix));
    }
    Err(refused(configuration, why, format!("see `kubectl coffer status -n {namespace}`")))
}

fn refused(configuration: &BackupConfiguration, why: impl Into<String>, fix: impl Into<String>) -> PluginError {
    let (namespace, name) = (configuration.namespace().unwrap_or_default(), configuration.name_any());
    PluginError::refused(format!("no backup of BackupConfiguration {namespace}/{name} is begun"), why, fix)
}

#[cfg(test)]
mod tests {
    use coffer_api::core::{
        BackupConfigurationSpec, BackupConfigurationStatus, BackupSessionPhase, BackupSessionStatus, Session,
    };

    use super::*;

    fn configuration(phase: InvokerPhase, paused: bool) -> BackupConfiguration {
        let session = |name: &str| Session { name: Some(name.into()), ..Session::default() };
        let spec = BackupConfigurationSpec {
            sessions: vec![session("daily"), session("weekly")],
            paused: Some(paused),
            ..BackupConfigurationSpec::default()
        };
        let mut configuration = BackupConfiguration::new("shop", spec);
        configuration.metadata.namespace = Some("demo".into());
        configuration.status = Some(BackupConfigurationStatus { phase: Some(phase), ..Default::default() });
        configuration
    }

    fn ask(
        configuration: &BackupConfiguration,
        wanted: &[&str],
        existing: &[BackupSession],
    ) -> Result<Vec<String>, String> {
        let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
        let text = |error: PluginError| error.to_string();
        let all = candidates(configuration, &wanted, Timestamp::from_second(1_724_065_200).unwrap()).map_err(text)?;
        all.iter().try_for_each(|one| may_run(one, configuration, existing)).map_err(text)?;
        Ok(all.into_iter().map(|one| one.name_any()).collect())
    }

    #[test]
    fn all_sessions_or_those_that_are_named() {
        let ready = configuration(InvokerPhase::Ready, false);
        assert_eq!(ask(&ready, &[], &[]).unwrap(), ["shop-daily-1724065200", "shop-weekly-1724065200"]);
        assert_eq!(ask(&ready, &["weekly"], &[]).unwrap(), ["shop-weekly-1724065200"]);
        let unknown = ask(&ready, &["weekly", "hourly"], &[]).unwrap_err();
        assert!(unknown.contains("no session hourly") && unknown.contains("daily, weekly"), "{unknown}");
    }

    #[test]
    fn what_would_be_skipped_is_refused() {
        let paused = ask(&configuration(InvokerPhase::Ready, true), &[], &[]).unwrap_err();
        assert!(paused.contains("demo/shop") && paused.contains("`kubectl coffer resume shop -n demo`"), "{paused}");
        let unready = ask(&configuration(InvokerPhase::NotReady, false), &[], &[]).unwrap_err();
        assert!(unready.contains("not Ready") && unready.contains("the operator has not looked"), "{unready}");
        let ready = configuration(InvokerPhase::Ready, false);
        let mut older = candidates(&ready, &["daily".into()], Timestamp::from_second(1_724_065_000).unwrap()).unwrap();
        let busy = ask(&ready, &["daily"], &older).unwrap_err();
        assert!(busy.contains("shop-daily-1724065000 of the same session has not finished"), "{busy}");
        assert!(ask(&ready, &["weekly"], &older).is_ok());
        older[0].status =
            Some(BackupSessionStatus { phase: Some(BackupSessionPhase::Failed), ..BackupSessionStatus::default() });
        assert!(ask(&ready, &["daily"], &older).is_ok());
    }
}
