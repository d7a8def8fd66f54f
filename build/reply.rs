//! The reply of a script: its status, its fields and its rows.

use std::fmt::Write as _;

use crate::header::{Entry, Header};
use crate::prologue::base;
use crate::types::{FITS, STEP, Struct, camel, doc, field_type, plural, sentence};

pub(crate) fn write_read(code: &mut String, header: &Header) {
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

pub(crate) fn write_status(code: &mut String, header: &Header) {
    doc(code, 1, "What happened.");
    code.push_str("    #[derive(Debug, Clone, Copy, PartialEq, Eq)]\n    pub(in crate::store) enum Status {\n");
    for status in header.outcomes() {
        doc(code, 2, &sentence(&status.text));
        writeln!(code, "        {},", camel(&status.name)).expect(FITS);
    }
    code.push_str("    }\n\n");
}

pub(crate) fn write_reply(code: &mut String, header: &Header) {
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
