use std::collections::VecDeque;
use std::io::Read;

use coffer_addon_sdk::native;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Text that comes in pieces of these lengths, over and over.
struct Pieces {
    text: VecDeque<u8>,
    lengths: Vec<usize>,
    next: usize,
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let length = self.lengths[self.next % self.lengths.len()].clamp(1, out.len());
        self.next += 1;
        self.text.read(&mut out[..length])
    }
}

fn statements(text: &[u8], lengths: &[usize]) -> Statements {
    let pieces = Pieces { text: text.iter().copied().collect(), lengths: lengths.to_vec(), next: 0 };
    Statements::new(native::reader(pieces), 64 << 20)
}

/// All statements, and the error that ended them.
fn split_pieces(text: &[u8], lengths: &[usize]) -> (Vec<Vec<u8>>, Option<String>) {
    let mut statements = statements(text, lengths);
    let mut all = Vec::new();
    loop {
        match statements.next() {
            Ok(Some(statement)) => all.push(statement.to_vec()),
            Ok(None) => return (all, None),
            Err(error) => return (all, Some(error.message)),
        }
    }
}

fn split(text: &str) -> Vec<String> {
    let (all, error) = split_pieces(text.as_bytes(), &[usize::MAX]);
    assert_eq!(error, None, "{text}");
    all.into_iter().map(|statement| String::from_utf8(statement).unwrap()).collect()
}

#[test]
fn statements_end_at_their_delimiter() {
    for (text, expected) in [
        ("", vec![]),
        (" \r\n\t", vec![]),
        ("\u{feff}SELECT 1;", vec!["SELECT 1"]),
        ("SELECT 1;SELECT 2 ;\r\nSELECT 3\r\n;", vec!["SELECT 1", "SELECT 2 ", "SELECT 3\r\n"]),
        (";; ; SELECT 1;;", vec!["SELECT 1"]),
        ("SELECT ';', \";\", `;`;", vec!["SELECT ';', \";\", `;`"]),
        (r"SELECT 'a\';', 'b\\'; SELECT 2;", vec![r"SELECT 'a\';', 'b\\'", "SELECT 2"]),
        ("SELECT 'it''s;', \"\"\";\", ```;`;", vec!["SELECT 'it''s;', \"\"\";\", ```;`"]),
        (r"SELECT `a\`; SELECT 2;", vec![r"SELECT `a\`", "SELECT 2"]),
        (
            "CREATE LIBRARY l LANGUAGE X AS $$ it's; // $t$ $$; SELECT 2;",
            vec!["CREATE LIBRARY l LANGUAGE X AS $$ it's; // $t$ $$", "SELECT 2"],
        ),
        ("CREATE LIBRARY l as\n$t$ it's; $$ $t$; SELECT 2;", vec!["CREATE LIBRARY l as\n$t$ it's; $$ $t$", "SELECT 2"]),
        (
            "SELECT 1 AS a$$; SELECT $$; SELECT 1 AS $; SELECT 1 AS$$;",
            vec!["SELECT 1 AS a$$", "SELECT $$", "SELECT 1 AS $", "SELECT 1 AS$$"],
        ),
        ("-- a; b'\nSELECT 1; # it's\nSELECT 2;-- end", vec!["SELECT 1", "SELECT 2"]),
        ("SELECT 1 -- a;b\n+ 1 # c;'\n; SELECT 4--2;", vec!["SELECT 1 -- a;b\n+ 1 # c;'\n", "SELECT 4--2"]),
        ("--\nSELECT 1;\n--", vec!["SELECT 1"]),
        ("/* a; ' */SELECT /* ;' */ 1; /**/ /***/", vec!["SELECT /* ;' */ 1"]),
        ("/*/ ; */ SELECT 1;", vec!["SELECT 1"]),
        ("/*!40101 SET NAMES utf8mb4 */;\n", vec!["/*!40101 SET NAMES utf8mb4 */"]),
        ("/*M!100616 SET NOTE_VERBOSITY=0 */;", vec!["/*M!100616 SET NOTE_VERBOSITY=0 */"]),
        ("SELECT /*+ BKA(t) */ 1;", vec!["SELECT /*+ BKA(t) */ 1"]),
        (
            "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19\n/*!40101 SET a=1 */;",
            vec!["/*!40101 SET a=1 */"],
        ),
        ("/*!999999\\- it's sandboxed */\nSELECT 1;", vec!["SELECT 1"]),
        (
            "DELIMITER ;;\n/*!50003 CREATE*/ /*!50003 TRIGGER t BEGIN SET @a=1; SET @b=';;'; END */;;\nDELIMITER ;\nSELECT 1;",
            vec!["/*!50003 CREATE*/ /*!50003 TRIGGER t BEGIN SET @a=1; SET @b=';;'; END */", "SELECT 1"],
        ),
        (
            "delimiter //\r\nSELECT 1 / 2; /* // */ //\r\ndelimiter ;\r\nSELECT 2;",
            vec!["SELECT 1 / 2; /* // */ ", "SELECT 2"],
        ),
        ("delimiter $$\nSELECT $1$ $$ delimiter ;", vec!["SELECT $1$ "]),
        ("delimiters;", vec!["delimiters"]),
        ("SELECT 'a\0b;\r\n';", vec!["SELECT 'a\0b;\r\n'"]),
    ] {
        assert_eq!(split(text), expected, "{text}");
    }
}

#[test]
fn text_that_is_cut_off_or_no_text() {
    for (text, expected) in [
        (&b"SELECT 1"[..], "ends inside a statement"),
        (b"SELECT 1; SELECT 'a;", "ends inside a quoted text"),
        (b"SELECT 'a\\", "ends inside a quoted text"),
        (b"SELECT `a", "ends inside a quoted text"),
        (b"/* SELECT 1;", "ends inside a comment"),
        (b"SELECT /* 1;", "ends inside a comment"),
        (b"SELECT 1 -- ;", "ends inside a statement"),
        (b"DELIMITER \nSELECT 1;", "names no usable delimiter"),
        (b"DELIMITER \\\\\n", "names no usable delimiter"),
        (b"\x1f\x8b\x08\0", "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"\xff\xfeS\0E\0", "UTF-16"),
    ] {
        let (_, error) = split_pieces(text, &[3]);
        let error = error.unwrap_or_else(|| panic!("{text:?} must be refused"));
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    let (before, error) = split_pieces(b"SELECT 1;\n-- x\nSELECT '", &[5]);
    assert_eq!(before, [b"SELECT 1"]);
    assert!(error.unwrap().starts_with("in the SQL text at byte 15: "));
}

#[test]
fn backslashes_and_wide_characters() {
    let mut all = statements(br"SELECT '\'; SELECT 2;", &[1]);
    all.set_backslash_escapes(false);
    assert_eq!(all.next().unwrap(), Some(&br"SELECT '\'"[..]));
    assert_eq!(all.next().unwrap(), Some(&b"SELECT 2"[..]));

    // 0x95 0x5C is one character in sjis, 0x8F 0x60 too; 0xB1 alone is a half-wide letter.
    let sjis = b"SET NAMES sjis; SELECT '\x95\x5c', `\x8f\x60`, '\\\x95\x5c', '\xb1\\';'; SET character_set_client = @old; SELECT '\x95\\';';";
    // In gbk 0xB1 0x5C is a character.
    let gbk = b"/*!50003 SET character_set_client = gbk */; SELECT '\xb1\x5c'; SELECT '\xb1'; SET NAMES utf8mb4;";
    for lengths in [[1], [2], [1000]] {
        let (all, error) = split_pieces(sjis, &lengths);
        assert_eq!((all.len(), error), (4, None));
        let (all, error) = split_pieces(gbk, &lengths);
        assert_eq!((all.len(), error), (4, None));
    }
}

#[test]
fn dumps_without_their_last_line() {
    for (text, cut_off) in [
        ("-- MySQL dump 10.13  Distrib 9.7.4\nSELECT 1;\n-- Dump completed on 2026-01-01\n", false),
        ("-- MySQL dump 10.13  Distrib 9.7.4\nSELECT 1;\n-- Dump completed", false),
        ("/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19\nSELECT 1;\n", true),
        ("-- MySQL dump 10.13\nSELECT 1;\nSELECT '-- Dump completed';", true),
        ("SELECT 1;", false),
    ] {
        let mut all = statements(text.as_bytes(), &[7]);
        while all.next().unwrap().is_some() {}
        assert_eq!(all.is_cut_off(), cut_off, "{text}");
    }
}

#[test]
fn long_statements() {
    let mut text = b"INSERT INTO t VALUES ('".to_vec();
    text.resize(24 << 20, b'x');
    text.extend_from_slice(b"'); SELECT 2;");
    let mut all = statements(&text, &[1000]);
    assert_eq!(all.next().unwrap().map(<[u8]>::len), Some((24 << 20) + 2));
    assert_eq!(all.next().unwrap(), Some(&b"SELECT 2"[..]));
    assert_eq!(all.next().unwrap(), None);

    let mut all = Statements::new(native::reader(std::io::Cursor::new(text)), 1 << 20);
    assert!(all.next().unwrap_err().message.contains("a statement is longer than 1048576 bytes"));
}

#[test]
fn comments_between_statements_are_not_kept_in_memory() {
    let mut text = b"/*".to_vec();
    text.resize(1 << 20, b'x');
    text.extend_from_slice(b"*/ -- ");
    text.resize(2 << 20, b'y');
    text.extend_from_slice(b"\nSELECT 1;");
    let mut all = Statements::new(native::reader(Pieces { text: text.into(), lengths: vec![777], next: 0 }), 4096);
    assert_eq!(all.next().unwrap(), Some(&b"SELECT 1"[..]));
}

/// What may be in a statement without ending it.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let inside = |quote: u8, escapes: bool| {
        vec(any::<u8>(), 0..12).prop_map(move |bytes| {
            let mut text = vec![quote];
            for byte in bytes {
                if byte == quote || escapes && byte == b'\\' {
                    text.push(if escapes && byte % 2 == 0 { b'\\' } else { byte });
                }
                text.push(byte);
            }
            text.push(quote);
            text
        })
    };
    prop_oneof![
        Just(b"INSERT INTO ".to_vec()),
        Just(b" VALUES (1,-2),".to_vec()),
        Just(b"/*!50003 x */".to_vec()),
        Just(b"4-5/6*7".to_vec()),
        Just(b" -- it's; a comment\n".to_vec()),
        Just(b"# \"\n".to_vec()),
        Just(b"/* ' ; */".to_vec()),
        Just(b"\r\n".to_vec()),
        inside(b'\'', true),
        inside(b'"', true),
        inside(b'`', false),
    ]
}

/// What may be between statements.
fn filler() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"\n".to_vec()),
        Just(b" ; ".to_vec()),
        Just(b"-- it's nothing;\n".to_vec()),
        Just(b"#\n".to_vec()),
        Just(b"/* ; ` */".to_vec()),
        Just(b"/*M!999999\\- sandbox; */".to_vec()),
    ]
}

/// Bytes that mean something to the splitter, in no order.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::sample::select(
            &[
                "'",
                "\"",
                "`",
                "\\",
                ";",
                ";;",
                "-",
                "--",
                "-- ",
                "#",
                "/",
                "*",
                "/*",
                "*/",
                "/*!",
                "/*M!",
                "/*!999999",
                "\n",
                "\r\n",
                " ",
                "DELIMITER ;;\n",
                "delimiter ;\n",
                "delimiter $$\n",
                "$$",
                "$",
                "SELECT",
                "x",
                "SET NAMES gbk",
                "SET NAMES utf8",
                "\0"
            ][..]
        )
        .prop_map(|piece| piece.as_bytes().to_vec()),
        vec(any::<u8>(), 1..4),
    ];
    vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn pieces_do_not_matter(text in soup(), lengths in vec(1_usize..9, 1..8)) {
        let (whole, error) = split_pieces(&text, &[usize::MAX]);
        let (pieces, piecewise_error) = split_pieces(&text, &lengths);
        prop_assert_eq!(whole, pieces);
        // Where a comment that never ends is given up depends on the pieces.
        let what = |error: Option<String>| error.and_then(|error| error.split_once(": ").map(|(_, what)| what.to_owned()));
        prop_assert_eq!(what(error), what(piecewise_error));
    }

    #[test]
    fn what_is_joined_is_split_again(
        all in vec((vec(filler(), 0..4), vec(fragment(), 1..8)), 0..8),
        delimiter in proptest::sample::select(&[";", ";;", "$$", "|"][..]),
        lengths in vec(1_usize..40, 1..4),
    ) {
        let mut text = format!("DELIMITER {delimiter}\n").into_bytes();
        let mut expected = Vec::new();
        for (fillers, fragments) in all {
            text.extend(fillers.concat().into_iter().filter(|byte| delimiter == ";" || *byte != b';'));
            // Something that is neither blank nor comment begins a statement.
            let statement = [b"SELECT ".to_vec(), fragments.concat(), b" x".to_vec()].concat();
            text.extend_from_slice(&statement);
            text.extend_from_slice(delimiter.as_bytes());
            expected.push(statement);
        }
        let (found, error) = split_pieces(&text, &lengths);
        prop_assert_eq!(error, None);
        prop_assert_eq!(found, expected);
    }
}
