//! What parsers say, in words for the person who reads the answer: no type of Rust, and an example of what is right.

/// An example of an instant, as it stands in JSON and in addresses.
const INSTANT: &str = "a timestamp, such as 2026-11-28T08:00:00Z";

/// What was wanted, from a parser's name of it.
fn wanted(name: &str) -> String {
    let name = name.trim();
    let plain = match name {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => {
            "a whole number that is not negative, such as 5"
        }
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number, such as 5",
        "f32" | "f64" => "a number, such as 0.5",
        "a string" | "a borrowed string" | "str" | "String" | "string" => "text in quotes",
        "a boolean" | "bool" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object with named fields",
        "unit" | "null" => "null",
        _ => "",
    };
    if !plain.is_empty() {
        return plain.to_owned();
    }
    if name.starts_with("a nonzero u") {
        return "a whole number of at least 1".to_owned();
    }
    if name.contains("RFC 3339") || name.contains("date and time string") {
        return INSTANT.to_owned();
    }
    if name.starts_with("struct ") || name.starts_with("internally tagged enum") {
        return "an object with named fields".to_owned();
    }
    if name.starts_with("tuple ") || name.starts_with("a tuple") {
        return "a list".to_owned();
    }
    for kind in ["variant of enum ", "enum "] {
        if name.starts_with(kind) {
            return "one of the words that are listed at /v1/openapi.json".to_owned();
        }
    }
    name.to_owned()
}

/// What was sent, from a parser's name of its kind.
fn sent(noun: &str) -> &str {
    match noun.trim() {
        "integer" => "a number that does not fit",
        // A number that no integer holds is one, too.
        "floating point" => "a number that is too large, or has a fraction or an exponent",
        "string" | "character" => "text",
        "boolean" => "true or false",
        "sequence" => "a list",
        "map" => "an object",
        "unit value" | "null" | "Option value" => "null",
        other => other,
    }
}

/// A message of a parser, in words for people. What a client sent must not be in it any more.
pub(super) fn reworded(message: &str) -> String {
    if let Some(said) = of_text(message).or_else(|| of_names(message)) {
        return said;
    }
    for kind in ["invalid type: ", "invalid value: "] {
        let Some(rest) = message.strip_prefix(kind) else {
            continue;
        };
        let (noun, expected) = rest.split_once(", expected ").unwrap_or((rest, ""));
        return match expected {
            "" => format!("{} does not fit here", sent(noun)),
            expected => format!("this is {}, and takes {}", sent(noun), wanted(expected)),
        };
    }
    if let Some(rest) = message.strip_prefix("invalid length ") {
        let expected = rest
            .split_once(", expected ")
            .map_or("", |(_, expected)| expected);
        return format!("this is too short or too long for {}", wanted(expected));
    }
    message.to_owned()
}

/// What parsers say about names and words that are not the ones that are known.
fn of_names(message: &str) -> Option<String> {
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let (_, known) = rest.split_once(", ")?;
        return Some(match known.strip_prefix("expected ") {
            Some(known) => format!("this name is not known here; known is {}", listed(known)),
            None => "this name is not known here, and no other is".to_owned(),
        });
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        let (word, known) = rest.split_once(", expected ")?;
        let word = if word.starts_with('`') { word } else { "this" };
        return Some(format!(
            "{word} is no word for it; known is {}",
            listed(known)
        ));
    }
    if let Some(name) = message.strip_prefix("missing field ") {
        return Some(format!("{name} is missing"));
    }
    let name = message.strip_prefix("duplicate field ")?;
    Some(format!("{name} is there twice"))
}

/// Names as a parser lists them.
fn listed(names: &str) -> String {
    names.trim_start_matches("one of ").to_owned()
}

/// What is wrong with something that is not JSON, from a parser's words.
pub(super) fn of_syntax(message: &str) -> &'static str {
    let is = |words: &str| message.starts_with(words);
    if is("EOF ") {
        "it ends before it is complete"
    } else if is("trailing characters") {
        "something follows behind its end"
    } else if is("trailing comma") {
        "a comma is the last thing in a list or an object"
    } else if is("key must be") {
        "a name is not in double quotes"
    } else if is("recursion limit") {
        "it is nested too deeply"
    } else if is("number out of range") || is("invalid number") {
        "a number is not written as JSON writes it, or too large"
    } else if is("control character") || is("invalid escape") {
        "a text has a character that has to be escaped, or an escape that is none"
    } else if is("invalid unicode") || is("lone leading") || is("unexpected end of hex") {
        "a text has characters that are not Unicode"
    } else {
        "something else belongs there"
    }
}

/// What parsers of text say about it: of numbers, switches and instants.
fn of_text(message: &str) -> Option<String> {
    const NUMBERS: [&str; 4] = [
        "invalid digit found in string",
        "cannot parse integer from empty string",
        "number too large to fit in target type",
        "number too small to fit in target type",
    ];
    const NONZERO: &str = "number would be zero for non-zero type";
    const INSTANTS: [&str; 5] = [
        "premature end of input",
        "input contains invalid characters",
        "input is out of range",
        "input is not enough for unique date and time",
        "trailing input",
    ];
    let takes = |what: &str| Some(format!("this takes {what}"));
    if NUMBERS.contains(&message) {
        return takes("a whole number, such as 100");
    }
    if message == NONZERO {
        return takes("a whole number of at least 1");
    }
    if message.starts_with("invalid float literal") || message.starts_with("cannot parse float") {
        return takes("a number, such as 0.5");
    }
    if message.starts_with("provided string was not `true` or `false`") {
        return takes("true or false");
    }
    if INSTANTS.contains(&message) {
        return takes(INSTANT);
    }
    None
}

/// A part of a path or of an address, from the name of the type that it must have.
pub(super) fn of_type(expected: &str) -> String {
    wanted(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_parsers_say_is_said_in_words() {
        for (message, words) in [
            (
                "invalid type: string, expected u32",
                "this is text, and takes a whole number that is not negative, such as 5",
            ),
            (
                "invalid type: floating point, expected u64",
                "this is a number that is too large, or has a fraction or an exponent, and takes a whole number that is not negative, such as 5",
            ),
            (
                "invalid type: map, expected a sequence",
                "this is an object, and takes a list",
            ),
            (
                "invalid type: string, expected struct AcquireBody",
                "this is text, and takes an object with named fields",
            ),
            (
                "invalid value: integer, expected a nonzero u32",
                "this is a number that does not fit, and takes a whole number of at least 1",
            ),
            (
                "premature end of input",
                "this takes a timestamp, such as 2026-11-28T08:00:00Z",
            ),
            (
                "invalid digit found in string",
                "this takes a whole number, such as 100",
            ),
            ("invalid float literal", "this takes a number, such as 0.5"),
            (
                "unknown field `setas`, expected `seats` or `token`",
                "this name is not known here; known is `seats` or `token`",
            ),
            (
                "unknown field (not repeated here), there are no fields",
                "this name is not known here, and no other is",
            ),
            (
                "unknown variant `fats`, expected one of `fast`, `slow`, `none`",
                "`fats` is no word for it; known is `fast`, `slow`, `none`",
            ),
            (
                "unknown variant (not repeated here), expected `fast`",
                "this is no word for it; known is `fast`",
            ),
            ("missing field `token`", "`token` is missing"),
            ("duplicate field `seats`", "`seats` is there twice"),
            // Our own words stay.
            (
                "a pool name has 1 to 64 characters",
                "a pool name has 1 to 64 characters",
            ),
        ] {
            assert_eq!(reworded(message), words);
        }
    }
}
