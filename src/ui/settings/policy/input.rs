//! The form: a control for each field.

use maud::{Markup, html};

use super::fields::{Kind, spec_of};
use super::grace;
use super::value::{shown, text_of};
use crate::pool::Policy;
use crate::ui::form::Form;
use crate::ui::settings::Field;

/// A field of the form.
pub(in crate::ui::settings) fn input(form: &Form<'_>, field: &Field, policy: &Policy) -> Markup {
    let name = format!("f.{}", field.name);
    let Some(spec) = spec_of(&field.name) else {
        return form.named(&name, &field.name, "", &field.about, &text_of(&field.value), |control| {
            html! {
                textarea id=(control.id) name=(name) rows="2" spellcheck="false"
                    aria-invalid=[control.invalid] aria-describedby=[&control.described] { (control.value) }
            }
        });
    };
    let hint = if spec.hint.is_empty() {
        field.about.as_str()
    } else {
        spec.hint
    };
    match &spec.kind {
        Kind::Group(parts) => {
            let values = field.value.as_object();
            html! {
                fieldset.field.group {
                    legend { (spec.label) " " code.api { (spec.name) } }
                    p.quiet { (hint) }
                    input type="hidden" name="g" value=(spec.name);
                    label { input type="checkbox" name=(name) value="on" checked[form.has(&name, "on", values.is_some())]; "On" }
                    @for part in *parts {
                        @let now = match values { Some(values) => shown(&part.kind, &values[part.name]), None => part.usual.to_owned() };
                        (one(form, &format!("{name}.{}", part.name), part.label, "", part.hint, &now, &part.kind))
                    }
                }
            }
        }
        Kind::Grace => one(
            form,
            &name,
            spec.label,
            spec.name,
            hint,
            &grace(policy),
            &spec.kind,
        ),
        kind => one(
            form,
            &name,
            spec.label,
            spec.name,
            hint,
            &shown(kind, &field.value),
            kind,
        ),
    }
}

fn one(
    form: &Form<'_>,
    name: &str,
    label: &str,
    api: &str,
    hint: &str,
    now: &str,
    kind: &Kind,
) -> Markup {
    match kind {
        Kind::Tick => html! {
            label.tick { input type="checkbox" name=(name) value="on" checked[form.has(name, "on", now == "true")]; (label) }
        },
        Kind::Words(words) => form.named(name, label, api, hint, now, |control| {
            html! {
                select id=(control.id) name=(name) aria-invalid=[control.invalid] aria-describedby=[&control.described] {
                    @for (word, meaning) in *words { option value=(word) selected[control.value == *word] { (meaning) } }
                }
            }
        }),
        kind => form.named(name, label, api, hint, now, |control| {
            html! {
                input id=(control.id) name=(name) value=(control.value) autocomplete="off"
                    inputmode=[matches!(kind, Kind::Whole).then_some("numeric")]
                    aria-invalid=[control.invalid] aria-describedby=[&control.described];
            }
        }),
    }
}
