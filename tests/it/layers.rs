//! The floors of the house: a module uses only what is below it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of `src/`, from the ground up. Those of one floor do not know each other.
const FLOORS: [&[&str]; 11] = [
    &["names", "time", "blocking", "trace_context", "finding"],
    &["lease", "pool", "scope", "webhook", "tls", "stderr"],
    &["access_key"],
    &["config", "token", "client"],
    &["telemetry", "proof", "oidc"],
    &["tasks"],
    &["store"],
    &["history", "alerts"],
    &["http"],
    &["ui"],
    &["service"],
];

/// The highest floor: it uses whatever it needs, and nobody uses it.
const ROOF: [&str; 2] = ["cli", "main"];

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("src/ is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Modules that a source names behind `crate::`, with and without braces.
fn modules_used(text: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split_once('}').map_or("", |(list, _)| list),
            None => rest,
        };
        let first = |name: &str| -> String {
            let name = name.trim();
            let end = name
                .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                .unwrap_or(name.len());
            name[..end].to_owned()
        };
        if rest.starts_with('{') {
            used.extend(names.split(',').map(first).filter(|name| !name.is_empty()));
        } else {
            used.push(first(names));
        }
    }
    used
}

#[test]
fn every_module_uses_only_what_is_below_it() {
    let floors: BTreeMap<&str, usize> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, modules)| modules.iter().map(move |module| (*module, floor)))
        .collect();
    let src = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 100, "only {} files in src/", files.len());

    let (mut looked_at, mut wrong) = (0, Vec::new());
    for file in files {
        let inside = file.strip_prefix(&src).expect("a file of src/");
        let first = inside.iter().next().expect("a name").to_string_lossy();
        let module = first.trim_end_matches(".rs").to_owned();
        if ROOF.contains(&module.as_str()) || module == "lib" {
            continue;
        }
        let Some(own) = floors.get(module.as_str()) else {
            wrong.push(format!("{module} is on no floor: give it one in FLOORS"));
            continue;
        };
        let text = fs::read_to_string(&file).expect("a text");
        for used in modules_used(&text) {
            if used == module {
                continue;
            }
            looked_at += 1;
            // Macros and items of the crate's root are no module.
            let Some(floor) = floors.get(used.as_str()) else {
                if ROOF.contains(&used.as_str()) {
                    wrong.push(format!("{} uses {used}", inside.display()));
                }
                continue;
            };
            if floor >= own {
                wrong.push(format!("{} uses {used}", inside.display()));
            }
        }
    }
    assert!(looked_at > 200, "only {looked_at} uses were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
