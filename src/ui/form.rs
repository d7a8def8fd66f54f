//! Forms that keep what was typed: a form that cannot be taken is answered by the page it came from, with the values, a summary of what
//! is wrong that leads to the fields, and the same words at each of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::{Markup, html};
use secrecy::SecretString;

use super::Fields;
use crate::http::App;
use crate::http::access::code_fingerprint;
use crate::http::problem::{Code, FieldError, Logged, Problem};

/// Reasons that are often given.
const REASONS: [&str; 3] = [
    "The shift is over.",
    "The seat is needed for somebody else.",
    "Maintenance.",
];

/// Marks an answer that shows a problem in a page of its own making. A program that does not ask for a page gets the problem.
#[derive(Debug, Clone)]
pub(super) struct Shown(Arc<Mutex<Option<Problem>>>);

impl Shown {
    /// The problem; nothing the second time.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.0.lock().ok()?.take()
    }
}

/// A form, as it is shown for the first time or with what somebody typed into it.
pub(super) struct Form<'a> {
    /// Begins the ids of its fields, of which a page may have several of the same name.
    prefix: &'static str,
    typed: Option<&'a Fields>,
    errors: Vec<FieldError>,
    shown: Option<(Code, Shown)>,
}

/// What a control of a form needs to know.
pub(super) struct Control {
    pub(super) id: String,
    pub(super) value: String,
    /// `true` on one that is wrong, for the attribute `aria-invalid`.
    pub(super) invalid: Option<&'static str>,
    /// Ids of the texts that describe it.
    pub(super) described: Option<String>,
}

impl<'a> Form<'a> {
    pub(super) const fn new(prefix: &'static str) -> Self {
        Self {
            prefix,
            typed: None,
            errors: Vec::new(),
            shown: None,
        }
    }

    /// A form that was not taken. What a change of the form cannot mend is given back.
    pub(super) fn refused(
        prefix: &'static str,
        fields: &'a Fields,
        problem: Problem,
    ) -> Result<Self, Problem> {
        if !matches!(
            problem.code(),
            Code::InvalidRequest
                | Code::PreconditionFailed
                | Code::PoolInUse
                | Code::NamedSeatsExhausted
                | Code::NamedSeatTransferred
                | Code::PoolNotFound
                | Code::OlderNode
        ) {
            return Err(problem);
        }
        let errors = match problem.errors() {
            [] => vec![FieldError::new("", problem.detail())],
            errors => errors.to_vec(),
        };
        Ok(Self {
            prefix,
            typed: Some(fields),
            errors,
            shown: Some((problem.code(), Shown(Arc::new(Mutex::new(Some(problem)))))),
        })
    }

    /// A form that is shown again, with what was typed.
    pub(super) fn again(prefix: &'static str, fields: &'a Fields) -> Self {
        Self {
            typed: Some(fields),
            ..Self::new(prefix)
        }
    }

    /// What stands in a field: what was typed, or what is now.
    pub(super) fn value(&self, name: &str, now: &str) -> String {
        match self.typed {
            Some(typed) => typed.raw(name).unwrap_or_default().to_owned(),
            None => now.to_owned(),
        }
    }

    /// Whether a box is ticked, or a word is chosen.
    pub(super) fn has(&self, name: &str, value: &str, now: bool) -> bool {
        match self.typed {
            Some(typed) => typed.all(name).any(|typed| typed == value),
            None => now,
        }
    }

    pub(super) fn is_refused(&self) -> bool {
        self.typed.is_some()
    }

    pub(super) fn error(&self, name: &str) -> Option<&str> {
        let name = bare(name);
        let error = self.errors.iter().find(|error| error.field == name)?;
        Some(&error.message)
    }

    pub(super) fn id(&self, name: &str) -> String {
        let name = bare(name).replace(['.', '[', ']'], "-");
        format!("{}-{name}", self.prefix)
    }

    /// A field with its label, its hint, and what is wrong with it.
    pub(super) fn field(
        &self,
        name: &str,
        label: &str,
        hint: &str,
        now: &str,
        control: impl FnOnce(&Control) -> Markup,
    ) -> Markup {
        self.named(name, label, "", hint, now, control)
    }

    /// The same, with its name in the interface small behind the label.
    pub(super) fn named(
        &self,
        name: &str,
        label: &str,
        api: &str,
        hint: &str,
        now: &str,
        control: impl FnOnce(&Control) -> Markup,
    ) -> Markup {
        let id = self.id(name);
        let error = self.error(name);
        let texts = [
            (!hint.is_empty()).then(|| format!("{id}-hint")),
            error.map(|_| format!("{id}-error")),
        ];
        let texts: Vec<String> = texts.into_iter().flatten().collect();
        let drawn = control(&Control {
            id: id.clone(),
            value: self.value(name, now),
            invalid: error.map(|_| "true"),
            described: (!texts.is_empty()).then(|| texts.join(" ")),
        });
        html! {
            div.field.wrong[error.is_some()] {
                label for=(id) { (label) @if !api.is_empty() { " " code.api { (api) } } }
                @if !hint.is_empty() { p.quiet id=(format!("{id}-hint")) { (hint) } }
                @if let Some(error) = error { p.bad id=(format!("{id}-error")) { span.hidden { "Error: " } (error) } }
                (drawn)
            }
        }
    }

    /// A field for a line of text.
    pub(super) fn text(&self, name: &str, label: &str, hint: &str, now: &str) -> Markup {
        self.field(name, label, hint, now, |control| {
            html! {
                input id=(control.id) name=(name) value=(control.value) autocomplete="off"
                    aria-invalid=[control.invalid] aria-describedby=[&control.described];
            }
        })
    }

    /// A field for why something ends, with reasons to choose from.
    pub(super) fn reason(&self, hint: &str) -> Markup {
        self.field("reason", "Reason", hint, "", |control| {
            html! {
                input id=(control.id) name="reason" value=(control.value) list="reasons" autocomplete="off"
                    aria-invalid=[control.invalid] aria-describedby=[&control.described];
                datalist #reasons { @for reason in REASONS { option value=(reason) {} } }
            }
        })
    }

    /// A field for one of a few words.
    pub(super) fn choice(
        &self,
        name: &str,
        label: &str,
        hint: &str,
        now: &str,
        options: &[(&str, &str)],
    ) -> Markup {
        self.field(name, label, hint, now, |control| {
            html! {
                select id=(control.id) name=(name) aria-invalid=[control.invalid] aria-describedby=[&control.described] {
                    @for (value, title) in options { option value=(value) selected[control.value == *value] { (title) } }
                }
            }
        })
    }

    /// What names this showing of the form, so that a reload of what it made makes nothing more.
    pub(super) fn once(&self) -> Markup {
        let random: [u8; 16] = rand::random();
        html! { input type="hidden" name="once" value=(URL_SAFE_NO_PAD.encode(random)); }
    }

    /// What is wrong, with links to the fields. Says nothing of a form that is all right.
    pub(super) fn summary(&self) -> Markup {
        html! {
            @if !self.errors.is_empty() {
                div.problem #problems tabindex="-1" {
                    div role="alert" {
                        h2 { "There is a problem" }
                        ul {
                            @for error in &self.errors {
                                li {
                                    @if error.field.is_empty() { (error.message) }
                                    @else { a href=(format!("#{}", self.id(&error.field))) { (error.message) } }
                                }
                            }
                        }
                    }
                    p.quiet { "Nothing was changed. What you typed is still here." }
                }
            }
        }
    }

    /// Gives a page with this form its status: 422 if what was typed is not valid.
    pub(super) fn answer(&self, mut page: Response) -> Response {
        if let Some((code, shown)) = &self.shown {
            let code = *code;
            *page.status_mut() = match code.status() {
                StatusCode::BAD_REQUEST => StatusCode::UNPROCESSABLE_ENTITY,
                status => status,
            };
            page.extensions_mut().insert(Logged { code, cause: None });
            page.extensions_mut().insert(shown.clone());
        }
        page
    }
}

/// The name of a field without the letter that marks those of a policy.
fn bare(name: &str) -> &str {
    name.strip_prefix("f.").unwrap_or(name)
}

/// For how long a form that is sent again is known.
const KNOWN: Duration = Duration::from_secs(60 * 60);

/// Whether what a form makes is not made yet. A form without a mark is taken every time it comes.
pub(super) async fn is_first(app: &App, fields: &Fields) -> Result<bool, Problem> {
    let Some(once) = fields.get("once").filter(|once| once.len() <= 64) else {
        return Ok(true);
    };
    let fingerprint = code_fingerprint(&SecretString::from(once));
    Ok(app.store().is_first(&fingerprint, KNOWN).await?)
}
