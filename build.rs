//! Makes Rust types of the headers of `lua/*.lua`, and binds the names in them for the scripts; `lua/README.md` has the grammar.
//!
//! A header that does not fit its body stops the build with file, line and a sentence.

#[path = "build/check.rs"]
mod check;
#[path = "build/header.rs"]
mod header;
#[path = "build/lua.rs"]
mod lua;
#[path = "build/prologue.rs"]
mod prologue;
#[path = "build/rust.rs"]
mod rust;

use std::path::PathBuf;

use crate::header::Fault;

fn main() {
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=lua");
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
}
