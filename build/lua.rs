//! As much of Lua's syntax as it takes to hold a body against its header.

use std::collections::BTreeSet;

/// A word, a text or a sign of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Name(&'a str),
    /// Without its quotes.
    Text(&'a str),
    Sign(&'a str),
    Number(&'a str),
}

/// The tokens of a text, with the line of each, from 1.
pub(crate) fn tokens(text: &str) -> Vec<(Token<'_>, usize)> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let from = at;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match bytes[at] {
            b'\n' => {
                line += 1;
                at += 1;
            }
            byte if byte.is_ascii_whitespace() => at += 1,
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                at += text[at..].find('\n').unwrap_or(text.len() - at);
            }
            quote @ (b'\'' | b'"') => {
                at += 1;
                while at < bytes.len() && bytes[at] != quote {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                found.push((Token::Text(&text[from + 1..at.min(bytes.len())]), line));
                at += 1;
            }
            byte if byte.is_ascii_digit() => {
                while at < bytes.len() && (is_word(bytes[at]) || bytes[at] == b'.') {
                    at += 1;
                }
                found.push((Token::Number(&text[from..at]), line));
            }
            byte if is_word(byte) => {
                while at < bytes.len() && is_word(bytes[at]) {
                    at += 1;
                }
                found.push((Token::Name(&text[from..at]), line));
            }
            _ => {
                let long = ["...", "..", "==", "~=", "<=", ">="];
                let sign = long.iter().find(|sign| text[at..].starts_with(**sign));
                at += sign.map_or_else(
                    || text[at..].chars().next().map_or(1, char::len_utf8),
                    |sign| sign.len(),
                );
                found.push((Token::Sign(&text[from..at]), line));
            }
        }
    }
    found
}

/// What every script can use.
const GLOBALS: [&str; 39] = [
    "redis", "cjson", "string", "math", "table", "unpack", "tonumber", "tostring", "type", "pairs",
    "ipairs", "pcall", "error", "select", "next", "KEYS", "ARGV", "and", "break", "do", "else",
    "elseif", "end", "false", "for", "function", "if", "in", "local", "nil", "not", "or", "repeat",
    "return", "then", "true", "until", "while", "struct",
];

/// The names that a text declares, wherever it does.
pub(crate) fn declared<'a>(tokens: &[(Token<'a>, usize)]) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (at, (token, _)) in tokens.iter().enumerate() {
        let list = match token {
            Token::Name("local") => match tokens.get(at + 1) {
                Some((Token::Name("function"), _)) => &tokens[at + 2..],
                _ => &tokens[at + 1..],
            },
            Token::Name("for") => &tokens[at + 1..],
            Token::Name("function") => {
                let open = tokens[at..]
                    .iter()
                    .position(|(token, _)| *token == Token::Sign("("));
                open.map_or(&[][..], |open| &tokens[at + open + 1..])
            }
            _ => continue,
        };
        for (token, _) in list {
            match token {
                Token::Name(name) if !GLOBALS.contains(name) => {
                    names.insert(*name);
                }
                Token::Sign(",") => {}
                _ => break,
            }
        }
    }
    names
}

/// The names that a text uses, each with its line. Names of fields are left out.
pub(crate) fn used<'a>(tokens: &[(Token<'a>, usize)]) -> Vec<(&'a str, usize)> {
    let mut open = Vec::new();
    let mut names = Vec::new();
    for (at, (token, line)) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| tokens[at].0);
        match token {
            Token::Sign(sign @ ("(" | "[" | "{")) => open.push(*sign),
            Token::Sign(")" | "]" | "}") => {
                open.pop();
            }
            Token::Name(name) if !GLOBALS.contains(name) => {
                let is_field = matches!(before, Some(Token::Sign("." | ":")));
                if !is_field && !is_key(tokens, at, open.last().copied()) {
                    names.push((*name, *line));
                }
            }
            _ => {}
        }
    }
    names
}

/// Whether the name at a place is that of a field in a table that is being made.
fn is_key(tokens: &[(Token<'_>, usize)], at: usize, open: Option<&str>) -> bool {
    let before = at.checked_sub(1).map(|at| tokens[at].0);
    let after = tokens.get(at + 1).map(|(token, _)| *token);
    open == Some("{")
        && matches!(before, Some(Token::Sign("{" | "," | ";")))
        && after == Some(Token::Sign("="))
}

/// The fields of the tables that are made directly as an argument of the call whose bracket is at `open`, each with its line.
pub(crate) fn fields_of_call<'a>(
    tokens: &[(Token<'a>, usize)],
    open: usize,
) -> Vec<(&'a str, usize)> {
    let mut brackets = Vec::new();
    let mut fields = Vec::new();
    for (at, (token, line)) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Sign(sign @ ("(" | "[" | "{")) => brackets.push(*sign),
            Token::Sign(")" | "]" | "}") => {
                brackets.pop();
                if brackets.is_empty() {
                    break;
                }
            }
            Token::Name(name) if brackets == ["(", "{"] && is_key(tokens, at, Some("{")) => {
                fields.push((*name, *line));
            }
            _ => {}
        }
    }
    fields
}

/// The arguments of the call whose bracket is at `open`: the tokens of each.
pub(crate) fn arguments_of_call<'b, 'a>(
    tokens: &'b [(Token<'a>, usize)],
    open: usize,
) -> Vec<&'b [(Token<'a>, usize)]> {
    let (mut depth, mut from) = (0, open + 1);
    let mut arguments = Vec::new();
    for (at, (token, _)) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Sign("(" | "[" | "{") => depth += 1,
            Token::Sign(")" | "]" | "}") => {
                depth -= 1;
                if depth == 0 {
                    if from < at {
                        arguments.push(&tokens[from..at]);
                    }
                    break;
                }
            }
            Token::Sign(",") if depth == 1 => {
                arguments.push(&tokens[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    arguments
}
