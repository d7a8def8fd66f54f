//! The Rust that is made of the headers.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::check;
use crate::header::{Entry, Fault, Header, Parameter};
use crate::lua::{self, Token};
use crate::prologue::{base, prologue};

/// What is between two lines that are indented.
const STEP: &str = "    ";

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

const FITS: &str = "a string takes any text";

fn constant(name: &str) -> String {
    name.to_uppercase()
}

fn camel(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + rest
        })
        .collect()
}

/// What several of a group are called.
fn plural(name: &str) -> String {
    match name.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{name}s"),
    }
}

/// A description as the documentation of an item.
fn doc(code: &mut String, indent: usize, text: &str) {
    for line in text.lines() {
        let line = line.replace('[', "\\[").replace('<', "\\<");
        writeln!(code, "{}/// {line}", STEP.repeat(indent)).expect(FITS);
    }
}

/// A description as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{}{}{end}", first.unwrap_or_default(), letters.as_str())
}

/// The type of an argument, and whether it borrows.
fn argument_type(module: &str, entry: &Entry) -> (String, bool) {
    let (plain, borrows) = match entry.kind.as_str() {
        "text" | "json" => ("&'a str".to_owned(), true),
        "change" => ("Change<'a>".to_owned(), true),
        "number" => ("i64".to_owned(), false),
        "count" => ("u64".to_owned(), false),
        "ms" => ("Duration".to_owned(), false),
        "timestamp" => ("Timestamp".to_owned(), false),
        "flag" => ("bool".to_owned(), false),
        "lease" => ("LeaseId".to_owned(), false),
        "pool" => ("&'a PoolName".to_owned(), true),
        _ => (format!("{module}{}", camel(&entry.name)), false),
    };
    let kind = if entry.optional {
        format!("Option<{plain}>")
    } else {
        plain
    };
    (kind, borrows)
}

/// The type of a field of a reply.
fn field_type(entry: &Entry) -> String {
    let plain = match entry.kind.as_str() {
        "text" | "json" => "String".to_owned(),
        "number" => "i64".to_owned(),
        "count" => "u64".to_owned(),
        "ms" => "Duration".to_owned(),
        "timestamp" => "Timestamp".to_owned(),
        "flag" => "bool".to_owned(),
        "lease" => "LeaseId".to_owned(),
        "pool" => "PoolName".to_owned(),
        _ => camel(&entry.name),
    };
    if entry.optional {
        format!("Option<{plain}>")
    } else {
        plain
    }
}

/// The type of the keys of something, and whether it borrows.
fn keys_type(of: &str) -> (&'static str, bool) {
    match of {
        "pool" => ("&'a Keys", true),
        "bucket" => ("Bucket", false),
        "webhook" => ("WebhookKeys<'a>", true),
        "alerts" => ("AlertKeys", false),
        _ => ("RecordKeys", false),
    }
}

/// Keys that have to be asked for: all but those that the caller gives.
fn asks_for_keys(entries: &[Entry]) -> bool {
    entries.iter().any(|key| key.parameter != Parameter::Given)
}

fn key_expression(owner: &str, of: &str, key: &Entry) -> String {
    match &key.parameter {
        Parameter::None => format!("{owner}.keys.{}()", key.name),
        Parameter::Argument(argument) => format!("{owner}.keys.{}({of}.{argument})", key.name),
        Parameter::Given => format!("&{of}.{}", key.name),
    }
}

/// A struct, field by field: documentation, name and type.
struct Struct {
    fields: Vec<(String, String, String)>,
    borrows: bool,
}

impl Struct {
    fn new() -> Self {
        Self {
            fields: Vec::new(),
            borrows: false,
        }
    }

    fn add(&mut self, text: String, name: &str, kind: String, borrows: bool) {
        self.fields.push((text, name.to_owned(), kind));
        self.borrows |= borrows;
    }

    fn keys(&mut self, of: &str, entries: &[Entry]) {
        if asks_for_keys(entries) {
            let (kind, borrows) = keys_type(of);
            let a = if of == "alerts" || of == "records" {
                ""
            } else {
                "a "
            };
            self.add(
                format!("Keys of {a}{of}."),
                "keys",
                kind.to_owned(),
                borrows,
            );
        }
    }

    fn given_keys(&mut self, entries: &[Entry]) {
        for key in entries {
            if key.parameter == Parameter::Given {
                let kind = if key.optional {
                    "Option<String>"
                } else {
                    "String"
                };
                let text = format!("{}: {}", key.kind, key.text);
                self.add(text, &key.name, kind.to_owned(), false);
            }
        }
    }

    fn arguments(&mut self, module: &str, entries: &[Entry]) {
        for argument in entries {
            let (kind, borrows) = argument_type(module, argument);
            self.add(sentence(&argument.text), &argument.name, kind, borrows);
        }
    }

    fn write(&self, code: &mut String, indent: usize, name: &str) {
        let lifetime = if self.borrows { "<'a>" } else { "" };
        let step = STEP.repeat(indent);
        writeln!(code, "{step}#[derive(Debug)]").expect(FITS);
        writeln!(
            code,
            "{step}pub(in crate::store) struct {name}{lifetime} {{"
        )
        .expect(FITS);
        for (text, name, kind) in &self.fields {
            doc(code, indent + 1, text);
            writeln!(code, "{step}{STEP}pub(in crate::store) {name}: {kind},").expect(FITS);
        }
        writeln!(code, "{step}}}\n").expect(FITS);
    }
}

/// What a group needs of the caller.
fn row(header: &Header, group: &str) -> Struct {
    let mut row = Struct::new();
    let keys = header.keys.group(group);
    if let Some(group) = keys {
        if let Some(of) = &group.of {
            row.keys(of, &group.entries);
        }
        row.given_keys(&group.entries);
    }
    row.arguments("", header.arguments.each(group));
    row
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

fn write_call(code: &mut String, header: &Header) {
    let groups = header.groups();
    let required = header
        .keys
        .entries
        .iter()
        .filter(|key| !key.optional)
        .count();
    let mut count = required.to_string();
    for key in header.keys.entries.iter().filter(|key| key.optional) {
        write!(count, " + usize::from(self.{}.is_some())", key.name).expect(FITS);
    }
    for group in &groups {
        match header.keys.each(group).len() {
            0 => {}
            1 => write!(count, " + self.{}.len()", plural(group)).expect(FITS),
            columns => write!(count, " + {columns} * self.{}.len()", plural(group)).expect(FITS),
        }
    }
    let mut say =
        |indent: usize, line: &str| writeln!(code, "{}{line}", STEP.repeat(indent)).expect(FITS);
    say(1, "fn call(&self) -> Call {");
    say(
        2,
        &format!("let mut call = {}.call({count});", constant(&header.name)),
    );
    for key in &header.keys.entries {
        if key.optional {
            say(2, &format!("if let Some(key) = &self.{} {{", key.name));
            say(3, "call.push(key);");
            say(2, "}");
        } else {
            say(
                2,
                &format!("call.push({});", key_expression("self", "self", key)),
            );
        }
    }
    for group in &groups {
        let owner = match header.keys.group(group) {
            Some(group) if group.of.is_some() => "row",
            _ => "self",
        };
        for key in header.keys.each(group) {
            say(2, &format!("for row in self.{} {{", plural(group)));
            say(
                3,
                &format!("call.push({});", key_expression(owner, "row", key)),
            );
            say(2, "}");
        }
    }
    for group in &groups[..groups.len().saturating_sub(1)] {
        say(2, &format!("call.push(self.{}.len());", plural(group)));
    }
    for argument in &header.arguments.entries {
        say(2, &format!("self.{}.give_to(&mut call);", argument.name));
    }
    for group in &groups {
        for argument in header.arguments.each(group) {
            say(2, &format!("for row in self.{} {{", plural(group)));
            say(3, &format!("row.{}.give_to(&mut call);", argument.name));
            say(2, "}");
        }
    }
    say(2, "call");
    say(1, "}\n");
}

fn write_read(code: &mut String, header: &Header) {
    let (name, from) = (&header.name, base(header));
    let requested = header.groups();
    let mut say =
        |indent: usize, line: &str| writeln!(code, "{}{line}", STEP.repeat(indent)).expect(FITS);
    say(
        1,
        &format!("fn read(&self, reply: &Reply) -> Result<{name}::Reply, Error> {{"),
    );
    say(2, "let status = match reply.status() {");
    for status in header.outcomes() {
        say(
            3,
            &format!(
                "{:?} => {name}::Status::{},",
                status.name,
                camel(&status.name)
            ),
        );
    }
    say(3, "_ => return Err(reply.unexpected(0)),");
    say(2, "};");
    let mut at = from;
    for field in &header.fields.entries {
        say(2, &format!("let {} = reply.value({at})?;", field.name));
        at += 1;
    }
    if !header.fields.groups.is_empty() {
        say(2, &format!("let mut rows = reply.rows({at});"));
        for group in &header.fields.groups {
            let group_name = &group.name;
            let is_requested = requested.contains(&group_name.as_str());
            let count = if is_requested {
                format!("Some(self.{}.len())", plural(group_name))
            } else {
                "None".to_owned()
            };
            let columns = group.entries.len();
            say(
                2,
                &format!(
                    "let {} = rows.take({count}, {columns}, |at| {{",
                    plural(group_name)
                ),
            );
            say(3, &format!("Ok({name}::{}Reply {{", camel(group_name)));
            for (column, entry) in group.entries.iter().enumerate() {
                say(
                    4,
                    &match column {
                        0 => format!("{}: reply.value(at)?,", entry.name),
                        _ => format!("{}: reply.value(at + {column})?,", entry.name),
                    },
                );
            }
            say(3, "})");
            say(2, "})?;");
        }
    }
    say(2, &format!("Ok({name}::Reply {{"));
    say(3, "status,");
    if header.is_timed() {
        say(3, "seq: reply.value(1)?,");
        say(3, "now: reply.value(2)?,");
    }
    for field in &header.fields.entries {
        say(3, &format!("{},", field.name));
    }
    for group in &header.fields.groups {
        say(3, &format!("{},", plural(&group.name)));
    }
    say(2, "})");
    say(1, "}");
}

fn write_status(code: &mut String, header: &Header) {
    doc(code, 1, "What happened.");
    code.push_str("    #[derive(Debug, Clone, Copy, PartialEq, Eq)]\n    pub(in crate::store) enum Status {\n");
    for status in header.outcomes() {
        doc(code, 2, &sentence(&status.text));
        writeln!(code, "        {},", camel(&status.name)).expect(FITS);
    }
    code.push_str("    }\n\n");
}

fn write_reply(code: &mut String, header: &Header) {
    let field = |reply: &mut Struct, entry: &Entry| {
        reply.add(sentence(&entry.text), &entry.name, field_type(entry), false);
    };
    for group in &header.fields.groups {
        let mut row = Struct::new();
        for entry in &group.entries {
            field(&mut row, entry);
        }
        doc(code, 1, &format!("What is said of each {}.", group.name));
        row.write(code, 1, &format!("{}Reply", camel(&group.name)));
    }
    let mut reply = Struct::new();
    reply.add(
        "What happened.".to_owned(),
        "status",
        "Status".to_owned(),
        false,
    );
    if header.is_timed() {
        let text = "The number of this call in the order of its bucket.";
        reply.add(text.to_owned(), "seq", "u64".to_owned(), false);
        reply.add(
            "When the script ran.".to_owned(),
            "now",
            "Timestamp".to_owned(),
            false,
        );
    }
    for entry in &header.fields.entries {
        field(&mut reply, entry);
    }
    for group in &header.fields.groups {
        let text = if group.text.is_empty() {
            format!("What is said of each {}.", group.name)
        } else {
            sentence(&group.text)
        };
        reply.add(
            text,
            &plural(&group.name),
            format!("Vec<{}Reply>", camel(&group.name)),
            false,
        );
    }
    doc(
        code,
        1,
        "What came back. A field that a status says nothing of is zero or empty.",
    );
    reply.write(code, 1, "Reply");
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
