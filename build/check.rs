//! What can be wrong between a header and the body behind it.

use std::collections::BTreeSet;

use crate::header::{Entry, Fault, Header, Parameter};
use crate::lua::{self, Token};
use crate::prologue;

/// Everything that does not fit. `joined` are the files that the script is joined behind.
pub(crate) fn faults(header: &Header, text: &str, joined: &[String]) -> Vec<Fault> {
    let tokens = lua::tokens(text);
    let mut check = Check {
        header,
        tokens: &tokens,
        faults: Vec::new(),
    };
    check.entries();
    check.names(joined);
    check.places();
    check.statuses(joined);
    check.answers();
    check.rows();
    check.faults
}

/// The names that the header binds for the body: keys and arguments, then what there is of groups.
fn bound(header: &Header) -> Vec<(String, &Entry)> {
    let plain = prologue::bound_keys(header)
        .iter()
        .chain(&header.arguments.entries);
    let mut names: Vec<_> = plain.map(|entry| (entry.name.clone(), entry)).collect();
    for section in [&header.keys, &header.arguments] {
        for group in &section.groups {
            names.extend(
                group
                    .entries
                    .iter()
                    .map(|entry| (format!("{}_of", entry.name), entry)),
            );
        }
    }
    names
}

struct Check<'a> {
    header: &'a Header,
    tokens: &'a [(Token<'a>, usize)],
    faults: Vec<Fault>,
}

impl<'a> Check<'a> {
    fn fault(&mut self, line: usize, what: String) {
        self.faults.push(Fault {
            file: format!("{}.lua", self.header.name),
            line,
            what,
        });
    }

    /// What can be wrong with a header by itself.
    fn entries(&mut self) {
        let header = self.header;
        let mut names = BTreeSet::new();
        for (name, entry) in bound(header) {
            if !names.insert(name.clone()) {
                self.fault(
                    entry.line,
                    format!("two keys or arguments are named `{name}`"),
                );
            }
        }
        let (optional, last) = (&header.keys.entries, header.keys.entries.len());
        for (at, key) in optional.iter().enumerate() {
            if key.optional && (at + 1 < last || !header.keys.groups.is_empty()) {
                let what = format!(
                    "the key `{}` may be missing, so it has to be the last",
                    key.name
                );
                self.fault(key.line, what);
            }
        }
        let is_of_a_bucket = header.joined.iter().any(|part| part == "prelude");
        let first = header
            .keys
            .entries
            .first()
            .or_else(|| header.keys.groups.first()?.entries.first());
        if is_of_a_bucket && first.is_none_or(|key| key.name != "clock") {
            let line = first.map_or(1, |key| key.line);
            self.fault(
                line,
                "the first key is `clock`, which the prelude reads".to_owned(),
            );
        }
        if header.keys.of.is_none() && (!header.keys.entries.is_empty()) {
            self.fault(
                1,
                "the header does not say what the keys are of: `Keys of a pool:`".to_owned(),
            );
        }
        let plain = header.keys.entries.iter().map(|key| (key, ""));
        let grouped = header
            .keys
            .groups
            .iter()
            .flat_map(|group| group.entries.iter().map(|key| (key, group.name.as_str())));
        for (key, group) in plain.chain(grouped) {
            if let Parameter::Argument(name) = &key.parameter {
                let of_the_group = header.arguments.each(group).iter();
                let mut arguments = header.arguments.entries.iter().chain(of_the_group);
                if !arguments.any(|argument| argument.name == *name) {
                    let what = format!(
                        "the key `{}` is of `{name}`, which is no argument",
                        key.name
                    );
                    self.fault(key.line, what);
                }
            }
        }
    }

    /// Every name that the body uses is declared somewhere, and every one that the header binds is used.
    fn names(&mut self, texts: &[String]) {
        let mut declared = lua::declared(self.tokens);
        let joined: Vec<_> = texts.iter().map(|text| lua::tokens(text)).collect();
        let (mut hidden, mut outermost) = (BTreeSet::new(), BTreeSet::new());
        for text in texts {
            // What is at the margin is there for the whole script.
            for line in text.lines().filter(|line| line.starts_with("local ")) {
                let name = line.split(['(', '=']).next().unwrap_or_default();
                outermost.extend(
                    lua::declared(&lua::tokens(name))
                        .into_iter()
                        .map(str::to_owned),
                );
            }
        }
        for tokens in &joined {
            hidden.extend(lua::declared(tokens));
        }
        let bound = bound(self.header);
        for (name, entry) in &bound {
            if outermost.contains(name.as_str()) {
                let what =
                    format!("`{name}` is also a name of a file that this one is joined behind");
                self.fault(entry.line, what);
            }
        }
        let mut known: BTreeSet<String> = bound.iter().map(|(name, _)| name.clone()).collect();
        known.insert("answer".to_owned());
        for group in self.header.groups() {
            known.insert(format!("{group}_count"));
        }
        for group in &self.header.fields.groups {
            known.insert(format!("add_{}", group.name));
            known.insert(format!("add_each_{}", group.name));
        }
        declared.extend(hidden.iter().copied());
        let used = lua::used(self.tokens);
        for (name, line) in &used {
            if !declared.contains(name) && !known.contains(*name) {
                self.fault(
                    *line,
                    format!("`{name}` is not declared: no key, no argument, and no name of a joined file"),
                );
            }
        }
        for (name, entry) in bound {
            if !used.iter().any(|(other, _)| *other == name) {
                let what = format!(
                    "the header names `{}`, and the body does not use `{name}`",
                    entry.name
                );
                self.fault(entry.line, what);
            }
        }
    }

    /// Keys and arguments are known by their names.
    fn places(&mut self) {
        for (at, (token, line)) in self.tokens.iter().enumerate() {
            let Token::Name(table @ ("KEYS" | "ARGV")) = token else {
                continue;
            };
            let before = at.checked_sub(1).map(|at| self.tokens[at].0);
            let next = |ahead: usize| self.tokens.get(at + ahead).map(|(token, _)| *token);
            let column = match (before, next(1), next(2)) {
                (_, Some(Token::Sign("[")), Some(Token::Name(name))) => Some(name),
                (Some(Token::Sign("(")), Some(Token::Sign(",")), Some(Token::Name(name))) => {
                    Some(name)
                }
                _ => None,
            };
            let section = if *table == "KEYS" {
                &self.header.keys
            } else {
                &self.header.arguments
            };
            let columns = section.groups.iter().flat_map(|group| &group.entries);
            let mut columns = columns.map(|entry| format!("{}_of", entry.name));
            let is_plain_index =
                column.is_some_and(|name| lua::declared(self.tokens).contains(name));
            if !column.is_some_and(|name| columns.any(|column| column == name)) && !is_plain_index {
                let what = format!(
                    "{table} is used by a place: name it in the header, or begin with a column as in `{table}[name_of + i]`"
                );
                self.fault(*line, what);
            }
        }
    }

    fn statuses(&mut self, joined: &[String]) {
        let joined: Vec<_> = joined.iter().map(|text| lua::tokens(text)).collect();
        let everywhere = joined.iter().flatten().chain(self.tokens);
        let texts: Vec<&str> = everywhere
            .filter_map(|(token, _)| match token {
                Token::Text(text) => Some(*text),
                _ => None,
            })
            .collect();
        for status in &self.header.statuses {
            let is_said = |text: &&str| {
                let begins = text.ends_with('_') && status.name.starts_with(*text);
                *text == status.name || begins
            };
            if !texts.iter().any(is_said) {
                let what = format!(
                    "the header names the status `{}`, and the body does not return it",
                    status.name
                );
                self.fault(status.line, what);
            }
        }
    }

    /// The places of the tokens behind `name(`.
    fn calls(&self, name: &str) -> Vec<usize> {
        let pairs = self.tokens.windows(2).enumerate();
        pairs
            .filter(|(at, pair)| {
                let declares = at
                    .checked_sub(1)
                    .is_some_and(|at| self.tokens[at].0 == Token::Name("function"));
                pair[0].0 == Token::Name(name) && pair[1].0 == Token::Sign("(") && !declares
            })
            .map(|(at, _)| at + 1)
            .collect()
    }

    fn answers(&mut self) {
        let fields: Vec<&Entry> = self.header.fields.entries.iter().collect();
        let mut said: BTreeSet<&str> = BTreeSet::new();
        for (at, (token, _)) in self.tokens.iter().enumerate() {
            if let (Token::Name(name), Some((Token::Sign("="), _))) =
                (token, self.tokens.get(at + 1))
            {
                said.insert(name);
            }
        }
        for field in &fields {
            if !said.contains(field.name.as_str()) {
                let what = format!(
                    "the header names the field `{}`, and no answer sets it",
                    field.name
                );
                self.fault(field.line, what);
            }
        }
        for open in self.calls("answer") {
            if let Some((Token::Text(status), line)) = self.tokens.get(open + 1)
                && matches!(self.tokens.get(open + 2), Some((Token::Sign("," | ")"), _)))
                && !self
                    .header
                    .statuses
                    .iter()
                    .any(|known| known.name == *status)
            {
                self.fault(
                    *line,
                    format!("the header does not name the status `{status}`"),
                );
            }
            for (field, line) in lua::fields_of_call(self.tokens, open) {
                if !fields.iter().any(|known| known.name == field) {
                    self.fault(
                        line,
                        format!("the header does not name the field `{field}`"),
                    );
                }
            }
        }
        for (at, (token, line)) in self.tokens.iter().enumerate() {
            let is_table = matches!(self.tokens.get(at + 1), Some((Token::Sign("{"), _)));
            if *token == Token::Name("return") && is_table && self.depth(at) == 0 {
                self.fault(*line, "a reply is made by `answer`".to_owned());
            }
        }
    }

    /// How many functions a place is in.
    fn depth(&self, place: usize) -> usize {
        let (mut functions, mut open) = (0_usize, Vec::new());
        for (token, _) in &self.tokens[..place] {
            match token {
                Token::Name("function") => {
                    functions += 1;
                    open.push(true);
                }
                Token::Name("if" | "do") => open.push(false),
                Token::Name("end") if open.pop() == Some(true) => functions -= 1,
                _ => {}
            }
        }
        functions
    }

    /// Each argument of `add_...` names its field, so that no wrong order is built.
    fn rows(&mut self) {
        for group in &self.header.fields.groups {
            let name = format!("add_{}", group.name);
            let calls = self.calls(&name);
            if calls.is_empty() && self.calls(&format!("add_each_{}", group.name)).is_empty() {
                let what = format!(
                    "the header names `each {}`, and the body does not call `{name}`",
                    group.name
                );
                self.fault(group.line, what);
            }
            for open in calls {
                let line = self.tokens[open].1;
                let arguments = lua::arguments_of_call(self.tokens, open);
                let names: Vec<&str> = group
                    .entries
                    .iter()
                    .map(|entry| entry.name.as_str())
                    .collect();
                if arguments.len() != names.len() {
                    self.fault(line, format!("`{name}` takes {}", names.join(", ")));
                    continue;
                }
                for (argument, field) in arguments.iter().zip(names) {
                    let names_it = argument.iter().any(|(token, _)| match token {
                        Token::Name(name) => *name == field,
                        _ => false,
                    });
                    let is_constant = matches!(argument, [(Token::Text(_) | Token::Number(_), _)]);
                    if !names_it && !is_constant {
                        let what =
                            format!("this argument of `{name}` is `{field}`, and has to name it");
                        self.fault(line, what);
                    }
                }
            }
        }
    }
}
