//! Which characters a name may have, and when two spellings are one name.
//!
//! A name is read by people who decide by it, so it shows all that it consists of. What the Unicode properties call a
//! control, a format character or ignorable is refused, with two exceptions that belong to writing itself: joiners in
//! scripts and emoji that are joined, and variation selectors behind a character that has variants.

use std::borrow::Cow;

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};
use icu_properties::props::{
    BidiControl, BinaryProperty as _, CanonicalCombiningClass, DefaultIgnorableCodePoint, Emoji,
    EmojiModifier, EnumeratedProperty as _, ExtendedPictographic, GeneralCategory, Ideographic,
    JoinControl, JoiningType, PrependedConcatenationMark, Script, VariationSelector,
};

use super::Invalid;

/// Takes nothing from a line, though its property is not that of a blank.
const BRAILLE_BLANK: char = '\u{2800}';
const ZERO_WIDTH_JOINER: char = '\u{200D}';
const KEYCAP: char = '\u{20E3}';

/// Refuses a name that is blank, has blanks at its ends, or characters that nobody sees.
pub(super) fn check_name(noun: &str, text: &str) -> Result<(), Invalid> {
    check_characters(noun, text)?;
    if text.chars().all(is_blank) {
        return Err(Invalid(format!("a {noun} is not blank")));
    }
    for (end, character) in [
        ("beginning", text.chars().next()),
        ("end", text.chars().next_back()),
    ] {
        if character.is_some_and(is_blank) {
            return Err(Invalid(format!(
                "a {noun} has no blanks at its ends, and this one has one at its {end}"
            )));
        }
    }
    Ok(())
}

/// Refuses a string with an invisible character, and names the character and its position.
pub(crate) fn check_characters(noun: &str, text: &str) -> Result<(), Invalid> {
    if text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_control()) {
        return Ok(());
    }
    let characters: Vec<char> = text.chars().collect();
    for (at, &character) in characters.iter().enumerate() {
        if let Some(kind) = kind_of_hidden(&characters, at) {
            return Err(Invalid(format!(
                "a {noun} has no {kind} characters, and number {} of this one is U+{:04X}",
                at + 1,
                u32::from(character),
            )));
        }
    }
    Ok(())
}

/// Refuses what a name is refused for in a sentence too. An empty one stands for none.
pub(crate) fn check_sentence(noun: &str, text: &str) -> Result<(), Invalid> {
    if text.is_empty() {
        return Ok(());
    }
    check_name(noun, text)
}

/// A text of others as a person may see it: what nobody sees, and what moves a cursor or turns a line around, is written as an
/// escape, as in `\\u{202e}`.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_control()) {
        return Cow::Borrowed(text);
    }
    let characters: Vec<char> = text.chars().collect();
    let mut shown = String::with_capacity(text.len());
    for (at, &character) in characters.iter().enumerate() {
        if kind_of_hidden(&characters, at).is_some() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// The same for several lines.
pub(crate) fn shown_lines(text: &str) -> Cow<'_, str> {
    if !text.contains('\n') {
        return shown(text);
    }
    let lines: Vec<Cow<'_, str>> = text.split('\n').map(shown).collect();
    Cow::Owned(lines.join("\n"))
}

fn is_blank(character: char) -> bool {
    character.is_whitespace() || character == BRAILLE_BLANK
}

/// What a character is, if nobody sees it.
fn kind_of_hidden(text: &[char], at: usize) -> Option<&'static str> {
    let character = text[at];
    if character.is_ascii() && !character.is_ascii_control() {
        return None;
    }
    match GeneralCategory::for_char(character) {
        GeneralCategory::Control
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator => return Some("control"),
        _ if BidiControl::for_char(character) => return Some("bidirectional control"),
        GeneralCategory::Format if PrependedConcatenationMark::for_char(character) => return None,
        GeneralCategory::Format => {}
        _ if DefaultIgnorableCodePoint::for_char(character) => {}
        _ => return None,
    }
    let belongs = if JoinControl::for_char(character) {
        joins(text, at)
    } else {
        VariationSelector::for_char(character) && has_variants(text, at)
    };
    (!belongs).then_some("invisible")
}

/// Whether a joiner stands where it changes how its neighbours are drawn: as RFC 5892 has it in appendix A, and between
/// emoji.
fn joins(text: &[char], at: usize) -> bool {
    let Some(&before) = at.checked_sub(1).and_then(|at| text.get(at)) else {
        return false;
    };
    if CanonicalCombiningClass::for_char(before) == CanonicalCombiningClass::Virama {
        return true;
    }
    let transparent =
        |character: &&char| JoiningType::for_char(**character) == JoiningType::Transparent;
    let joined = |character: Option<&char>| {
        character.is_some_and(|character| {
            let joining = JoiningType::for_char(*character);
            [
                JoiningType::LeftJoining,
                JoiningType::RightJoining,
                JoiningType::DualJoining,
            ]
            .contains(&joining)
        })
    };
    let first = text[..at].iter().rev().find(|c| !transparent(c));
    let second = text[at + 1..].iter().find(|c| !transparent(c));
    if joined(first) && joined(second) {
        return true;
    }
    let is_dressing = |character: &&char| {
        EmojiModifier::for_char(**character) || VariationSelector::for_char(**character)
    };
    let first = text[..at].iter().rev().find(|c| !is_dressing(c));
    let is_pictographic = |character: Option<&char>| {
        character.is_some_and(|character| ExtendedPictographic::for_char(*character))
    };
    text[at] == ZERO_WIDTH_JOINER && is_pictographic(first) && is_pictographic(text.get(at + 1))
}

/// Whether a variation selector stands behind a character that is drawn in more than one way.
fn has_variants(text: &[char], at: usize) -> bool {
    let Some(&before) = at.checked_sub(1).and_then(|at| text.get(at)) else {
        return false;
    };
    if before.is_ascii() {
        return Emoji::for_char(before) && text.get(at + 1) == Some(&KEYCAP);
    }
    Emoji::for_char(before)
        || Ideographic::for_char(before)
        || Script::for_char(before) == Script::Mongolian
}

/// The form in which all spellings of a name are the same: without regard to case, composition (NFC), blanks at the ends,
/// how many and which blanks there are inside, and what is not seen.
pub(super) fn folded(text: &str) -> String {
    let visible: String = text
        .chars()
        .filter(|character| !DefaultIgnorableCodePoint::for_char(*character))
        .collect();
    let words: Vec<&str> = visible
        .split(is_blank)
        .filter(|word| !word.is_empty())
        .collect();
    let spaced = words.join(" ");
    let apart = DecomposingNormalizer::new_nfd();
    let composed = ComposingNormalizer::new_nfc();
    let apart = apart.normalize(&spaced);
    let folded = CaseMapper::new().fold_string(&apart);
    composed.normalize(&folded).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> String {
        check_name("holder", text).expect_err(text).0
    }

    #[test]
    fn what_nobody_sees_is_shown_as_an_escape() {
        for (text, expected) in [
            ("ann", "ann"),
            ("zoë", "zoë"),
            (
                "\u{1b}]0;pwned\u{7}\u{1b}[2J",
                "\\u{1b}]0;pwned\\u{7}\\u{1b}[2J",
            ),
            ("a\u{9b}31m", "a\\u{9b}31m"),
            ("\u{202e}nna", "\\u{202e}nna"),
            ("ann\u{200b}", "ann\\u{200b}"),
            ("two\nlines", "two\\nlines"),
        ] {
            assert_eq!(shown(text), expected);
        }
        assert_eq!(shown_lines("two\n\u{202e}lines"), "two\n\\u{202e}lines");
    }

    #[test]
    fn a_sentence_says_what_is_wrong_and_where() {
        assert_eq!(
            refused("ann\u{200B}a"),
            "a holder has no invisible characters, and number 4 of this one is U+200B"
        );
        assert_eq!(
            refused("\u{202E}ann"),
            "a holder has no bidirectional control characters, and number 1 of this one is U+202E"
        );
        assert_eq!(
            refused("a\nb"),
            "a holder has no control characters, and number 2 of this one is U+000A"
        );
        assert_eq!(
            refused(" ann"),
            "a holder has no blanks at its ends, and this one has one at its beginning"
        );
        assert_eq!(
            refused("ann\u{A0}"),
            "a holder has no blanks at its ends, and this one has one at its end"
        );
        assert_eq!(refused("\u{3000}"), "a holder is not blank");
    }

    #[test]
    fn what_nobody_sees_is_refused() {
        for hidden in [
            '\0',
            '\u{7F}',
            '\u{85}',
            '\u{AD}',
            '\u{34F}',
            '\u{61C}',
            '\u{115F}',
            '\u{180E}',
            '\u{200B}',
            '\u{200C}',
            '\u{200D}',
            '\u{200E}',
            '\u{200F}',
            '\u{2028}',
            '\u{2029}',
            '\u{202A}',
            '\u{202D}',
            '\u{2060}',
            '\u{2063}',
            '\u{2066}',
            '\u{2069}',
            '\u{206F}',
            '\u{3164}',
            '\u{FE0F}',
            '\u{FEFF}',
            '\u{FFA0}',
            '\u{FFF9}',
            '\u{1D173}',
            '\u{E0001}',
            '\u{E0061}',
            '\u{E0100}',
        ] {
            for text in [
                format!("an{hidden}n"),
                format!("{hidden}ann"),
                format!("ann{hidden}"),
                format!("zo\u{EB}{hidden}\u{EB}"),
                format!("1{hidden}2"),
                format!("\u{43F}{hidden}\u{43F}"),
            ] {
                refused(&text);
            }
        }
        for blank in [
            ' ', '\t', '\u{A0}', '\u{2003}', '\u{202F}', '\u{2800}', '\u{3000}',
        ] {
            refused(&blank.to_string());
            refused(&format!("{blank}ann"));
            refused(&format!("ann{blank}"));
        }
    }

    #[test]
    fn names_of_all_scripts_are_taken_as_they_are_written() {
        for name in [
            "a",
            "agent-7 {ok}",
            "CN=Zoë Müller,OU=Büro 3,DC=example,DC=com",
            "zoe\u{308}",
            "Ann  Example",
            "山田 太郎",
            // A variant of the first character, as Japanese registers have it.
            "葛\u{E0100}城",
            // Persian, with a non-joiner inside of a word.
            "می\u{200C}خواهم",
            // Sinhala and Devanagari: a joiner behind a virama.
            "ශ\u{0DCA}\u{200D}රී",
            "क\u{94D}\u{200C}ष",
            "สมชาย ใจดี",
            "👩\u{200D}💻",
            "👩🏽\u{200D}💻",
            "❤\u{FE0F}",
            "🏳\u{FE0F}\u{200D}🌈",
            "1\u{FE0F}\u{20E3}",
            "\u{600}12",
        ] {
            assert_eq!(check_name("holder", name), Ok(()), "{name}");
        }
    }

    #[test]
    fn spellings_of_a_name_fold_to_one() {
        for (one, other) in [
            ("Ann@Example.COM", "ann@example.com"),
            ("zo\u{EB}", "zoe\u{308}"),
            ("ZO\u{CB}", "zoe\u{308}"),
            ("  Ann\u{A0}  Example ", "ann example"),
            ("STRASSE", "straße"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
            ("می\u{200C}خواهم", "میخواهم"),
            ("ann\u{200B}", "ann"),
        ] {
            assert_eq!(folded(one), folded(other), "{one}");
        }
        for (one, other) in [("ann", "anna"), ("a b", "ab"), ("zoe", "zoë"), ("İ", "i")] {
            assert_ne!(folded(one), folded(other), "{one}");
        }
    }

    proptest! {
        #[test]
        fn what_is_folded_stays_as_it_is(text in "\\PC{0,40}") {
            let once = folded(&text);
            prop_assert_eq!(folded(&once), once);
        }
    }
}
