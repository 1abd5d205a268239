//! Metrics: how the operator works, counted; how backups are doing, read from the stores at each scrape, so that
//! nothing about an object outlives it and nothing is lost with the operator.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use coffer_api::core::{BackupSession, BackupSessionPhase, InvokerPhase};
use coffer_api::shared::SnapshotPhase;
use coffer_api::storage::{RepositoryPhase, Snapshot, StoragePhase};
use coffer_api::{duration, size};
use kube::ResourceExt as _;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::error::Class;
use crate::stores::Stores;

/// All metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    reconciles: Family<Reconcile, Counter>,
    durations: Family<Controller, Histogram, fn() -> Histogram>,
    leader: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconcile {
    controller: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Controller {
    controller: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("coffer");
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 4.0, 8));
        let (reconciles, durations, leader) =
            (Family::default(), Family::new_with_constructor(histogram), Gauge::default());
        registry.register("reconciles", "Reconciles by outcome", reconciles.clone());
        registry.register("reconcile_duration_seconds", "How long reconciles took", durations.clone());
        registry.register("leader", "Whether this operator leads", leader.clone());
        Self { registry: Mutex::new(registry), reconciles, durations, leader }
    }
}

impl Metrics {
    /// Adds what the stores tell.
    pub(crate) fn watch(&self, stores: Stores) {
        let collector = Box::new(Backups(stores));
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(collector);
    }

    /// Counts a reconcile; `class` is that of its failure.
    pub(crate) fn reconciled(&self, controller: &'static str, class: Option<Class>, took: Duration) {
        let outcome = class.map_or("ok", Class::name);
        self.reconciles.get_or_create(&Reconcile { controller, outcome }).inc();
        self.durations.get_or_create(&Controller { controller }).observe(took.as_secs_f64());
    }

    pub(crate) fn lead(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// The metrics as text.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// How backups are doing, from the stores.
struct Backups(Stores);

impl fmt::Debug for Backups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backups")
    }
}

type Labels = Vec<(&'static str, String)>;

/// Gauges of one name.
#[derive(Default)]
struct Samples(Vec<(Labels, f64)>);

impl Samples {
    fn add(&mut self, labels: &[(&'static str, &str)], value: f64) {
        self.0.push((labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), value));
    }

    fn encode(&self, encoder: &mut DescriptorEncoder, name: &str, help: &str) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in &self.0 {
            ConstGauge::new(*value).encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }
}

impl Collector for Backups {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let encoder = &mut encoder;
        self.configurations(encoder)?;
        self.sessions(encoder)?;
        self.snapshots(encoder)?;
        self.repositories(encoder)?;
        self.storages(encoder)?;
        self.restores(encoder)
    }
}

impl Backups {
    fn configurations(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let (mut phases, mut paused) = (Samples::default(), Samples::default());
        for configuration in self.0.configurations.state() {
            let (namespace, name) = (configuration.namespace().unwrap_or_default(), configuration.name_any());
            let labels = [("namespace", namespace.as_str()), ("configuration", name.as_str())];
            let phase = configuration.status.as_ref().and_then(|status| status.phase).unwrap_or(InvokerPhase::NotReady);
            phases.add(&[labels[0], labels[1], ("phase", &format!("{phase:?}"))], 1.0);
            paused.add(&labels, f64::from(u8::from(configuration.spec.paused == Some(true))));
        }
        phases.encode(encoder, "backup_configuration_phase", "Phase of each BackupConfiguration")?;
        paused.encode(encoder, "backup_configuration_paused", "Whether a BackupConfiguration takes no backups for now")
    }

    /// The newest BackupSession of each session.
    fn sessions(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let mut newest = BTreeMap::new();
        for session in self.0.sessions.state() {
            let invoker = session.spec.invoker.as_ref().map(|invoker| invoker.name.clone()).unwrap_or_default();
            let key =
                (session.namespace().unwrap_or_default(), invoker, session.spec.session.clone().unwrap_or_default());
            let created = |session: &BackupSession| session.creation_timestamp().map(|time| time.0);
            let slot = newest.entry(key).or_insert_with(|| session.clone());
            if created(&session) > created(slot) {
                *slot = session;
            }
        }
        let (mut phases, mut durations) = (Samples::default(), Samples::default());
        for ((namespace, configuration, session), object) in newest {
            let labels = [("namespace", namespace.as_str()), ("configuration", &configuration), ("session", &session)];
            let status = object.status.as_ref();
            let phase = status.and_then(|status| status.phase).unwrap_or(BackupSessionPhase::Pending);
            phases.add(&[labels[0], labels[1], labels[2], ("phase", &format!("{phase:?}"))], 1.0);
            if let Some(seconds) = status.and_then(|status| seconds(status.duration.as_deref())) {
                durations.add(&labels, seconds);
            }
        }
        phases.encode(encoder, "backup_session_phase", "Phase of the newest BackupSession of each session")?;
        durations.encode(encoder, "backup_session_duration_seconds", "How long the newest BackupSession took")
    }

    /// The newest successful Snapshot of each session in each repository.
    fn snapshots(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let mut newest = BTreeMap::new();
        for snapshot in self.0.snapshots.state() {
            let status = snapshot.status.as_ref();
            if status.and_then(|status| status.phase) != Some(SnapshotPhase::Succeeded) {
                continue;
            }
            let key = (
                snapshot.namespace().unwrap_or_default(),
                snapshot.spec.repository.clone().unwrap_or_default(),
                snapshot.spec.session.clone().unwrap_or_default(),
            );
            let slot = newest.entry(key).or_insert_with(|| snapshot.clone());
            if taken(&snapshot) > taken(slot) {
                *slot = snapshot;
            }
        }
        let configurations = self.writers();
        let (mut times, mut durations, mut bytes) = (Samples::default(), Samples::default(), Samples::default());
        for (key, snapshot) in newest {
            let configuration = configurations.get(&key).cloned().unwrap_or_default();
            let (namespace, repository, session) = key;
            let labels = [
                ("namespace", namespace.as_str()),
                ("configuration", &configuration),
                ("session", &session),
                ("repository", &repository),
            ];
            if let Some(time) = taken(&snapshot) {
                #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
                times.add(&labels, time.as_second() as f64);
            }
            let components = || snapshot.status.iter().flat_map(|status| status.components.values());
            durations.add(&labels, components().filter_map(|one| seconds(one.duration.as_deref())).sum());
            let summaries = components().flat_map(|one| &one.restic_stats).filter_map(|stats| stats.summary.as_ref());
            bytes.add(&labels, summaries.filter_map(|summary| size_of(summary.size.as_deref())).sum());
        }
        times.encode(encoder, "backup_last_success_timestamp_seconds", "When the last successful backup began")?;
        durations.encode(
            encoder,
            "backup_last_success_duration_seconds",
            "How long the last successful backup took",
        )?;
        bytes.encode(encoder, "backup_last_success_bytes", "What the last successful backup read")
    }

    /// The BackupConfiguration that writes a session into a repository, by namespace, repository and session.
    fn writers(&self) -> BTreeMap<(String, String, String), String> {
        let mut writers = BTreeMap::new();
        for configuration in self.0.configurations.state() {
            let namespace = configuration.namespace().unwrap_or_default();
            for session in &configuration.spec.sessions {
                for repository in session.repositories.iter().filter_map(|repository| repository.name.clone()) {
                    let session = session.name.clone().unwrap_or_default();
                    writers.insert((namespace.clone(), repository, session), configuration.name_any());
                }
            }
        }
        writers
    }

    fn repositories(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let (mut phases, mut sizes, mut counts, mut integrity) =
            (Samples::default(), Samples::default(), Samples::default(), Samples::default());
        for repository in self.0.repositories.state() {
            let (namespace, name) = (repository.namespace().unwrap_or_default(), repository.name_any());
            let labels = [("namespace", namespace.as_str()), ("repository", name.as_str())];
            let status = repository.status.clone().unwrap_or_default();
            let phase = status.phase.unwrap_or(RepositoryPhase::NotReady);
            phases.add(&[labels[0], labels[1], ("phase", &format!("{phase:?}"))], 1.0);
            if let Some(size) = size_of(status.size.as_deref()) {
                sizes.add(&labels, size);
            }
            if let Some(count) = status.snapshot_count {
                counts.add(&labels, count.into());
            }
            if let Some(good) = status.integrity {
                integrity.add(&labels, f64::from(u8::from(good)));
            }
        }
        phases.encode(encoder, "repository_phase", "Phase of each Repository")?;
        sizes.encode(encoder, "repository_size_bytes", "Size of each Repository's data")?;
        counts.encode(encoder, "repository_snapshots", "How many Snapshots each Repository has")?;
        integrity.encode(encoder, "repository_integrity", "Whether the last check of each Repository found no error")
    }

    fn storages(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let mut phases = Samples::default();
        for storage in self.0.storages.state() {
            let (namespace, name) = (storage.namespace().unwrap_or_default(), storage.name_any());
            let phase = storage.status.as_ref().and_then(|status| status.phase).unwrap_or(StoragePhase::NotReady);
            phases.add(&[("namespace", &namespace), ("storage", &name), ("phase", &format!("{phase:?}"))], 1.0);
        }
        phases.encode(encoder, "backup_storage_phase", "Phase of each BackupStorage")
    }

    fn restores(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let (mut phases, mut durations) = (Samples::default(), Samples::default());
        for restore in self.0.restores.state() {
            let (namespace, name) = (restore.namespace().unwrap_or_default(), restore.name_any());
            let labels = [("namespace", namespace.as_str()), ("restore", name.as_str())];
            let status = restore.status.clone().unwrap_or_default();
            let phase = status.phase.map_or_else(|| "Pending".to_owned(), |phase| format!("{phase:?}"));
            phases.add(&[labels[0], labels[1], ("phase", &phase)], 1.0);
            if let Some(seconds) = seconds(status.duration.as_deref()) {
                durations.add(&labels, seconds);
            }
        }
        phases.encode(encoder, "restore_session_phase", "Phase of each RestoreSession")?;
        durations.encode(encoder, "restore_session_duration_seconds", "How long each RestoreSession took")
    }
}

fn taken(snapshot: &Snapshot) -> Option<jiff::Timestamp> {
    let said = snapshot.status.as_ref().and_then(|status| status.snapshot_time.as_ref());
    said.map(|time| time.0).or_else(|| snapshot.creation_timestamp().map(|time| time.0))
}

fn seconds(text: Option<&str>) -> Option<f64> {
    duration::parse(text?).ok().map(|duration| duration.as_secs_f64())
}

fn size_of(text: Option<&str>) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a size in text form has three decimals anyway")]
    size::parse(text?).map(|bytes| bytes as f64)
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "JSON literals are handed over as they are")]
mod tests {
    use super::*;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    fn object<K: serde::de::DeserializeOwned>(group: &str, kind: &str, name: &str, rest: Value) -> Event<K> {
        let mut value = json!({
            "apiVersion": format!("{group}.kubestash.com/v1alpha1"), "kind": kind,
            "metadata": {"name": name, "namespace": "demo", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {},
        });
        value.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        Event::Apply(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn backups_are_told_from_the_stores() {
        let (stores, mut writers) = Stores::new();
        let metrics = Metrics::default();
        metrics.watch(stores);
        metrics.reconciled("snapshot", None, Duration::from_millis(3));
        metrics.reconciled("snapshot", Some(Class::Waiting), Duration::from_millis(3));
        metrics.lead(true);
        let configuration = json!({"spec": {"paused": true, "sessions": [{"name": "daily", "repositories": [{"name": "repo"}]}]}, "status": {"phase": "Ready"}});
        writers.configurations.apply_watcher_event(&object("core", "BackupConfiguration", "sample", configuration));
        for (name, created, phase) in
            [("s-1", "2026-01-01T00:00:00Z", "Failed"), ("s-2", "2026-01-02T00:00:00Z", "Succeeded")]
        {
            let session = json!({
                "metadata": {"name": name, "namespace": "demo", "creationTimestamp": created},
                "spec": {"invoker": {"kind": "BackupConfiguration", "name": "sample"}, "session": "daily"},
                "status": {"phase": phase, "duration": "1m30s"},
            });
            writers.sessions.apply_watcher_event(&object("core", "BackupSession", name, session));
        }
        for (name, time, phase) in [("a", "2026-01-01T00:00:00Z", "Succeeded"), ("b", "2026-01-02T00:00:00Z", "Failed")]
        {
            let snapshot = json!({
                "spec": {"repository": "repo", "session": "daily"},
                "status": {"phase": phase, "snapshotTime": time, "components": {"dump": {
                    "duration": "12s", "resticStats": [{"summary": {"size": "2.000 KiB"}}],
                }}},
            });
            writers.snapshots.apply_watcher_event(&object("storage", "Snapshot", name, snapshot));
        }
        let repository =
            json!({"status": {"phase": "Ready", "size": "1.500 MiB", "snapshotCount": 2, "integrity": true}});
        writers.repositories.apply_watcher_event(&object("storage", "Repository", "repo", repository));
        let text = metrics.text().unwrap();
        for line in [
            "coffer_leader 1",
            r#"coffer_reconciles_total{controller="snapshot",outcome="ok"} 1"#,
            r#"coffer_reconciles_total{controller="snapshot",outcome="waiting"} 1"#,
            r#"coffer_backup_configuration_phase{namespace="demo",configuration="sample",phase="Ready"} 1.0"#,
            r#"coffer_backup_configuration_paused{namespace="demo",configuration="sample"} 1.0"#,
            r#"coffer_backup_session_phase{namespace="demo",configuration="sample",session="daily",phase="Succeeded"} 1.0"#,
            r#"coffer_backup_session_duration_seconds{namespace="demo",configuration="sample",session="daily"} 90.0"#,
            r#"coffer_backup_last_success_timestamp_seconds{namespace="demo",configuration="sample",session="daily",repository="repo"} 1767225600.0"#,
            r#"coffer_backup_last_success_duration_seconds{namespace="demo",configuration="sample",session="daily",repository="repo"} 12.0"#,
            r#"coffer_backup_last_success_bytes{namespace="demo",configuration="sample",session="daily",repository="repo"} 2048.0"#,
            r#"coffer_repository_size_bytes{namespace="demo",repository="repo"} 1572864.0"#,
            r#"coffer_repository_snapshots{namespace="demo",repository="repo"} 2.0"#,
            r#"coffer_repository_integrity{namespace="demo",repository="repo"} 1.0"#,
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} is not in\n{text}");
        }
    }
}
