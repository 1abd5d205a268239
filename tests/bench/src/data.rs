//! The databases that are measured: four tables like sysbench's and a shop. The same size makes the same rows on every machine.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use coffer_test_support::mysql::Client;

/// What the main measurements back up.
pub(crate) const DATABASES: &str = "sbtest,shop";
/// One table alone, half as large as all of [`DATABASES`].
pub(crate) const ALONE: &str = "alone";

/// Customers and orders whose number is a multiple of this have nothing that refers to them, so that they can be deleted.
const UNREFERENCED: u64 = 1000;
const LEAST_ROWS: u64 = 5 * UNREFERENCED;
/// Bytes that are handed to the loading client at a time.
const PIECE: usize = 256 << 10;

/// One table: how it is made, filled, and where a row can be deleted.
struct Table {
    database: &'static str,
    name: &'static str,
    columns: &'static str,
    /// Made after the rows, which is faster.
    indexes: &'static str,
    /// The target list of `LOAD DATA`.
    fields: &'static str,
    charset: &'static str,
    /// Share of the whole size in percent.
    percent: u64,
    /// About how many bytes a row has in a dump.
    row: u64,
    least: u64,
    /// No two tables have the same rows.
    seed: u64,
    fill: fn(&mut Vec<u8>, u64, &mut Random, &Sizes),
    /// Deletes the row next to the given number.
    delete: &'static str,
}

const SBTEST: &str = "id INT NOT NULL AUTO_INCREMENT, k INT NOT NULL DEFAULT 0, c CHAR(120) NOT NULL DEFAULT '', pad CHAR(60) NOT NULL DEFAULT '', PRIMARY KEY (id)";

const fn sbtest(database: &'static str, name: &'static str, percent: u64, seed: u64) -> Table {
    Table {
        database,
        name,
        columns: SBTEST,
        indexes: "ADD KEY k_1 (k)",
        fields: "(id, k, c, pad)",
        charset: "utf8mb4",
        percent,
        row: 204,
        least: LEAST_ROWS,
        seed,
        fill: fill_sbtest,
        delete: "id = {n}",
    }
}

const TABLES: [Table; 10] = [
    sbtest("sbtest", "sbtest1", 12, 1),
    sbtest("sbtest", "sbtest2", 12, 2),
    sbtest("sbtest", "sbtest3", 12, 3),
    sbtest("sbtest", "sbtest4", 12, 4),
    Table {
        database: "shop",
        name: "customers",
        columns: "id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, name VARCHAR(120) NOT NULL, email VARCHAR(160) NOT NULL, phone VARCHAR(32) NULL,
            credit DECIMAL(14,2) NOT NULL DEFAULT 0, vip BOOLEAN NOT NULL DEFAULT FALSE, address JSON NULL, born DATE NULL,
            created DATETIME(6) NOT NULL, note TEXT NULL, PRIMARY KEY (id)",
        indexes: "ADD UNIQUE KEY email (email)",
        fields: "(id, name, email, phone, credit, vip, address, born, created, note)",
        charset: "utf8mb4",
        percent: 6,
        row: 240,
        least: LEAST_ROWS,
        seed: 6,
        fill: fill_customers,
        delete: "id = {n}",
    },
    Table {
        database: "shop",
        name: "orders",
        columns: "id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, customer_id BIGINT UNSIGNED NOT NULL, status ENUM('new','paid','sent','returned') NOT NULL,
            placed TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, total DECIMAL(14,2) NOT NULL, currency CHAR(3) NOT NULL DEFAULT 'EUR',
            comment TEXT NULL, PRIMARY KEY (id)",
        indexes: "ADD KEY customer (customer_id), ADD CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customers (id)",
        fields: "(id, customer_id, status, placed, total, currency, comment)",
        charset: "utf8mb4",
        percent: 9,
        row: 98,
        least: LEAST_ROWS,
        seed: 7,
        fill: fill_orders,
        delete: "id = {n}",
    },
    Table {
        database: "shop",
        name: "order_items",
        columns: "order_id BIGINT UNSIGNED NOT NULL, line SMALLINT UNSIGNED NOT NULL, product INT UNSIGNED NOT NULL, quantity INT NOT NULL,
            unit_price DECIMAL(10,2) NOT NULL, PRIMARY KEY (order_id, line)",
        indexes: "ADD KEY product (product), ADD CONSTRAINT items_order FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE",
        fields: "(order_id, line, product, quantity, unit_price)",
        charset: "utf8mb4",
        percent: 8,
        row: 28,
        least: LEAST_ROWS,
        seed: 8,
        fill: fill_items,
        delete: "order_id = {n} DIV 4 + 1 AND line = 2",
    },
    Table {
        database: "shop",
        name: "docs",
        columns: "id BIGINT NOT NULL AUTO_INCREMENT, owner BIGINT NOT NULL, doc JSON NOT NULL, PRIMARY KEY (id)",
        indexes: "ADD KEY owner (owner)",
        fields: "(id, owner, doc)",
        charset: "utf8mb4",
        percent: 9,
        row: 520,
        least: LEAST_ROWS,
        seed: 9,
        fill: fill_docs,
        delete: "id = {n}",
    },
    Table {
        database: "shop",
        name: "blobs",
        columns: "id INT NOT NULL AUTO_INCREMENT, name VARCHAR(80) NOT NULL, content MEDIUMBLOB NOT NULL, PRIMARY KEY (id)",
        indexes: "ADD KEY name (name)",
        fields: "(id, name, content)",
        charset: "binary",
        percent: 8,
        row: 34 << 10,
        least: 10,
        seed: 10,
        fill: fill_blobs,
        delete: "id = {n}",
    },
    Table {
        database: "shop",
        name: "weblog",
        columns: "id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, at DATETIME(3) NOT NULL, client VARCHAR(45) CHARACTER SET ascii NOT NULL,
            method ENUM('GET','POST','PUT') NOT NULL, path VARCHAR(255) NOT NULL, status SMALLINT NOT NULL, bytes INT NOT NULL, seconds DOUBLE NOT NULL,
            agent VARCHAR(255) NULL, session BINARY(16) NOT NULL, PRIMARY KEY (id)",
        indexes: "ADD KEY at (at)",
        fields: "(id, at, client, method, path, status, bytes, seconds, agent, @session) SET session = UNHEX(@session)",
        charset: "utf8mb4",
        percent: 12,
        row: 220,
        least: LEAST_ROWS,
        seed: 11,
        fill: fill_weblog,
        delete: "id = {n}",
    },
];

const BIG: Table = sbtest(ALONE, "big", 50, 5);

/// How many rows what others refer to has.
struct Sizes {
    customers: u64,
}

impl Table {
    fn rows(&self, size: u64) -> u64 {
        (size / 100 * self.percent / self.row).max(self.least)
    }
}

/// How many rows each of sysbench's tables has, numbered from 1.
pub(crate) fn sbtest_rows(size: u64) -> u64 {
    TABLES.iter().find(|table| table.database == "sbtest").map_or(0, |table| table.rows(size))
}

/// Makes and fills the databases, `size` bytes in dumps. The server must allow `local_infile`.
pub(crate) fn fill(server: &Client, size: u64, alone: bool) -> Result<()> {
    let tables: Vec<&Table> = TABLES.iter().chain(alone.then_some(&BIG)).collect();
    // What is written here is never recovered after a crash: the log would only cost time.
    server.exec("ALTER INSTANCE DISABLE INNODB REDO_LOG")?;
    for table in &tables {
        let Table { database, name, columns, .. } = table;
        server.exec(&format!(
            "SET sql_log_bin = 0; CREATE DATABASE IF NOT EXISTS `{database}` CHARACTER SET utf8mb4; CREATE TABLE `{database}`.`{name}` ({columns}) ENGINE=InnoDB"
        ))?;
    }
    let customers = TABLES.iter().find(|table| table.name == "customers").map_or(1, |table| table.rows(size));
    let sizes = Sizes { customers };
    // Two clients at a time, the largest tables first.
    let mut queue = tables.clone();
    queue.sort_by_key(|table| std::cmp::Reverse(table.percent));
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(table) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
            load(server, table, size, &sizes).with_context(|| format!("filling {}.{}", table.database, table.name))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let other = scope.spawn(work);
        let mine = work();
        other.join().map_err(|_| anyhow::anyhow!("the thread that fills tables panicked"))?.and(mine)
    })?;
    for Table { database, name, indexes, .. } in &tables {
        server.exec(&format!("SET sql_log_bin = 0, foreign_key_checks = 0; ALTER TABLE `{database}`.`{name}` {indexes}; ANALYZE NO_WRITE_TO_BINLOG TABLE `{database}`.`{name}`"))?;
    }
    server.exec("ALTER INSTANCE ENABLE INNODB REDO_LOG")
}

fn load(server: &Client, table: &Table, size: u64, sizes: &Sizes) -> Result<()> {
    let Table { database, name, fields, charset, .. } = table;
    let sql = format!(
        "SET sql_log_bin = 0, foreign_key_checks = 0, unique_checks = 0, time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES';
         LOAD DATA LOCAL INFILE '/dev/stdin' INTO TABLE `{database}`.`{name}` CHARACTER SET {charset} {fields}"
    );
    let mut client = server.client()?;
    client.args(["--local-infile=1", "--execute", &sql]);
    let mut child =
        client.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start the stock client")?;
    let mut input = child.stdin.take().context("no standard input")?;
    let mut piece = Vec::with_capacity(PIECE + (128 << 10));
    let mut written = Ok(());
    for row in 1..=table.rows(size) {
        (table.fill)(&mut piece, row, &mut Random::new(table.seed, row), sizes);
        if piece.len() >= PIECE {
            written = input.write_all(&piece);
            piece.clear();
            if written.is_err() {
                break;
            }
        }
    }
    written = written.and_then(|()| input.write_all(&piece));
    drop(input);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(written?)
}

/// Deletes one row near the middle of every table of [`DATABASES`], another one for each `round`.
pub(crate) fn delete_one_row_each(server: &Client, size: u64, round: u64) -> Result<()> {
    for table in &TABLES {
        let Table { database, name, delete, .. } = table;
        let middle = table.rows(size) / 2;
        let number = if table.least < LEAST_ROWS {
            middle + round
        } else {
            // Past the last row only with more rounds than there are thousands of rows.
            (middle / UNREFERENCED).saturating_sub(round).max(1) * UNREFERENCED
        };
        let condition = delete.replace("{n}", &number.to_string());
        let deleted =
            server.value(&format!("DELETE FROM `{database}`.`{name}` WHERE {condition}; SELECT ROW_COUNT()"))?;
        ensure!(deleted == "1", "{database}.{name}: {deleted} rows were deleted instead of one ({condition})");
    }
    Ok(())
}

/// The checksum of every table, which tells one database from another that lacks a row.
pub(crate) fn checksums(server: &Client) -> Result<Vec<Vec<String>>> {
    let names: Vec<_> = TABLES.iter().map(|table| format!("`{}`.`{}`", table.database, table.name)).collect();
    server.query(&format!("CHECKSUM TABLE {}", names.join(", ")))
}

/// `SplitMix64`: good enough for data, and the same everywhere.
struct Random(u64);

impl Random {
    fn new(table: u64, row: u64) -> Self {
        Self(row.wrapping_mul(0xd134_2543_de82_ef95) ^ (table << 56))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn word(&mut self) -> &'static str {
        pick(&WORDS, self.next())
    }
}

const WORDS: [&str; 32] = [
    "amber",
    "brücke",
    "cedar",
    "delta",
    "ember",
    "forêt",
    "granite",
    "harbour",
    "íslensk",
    "jasmin",
    "kelp",
    "lantern",
    "mañana",
    "nebel",
    "ochre",
    "папка",
    "quartz",
    "ручей",
    "sable",
    "tøndrå",
    "上海",
    "velvet",
    "東京",
    "🍀",
    "window",
    "xylem",
    "yonder",
    "zephyr",
    "azure",
    "birch",
    "copper",
    "dusk",
];

fn pick<T: Copy + Default>(from: &[T], number: u64) -> T {
    let index = usize::try_from(number % from.len().max(1) as u64).unwrap_or_default();
    from.get(index).copied().unwrap_or_default()
}

/// Groups of eleven digits, as sysbench has them.
fn digits(out: &mut Vec<u8>, random: &mut Random, groups: usize) {
    for group in 0..groups {
        if group > 0 {
            out.push(b'-');
        }
        let mut number = random.below(100_000_000_000);
        let mut text = [0_u8; 11];
        for digit in text.iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
        }
        out.extend_from_slice(&text);
    }
}

fn text(out: &mut Vec<u8>, line: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(line);
}

fn fill_sbtest(out: &mut Vec<u8>, row: u64, random: &mut Random, _: &Sizes) {
    text(out, format_args!("{row}\t{}\t", random.below(2_000_000_000)));
    digits(out, random, 10);
    out.push(b'\t');
    digits(out, random, 5);
    out.push(b'\n');
}

fn fill_customers(out: &mut Vec<u8>, row: u64, random: &mut Random, _: &Sizes) {
    let (first, second, city) = (random.word(), random.word(), random.word());
    text(out, format_args!("{row}\t{first} {second}\tc{row}@{}.example\t", random.below(997)));
    match random.below(3) {
        0 => out.extend_from_slice(b"\\N"),
        _ => text(out, format_args!("+49 {}", 100_000 + random.below(899_999))),
    }
    let credit = random.below(1_000_000);
    text(out, format_args!("\t{}.{:02}\t{}\t", credit / 100, credit % 100, u8::from(row.is_multiple_of(17))));
    match random.below(11) {
        0 => out.extend_from_slice(b"\\N"),
        _ => text(
            out,
            format_args!(
                "{{\"city\": \"{city}\", \"zip\": \"{:05}\", \"lines\": [\"{second}\", {}]}}",
                random.below(100_000),
                random.below(200)
            ),
        ),
    }
    text(
        out,
        format_args!(
            "\t{}-{:02}-{:02}\t2024-{:02}-{:02} {:02}:{:02}:{:02}.{:06}\t",
            1940 + random.below(65),
            1 + random.below(12),
            1 + random.below(28),
            1 + row / 28 % 12,
            1 + row % 28,
            random.below(24),
            random.below(60),
            random.below(60),
            random.below(1_000_000)
        ),
    );
    match random.below(4) {
        0 => text(out, format_args!("Quote ' and \\\\ and\\ttab\\nline {first} {}\n", random.next())),
        _ => out.extend_from_slice(b"\\N\n"),
    }
}

fn fill_orders(out: &mut Vec<u8>, row: u64, random: &mut Random, sizes: &Sizes) {
    let mut customer = 1 + random.below(sizes.customers);
    if customer.is_multiple_of(UNREFERENCED) {
        customer -= 1;
    }
    let total = random.below(5_000_000);
    let minutes = row * 7 % (365 * 24 * 60);
    text(
        out,
        format_args!(
            "{row}\t{customer}\t{}\t2025-{:02}-{:02} {:02}:{:02}:{:02}\t{}.{:02}\t{}\t",
            pick(&["new", "paid", "sent", "returned"], random.next()),
            1 + minutes / (24 * 60) / 28 % 12,
            1 + minutes / (24 * 60) % 28,
            4 + minutes / 60 % 20,
            minutes % 60,
            random.below(60),
            total / 100,
            total % 100,
            pick(&["EUR", "USD", "JPY"], random.next())
        ),
    );
    match random.below(2) {
        0 => text(
            out,
            format_args!("{}, {} / {:016x}{:016x}\n", random.word(), random.word(), random.next(), random.next()),
        ),
        _ => out.extend_from_slice(b"\\N\n"),
    }
}

fn fill_items(out: &mut Vec<u8>, row: u64, random: &mut Random, _: &Sizes) {
    let (order, line) = (row / 4 + 1, row % 4 + 1);
    if order.is_multiple_of(UNREFERENCED) {
        return;
    }
    let price = 100 + random.below(90_000);
    text(
        out,
        format_args!(
            "{order}\t{line}\t{}\t{}\t{}.{:02}\n",
            1 + random.below(20_000),
            1 + random.below(9),
            price / 100,
            price % 100
        ),
    );
}

fn fill_docs(out: &mut Vec<u8>, row: u64, random: &mut Random, _: &Sizes) {
    let mut doc = format!("{{\"title\": \"{} {}\", \"tags\": [", random.word(), random.word());
    for tag in 0..=random.below(5) {
        let _ = write!(doc, "{}\"{}\"", if tag > 0 { ", " } else { "" }, random.word());
    }
    doc.push_str("], \"history\": [");
    for entry in 0..4 {
        let _ = write!(
            doc,
            "{}{{\"at\": {}, \"by\": \"{}\", \"score\": {}.{:03}, \"hash\": \"{:016x}\"}}",
            if entry > 0 { ", " } else { "" },
            1_700_000_000 + random.below(60_000_000),
            random.word(),
            random.below(1000),
            random.below(1000),
            random.next()
        );
    }
    let _ = write!(doc, "], \"active\": {}}}", random.below(2) == 0);
    text(out, format_args!("{row}\t{}\t{doc}\n", random.below(100_000)));
}

fn fill_blobs(out: &mut Vec<u8>, row: u64, random: &mut Random, _: &Sizes) {
    text(out, format_args!("{row}\tphoto-{row}.jpg\t"));
    for _ in 0..(4 << 10) / 8 + random.below((56 << 10) / 8) {
        for byte in random.next().to_le_bytes() {
            match byte {
                b'\t' => out.extend_from_slice(b"\\t"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\\' => out.extend_from_slice(b"\\\\"),
                other => out.push(other),
            }
        }
    }
    out.push(b'\n');
}

fn fill_weblog(out: &mut Vec<u8>, row: u64, random: &mut Random, _: &Sizes) {
    let seconds = row / 20;
    text(
        out,
        format_args!(
            "{row}\t2025-{:02}-{:02} {:02}:{:02}:{:02}.{:03}\t10.{}.{}.{}\t{}\t/{}/{}/{}?page={}\t{}\t{}\t{}.{:03}\t",
            1 + seconds / 86_400 / 28 % 12,
            1 + seconds / 86_400 % 28,
            seconds / 3600 % 24,
            seconds / 60 % 60,
            seconds % 60,
            random.below(1000),
            random.below(256),
            random.below(256),
            random.below(256),
            pick(&["GET", "GET", "GET", "POST", "PUT"], random.next()),
            random.word(),
            random.word(),
            random.below(100_000),
            random.below(40),
            pick(&[200_u16, 200, 200, 200, 304, 404, 500], random.next()),
            random.below(90_000),
            random.below(3),
            random.below(1000)
        ),
    );
    match random.below(10) {
        0 => out.extend_from_slice(b"\\N"),
        _ => text(
            out,
            format_args!(
                "Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0",
                100 + random.below(40)
            ),
        ),
    }
    text(out, format_args!("\t{:016x}{:016x}\n", random.next(), random.next()));
}
