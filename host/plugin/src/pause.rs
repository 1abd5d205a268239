//! `pause` and `resume`: whether a BackupConfiguration takes backups.

use coffer_api::ResourceExt as _;
use coffer_api::core::BackupConfiguration;
use serde_json::json;

use crate::error::PluginError;
use crate::format::{self, Format};
use crate::{Done, DryRun, Plugin};

/// Which BackupConfigurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Those of these names.
    Named(Vec<String>),
    /// All of the namespace.
    All,
}

/// Pauses BackupConfigurations, or resumes them. One that is so already is left alone.
pub fn pause(
    plugin: &Plugin,
    namespace: &str,
    which: &Which,
    paused: bool,
    (dry_run, format): (DryRun, Format),
) -> Result<Done, PluginError> {
    let objects = plugin.objects();
    let found: Vec<BackupConfiguration> = match which {
        Which::All => objects.list(Some(namespace), "")?,
        Which::Named(names) => names.iter().map(|name| objects.required(namespace, name)).collect::<Result<_, _>>()?,
    };
    if found.is_empty() {
        return Err(PluginError::refused(
            format!("nothing in namespace {namespace} can be paused or resumed"),
            "it has no BackupConfiguration",
            "choose the namespace with -n",
        ));
    }
    let (mut done, mut lines) = (Done::default(), Vec::new());
    for one in found {
        let name = one.name_any();
        let already = (one.spec.paused == Some(true)) == paused;
        let object = if already || dry_run == DryRun::Client {
            let mut shown = one;
            shown.spec.paused = Some(paused);
            shown
        } else {
            let patch = json!({ "spec": { "paused": paused } });
            objects.patch((namespace, &name), &patch, dry_run == DryRun::Server)?
        };
        let verb = match (already, paused) {
            (false, true) => "paused",
            (false, false) => "resumed",
            (true, true) => "is paused already",
            (true, false) => "is not paused",
        };
        let value = format::value(&object)?;
        lines.push(match format::object(format, &value)? {
            Some(text) => text,
            None => format!("{} {verb}{}", format::name(&value), dry_run.note()),
        });
        done.names.push(name);
    }
    done.text = lines.join(if format == Format::Yaml { "\n---\n" } else { "\n" });
    Ok(done)
}
