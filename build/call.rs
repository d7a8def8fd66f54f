//! The call of a script: its keys and its arguments, in their order.

use std::fmt::Write as _;

use crate::header::{Entry, Header, Parameter};
use crate::types::{FITS, STEP, constant, plural};

fn key_expression(owner: &str, of: &str, key: &Entry) -> String {
    match &key.parameter {
        Parameter::None => format!("{owner}.keys.{}()", key.name),
        Parameter::Argument(argument) => format!("{owner}.keys.{}({of}.{argument})", key.name),
        Parameter::Given => format!("&{of}.{}", key.name),
    }
}

pub(crate) fn write_call(code: &mut String, header: &Header) {
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
