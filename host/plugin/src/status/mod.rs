//! `status`: what is there and how it is doing, on one screen.

mod problems;
mod render;
mod view;

use coffer_resolve::Kind;
use serde_json::Value;

use crate::Plugin;
use crate::error::PluginError;
use crate::format::{self, Format};
use crate::subject::Subject;

pub(crate) use problems::bad;
use view::View;

/// The state of one object and what belongs to it, or of everything in a namespace, or (`None`) in all of them.
///
/// Beside the text comes why parts of it are missing; a table says that itself.
pub fn status(
    plugin: &Plugin,
    namespace: Option<&str>,
    subject: Option<&Subject>,
    format: Format,
) -> Result<(String, Vec<String>), PluginError> {
    if let (Some(subject), Some(namespace)) = (subject, namespace) {
        // First the object itself: that it is missing, or may not be read, is what there is to say.
        let object = required(plugin, subject, namespace)?;
        if let Some(text) = format::object(format, &object)? {
            return Ok((text, Vec::new()));
        }
    }
    let view = View::look(plugin, namespace)?;
    let view = match subject {
        Some(subject) => view.about(subject),
        None => view,
    };
    if let Some(text) = format::list(format, &view.values()?)? {
        return Ok((text, view.unread));
    }
    let shown = render::Shown {
        namespaces: namespace.is_none(),
        wide: format == Format::Wide,
        snapshots: subject.is_some(),
        now: Plugin::now(),
    };
    let text = render::text(&view, shown);
    let text = match (text.is_empty(), namespace) {
        (false, _) => text,
        (true, Some(namespace)) => format!("No resources of Coffer found in namespace {namespace}."),
        (true, None) => "No resources of Coffer found.".to_owned(),
    };
    Ok((text, Vec::new()))
}

fn required(plugin: &Plugin, subject: &Subject, namespace: &str) -> Result<Value, PluginError> {
    use coffer_api::core::{BackupConfiguration, BackupSession, RestoreSession};
    use coffer_api::storage::{BackupStorage, Repository, Snapshot};
    let name = subject.name.as_str();
    match subject.kind {
        Kind::BackupConfiguration => format::value(&plugin.required::<BackupConfiguration>(namespace, name)?),
        Kind::BackupSession => format::value(&plugin.required::<BackupSession>(namespace, name)?),
        Kind::RestoreSession => format::value(&plugin.required::<RestoreSession>(namespace, name)?),
        Kind::BackupStorage => format::value(&plugin.required::<BackupStorage>(namespace, name)?),
        Kind::Repository => format::value(&plugin.required::<Repository>(namespace, name)?),
        Kind::Snapshot => format::value(&plugin.required::<Snapshot>(namespace, name)?),
        other => Err(PluginError::refused(
            format!("{} has no status of Coffer's", other.name()),
            "nothing acts on it by itself",
            "name a BackupConfiguration, for example",
        )),
    }
}
