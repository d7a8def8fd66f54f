//! The grammar of a header: what stands in the comment at the top of a script, as data.

use std::fmt;

/// What is wrong with a script, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Below `lua/`.
    pub(crate) file: String,
    pub(crate) line: usize,
    /// A sentence that says what to do.
    pub(crate) what: String,
}

/// The header of a script.
#[derive(Debug, Default)]
pub(crate) struct Header {
    /// The name of the script: that of its file, without the ending.
    pub(crate) name: String,
    /// What the script does: the lines of prose.
    pub(crate) about: Vec<String>,
    /// The files that the script is joined behind, without the ending.
    pub(crate) joined: Vec<String>,
    pub(crate) keys: Section,
    pub(crate) arguments: Section,
    pub(crate) statuses: Vec<Entry>,
    pub(crate) fields: Section,
    /// How many lines the header has.
    pub(crate) lines: usize,
}

/// The names of one kind.
#[derive(Debug, Default)]
pub(crate) struct Section {
    /// What the keys are of: a pool, a bucket, ...
    pub(crate) of: Option<String>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) groups: Vec<Group>,
}

/// Names of which there are as many as the caller likes.
#[derive(Debug)]
pub(crate) struct Group {
    /// One of them.
    pub(crate) name: String,
    /// What the keys are of, where each is of another.
    pub(crate) of: Option<String>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// A line of a section.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// The type; empty for a status.
    pub(crate) kind: String,
    pub(crate) optional: bool,
    pub(crate) parameter: Parameter,
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// What a key is of, beside what all keys of the script are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parameter {
    None,
    /// An argument of this name.
    Argument(String),
    /// The caller gives the key.
    Given,
}

/// Types of keys.
pub(crate) const KEYS: [&str; 4] = ["HASH", "ZSET", "STREAM", "STRING"];

/// What keys can be of.
pub(crate) const OWNERS: [&str; 5] = ["pool", "bucket", "webhook", "alerts", "records"];

/// Types of arguments and fields.
pub(crate) const TYPES: [&str; 10] = [
    "text",
    "json",
    "change",
    "number",
    "count",
    "ms",
    "timestamp",
    "flag",
    "lease",
    "pool",
];

impl Header {
    /// Whether the header of this text is of this grammar.
    pub(crate) fn is_in(text: &str) -> bool {
        comment(text).any(|line| line == "Returns:")
    }

    /// The header of the script `name`; all that is wrong with it if anything is.
    pub(crate) fn of(name: &str, text: &str) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader {
            header: Self {
                name: name.to_owned(),
                ..Self::default()
            },
            faults: Vec::new(),
            part: Part::About,
            group: false,
        };
        for (number, line) in comment(text).enumerate() {
            reader.line(number + 1, line);
            reader.header.lines = number + 1;
        }
        let Reader {
            mut header,
            mut faults,
            ..
        } = reader;
        while header.about.last().is_some_and(String::is_empty) {
            header.about.pop();
        }
        let mut wrong = |what: &str| {
            faults.push(Fault {
                file: format!("{name}.lua"),
                line: 1,
                what: what.to_owned(),
            });
        };
        if header.about.is_empty() {
            wrong("the header does not say what the script does");
        }
        if header.statuses.is_empty() {
            wrong("the header does not say what the script returns");
        }
        if faults.is_empty() {
            Ok(header)
        } else {
            Err(faults)
        }
    }

    /// Whether the reply has a number and an instant behind its status.
    pub(crate) fn is_timed(&self) -> bool {
        let parts = ["prelude", "parts/instant"];
        self.joined
            .iter()
            .any(|part| parts.contains(&part.as_str()))
    }

    /// What the caller of the script can read: not what `Store::call_whole` does something about before it asks again.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = &Entry> {
        let is_for_caller = |status: &&Entry| !["behind", "unindexed"].contains(&&*status.name);
        self.statuses.iter().filter(is_for_caller)
    }

    /// The groups of keys and arguments, in the order in which the header names them.
    pub(crate) fn groups(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for group in self.keys.groups.iter().chain(&self.arguments.groups) {
            if !names.contains(&group.name.as_str()) {
                names.push(group.name.as_str());
            }
        }
        names
    }
}

impl Section {
    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The entries that are there for each of `group`.
    pub(crate) fn each(&self, group: &str) -> &[Entry] {
        self.group(group).map_or(&[], |group| &group.entries)
    }
}

/// The lines of the comment at the top, without what marks them as such.
fn comment(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map_while(|line| line.strip_prefix("--"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    About,
    Keys,
    Arguments,
    Statuses,
    Fields,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::About => "text",
            Self::Keys => "key",
            Self::Arguments => "argument",
            Self::Statuses => "status",
            Self::Fields => "field",
        })
    }
}

struct Reader {
    header: Header,
    faults: Vec<Fault>,
    part: Part,
    /// Whether the entries are those of a group.
    group: bool,
}

impl Reader {
    fn fault(&mut self, line: usize, what: String) {
        self.faults.push(Fault {
            file: format!("{}.lua", self.header.name),
            line,
            what,
        });
    }

    fn section(&mut self) -> &mut Section {
        match self.part {
            Part::Keys => &mut self.header.keys,
            Part::Arguments => &mut self.header.arguments,
            _ => &mut self.header.fields,
        }
    }

    fn line(&mut self, number: usize, line: &str) {
        let indent = line.len() - line.trim_start().len();
        let text = line.trim();
        if text.is_empty() {
            if self.part == Part::About && !self.header.about.is_empty() {
                self.header.about.push(String::new());
            }
            return;
        }
        if indent == 0 {
            return self.title(number, text);
        }
        if self.part == Part::About {
            self.header.about.push(line.to_owned());
            return;
        }
        let has_groups = self.part != Part::Statuses;
        if indent == 2 && has_groups && text.starts_with("each ") {
            return self.group(number, text);
        }
        let inner = if self.group { 4 } else { 2 };
        if indent == inner || indent == 2 {
            self.group = self.group && indent == inner;
            self.entry(number, text);
        } else {
            self.continuation(number, text);
        }
    }

    /// A line at the margin: a section begins, or it is prose.
    fn title(&mut self, number: usize, text: &str) {
        self.group = false;
        if let Some(of) = text.strip_prefix("Keys of ") {
            let of = of.trim_end_matches(':');
            let of = of.strip_prefix("a ").unwrap_or(of);
            self.part = Part::Keys;
            self.header.keys.of = Some(of.to_owned());
            if !OWNERS.contains(&of) {
                let known = OWNERS.join(", ");
                self.fault(number, format!("keys are of one of {known}, not of `{of}`"));
            }
            return;
        }
        self.part = match text {
            "Keys:" => Part::Keys,
            "Arguments:" => Part::Arguments,
            "Returns:" => Part::Statuses,
            "With:" => Part::Fields,
            _ if text.starts_with("Joined behind ") => {
                let files = text["Joined behind ".len()..].trim_end_matches('.');
                let files = files.split(", ").map(|file| match file {
                    "prelude" => file.to_owned(),
                    part => format!("parts/{part}"),
                });
                self.header.joined = files.collect();
                return;
            }
            _ if self.part == Part::About => {
                self.header.about.push(text.to_owned());
                return;
            }
            _ => {
                let what = format!(
                    "`{text}` is none of Keys, Arguments, Returns and With; prose comes before them"
                );
                return self.fault(number, what);
            }
        };
    }

    /// `each pool:`, and perhaps what the keys are of and a description.
    fn group(&mut self, number: usize, text: &str) {
        let (name, text) = text["each ".len()..].split_once(':').unwrap_or_default();
        let (name, of) = match name.split_once(", of a ") {
            Some((name, of)) => (name, Some(of)),
            None => (name, Some(name).filter(|name| OWNERS.contains(name))),
        };
        if !is_name(name) || of.is_some_and(|of| !OWNERS.contains(&of)) {
            let what = "a group begins with `each name:` or `each name, of a pool:`".to_owned();
            return self.fault(number, what);
        }
        let group = Group {
            name: name.to_owned(),
            of: of.map(str::to_owned),
            entries: Vec::new(),
            text: text.trim().to_owned(),
            line: number,
        };
        self.group = true;
        self.section().groups.push(group);
    }

    fn entry(&mut self, number: usize, text: &str) {
        let mut columns = text.splitn(3, "  ").map(str::trim);
        let mut name = columns.next().unwrap_or_default();
        let rest = text[name.len()..].trim();
        let (kind, description) = if self.part == Part::Statuses {
            ("", rest)
        } else {
            let (kind, description) = rest.split_once("  ").unwrap_or((rest, ""));
            (kind, description.trim())
        };
        let mut optional = false;
        let mut parameter = Parameter::None;
        let mut kind = kind;
        if self.part == Part::Keys {
            if let Some(required) = name.strip_suffix('?') {
                (name, optional) = (required, true);
            }
            if let Some((key, of)) = name.strip_suffix(')').and_then(|it| it.split_once('(')) {
                name = key;
                parameter = match of {
                    "..." => Parameter::Given,
                    of => Parameter::Argument(of.to_owned()),
                };
            }
        } else if let Some(required) = kind.strip_suffix('?') {
            (kind, optional) = (required, true);
        }

        let what = self.part;
        if !is_name(name) {
            return self.fault(
                number,
                format!("`{name}` is no name of a {what}: letters, digits and _"),
            );
        }
        let word = kind.split(' ').next().unwrap_or_default();
        let is_known = match what {
            Part::Keys => KEYS.contains(&word),
            Part::Statuses => true,
            _ => TYPES.contains(&kind) || kind.split('|').all(is_name) && kind.contains('|'),
        };
        if !is_known {
            let known = if what == Part::Keys {
                KEYS.join(", ")
            } else {
                format!("{}, or words as in `one|other`", TYPES.join(", "))
            };
            return self.fault(
                number,
                format!("the {what} `{name}` has the type `{kind}`, which is none of {known}"),
            );
        }
        if description.is_empty() {
            return self.fault(number, format!("the {what} `{name}` has no description"));
        }
        let entry = Entry {
            name: name.to_owned(),
            kind: kind.to_owned(),
            optional,
            parameter,
            text: description.to_owned(),
            line: number,
        };
        let group = self.group;
        if what == Part::Statuses {
            self.header.statuses.push(entry);
        } else if group {
            let group = self.section().groups.last_mut();
            group.expect("one was begun").entries.push(entry);
        } else {
            self.section().entries.push(entry);
        }
    }

    /// A description that goes on.
    fn continuation(&mut self, number: usize, text: &str) {
        let group = self.group;
        let entry = match self.part {
            Part::Statuses => self.header.statuses.last_mut(),
            _ if group => {
                let group = self.section().groups.last_mut().expect("one was begun");
                match group.entries.last_mut() {
                    Some(entry) => Some(entry),
                    None => {
                        group.text.push(' ');
                        group.text.push_str(text);
                        return;
                    }
                }
            }
            _ => self.section().entries.last_mut(),
        };
        match entry {
            Some(entry) => {
                entry.text.push(' ');
                entry.text.push_str(text);
            }
            None => self.fault(number, "this line describes nothing".to_owned()),
        }
    }
}

/// Whether a word can be a name in Lua and in Rust.
pub(crate) fn is_name(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_ascii_lowercase())
        && word
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}
