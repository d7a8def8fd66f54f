//! The form for a new secret of a key or a webhook: how long the present one stays good.

use maud::{Markup, html};

use super::Fields;
use super::form::Form;
use crate::http::records::DAY_MS;

/// The form. `present` names what the present secret still does; `back` is the page that cancels.
pub(super) fn form(present: &str, back: &str) -> Markup {
    html! {
        form method="post" {
            (Form::new("secret").once())
            label for="overlap" { (present) }
            select #overlap name="overlap_ms" {
                option value="3600000" { "1 hour" }
                option value=(DAY_MS) selected { "1 day" }
                option value="604800000" { "1 week" }
                option value="0" { "no time" }
            }
            p.row { a.button href=(back) { "Cancel" } button.main type="submit" { "Make a new secret" } }
        }
    }
}

/// What was chosen, in milliseconds.
pub(super) fn overlap_ms(fields: &Fields) -> u64 {
    let chosen = fields.get("overlap_ms").and_then(|ms| ms.parse().ok());
    chosen.unwrap_or(DAY_MS)
}
