//! The header of a script is its contract: it names exactly the keys and arguments that the body uses.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// Scripts by name, without the prelude, which is no script of its own.
fn scripts() -> Vec<(String, String)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("lua");
    let mut scripts = Vec::new();
    for entry in fs::read_dir(directory).expect("lua/ is there") {
        let path = entry.expect("it can be read").path();
        let name = path
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        if name.ends_with(".lua") && name != "prelude.lua" {
            scripts.push((name, fs::read_to_string(&path).expect("a text")));
        }
    }
    scripts.sort();
    assert!(
        scripts.len() >= 10,
        "only {} scripts in lua/",
        scripts.len()
    );
    scripts
}

/// The comment lines at the top, and the rest without comments.
fn split(script: &str) -> (String, String) {
    let end = script
        .lines()
        .take_while(|line| line.starts_with("--"))
        .count();
    let header = script.lines().take(end);
    let body = script
        .lines()
        .skip(end)
        .map(|line| line.split("--").next().unwrap_or_default());
    (
        header.collect::<Vec<_>>().join("\n"),
        body.collect::<Vec<_>>().join("\n"),
    )
}

/// What stands in the brackets after each `table[`.
fn indices<'a>(text: &'a str, table: &str) -> Vec<&'a str> {
    let opened = format!("{table}[");
    let after = text.split(&opened).skip(1);
    after
        .map(|rest| rest.split(']').next().unwrap_or_default().trim())
        .collect()
}

/// The numbered places of a table that a source names, and where an open range such as `[3..]` begins.
fn named(header: &str, table: &str) -> (BTreeSet<usize>, Option<usize>) {
    let (mut places, mut open) = (BTreeSet::new(), None);
    for index in indices(header, table) {
        match index.strip_suffix("..") {
            Some(from) => {
                open = from.parse().ok();
                assert!(open.is_some(), "{table}[{index}] is no place");
            }
            None => {
                places.insert(
                    index
                        .parse()
                        .unwrap_or_else(|_| panic!("{table}[{index}] is no place")),
                );
            }
        }
    }
    (places, open)
}

/// Whether the build makes types of the header of a script, and so has held it against its body.
fn is_built(header: &str) -> bool {
    header.lines().any(|line| line == "-- Returns:")
}

#[test]
fn every_header_names_the_keys_and_arguments_that_the_body_uses() {
    for (name, script) in scripts() {
        let (header, body) = split(&script);
        if is_built(&header) {
            continue;
        }
        for table in ["KEYS", "ARGV"] {
            let (declared, open) = named(&header, table);
            // `KEYS[1]`, the clock, is read by the prelude.
            let read_by_the_prelude = (table == "KEYS").then_some(1);
            let (computed, plain): (Vec<_>, Vec<_>) = indices(&body, table)
                .into_iter()
                .partition(|index| index.parse::<usize>().is_err());
            let used: BTreeSet<usize> = plain
                .iter()
                .map(|index| index.parse().expect("a number"))
                .chain(read_by_the_prelude)
                .collect();

            for place in &used {
                let known = declared.contains(place) || open.is_some_and(|from| *place >= from);
                assert!(
                    known,
                    "{name} uses {table}[{place}], which its header does not name"
                );
            }
            for place in &declared {
                assert!(
                    used.contains(place),
                    "{name} names {table}[{place}] and does not use it"
                );
            }
            // A place that is computed belongs to an open range, and the other way round.
            let ranges = !computed.is_empty()
                || body.contains(&format!("#{table}"))
                || body.contains(&format!("unpack({table}"));
            assert_eq!(
                ranges,
                open.is_some(),
                "{name}: {table} with computed places {computed:?}, declared from {open:?}"
            );
            // No gap, and the range comes last.
            let last = declared.last().copied().unwrap_or(0);
            assert_eq!(
                declared.len(),
                last,
                "{name}: {table} declared as {declared:?}"
            );
            assert!(
                open.is_none_or(|from| from == last + 1),
                "{name}: {table} declared to {last}, then from {open:?}"
            );
        }
    }
}

#[test]
fn every_header_says_what_the_script_does_and_what_it_returns() {
    for (name, script) in scripts() {
        let (header, body) = split(&script);
        let first = header.lines().next().unwrap_or_default();
        assert!(
            first.len() > "-- ".len() && !first.contains("KEYS"),
            "the header of {name} lacks its purpose"
        );
        assert!(
            header.contains("-- Returns"),
            "the header of {name} lacks what it returns"
        );
        // Every word that is returned as a status is explained.
        for line in body
            .lines()
            .filter(|line| line.trim_start().starts_with("return { '"))
        {
            let status = line.split('\'').nth(1).expect("a quoted word");
            assert!(
                header.contains(status),
                "{name} returns '{status}', which its header does not name"
            );
        }
    }
}

#[test]
fn no_script_makes_the_name_of_a_key() {
    for (name, script) in scripts() {
        assert!(!script.contains("'lh1"), "{name} spells a key");
    }
}

#[test]
fn time_is_read_once_and_only_where_it_must_be() {
    for (name, script) in scripts() {
        let reads = script.matches("'TIME'").count();
        // Those of no bucket that need it get it from `parts/instant.lua`; `open.lua` goes without the prelude, which reads it for all others.
        assert_eq!(
            reads,
            usize::from(name == "open.lua"),
            "{name} reads TIME {reads} times"
        );
    }
}

/// Otherwise nobody would look whether an alert follows from it: pools are found by what is noted, and by nothing else.
#[test]
fn every_script_that_may_write_an_event_notes_it() {
    const WRITE: [&str; 7] = [
        "record_event(",
        "note_use(",
        "report_use(",
        "end_due(",
        "note_changes(",
        "decide(",
        "drop_silent(",
    ];
    for (name, script) in scripts() {
        let (_, body) = split(&script);
        let writes = WRITE.iter().any(|call| body.contains(call));
        assert_eq!(
            writes,
            body.contains("evaluate_after_events(evaluations)"),
            "{name}: evaluate_after_events(evaluations) belongs into scripts that write events, and into no other"
        );
    }
}
