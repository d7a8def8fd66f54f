//! Keys: a table of them, a form for a new one, and the one page that shows a secret.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::form::{Form, is_first};
use super::frame::{commands, may, page, time};
use super::here::Here;
use super::quantity::duration_ms;
use super::{Fields, Format, new_secret, redirect, wall};
use crate::access_key::{AccessKey, Role};
use crate::http::App;
use crate::http::access::Operator;
use crate::http::csv::{self, Cell};
use crate::http::extract::Path;
use crate::http::keys::{
    CreateKey, KeyBody, LimitsWanted, all, find, make, replace_secret, withdraw,
};
use crate::http::problem::{Code, Problem};
use crate::names::{PoolName, Tenant};

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let keys = all(&app, &operator).await?;
    match Format::wanted(&headers, fields.get("format")) {
        Format::Json => return Ok(Json(json!({ "items": keys })).into_response()),
        Format::Csv => {
            let rows = keys.iter().map(|key| {
                vec![
                    Cell::plain(&key.id),
                    Cell::text(Some(key.name.as_str())),
                    Cell::plain(key.role.as_str()),
                    Cell::Text(joined(&key.pools)),
                    Cell::Text(of_tenants(key)),
                    Cell::Text(joined(&key.origins)),
                    Cell::plain(&key.created_at),
                    Cell::Plain(key.expires_at.map(|at| at.to_string()).unwrap_or_default()),
                    Cell::known(key.last_used_at),
                ]
            });
            let columns = [
                "id",
                "name",
                "role",
                "pools",
                "tenants",
                "origins",
                "created_at",
                "expires_at",
                "last_used_at",
            ];
            return Ok(csv::file("leasehold-keys", &columns, rows));
        }
        Format::Html => {}
    }
    let notice = match fields.get("again") {
        None => None,
        Some("roll") => Some(
            "The form came twice. The secret was made the first time, if the store answered; if it is lost, roll the key.",
        ),
        Some(_) => Some(
            "This key was made before, if it is in the list: the form came twice. A secret is shown once; if it is lost, roll the key. \
             If the key is not in the list, nothing was made: fill in the form again.",
        ),
    };
    Ok(draw(&operator, &keys, notice, &Form::new("key")))
}

/// The page with the form for a new key.
fn draw(operator: &Operator, keys: &[KeyBody], notice: Option<&str>, form: &Form<'_>) -> Response {
    let changes = may(&operator.caller, Role::Admin);
    let body = html! {
        h1 { "Keys" }
        (form.summary())
        @if let Some(notice) = notice { p.notice role="status" { (notice) } }
        @if keys.is_empty() {
            p.empty { "There are no keys yet. Operators use the admin key of the settings, or none in open mode." }
        } @else {
            div.scroll tabindex="0" role="region" aria-labelledby="caption" {
                table {
                    caption #caption { "Keys of operators and clients" }
                    thead {
                        tr {
                            @for title in ["Name", "Role", "Pools", "Tenants", "Origins", "Created", "Last used", "Ends", "Id"] { th scope="col" { (title) } }
                            @if changes { th scope="col" { span.hidden { "Actions" } } }
                        }
                    }
                    tbody { @for key in keys { (row(key, changes)) } }
                }
            }
        }
        p.row { a href="?format=csv" download { "CSV" } a href="?format=json" { "JSON" } }
        @if changes { (new_key(form)) }
    };
    form.answer(page(&operator.caller, "Keys", "/admin/keys", &body))
}

fn joined<T: Clone + Into<String>>(words: &[T]) -> String {
    let words: Vec<String> = words.iter().cloned().map(Into::into).collect();
    words.join(" ")
}

/// The tenants of a key, or the one of those who acquire with it.
fn of_tenants(key: &KeyBody) -> String {
    let tenants = key.tenants.iter().chain(&key.tenant).map(Tenant::as_str);
    tenants.collect::<Vec<_>>().join(", ")
}

fn row(key: &KeyBody, changes: bool) -> Markup {
    html! {
        tr {
            th scope="row" { bdi { (key.name.as_str()) } }
            td { (key.role.as_str()) }
            td { @if key.pools.is_empty() { "all" } @else { (joined(&key.pools)) } }
            td { @let tenants = of_tenants(key); @if tenants.is_empty() { "all" } @else { bdi { (tenants) } } }
            td { (joined(&key.origins)) }
            td { (time(key.created_at)) }
            td { @match key.last_used_at { Some(at) => (time(at)), None => "never" } }
            td { @match key.expires_at { Some(at) => (time(at)), None => "never" } }
            td {
                code { (key.id.as_str()) }
                @if let Some(until) = key.former_secret_until { br; span.quiet { "former secret good until " (time(until)) } }
            }
            @if changes {
                td.actions {
                    a href=(format!("/admin/keys/{}/roll", key.id)) { "Roll" span.hidden { " " bdi { (key.name.as_str()) } } }
                    a href=(format!("/admin/keys/{}/revoke", key.id)) { "Revoke" span.hidden { " " bdi { (key.name.as_str()) } } }
                }
            }
        }
    }
}

fn new_key(form: &Form<'_>) -> Markup {
    let roles: Vec<(&str, &str)> = Role::ALL
        .iter()
        .map(|role| (role.as_str(), role.as_str()))
        .collect();
    html! {
        section {
            h2 { "New key" }
            form.fields method="post" action="/admin/keys" {
                (form.once())
                (form.text("name", "Name", "", ""))
                (form.choice("role", "Role", "A client acquires, and nothing else. Reports are read without names. A viewer reads, an operator also terminates and schedules, an admin does everything.", "", &roles))
                (form.text("pools", "Pools", "Names with spaces between. A client names at least one; for operators none means all.", ""))
                (form.text("tenants", "Tenants", "With commas between. An operator sees and touches only these, none means all. Of a client at most one: everybody acquires for it.", ""))
                (form.text("origins", "Origins", "For clients: the pages that may use the key, such as https://crm.example, with spaces between.", ""))
                (form.text("expires", "Ends after", "Such as 90 d; empty for never.", ""))
                p.row { button.main type="submit" { "Create" } }
            }
        }
    }
}

pub(super) async fn create(
    State(app): State<App>,
    operator: Operator,
    here: Here,
    fields: Fields,
) -> Result<Response, Problem> {
    let made = match asked(&fields) {
        Ok(body) if is_first(&app, &fields).await? => make(&app, &operator, body).await,
        Ok(_) => return Ok(redirect("/admin/keys?again=1")),
        Err(problem) => Err(problem),
    };
    match made {
        Ok((key, secret)) => Ok(reveal(&operator, &here, &key, &secret)),
        Err(problem) => {
            let form = Form::refused("key", &fields, problem)?;
            Ok(draw(&operator, &all(&app, &operator).await?, None, &form))
        }
    }
}

/// What the form says of a key.
fn asked(fields: &Fields) -> Result<CreateKey, Problem> {
    let wrong = |field: &'static str| {
        move |error: &dyn std::fmt::Display| {
            let sentence = format!("The key was not created: {error}.");
            Problem::new(Code::InvalidRequest, sentence.clone()).at_field(field, sentence)
        }
    };
    let role = fields
        .get("role")
        .unwrap_or_default()
        .parse()
        .map_err(|error| wrong("role")(&error))?;
    let tenants = fields
        .get("tenants")
        .unwrap_or_default()
        .split(',')
        .map(str::trim);
    let tenants = tenants.filter(|tenant| !tenant.is_empty());
    let tenants = tenants.map(|tenant| Tenant::try_from(tenant.to_owned()));
    let mut tenants = tenants
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong("tenants")(&error))?;
    let tenant = match tenants.len() {
        1 if role == Role::Client => tenants.pop(),
        _ => None,
    };
    // A slash at the end is what one copies out of a browser.
    let origins = fields.words("origins");
    let origins = origins.iter().map(|origin| origin.trim_end_matches('/'));
    let expires_in_ms = fields
        .get("expires")
        .map(|text| duration_ms("expires", text))
        .transpose()?;
    Ok(CreateKey {
        name: fields
            .get("name")
            .unwrap_or_default()
            .to_owned()
            .try_into()
            .map_err(|error| wrong("name")(&error))?,
        role,
        tenants,
        tenant,
        pools: fields
            .words("pools")
            .iter()
            .map(|pool| pool.parse())
            .collect::<Result<_, _>>()
            .map_err(|error| wrong("pools")(&error))?,
        origins: origins
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong("origins")(&error))?,
        limits: LimitsWanted::default(),
        expires_at: None,
        expires_in_ms,
    })
}

/// The only page that shows a secret, once.
fn reveal(
    operator: &Operator,
    Here(server): &Here,
    key: &AccessKey,
    secret: &SecretString,
) -> Response {
    let body = html! {
        h1 { "The secret of " bdi { (key.name.as_str()) } }
        p role="status" { "Copy it now: it is not kept, and cannot be shown again." }
        (commands(secret.expose_secret()))
        p.quiet { "It is sent as " code { "Authorization: Bearer …" } }
        @if key.role == Role::Client {
            h2 { (if key.origins.is_empty() { "In a program" } else { "In a page" }) }
            (commands(&first_program(server, key, secret.expose_secret())))
        }
        @if key.role == Role::Reports {
            h2 { "On a wall" }
            p { "This address shows how full the pools of the key are on a screen that nobody logs in to. What is behind the # stays in that browser, which takes it out of its address at once." }
            (commands(&format!("{server}{}#key={}", wall::HERE, secret.expose_secret())))
        }
        p.row { a.button href="/admin/keys" { "I have copied it" } }
    };
    page(&operator.caller, "The secret", "/admin/keys", &body)
}

/// The first lines that somebody writes who got this key. The rest is in `docs/widget.md` and `clients/`.
fn first_program(server: &str, key: &AccessKey, secret: &str) -> String {
    let pool = key.pools.first().map_or("…", PoolName::as_str);
    if key.origins.is_empty() {
        return format!(
            "// npm install {server}/client/leasehold-client.tgz\n\
             import {{ Client }} from 'leasehold/node';\n\n\
             const client = new Client('{server}', {{ key: '{secret}' }});\n\
             await client.hold('{pool}', {{ holder: 'agent-7' }}, async (seat, signal) => {{\n  \
             // Work. The signal is aborted when the seat is lost.\n\
             }});"
        );
    }
    format!(
        "<script type=\"module\">\n\
         import {{ SeatClient }} from '{server}/client/leasehold.js';\n\n\
         const seat = new SeatClient({{ pool: '{pool}', holder: 'agent-7', key: '{secret}' }});\n\
         seat.addEventListener('statechange', ({{ detail }}) => console.log(detail.to, detail.problem?.detail));\n\
         seat.acquire().catch(() => {{}});\n\
         </script>"
    )
}

pub(super) async fn confirm_roll(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let key = find(&app, &operator, &id)?;
    let body = html! {
        h1 { "A new secret for " bdi { (key.name.as_str()) } "?" }
        p { "Both are good while you change over." }
        (new_secret::form("The present secret stays good for", "/admin/keys"))
    };
    Ok(page(&operator.caller, "Roll a key", "/admin/keys", &body))
}

pub(super) async fn roll(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    here: Here,
    fields: Fields,
) -> Result<Response, Problem> {
    // A second one would end the overlap of the secret that is in use.
    if !is_first(&app, &fields).await? {
        return Ok(redirect("/admin/keys?again=roll"));
    }
    let overlap_ms = new_secret::overlap_ms(&fields);
    let (key, secret) = replace_secret(&app, &operator, &id, overlap_ms).await?;
    Ok(reveal(&operator, &here, &key, &secret))
}

pub(super) async fn confirm_revoke(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let key = find(&app, &operator, &id)?;
    let body = html! {
        h1 { "Revoke " bdi { (key.name.as_str()) } "?" }
        p { "Within a second no node takes it any more. Seats that were acquired with it are kept. This cannot be undone." }
        form method="post" {
            p.row { a.button href="/admin/keys" autofocus { "Cancel" } button.danger type="submit" { "Revoke" } }
        }
    };
    Ok(page(&operator.caller, "Revoke a key", "/admin/keys", &body))
}

pub(super) async fn revoke(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    withdraw(&app, &operator, &id).await?;
    Ok(redirect("/admin/keys"))
}
