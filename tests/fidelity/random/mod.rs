//! Schemas and rows that nobody thought of: made from a seed, backed up, restored elsewhere, compared.
//!
//! `COFFER_FIDELITY_SEEDS=100` runs as many, `COFFER_FIDELITY_FIRST=17` begins there. A seed makes the same schema everywhere.

mod generate;
mod source;

use std::time::{Duration, Instant};

use coffer_test_support::mysql::{Flavor, MysqlServer};

use crate::compare::{Portrait, assert_same};
use crate::site::Site;
use crate::zoo::start;
use source::Source;

/// How many run if nothing is said, and how long they may take before the others are left out.
const SEEDS: u64 = 5;
const LIMIT: Duration = Duration::from_mins(1);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{variable}={value} is no number")))
}

fn drop_all(server: &MysqlServer) {
    let rows = server.query("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')").unwrap();
    let drops: String =
        rows.concat().iter().map(|name| "DROP DATABASE ".to_owned() + &generate::quote(name) + ";").collect();
    server.exec(&format!("SET foreign_key_checks = 0; {drops}")).unwrap();
}

fn round_trips(flavor: Flavor) {
    let (from, to) = (start(flavor, "+02:00", &[]), start(flavor, "-07:00", &[]));
    let asked = number("COFFER_FIDELITY_SEEDS");
    let (count, first) = (asked.unwrap_or(SEEDS), number("COFFER_FIDELITY_FIRST").unwrap_or(1));
    let begun = Instant::now();
    let (mut done, mut things) = (0, 0);
    for seed in first..first + count {
        if asked.is_none() && done > 0 && begun.elapsed() > LIMIT {
            break;
        }
        let mut source = Source::of(seed);
        let sql = generate::schema(&mut source, flavor);
        let format = if source.one_in(3) { "single" } else { "parallel" };
        let (readers, writers) = ((1 + source.below(4)).to_string(), (1 + source.below(4)).to_string());
        let infile = if source.one_in(4) { "OFF" } else { "ON" };
        println!("seed {seed} of {flavor:?}: {format}, {readers} readers, {writers} writers, local_infile {infile}");
        drop_all(&from);
        drop_all(&to);
        from.exec(&sql).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        let before = Portrait::of(&from);
        let site = Site::local(&from, "").backup("format", format).backup("workers", &readers);
        site.ok(&["backup"]);
        to.exec(&format!("SET GLOBAL local_infile = {infile}")).unwrap();
        let site = site.server(&to).restore("workers", &writers);
        site.ok(&["restore"]);
        assert_same(&before, &Portrait::of(&to));
        done += 1;
        things += before.len();
    }
    println!(
        "{done} schemas of {flavor:?} with {things} things came back with 0 differences, in {:.0?}",
        begun.elapsed()
    );
}

#[test]
fn schemas_of_mysql() {
    round_trips(Flavor::MySql);
}

#[test]
fn schemas_of_mariadb() {
    round_trips(Flavor::MariaDb);
}
