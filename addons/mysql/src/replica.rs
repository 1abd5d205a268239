//! Where a replica is in the logs of its sources, and the statements that let another server go on from there.
//!
//! What is read is what the replica itself keeps in tables, in the transactions that it applies: read within the view, it is the view's
//! position exactly, without stopping anything.

use std::cmp::Reverse;

use coffer_addon_sdk::{Context, Error, Fact, Result, warn};

use crate::params::{BackupParams, ReplicationStyle, Written};
use crate::session::{Session, literal};
use crate::view::Position;

/// What a replica follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// The channel, or MariaDB's connection; empty for the only one.
    channel: String,
    host: String,
    port: String,
    /// The file of the source's binary log, and the position in it up to which the view has everything.
    log: Option<(String, String)>,
}

/// What a server follows, if anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    all: Vec<Source>,
    /// MariaDB: what of the sources' transactions the view has.
    gtid: String,
    /// Whether the server keeps it to itself.
    denied: bool,
}

impl Sources {
    /// Asks the server, within the view.
    pub(crate) fn ask(session: &mut Session, context: &Context) -> Result<Self> {
        if session.server().is_mariadb() { ask_mariadb(session) } else { ask_mysql(session, context) }
    }

    /// For the manifest: `source-host`, `source-log-file`, …; of further channels `source-2-host` and so on.
    pub(crate) fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        for (index, source) in self.all.iter().enumerate() {
            let prefix = if index == 0 { "source".to_owned() } else { format!("source-{}", index.saturating_add(1)) };
            let mut fact = |name: &str, value: &str| {
                if !value.is_empty() {
                    facts.push(Fact::new(format!("{prefix}-{name}"), value));
                }
            };
            fact("channel", &source.channel);
            fact("host", &source.host);
            fact("port", &source.port);
            if let Some((file, position)) = &source.log {
                fact("log-file", file);
                fact("log-position", position);
            }
        }
        if !self.gtid.is_empty() {
            facts.push(Fact::new("source-gtid", &self.gtid));
        }
        facts
    }
}

/// MySQL: the tables of the applier. With several workers in commit order, the last one to commit is where the applier is.
fn ask_mysql(session: &mut Session, context: &Context) -> Result<Sources> {
    if !session.server().is_mysql(5, 7, 0) {
        return Ok(Sources::default());
    }
    let channels = match session.text(
        "SELECT Channel_name, Master_log_name, Master_log_pos, Number_of_workers FROM mysql.slave_relay_log_info ORDER BY Channel_name",
    ) {
        Ok(rows) => rows,
        Err(failure) if failure.is_denied() => return Ok(Sources { denied: true, ..Sources::default() }),
        Err(failure) => return Err(failure.into()),
    };
    if channels.is_empty() {
        return Ok(Sources::default());
    }
    let workers = session.text("SELECT Channel_name, Master_log_name, Master_log_pos FROM mysql.slave_worker_info")?;
    let gtid_only = if session.server().is_mysql(8, 0, 27) { "GTID_ONLY" } else { "'NO'" };
    let connections = session.text(format!(
        "SELECT CHANNEL_NAME, HOST, PORT, {gtid_only} FROM performance_schema.replication_connection_configuration"
    ))?;
    let order = if session.server().is_mysql(8, 0, 26) {
        "replica_preserve_commit_order"
    } else {
        "slave_preserve_commit_order"
    };
    let in_order = session.value(format!("SELECT @@GLOBAL.{order}"))?.as_deref() == Some("1");
    let mut sources = Vec::new();
    for row in &channels {
        let [channel, file, position, count] = row.as_slice() else { continue };
        let connection = connections.iter().find(|row| row.first() == Some(channel));
        let cell = |index: usize| connection.and_then(|row| row.get(index)).cloned().unwrap_or_default();
        let with_gaps = !in_order && count.parse().is_ok_and(|count: u32| count > 1);
        if with_gaps {
            warn!(
                context,
                "the replica applies transactions out of their order ({order} = OFF): the position in its source's log is not recorded, as \
                 none would be right; the GTID set is"
            );
        }
        let mut logs: Vec<(&String, &String)> = workers
            .iter()
            .filter_map(|row| match row.as_slice() {
                [of, file, position] if of == channel => Some((file, position)),
                _ => None,
            })
            .chain([(file, position)])
            .filter(|(file, _)| !file.is_empty())
            .collect();
        logs.sort_by_key(|(file, position)| Reverse((file.len(), (*file).clone(), position.parse().unwrap_or(0_u64))));
        let known = !with_gaps && cell(3) != "YES";
        sources.push(Source {
            channel: channel.clone(),
            host: cell(1),
            port: cell(2),
            log: logs.first().filter(|_| known).map(|(file, position)| ((*file).clone(), (*position).clone())),
        });
    }
    Ok(Sources { all: sources, ..Sources::default() })
}

/// MariaDB: files and positions are kept outside of transactions, GTIDs inside.
fn ask_mariadb(session: &mut Session) -> Result<Sources> {
    let rows = match session.text(
        "SELECT domain_id, server_id, seq_no FROM mysql.gtid_slave_pos AS g WHERE sub_id = (SELECT MAX(sub_id) FROM mysql.gtid_slave_pos \
         AS h WHERE h.domain_id = g.domain_id) ORDER BY domain_id",
    ) {
        Ok(rows) => rows,
        Err(failure) if failure.is_denied() => return Ok(Sources { denied: true, ..Sources::default() }),
        Err(failure) => return Err(failure.into()),
    };
    let gtid = rows.iter().map(|row| row.join("-")).collect::<Vec<_>>().join(",");
    let status = match session.named("SHOW ALL SLAVES STATUS") {
        Ok(rows) => rows,
        Err(failure) if failure.is_denied() => Vec::new(),
        Err(failure) => return Err(failure.into()),
    };
    let source = |row: &[(String, String)]| {
        let cell = |name: &str| {
            row.iter()
                .find(|(column, _)| column.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        };
        Source { channel: cell("Connection_name"), host: cell("Master_Host"), port: cell("Master_Port"), log: None }
    };
    Ok(Sources { all: status.iter().map(|row| source(row)).collect(), gtid, denied: false })
}

/// The statements about replication at the head of `dumpfile.sql`, as `args` ask for them.
pub(crate) fn statements(
    session: &mut Session,
    params: &BackupParams,
    position: Option<&Position>,
    sources: &Sources,
) -> Result<String> {
    let style = &params.replication;
    let words = Words::of(session);
    let mut text = String::new();
    if style.own != Written::No {
        let (file, offset) = position.and_then(|position| position.binlog.as_ref()).ok_or_else(|| {
            Error::invalid("--source-data: the server has no binary log, or does not show the position in it; leave it out of `args`")
        })?;
        let gtid = position.map(|position| position.gtid.as_str()).unwrap_or_default();
        text.push_str(&words.change(
            style,
            style.own,
            &Source { log: Some((file.clone(), offset.clone())), ..Source::default() },
            gtid,
        )?);
    }
    if style.source != Written::No {
        if sources.denied {
            return Err(Error::denied(
                "--dump-replica needs to read where the replica is: `GRANT SELECT ON mysql.* TO` the user of the backup",
            ));
        }
        for source in &sources.all {
            text.push_str(&words.change(style, style.source, source, &sources.gtid)?);
        }
    }
    if style.stop_and_start && !text.is_empty() {
        text.insert_str(0, &format!("STOP {};\n", words.replica));
    }
    Ok(text)
}

/// What goes to the end of `dumpfile.sql`, if something went to its head.
pub(crate) fn farewell(session: &Session, style: &ReplicationStyle) -> String {
    if style.stop_and_start && (style.own != Written::No || style.source != Written::No) {
        format!("START {};\n", Words::of(session).replica)
    } else {
        String::new()
    }
}

/// The server's words for it.
struct Words {
    mariadb: bool,
    replica: &'static str,
    change: &'static str,
    prefix: &'static str,
}

impl Words {
    fn of(session: &Session) -> Self {
        let mariadb = session.server().is_mariadb();
        if session.server().is_mysql(8, 0, 23) {
            Self { mariadb, replica: "REPLICA", change: "CHANGE REPLICATION SOURCE TO", prefix: "SOURCE" }
        } else {
            Self { mariadb, replica: "SLAVE", change: "CHANGE MASTER TO", prefix: "MASTER" }
        }
    }

    fn change(&self, style: &ReplicationStyle, written: Written, source: &Source, gtid: &str) -> Result<String> {
        let comment = |on: bool| if on && written == Written::Active { "" } else { "-- " };
        let Self { change, prefix, .. } = self;
        let mut where_from = String::new();
        if style.host_and_port && !source.host.is_empty() {
            where_from = format!("{prefix}_HOST={}, {prefix}_PORT={}, ", literal(&source.host), source.port);
        }
        // MySQL names the channel behind, MariaDB the connection before.
        let (before, behind) = match (source.channel.as_str(), self.mariadb) {
            ("", _) => (String::new(), String::new()),
            (name, true) => (format!(" {}", literal(name)), String::new()),
            (name, false) => (String::new(), format!(" FOR CHANNEL {}", literal(name))),
        };
        let change = change.replacen("MASTER", &format!("MASTER{before}"), 1);
        let by_gtid = if self.mariadb && !gtid.is_empty() {
            let mark = comment(style.gtid);
            format!(
                "{mark}{change} {where_from}MASTER_USE_GTID=slave_pos;\n{mark}SET GLOBAL gtid_slave_pos={};\n",
                literal(gtid)
            )
        } else {
            String::new()
        };
        let by_position = match &source.log {
            Some((file, position)) => format!(
                "{}{change} {where_from}{prefix}_LOG_FILE={}, {prefix}_LOG_POS={position}{behind};\n",
                comment(!(self.mariadb && style.gtid)),
                literal(file)
            ),
            None if self.mariadb && (style.gtid || written == Written::Commented) => String::new(),
            None => {
                return Err(Error::unsupported(
                    "--dump-replica: the exact position in the source's log is not kept by this replica, its GTID position is; for MariaDB \
                     add --gtid, for MySQL use --set-gtid-purged",
                ));
            }
        };
        Ok(by_gtid + &by_position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: ReplicationStyle = ReplicationStyle {
        own: Written::No,
        source: Written::No,
        gtid: false,
        host_and_port: false,
        stop_and_start: false,
    };
    const MYSQL: Words =
        Words { mariadb: false, replica: "REPLICA", change: "CHANGE REPLICATION SOURCE TO", prefix: "SOURCE" };
    const MARIADB: Words = Words { mariadb: true, replica: "SLAVE", change: "CHANGE MASTER TO", prefix: "MASTER" };

    fn source(channel: &str) -> Source {
        let log = Some(("b.000001".to_owned(), "42".to_owned()));
        Source { channel: channel.into(), host: "db'1".into(), port: "3306".into(), log }
    }

    #[test]
    fn statements_of_mysql() {
        let with_host = ReplicationStyle { host_and_port: true, ..STYLE };
        for (style, written, channel, expected) in [
            (
                &STYLE,
                Written::Active,
                "",
                "CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='b.000001', SOURCE_LOG_POS=42;\n",
            ),
            (
                &STYLE,
                Written::Commented,
                "",
                "-- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='b.000001', SOURCE_LOG_POS=42;\n",
            ),
            (
                &with_host,
                Written::Active,
                "c",
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST='db''1', SOURCE_PORT=3306, SOURCE_LOG_FILE='b.000001', SOURCE_LOG_POS=42 \
                 FOR CHANNEL 'c';\n",
            ),
        ] {
            assert_eq!(MYSQL.change(style, written, &source(channel), "uuid:1-3").unwrap(), expected);
        }
        assert!(MYSQL.change(&STYLE, Written::Active, &Source::default(), "").is_err());
    }

    #[test]
    fn statements_of_mariadb() {
        let by_gtid = ReplicationStyle { gtid: true, ..STYLE };
        for (style, written, channel, expected) in [
            (
                &STYLE,
                Written::Active,
                "",
                "-- CHANGE MASTER TO MASTER_USE_GTID=slave_pos;\n-- SET GLOBAL gtid_slave_pos='0-1-9';\n\
                 CHANGE MASTER TO MASTER_LOG_FILE='b.000001', MASTER_LOG_POS=42;\n",
            ),
            (
                &by_gtid,
                Written::Active,
                "c",
                "CHANGE MASTER 'c' TO MASTER_USE_GTID=slave_pos;\nSET GLOBAL gtid_slave_pos='0-1-9';\n\
                 -- CHANGE MASTER 'c' TO MASTER_LOG_FILE='b.000001', MASTER_LOG_POS=42;\n",
            ),
        ] {
            assert_eq!(MARIADB.change(style, written, &source(channel), "0-1-9").unwrap(), expected);
        }
        let without = Source { log: None, ..source("") };
        assert!(MARIADB.change(&STYLE, Written::Active, &without, "0-1-9").is_err());
        assert!(MARIADB.change(&by_gtid, Written::Active, &without, "0-1-9").is_ok());
        assert!(MARIADB.change(&STYLE, Written::Commented, &without, "0-1-9").is_ok());
    }

    #[test]
    fn facts_of_channels() {
        let sources = Sources { all: vec![source(""), source("c")], gtid: String::new(), denied: false };
        let names: Vec<String> = sources.facts().into_iter().map(|fact| fact.name).collect();
        assert_eq!(
            names,
            [
                "source-host",
                "source-port",
                "source-log-file",
                "source-log-position",
                "source-2-channel",
                "source-2-host",
                "source-2-port",
                "source-2-log-file",
                "source-2-log-position"
            ]
        );
        assert_eq!(Sources::default().facts(), []);
    }
}
