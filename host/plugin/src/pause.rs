//! `pause` and `resume`: whether a BackupConfiguration takes backups.

use coffer_api::core::{BackupConfiguration, RestoreSession};
use coffer_api::meta::annotation::PAUSED_BY;
use coffer_api::shared::TypedObjectReference;
use coffer_api::{ResourceExt as _, phase};
use coffer_resolve::ErrorKind;
use serde_json::{Value, json};

use crate::error::PluginError;
use crate::format::{self, Format};
use crate::{Done, DryRun, Plugin, objects};

/// How often something is looked at again that others change at the same time.
const ATTEMPTS: usize = 10;

/// Which BackupConfigurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Those of these names.
    Named(Vec<String>),
    /// All of the namespace.
    All,
}

/// Pauses BackupConfigurations, or resumes them. One that is so already is left alone.
///
/// What the operator has paused for a restore becomes a pause of the caller's, which the restore's end leaves alone.
///
/// Nothing is resumed while a restore writes into its target, whoever has paused it: a backup would read what is half restored.
/// If that holds for one, none is resumed.
pub fn pause(
    plugin: &Plugin,
    namespace: &str,
    which: &Which,
    paused: bool,
    (dry_run, format): (DryRun, Format),
) -> Result<Done, PluginError> {
    let found: Vec<BackupConfiguration> = match which {
        Which::All => plugin.objects().list(Some(namespace), "")?,
        Which::Named(names) => names.iter().map(|name| plugin.required(namespace, name)).collect::<Result<_, _>>()?,
    };
    if found.is_empty() {
        return Err(PluginError::refused(
            format!("nothing in namespace {namespace} can be paused or resumed"),
            "it has no BackupConfiguration",
            "choose the namespace with -n",
        ));
    }
    for one in &found {
        change(one, paused)?;
    }
    if !paused {
        none_restored(plugin, namespace, &found)?;
    }
    let between = if format == Format::Yaml { "\n---\n" } else { "\n" };
    let (mut done, mut lines) = (Done::default(), Vec::new());
    for one in found {
        done.names.push(one.name_any());
        let line = set(plugin, one, paused, dry_run).and_then(|(object, verb)| {
            let value = format::value(&object)?;
            let text = format::object(format, &value)?;
            Ok(text.unwrap_or_else(|| format!("{} {verb}{}", format::name(&value), dry_run.note())))
        });
        lines.push(line.map_err(|error| objects::after(&lines.join(between), error))?);
    }
    done.text = lines.join(between);
    Ok(done)
}

/// Makes one so, and says what that was.
fn set(
    plugin: &Plugin,
    mut one: BackupConfiguration,
    paused: bool,
    dry_run: DryRun,
) -> Result<(BackupConfiguration, &'static str), PluginError> {
    let (namespace, name) = (one.namespace().unwrap_or_default(), one.name_any());
    let (verb, mut already) = if paused { ("paused", "is paused already") } else { ("resumed", "is not paused") };
    for _ in 0..ATTEMPTS {
        let Some(patch) = change(&one, paused)? else { return Ok((one, already)) };
        if dry_run == DryRun::Client {
            one.spec.paused = Some(paused);
            if let Some(annotations) = &mut one.metadata.annotations {
                annotations.remove(PAUSED_BY);
            }
            return Ok((one, verb));
        }
        if let Some(patched) = plugin.patch((&namespace, &name), &patch, dry_run == DryRun::Server)? {
            return Ok((patched, verb));
        }
        // Somebody has changed it meanwhile; that may have been the patch, if its answer was lost.
        one = plugin.required(&namespace, &name)?;
        already = verb;
    }
    Err(refused(&one, "others change it all the time", "try again"))
}

/// What makes one so, if it is not.
fn change(one: &BackupConfiguration, paused: bool) -> Result<Option<Value>, PluginError> {
    let is_paused = one.spec.paused == Some(true);
    if paused {
        let already = is_paused && !one.annotations().contains_key(PAUSED_BY);
        // Whatever has come to hold it by now: it stays paused when that is over.
        let patch = || json!({ "metadata": { "annotations": { PAUSED_BY: null } }, "spec": { "paused": true } });
        return Ok((!already).then(patch));
    }
    if !is_paused {
        return Ok(None);
    }
    if let Some((why, fix)) = held(one) {
        return Err(refused(one, why, fix));
    }
    // Not if something has come to hold it meanwhile.
    let version = one.resource_version();
    Ok(Some(json!({ "metadata": { "resourceVersion": version }, "spec": { "paused": false } })))
}

/// Refuses to resume what a restore writes into. What a person had paused when the restore began carries no note of it.
fn none_restored(plugin: &Plugin, namespace: &str, found: &[BackupConfiguration]) -> Result<(), PluginError> {
    let restores = restores(plugin, namespace)?;
    for one in found.iter().filter(|one| one.spec.paused == Some(true)) {
        if let Some(restore) = restores.iter().find(|restore| writes_into(restore, one)) {
            let (namespace, name) = (restore.namespace().unwrap_or_default(), restore.name_any());
            let see = format!("`kubectl coffer status restoresession/{name} -n {namespace}`");
            return Err(refused(
                one,
                format!("RestoreSession {namespace}/{name} writes into its target"),
                format!("resume it when that has ended; see {see}"),
            ));
        }
    }
    Ok(())
}

/// The RestoreSessions of all namespaces, of this one if only those may be listed, or none.
fn restores(plugin: &Plugin, namespace: &str) -> Result<Vec<RestoreSession>, PluginError> {
    for place in [None, Some(namespace)] {
        match plugin.objects().list::<RestoreSession>(place, "") {
            Err(error) if error.kind() == ErrorKind::Denied => {}
            other => return other.map_err(PluginError::from),
        }
    }
    Ok(Vec::new())
}

/// Whether a restore has begun, has not ended, and is into what a BackupConfiguration backs up.
fn writes_into(restore: &RestoreSession, configuration: &BackupConfiguration) -> bool {
    let status = restore.status.as_ref();
    let writes =
        status.is_some_and(|status| status.total_components.is_some() && !phase::restore_is_final(status.phase));
    let identity = |target: &TypedObjectReference, own: Option<String>| {
        (target.kind.clone(), target.namespace.clone().or(own), target.name.clone())
    };
    let into = restore.spec.target.as_ref().map(|target| identity(target, restore.namespace()));
    let backed_up = configuration.spec.target.as_ref().map(|target| identity(target, configuration.namespace()));
    writes && into.is_some() && into == backed_up
}

/// Why the operator keeps a BackupConfiguration paused and what becomes of it, if it does.
pub(crate) fn held(configuration: &BackupConfiguration) -> Option<(String, String)> {
    let text = configuration.annotations().get(PAUSED_BY)?;
    // Each is `namespace/name/uid`.
    let holders = text.split(',').filter_map(|one| one.rsplit_once('/')?.0.split_once('/'));
    let holders: Vec<(&str, &str)> = holders.collect();
    let (namespace, name) = holders.first()?;
    let names: Vec<_> = holders.iter().map(|(namespace, name)| format!("RestoreSession {namespace}/{name}")).collect();
    Some((
        format!("it is paused while {} writes into its target", names.join(" or ")),
        format!(
            "backups resume by themselves when that ends; see `kubectl coffer status restoresession/{name} -n {namespace}`"
        ),
    ))
}

fn refused(configuration: &BackupConfiguration, why: impl Into<String>, fix: impl Into<String>) -> PluginError {
    let (namespace, name) = (configuration.namespace().unwrap_or_default(), configuration.name_any());
    PluginError::refused(format!("BackupConfiguration {namespace}/{name} is not changed"), why, fix)
}
