use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Texts of the files below a directory, with this ending.
fn texts(directory: &Path, ending: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("it is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(texts(&path, ending));
        } else if path.extension().is_some_and(|is| is == ending) {
            let text = fs::read_to_string(&path).expect("a text");
            found.push((path, text));
        }
    }
    found
}

/// The words in capitals that follow one of these openings.
fn words<'a>(text: &'a str, openings: &[&str], quote: char) -> Vec<&'a str> {
    let mut found = Vec::new();
    for opening in openings {
        for after in text.split(opening).skip(1) {
            let word = after.split(quote).next().unwrap_or_default();
            if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase()) {
                found.push(word);
            }
        }
    }
    found
}

fn names() -> BTreeSet<&'static str> {
    COMMANDS.iter().map(|(_, name, _)| *name).collect()
}

#[test]
fn every_command_of_the_scripts_is_a_right_that_is_always_needed() {
    for (path, text) in texts(&root().join("lua"), "lua") {
        let called = ["redis.call('", "redis.pcall('", "undo_by('"];
        for word in words(&text, &called, '\'') {
            let name = word.to_lowercase();
            // What a script only tries it can do without.
            let is_tried = !text.contains(&format!("redis.call('{word}'"));
            let known = COMMANDS.iter().any(|(needed, right, _)| {
                *right == name && (*needed == Needed::Always || is_tried)
            });
            assert!(
                known,
                "{} runs {word}: add it to COMMANDS and to deploy/redis/leasehold.acl",
                path.display()
            );
        }
    }
}

#[test]
fn the_list_has_what_the_store_runs_and_nothing_else() {
    // What operators run has users of its own.
    let others = ["failover.rs", "embedded", "diagnosis", "rights.rs"];
    let mut used = BTreeSet::new();
    for (path, text) in texts(&root().join("src/store"), "rs") {
        let path = path.to_string_lossy();
        if others.iter().any(|other| path.contains(other)) {
            continue;
        }
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in words(text, &["cmd(\""], '"') {
            used.insert(match word {
                "SENTINEL" => continue,
                "SCRIPT" => "script|load".to_owned(),
                "CLUSTER" => "cluster|slots".to_owned(),
                word => word.to_lowercase(),
            });
        }
    }
    for (_, text) in texts(&root().join("lua"), "lua") {
        let called = ["redis.call('", "redis.pcall('", "undo_by('"];
        used.extend(
            words(&text, &called, '\'')
                .iter()
                .map(|word| word.to_lowercase()),
        );
    }
    // By the library, for a connection, a pipeline and a subscription; by the doctor; and by the version before.
    for name in [
        "auth",
        "hello",
        "select",
        "multi",
        "exec",
        "psubscribe",
        "subscribe",
        "unsubscribe",
        "cluster|info",
        "getex",
        "script|exists",
    ] {
        used.insert(name.to_owned());
    }
    let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(names(), used);
}

#[test]
fn the_shipped_user_has_exactly_these_rights() {
    let mut rights = format!("~{} resetchannels &{} -@all", keys::ALL, keys::QUEUES);
    for (_, name, _) in COMMANDS {
        write!(rights, " +{name}").expect("a string takes any text");
    }
    for file in [
        "deploy/redis/leasehold.acl",
        "deploy/kubernetes/components/sentinel/redis.sh",
    ] {
        let text = fs::read_to_string(root().join(file)).expect("it is shipped");
        let has = text
            .lines()
            .find(|line| line.starts_with("user leasehold on "))
            .unwrap_or_else(|| panic!("{file} has no user leasehold"));
        let has = has.split_once(" ~").map_or("", |(_, rights)| rights);
        assert_eq!(format!("~{has}"), rights, "{file}");
    }
}

#[test]
fn what_is_lacking_is_named_with_the_line_that_gives_it() {
    let mut lacking = MissingRights {
        commands: vec!["publish", "script|load"],
        channels: true,
        ..MissingRights::default()
    };
    assert_eq!(
        lacking.named(),
        "PUBLISH, SCRIPT LOAD, the channels lh1:*:queue"
    );
    let advice = lacking.advice("lh");
    let line = "run there: ACL SETUSER lh +publish +script|load &lh1:*:queue, ";
    assert!(advice.starts_with(line), "{advice}");

    lacking = MissingRights {
        unknown: vec!["info"],
        ..MissingRights::default()
    };
    assert_eq!(lacking.named(), "INFO");
    assert!(!lacking.advice("lh").contains("ACL"));
}
