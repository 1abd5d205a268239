//! `coffer backup`

use std::sync::Arc;

use coffer_api::core::BackupConfiguration;
use coffer_api::size;
use coffer_executor::BackupReport;
use coffer_resolve::BackupSelection;
use serde_json::{Value, json};

use super::warn_of_hooks;
use crate::args::Backup;
use crate::catalog;
use crate::context::App;
use crate::exit::{End, Outcome};
use crate::output::counted;
use crate::progress::{Reporter, rate};

pub(crate) fn run(args: &Backup, app: &App) -> Outcome {
    let manifests = app.manifests()?;
    let engine = app.engine()?;
    let catalog = catalog::builtin(&engine)?;
    let selection = BackupSelection {
        namespace: app.global.namespace.clone(),
        configuration: args.configuration.clone(),
        session: args.session.clone(),
    };
    let plan = coffer_resolve::backup(&manifests, &catalog, &selection)?;
    app.output.object(&json!({
        "message_type": "start", "command": "backup", "namespace": plan.namespace,
        "configuration": plan.configuration, "session": plan.session, "target": plan.target.name,
    }));
    if let Some(configuration) =
        coffer_resolve::get::<BackupConfiguration>(&manifests, &plan.namespace, &plan.configuration)?
    {
        let sessions = configuration.spec.sessions.iter();
        let ours = sessions.filter(|session| session.name.as_deref().unwrap_or_default() == plan.session);
        let hooks = ours.flat_map(|session| &session.hooks);
        let hooks = hooks.flat_map(|hooks| hooks.pre_backup.iter().chain(&hooks.post_backup));
        let owner =
            format!("session {} of BackupConfiguration {}/{}", plan.session, plan.namespace, plan.configuration);
        warn_of_hooks(hooks, &owner, app);
    }
    let reporter = Arc::new(Reporter::new(app.output, app.global.verbose > 0));
    let report = coffer_executor::backup(&plan, &app.run_context(engine, reporter.clone()));
    reporter.finish();
    Ok(summarise(&report?, app))
}

/// Says what became of each repository.
fn summarise(report: &BackupReport, app: &App) -> End {
    let seconds = report.end_time.duration_since(report.start_time).as_secs_f64();
    let mut end = End::Done;
    for outcome in &report.outcomes {
        match &outcome.result {
            Ok(published) => {
                let text = format!(
                    "snapshot {} saved in repository {}: {} new, {} stored",
                    published.id.get(..8).unwrap_or(&published.id),
                    outcome.repository,
                    size::format(published.bytes_added),
                    size::format(published.bytes_added_packed),
                );
                app.output.note(|| text);
            }
            Err(error) => {
                end = End::Partial;
                app.output.warning(&format!("no snapshot in repository {}: {error}", outcome.repository));
            }
        }
    }
    app.output.note(|| {
        format!(
            "{}, {} in {seconds:.1} s ({})",
            counted(report.streams as u64, "stream"),
            size::format(report.bytes),
            rate(report.bytes, seconds)
        )
    });
    let repositories: Vec<Value> = report
        .outcomes
        .iter()
        .map(|outcome| match &outcome.result {
            Ok(published) => json!({
                "repository": outcome.repository, "snapshot_id": published.id, "files": published.files,
                "bytes_processed": published.bytes_processed, "data_added": published.bytes_added,
                "data_added_packed": published.bytes_added_packed,
            }),
            Err(error) => json!({
                "repository": outcome.repository, "error": error.to_string(), "retryable": error.is_retryable(),
            }),
        })
        .collect();
    app.output.object(&json!({
        "message_type": "summary", "command": "backup", "streams": report.streams, "bytes": report.bytes,
        "start_time": report.start_time, "end_time": report.end_time, "seconds": seconds, "repositories": repositories,
    }));
    end
}
