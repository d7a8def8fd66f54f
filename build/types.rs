//! The Rust types of what a header names.

use std::fmt::Write as _;

use crate::header::{Entry, Header, Parameter};

/// What is between two lines that are indented.
pub(crate) const STEP: &str = "    ";

pub(crate) const FITS: &str = "a string takes any text";

pub(crate) fn constant(name: &str) -> String {
    name.to_uppercase()
}

pub(crate) fn camel(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + rest
        })
        .collect()
}

/// What several of a group are called.
pub(crate) fn plural(name: &str) -> String {
    match name.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{name}s"),
    }
}

/// A description as the documentation of an item.
pub(crate) fn doc(code: &mut String, indent: usize, text: &str) {
    for line in text.lines() {
        let line = line.replace('[', "\\[").replace('<', "\\<");
        writeln!(code, "{}/// {line}", STEP.repeat(indent)).expect(FITS);
    }
}

/// A description as a sentence.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{}{}{end}", first.unwrap_or_default(), letters.as_str())
}

/// The type of an argument, and whether it borrows.
pub(crate) fn argument_type(module: &str, entry: &Entry) -> (String, bool) {
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
pub(crate) fn field_type(entry: &Entry) -> String {
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
pub(crate) fn keys_type(of: &str) -> (&'static str, bool) {
    match of {
        "pool" => ("&'a Keys", true),
        "bucket" => ("Bucket", false),
        "webhook" => ("WebhookKeys<'a>", true),
        "alerts" => ("AlertKeys", false),
        _ => ("RecordKeys", false),
    }
}

/// Keys that have to be asked for: all but those that the caller gives.
pub(crate) fn asks_for_keys(entries: &[Entry]) -> bool {
    entries.iter().any(|key| key.parameter != Parameter::Given)
}

/// A struct, field by field: documentation, name and type.
pub(crate) struct Struct {
    fields: Vec<(String, String, String)>,
    pub(crate) borrows: bool,
}

impl Struct {
    pub(crate) fn new() -> Self {
        Self {
            fields: Vec::new(),
            borrows: false,
        }
    }

    pub(crate) fn add(&mut self, text: String, name: &str, kind: String, borrows: bool) {
        self.fields.push((text, name.to_owned(), kind));
        self.borrows |= borrows;
    }

    pub(crate) fn keys(&mut self, of: &str, entries: &[Entry]) {
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

    pub(crate) fn given_keys(&mut self, entries: &[Entry]) {
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

    pub(crate) fn arguments(&mut self, module: &str, entries: &[Entry]) {
        for argument in entries {
            let (kind, borrows) = argument_type(module, argument);
            self.add(sentence(&argument.text), &argument.name, kind, borrows);
        }
    }

    pub(crate) fn write(&self, code: &mut String, indent: usize, name: &str) {
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
pub(crate) fn row(header: &Header, group: &str) -> Struct {
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
