//! Texts of ours that are written in Markdown, as HTML.

use maud::{Markup, PreEscaped};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd};

/// The text as HTML. `lead` maps a link to its address on a node; one without an address becomes plain words.
pub(super) fn to_html(text: &str, lead: impl Fn(&str) -> Option<String>) -> Markup {
    let mut in_link = false;
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).filter_map(|event| match event {
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) => {
            let to = lead(&dest_url)?;
            in_link = true;
            Some(Event::Start(Tag::Link {
                link_type,
                dest_url: CowStr::from(to),
                title,
                id,
            }))
        }
        Event::End(TagEnd::Link) => std::mem::take(&mut in_link).then_some(event),
        // There is none in them, and if there were it would be of another policy than these pages.
        Event::Html(_) | Event::InlineHtml(_) => None,
        event => Some(event),
    });
    let mut html = String::with_capacity(text.len() * 2);
    pulldown_cmark::html::push_html(&mut html, events);
    PreEscaped(html)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_what_a_node_has_or_are_words() {
        let text = "See [the pool](pool-full.md), [how](../operating.md#upgrades) <b>b</b>.\n\n\
                    | a | b |\n| --- | --- |\n| 1 | `<` |\n";
        let lead = |to: &str| (to == "pool-full.md").then(|| "/there".to_owned());
        let html = to_html(text, lead).into_string();
        assert!(
            html.contains("<a href=\"/there\">the pool</a>, how b."),
            "{html}"
        );
        assert!(html.contains("<td><code>&lt;</code></td>"), "{html}");
    }
}
