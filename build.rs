//! Makes Rust types of the headers of `lua/*.lua`, and binds the names in them for the scripts; `lua/README.md` has the grammar.
//! A header that does not fit its body stops the build with file, line and a sentence.
//!
//! Lists the runbooks in `docs/runbooks`, which every node serves, and the crates of the build, whose names a log filter may have.

#[path = "build/call.rs"]
mod call;
#[path = "build/check.rs"]
mod check;
#[path = "build/header.rs"]
mod header;
#[path = "build/lua.rs"]
mod lua;
#[path = "build/prologue.rs"]
mod prologue;
#[path = "build/reply.rs"]
mod reply;
#[path = "build/rust.rs"]
mod rust;
#[path = "build/types.rs"]
mod types;

use std::path::{Path, PathBuf};

use crate::header::Fault;

fn main() {
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=lua");
    println!("cargo::rerun-if-changed=docs/runbooks");
    println!("cargo::rerun-if-changed=Cargo.lock");
    let variable = |name| PathBuf::from(std::env::var_os(name).expect("Cargo sets it"));
    match rust::generate(&variable("CARGO_MANIFEST_DIR").join("lua")) {
        Ok(code) => {
            let path = variable("OUT_DIR").join("scripts.rs");
            std::fs::write(path, code).expect("OUT_DIR can be written to");
        }
        Err(faults) => {
            for Fault { file, line, what } in faults {
                println!("cargo::error=lua/{file}:{line}: {what}");
            }
        }
    }
    let runbooks = runbooks(&variable("CARGO_MANIFEST_DIR").join("docs/runbooks"));
    let path = variable("OUT_DIR").join("runbooks.rs");
    std::fs::write(path, runbooks).expect("OUT_DIR can be written to");
    let crates = crates(&variable("CARGO_MANIFEST_DIR").join("Cargo.lock"));
    let path = variable("OUT_DIR").join("crates.rs");
    std::fs::write(path, crates).expect("OUT_DIR can be written to");
}

/// A list of names as Rust spells them, in order.
fn crates(lock: &Path) -> String {
    let lock = std::fs::read_to_string(lock).expect("Cargo.lock is there");
    let names = lock
        .lines()
        .filter_map(|line| line.strip_prefix("name = \""));
    let mut names: Vec<_> = names
        .map(|name| name.trim_end_matches('"').replace('-', "_"))
        .collect();
    names.sort();
    names.dedup();
    format!("&{names:?}")
}

/// A list of names and texts, in order of the names.
fn runbooks(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).expect("docs/runbooks is there");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    paths.sort();
    let rows = paths.iter().map(|path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        format!("({name:?}, include_str!({path:?})),")
    });
    format!("&[{}]", rows.collect::<String>())
}
