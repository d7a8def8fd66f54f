//! The Rust that is made of the headers.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::call::write_call;
use crate::check;
use crate::header::{Entry, Fault, Header};
use crate::lua::{self, Token};
use crate::prologue::prologue;
use crate::reply::{write_read, write_reply, write_status};
use crate::types::{FITS, Struct, camel, constant, doc, plural, row, sentence};

/// All scripts of a directory that have a header of this grammar, as one file of Rust.
pub(crate) fn generate(directory: &Path) -> Result<String, Vec<Fault>> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("lua/ is there")
        .filter_map(|entry| {
            let path = entry.expect("it can be listed").path();
            let is_lua = path.extension().is_some_and(|ending| ending == "lua");
            let stem = path.file_stem()?.to_str()?.to_owned();
            (is_lua && stem != "prelude").then_some(stem)
        })
        .collect();
    names.sort();

    let read = |name: &str| fs::read_to_string(directory.join(format!("{name}.lua")));
    let (mut code, mut all, mut faults) = (String::new(), Vec::new(), Vec::new());
    for name in names {
        let text = read(&name).expect("a text");
        if !Header::is_in(&text) {
            continue;
        }
        let header = match Header::of(&name, &text) {
            Ok(header) => header,
            Err(wrong) => {
                faults.extend(wrong);
                continue;
            }
        };
        let mut joined = Vec::new();
        for part in ["parts/transaction"]
            .into_iter()
            .chain(header.joined.iter().map(String::as_str))
        {
            match read(part) {
                Ok(text) => joined.push(text),
                Err(_) => faults.push(Fault {
                    file: format!("{name}.lua"),
                    line: 1,
                    what: format!("it is joined behind {part}.lua, which is not there"),
                }),
            }
        }
        faults.extend(check::faults(&header, &text, &joined));
        all.push(constant(&name));
        script(&mut code, &header, &text);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    writeln!(
        code,
        "/// All scripts whose headers these types are made of."
    )
    .expect(FITS);
    writeln!(
        code,
        "pub(super) fn all() -> [&'static Script; {}] {{\n    [",
        all.len()
    )
    .expect(FITS);
    for name in &all {
        writeln!(code, "        &{name},").expect(FITS);
    }
    code.push_str("    ]\n}\n");
    Ok(code)
}

/// Everything about one script.
fn script(code: &mut String, header: &Header, text: &str) {
    let name = &header.name;
    let (kind, groups) = (camel(name), header.groups());

    // The call.
    let mut call = Struct::new();
    if let Some(of) = &header.keys.of {
        let of_groups = header.keys.groups.iter().filter(|group| group.of.is_none());
        let entries: Vec<Entry> = of_groups
            .flat_map(|group| group.entries.clone())
            .chain(header.keys.entries.iter().cloned())
            .collect();
        call.keys(of, &entries);
    }
    call.given_keys(&header.keys.entries);
    call.arguments(&format!("{name}::"), &header.arguments.entries);
    for group in &groups {
        let borrows = if row(header, group).borrows {
            "<'a>"
        } else {
            ""
        };
        let both = [header.keys.group(group), header.arguments.group(group)];
        let said = both
            .into_iter()
            .flatten()
            .map(|group| group.text.as_str())
            .find(|text| !text.is_empty());
        let text = said.map_or_else(|| format!("What there is for each {group}."), sentence);
        call.add(
            text,
            &plural(group),
            format!("&'a [{name}::{}{borrows}]", camel(group)),
            true,
        );
    }
    doc(code, 0, &header.about.join("\n"));
    call.write(code, 0, &kind);
    let elided = if call.borrows { "<'_>" } else { "" };
    writeln!(code, "impl Request for {kind}{elided} {{").expect(FITS);
    writeln!(code, "    type Reply = {name}::Reply;\n").expect(FITS);
    write_call(code, header);
    write_read(code, header);
    code.push_str("}\n\n");

    // What comes back, and what else the call is made of.
    doc(
        code,
        0,
        &format!("What `{kind}` is made of, and what comes of it."),
    );
    writeln!(
        code,
        "pub(in crate::store) mod {name} {{\n    #[allow(unused_imports, reason = \"some need nothing\")]\n    use super::*;\n"
    )
    .expect(FITS);
    for group in &groups {
        doc(code, 1, &format!("What there is for each {group}."));
        row(header, group).write(code, 1, &camel(group));
    }
    let in_groups = |section: &crate::header::Section| -> Vec<Entry> {
        let groups = section
            .groups
            .iter()
            .flat_map(|group| group.entries.clone());
        section.entries.iter().cloned().chain(groups).collect()
    };
    let mut words: Vec<Entry> = in_groups(&header.arguments);
    words.extend(in_groups(&header.fields));
    words.retain(|entry| entry.kind.contains('|'));
    words.sort_by(|a, b| a.name.cmp(&b.name));
    words.dedup_by(|a, b| a.name == b.name && a.kind == b.kind);
    for entry in &words {
        write_words(code, entry);
    }
    write_status(code, header);
    write_reply(code, header);
    code.push_str("}\n\n");

    // The text.
    let tokens = lua::tokens(text);
    let uses = |name: &str| tokens.iter().any(|(token, _)| *token == Token::Name(name));
    doc(
        code,
        0,
        &format!("`lua/{name}.lua`, behind what it is joined to."),
    );
    writeln!(
        code,
        "pub(super) static {}: LazyLock<Script> = LazyLock::new(|| {{",
        constant(name)
    )
    .expect(FITS);
    writeln!(
        code,
        "    Script::new(\n        {name:?},\n        concat!("
    )
    .expect(FITS);
    let parts = ["parts/transaction"]
        .into_iter()
        .chain(header.joined.iter().map(String::as_str));
    let file = |name: &str| {
        format!("include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/lua/{name}.lua\")),")
    };
    for part in parts {
        writeln!(code, "            {}", file(part)).expect(FITS);
    }
    writeln!(code, "            \"return transaction(function()\\n\",").expect(FITS);
    writeln!(code, "            {:?},", prologue(header, uses)).expect(FITS);
    writeln!(
        code,
        "            {}\n            \"end)\\n\"\n        ),\n    )\n}});\n",
        file(name)
    )
    .expect(FITS);
}

/// A type of one of some words.
fn write_words(code: &mut String, entry: &Entry) {
    let kind = camel(&entry.name);
    let words: Vec<&str> = entry.kind.split('|').collect();
    doc(code, 1, &sentence(&entry.text));
    writeln!(
        code,
        "    #[derive(Debug, Clone, Copy, PartialEq, Eq)]\n    pub(in crate::store) enum {kind} {{"
    )
    .expect(FITS);
    for word in &words {
        writeln!(code, "        /// `{word}`.\n        {},", camel(word)).expect(FITS);
    }
    code.push_str("    }\n\n");
    writeln!(
        code,
        "    impl Argument for {kind} {{\n        fn give_to(&self, call: &mut Call) {{"
    )
    .expect(FITS);
    code.push_str("            call.push(match self {\n");
    for word in &words {
        writeln!(code, "                Self::{} => {word:?},", camel(word)).expect(FITS);
    }
    code.push_str("            });\n        }\n    }\n\n");
    writeln!(
        code,
        "    impl Field for {kind} {{\n        fn read(value: &Value) -> Option<Self> {{"
    )
    .expect(FITS);
    code.push_str("            Some(match text(value)? {\n");
    for word in &words {
        writeln!(code, "                {word:?} => Self::{},", camel(word)).expect(FITS);
    }
    code.push_str("                _ => return None,\n            })\n        }\n    }\n\n");
}
