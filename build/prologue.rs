//! The line that is put in front of a script's body: it binds the names of the header to their places.

use std::fmt::Write as _;

use crate::header::{Entry, Header};

/// How many values a reply has before those that the header names.
pub(crate) fn base(header: &Header) -> usize {
    if header.is_timed() { 3 } else { 1 }
}

/// Keys that the body knows by name. The prelude has bound the clock already.
pub(crate) fn bound_keys(header: &Header) -> &[Entry] {
    let entries = &header.keys.entries[..];
    match entries.first() {
        Some(first)
            if first.name == "clock" && header.joined.iter().any(|part| part == "prelude") =>
        {
            &entries[1..]
        }
        _ => entries,
    }
}

/// Where in a table each column of the groups begins, as Lua, and how much there is before the last group.
struct Columns {
    /// `name`, and the place.
    places: Vec<(String, String)>,
}

impl Columns {
    /// Whether it takes the count of the last group to know where a column begins.
    fn need(header: &Header, group: &str) -> bool {
        header.keys.each(group).len() > 1 || header.arguments.each(group).len() > 1
    }

    /// `fixed` values come first, then for each group all of its first column, all of its second, and so on.
    fn of(header: &Header, fixed: usize, keys: bool) -> Self {
        let mut places = Vec::new();
        let mut place = Sum {
            fixed,
            counts: Vec::new(),
        };
        for group in header.groups() {
            let section = if keys {
                &header.keys
            } else {
                &header.arguments
            };
            for entry in section.each(group) {
                places.push((format!("{}_of", entry.name), place.to_lua()));
                place.counts.push(group.to_owned());
            }
        }
        Self { places }
    }
}

/// A sum of a number and of counts of groups.
struct Sum {
    fixed: usize,
    counts: Vec<String>,
}

impl Sum {
    fn to_lua(&self) -> String {
        let mut text = self.fixed.to_string();
        let mut rest = &self.counts[..];
        while let Some(group) = rest.first() {
            let times = rest.iter().take_while(|other| *other == group).count();
            rest = &rest[times..];
            match times {
                1 => write!(text, " + {group}_count"),
                _ => write!(text, " + {times} * {group}_count"),
            }
            .expect("a string takes any text");
        }
        text.strip_prefix("0 + ")
            .map_or_else(|| text.clone(), str::to_owned)
    }
}

/// How a text from `ARGV` becomes what the body works with.
fn converted(kind: &str, value: &str) -> Option<String> {
    match kind {
        "number" | "count" | "ms" | "timestamp" => Some(format!("tonumber({value})")),
        "flag" => Some(format!("{value} == '1'")),
        _ => None,
    }
}

/// The line for a script, with its end of line. What the body does not use is left out where it would cost something.
pub(crate) fn prologue(header: &Header, uses: impl Fn(&str) -> bool) -> String {
    let mut line = String::new();
    let mut say = |text: &str| {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(text);
    };
    let groups = header.groups();

    // Keys.
    let keys = bound_keys(header);
    if !keys.is_empty() {
        let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        let from = 1 + header.keys.entries.len() - keys.len();
        let to = header.keys.entries.len();
        say(&format!(
            "local {} = {}",
            names.join(", "),
            some_of("KEYS", from, to, header.keys.groups.is_empty())
        ));
    }

    // Arguments.
    let explicit = groups.len().saturating_sub(1);
    let entries = &header.arguments.entries;
    let fixed = explicit + entries.len();
    let mut names: Vec<String> = groups
        .iter()
        .take(explicit)
        .map(|group| format!("{group}_count"))
        .collect();
    names.extend(entries.iter().map(|entry| entry.name.clone()));
    if !names.is_empty() {
        say(&format!(
            "local {} = {}",
            names.join(", "),
            some_of("ARGV", 1, fixed, header.arguments.groups.is_empty())
        ));
        let counts = groups
            .iter()
            .take(explicit)
            .map(|group| (format!("{group}_count"), "count"));
        let others = entries
            .iter()
            .map(|entry| (entry.name.clone(), entry.kind.as_str()));
        let (mut changed, mut values) = (Vec::new(), Vec::new());
        for (name, kind) in counts.chain(others) {
            if let Some(value) = converted(kind, &name) {
                changed.push(name);
                values.push(value);
            }
        }
        if !changed.is_empty() {
            say(&format!("{} = {}", changed.join(", "), values.join(", ")));
        }
    }

    // Groups: how many there are, and where their columns begin.
    if let Some(last) = groups.last() {
        let (table, section, fixed) = if header.arguments.each(last).is_empty() {
            ("KEYS", &header.keys, header.keys.entries.len())
        } else {
            ("ARGV", &header.arguments, fixed)
        };
        let mut count = format!("#{table} - {fixed}");
        for group in &groups[..explicit] {
            match section.each(group).len() {
                0 => {}
                columns => {
                    write!(count, " - {columns} * {group}_count").expect("a string takes any text");
                }
            }
        }
        let count = match section.each(last).len() {
            1 => count,
            columns => format!("({count}) / {columns}"),
        };
        if uses(&format!("{last}_count")) || Columns::need(header, last) {
            say(&format!("local {last}_count = {count}"));
        }
    }
    let mut columns = Columns::of(header, header.keys.entries.len(), true).places;
    columns.extend(Columns::of(header, fixed, false).places);
    if !columns.is_empty() {
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let places: Vec<&str> = columns.iter().map(|(_, place)| place.as_str()).collect();
        say(&format!(
            "local {} = {}",
            names.join(", "),
            places.join(", ")
        ));
    }

    say(&reply(header, uses));
    line.push('\n');
    line
}

/// Values of a table from one place to another.
fn some_of(table: &str, from: usize, to: usize, to_the_end: bool) -> String {
    if to - from < 2 {
        let places: Vec<String> = (from..=to).map(|at| format!("{table}[{at}]")).collect();
        return places.join(", ");
    }
    match (from, to_the_end) {
        (1, true) => format!("unpack({table})"),
        (from, true) => format!("unpack({table}, {from})"),
        (from, false) => format!("unpack({table}, {from}, {to})"),
    }
}

/// What a field is where the body says nothing.
fn empty(field: &Entry) -> &'static str {
    let is_number = ["number", "count", "ms", "timestamp", "flag"].contains(&field.kind.as_str());
    if is_number && !field.optional {
        "0"
    } else {
        "''"
    }
}

/// `answer`, and `add_...` for what comes behind the fields.
fn reply(header: &Header, uses: impl Fn(&str) -> bool) -> String {
    let (head, names) = if header.is_timed() {
        ("status, seq, now", 3)
    } else {
        ("status", 1)
    };
    let fields = &header.fields.entries;
    let empties: Vec<&str> = fields.iter().map(empty).collect();
    let values: Vec<String> = fields
        .iter()
        .map(|field| {
            let (name, empty) = (&field.name, empty(field));
            match field.kind.as_str() {
                "flag" => format!("fields.{name} and 1 or {empty}"),
                _ => format!("fields.{name} or {empty}"),
            }
        })
        .collect();
    if header.fields.groups.is_empty() {
        if fields.is_empty() {
            return format!("local function answer(status) return {{ {head} }} end");
        }
        return format!(
            "local function answer(status, fields) if fields then return {{ {head}, {} }} end return {{ {head}, {} }} end",
            values.join(", "),
            empties.join(", ")
        );
    }

    let size = names + fields.len();
    let places = |from: usize, to: usize| {
        let places: Vec<String> = (from..=to).map(|at| format!("reply[{at}]")).collect();
        places.join(", ")
    };
    let mut reserved = vec!["''"; names];
    reserved.extend(empties);
    let mut line = format!(
        "local reply, reply_size = {{ {} }}, {size}",
        reserved.join(", ")
    );
    for group in &header.fields.groups {
        let names: Vec<&str> = group
            .entries
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        let (name, n) = (&group.name, names.len());
        if uses(&format!("add_{name}")) {
            let values: Vec<String> = group
                .entries
                .iter()
                .map(|entry| match (entry.kind.as_str(), &entry.name) {
                    ("flag", name) => format!("{name} and 1 or 0"),
                    (_, name) => name.clone(),
                })
                .collect();
            let places: Vec<String> = (1..=n)
                .map(|at| format!("reply[reply_size + {at}]"))
                .collect();
            write!(
                line,
                " local function add_{name}({}) {} = {} reply_size = reply_size + {n} end",
                names.join(", "),
                places.join(", "),
                values.join(", ")
            )
            .expect("a string takes any text");
        }
        if uses(&format!("add_each_{name}")) {
            write!(
                line,
                " local function add_each_{name}(flat) for i = 1, #flat do reply[reply_size + i] = flat[i] end \
                 reply_size = reply_size + #flat end"
            )
            .expect("a string takes any text");
        }
    }
    let parameters = if fields.is_empty() {
        "status"
    } else {
        "status, fields"
    };
    write!(
        line,
        " local function answer({parameters}) {} = {head}",
        places(1, names)
    )
    .expect("a string takes any text");
    if !fields.is_empty() {
        write!(
            line,
            " if fields then {} = {} end",
            places(names + 1, size),
            values.join(", ")
        )
        .expect("a string takes any text");
    }
    line.push_str(" return reply end");
    line
}
