//! The sub-accounts that share a pool: what they have, what they may have, and what is kept for them.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::frame::{Tab, count, downloads, may, number, pool_page, span};
use super::range::{FIVE_WEEKS, MONTH, Preset, Range, WEEK};
use super::settings::change;
use super::{Fields, Format, link};
use crate::access_key::Role;
use crate::history::last_day;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::csv::{self, Cell};
use crate::http::extract::Path;
use crate::http::history::tenants::{TenantsBody, used};
use crate::http::history::{ListQuery, MAX_LIMIT};
use crate::http::problem::{Code, Problem};
use crate::http::table;
use crate::http::when::When;
use crate::names::{PoolName, Tenant};
use crate::pool::Pool;

const PRESETS: &[Preset] = &[WEEK, MONTH, FIVE_WEEKS];
/// What the address keeps.
const KEPT: [&str; 4] = ["range", "from", "to", "tz"];

/// A tenant that has a rule, or seats.
struct Row {
    tenant: String,
    in_use: Option<u64>,
    max: Option<u32>,
    reserved: u32,
    has_rule: bool,
}

fn rows(pool: &Pool) -> Vec<Row> {
    let policy = &pool.policy;
    let ruled = policy.tenants.keys().map(|tenant| tenant.as_str());
    let names: BTreeSet<&str> = ruled
        .chain(pool.tenants.keys().map(String::as_str))
        .collect();
    // Only a pool whose rules ask for it counts by tenant.
    let counts = !policy.tenants.is_empty() || policy.tenant_max.is_some();
    names
        .into_iter()
        .map(|name| {
            let rule = policy
                .tenants
                .iter()
                .find(|(tenant, _)| tenant.as_str() == name);
            let rule = rule.map(|(_, rule)| *rule);
            Row {
                tenant: name.to_owned(),
                in_use: counts.then(|| pool.tenants.get(name).copied().unwrap_or(0)),
                max: rule.and_then(|rule| rule.max).or(policy.tenant_max),
                reserved: rule.map_or(0, |rule| rule.reserved),
                has_rule: rule.is_some(),
            }
        })
        .collect()
}

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let pool = app.pool(&name).await?;
    let format = Format::wanted(&headers, fields.get("format"));
    let history = match ["range", "from"]
        .iter()
        .any(|name| fields.get(name).is_some())
    {
        true => Some(history(&app, &operator, &pool, &fields, format).await?),
        false => None,
    };
    let rows = rows(&pool);
    match (format, history.as_ref()) {
        (Format::Json, Some((_, found))) => return Ok(Json(found).into_response()),
        (Format::Csv, Some((_, found))) => {
            return Ok(table::file(&format!("{name}-tenants"), &found.items, None));
        }
        (Format::Json, None) => {
            let items: Vec<Value> = rows
                .iter()
                .map(|row| json!({"tenant": row.tenant, "in_use": row.in_use, "max": row.max, "reserved": row.reserved}))
                .collect();
            return Ok(Json(json!({ "items": items })).into_response());
        }
        (Format::Csv, None) => {
            let rows = rows.iter().map(|row| {
                vec![
                    Cell::text(Some(&row.tenant)),
                    Cell::known(row.in_use),
                    Cell::known(row.max),
                    Cell::plain(&row.reserved),
                ]
            });
            let columns = ["tenant", "in_use", "max", "reserved"];
            return Ok(csv::file(&format!("{name}-tenants"), &columns, rows));
        }
        (Format::Html, _) => {}
    }
    let may_change = may(&operator.caller, Role::Admin);
    let body = html! {
        @if fields.get("saved").is_some() { p.good role="status" { "The limits are saved, on all nodes." } }
        @if rows.is_empty() {
            p.empty { "No tenant has a limit or a reserve. Whoever comes first gets a seat, whichever tenant it is of." }
        } @else {
            // A look at the past reads all of its events, which is not to be done every five seconds.
            div id=[history.is_none().then_some("live")] data-every=[history.is_none().then_some("5")] {
                div.scroll tabindex="0" role="region" aria-labelledby="caption" {
                    table {
                        caption #caption { "Tenants, and their part of " (number(pool.capacity)) " seats" }
                        thead {
                            tr {
                                @for title in ["Tenant", "In use", "At most", "Reserved"] { th scope="col" { (title) } }
                                th scope="col" { span.hidden { "Actions" } }
                            }
                        }
                        tbody { @for row in &rows { (row_of(&pool, row, may_change)) } }
                    }
                }
            }
        }
        @if may_change { (editor(&pool)) }
        @match &history {
            Some((range, found)) => { (used_section(&name, &fields, range, found)) }
            None => {
                p.row {
                    a href=(link(&Tab::Tenants.of(&name), &fields, &["tz"], &[("range", "30d")])) { "What each of them used in the last 30 days" }
                    (downloads("?format=csv", "?format=json"))
                }
            }
        }
    };
    Ok(pool_page(&operator.caller, &pool, Tab::Tenants, &body))
}

/// What each tenant used in the time that the address names. Only if it names one.
async fn history(
    app: &App,
    operator: &Operator,
    pool: &Pool,
    fields: &Fields,
    format: Format,
) -> Result<(Range, TenantsBody), Problem> {
    let range = Range::of(fields, pool.at, last_day::zone(pool), PRESETS, MONTH)?;
    let wanted = ListQuery {
        from: Some(When::exactly(range.from)),
        to: Some(When::exactly(range.to)),
        tz: Some(range.zone.name().to_owned()),
        limit: Some(MAX_LIMIT),
        cursor: fields.get("cursor").map(str::to_owned),
        format: None,
        whole: format != Format::Html,
    };
    let found = used(app, operator, &pool.name, &wanted).await?;
    Ok((range, found))
}

fn used_section(name: &PoolName, fields: &Fields, range: &Range, found: &TenantsBody) -> Markup {
    let path = Tab::Tenants.of(name);
    let here = |replaced: &[(&str, &str)]| link(&path, fields, &KEPT, replaced);
    let all: u64 = found.items.iter().map(|used| used.held_ms).sum();
    let whole = fields.get("cursor").is_none() && found.next_cursor.is_none();
    html! {
        section #used {
            h2 { "What each of them used" }
            (range.choice(&path, fields, &[], &html! {}))
            @if found.items.is_empty() {
                p.empty { "Nobody asked for a seat in this time." }
            } @else {
                p {
                    @if !whole { "On this page: " }
                    (count(found.items.len() as u64, "tenant", "tenants")) " held seats for " (span(all)) " together."
                }
                div.scroll tabindex="0" role="region" aria-labelledby="used-caption" {
                    table {
                        caption #used-caption { "Tenants, and what they used" }
                        thead {
                            tr {
                                @for title in ["Tenant", "Leases", "Time", "Share of the time", "At most at once", "Denials", "True denials"] { th scope="col" { (title) } }
                            }
                        }
                        tbody {
                            @for used in &found.items {
                                tr {
                                    th scope="row" { @match &used.tenant { Some(tenant) => { bdi { (tenant) } } None => { span.quiet { "no tenant" } } } }
                                    td.num { (number(used.leases)) }
                                    td.num { (span(used.held_ms)) }
                                    td.num { ((used.held_ms * 100).checked_div(all).unwrap_or(0)) " %" }
                                    td.num { (number(used.peak)) }
                                    td.num { (number(used.denials)) }
                                    td.num { (number(used.true_denials)) }
                                }
                            }
                        }
                    }
                }
            }
            p.row {
                @if fields.get("cursor").is_some() { a href=(here(&[])) { "First page" } }
                @if let Some(next) = &found.next_cursor { a href=(here(&[("cursor", next)])) rel="next" { "Next page" } }
                (downloads(&here(&[("format", "csv")]), &here(&[("format", "json")])))
            }
        }
    }
}

fn row_of(pool: &Pool, row: &Row, may_change: bool) -> Markup {
    let is_full = row
        .max
        .is_some_and(|max| row.in_use >= Some(u64::from(max)));
    html! {
        tr data-key=(row.tenant) {
            th scope="row" { bdi { (row.tenant) } }
            td.num {
                (row.in_use.map_or_else(|| html! { "–" }, number))
                @if is_full { " " strong.bad { "full" } }
            }
            td.num { (row.max.map_or_else(|| html! { "no limit" }, |max| number(u64::from(max)))) }
            td.num { @if row.reserved == 0 { "–" } @else { (number(u64::from(row.reserved))) } }
            td.actions {
                a href=(super::link(&Tab::Agents.of(&pool.name), &Fields(Vec::new()), &[], &[("tenant", &row.tenant)])) {
                    "Agents" span.hidden { " of " (row.tenant) }
                }
                @if may_change && row.has_rule {
                    form method="post" action=(Tab::Tenants.of(&pool.name)) {
                        input type="hidden" name="version" value=(pool.version);
                        button type="submit" name="remove" value=(row.tenant) { "Remove the rule" span.hidden { " of " (row.tenant) } }
                    }
                }
            }
        }
    }
}

fn editor(pool: &Pool) -> Markup {
    html! {
        section {
            h2 { "Limit or reserve" }
            p.quiet {
                "The maximum limits the seats a tenant has at once; the reserve is kept for it and no other tenant gets it. All others have at most "
                @match pool.policy.tenant_max { Some(max) => { (number(u64::from(max))) } None => { "what is free" } }
                " (" code { "tenant_max" } " in the settings). Lowering a limit ends nobody."
            }
            form.row method="post" action=(Tab::Tenants.of(&pool.name)) {
                input type="hidden" name="version" value=(pool.version);
                label { "Tenant" input name="tenant" required maxlength="64" autocomplete="off"; }
                label { "At most" input name="max" type="number" min="0" max="10000000" placeholder="no limit"; }
                label { "Reserved" input name="reserved" type="number" min="0" max="10000000" value="0"; }
                button type="submit" { "Save" }
            }
        }
    }
}

/// Sets the rule of a tenant, or removes it.
pub(super) async fn edit(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    let wrong = |detail: String| Problem::new(Code::InvalidRequest, detail);
    let (tenant, rule) = match fields.get("remove") {
        Some(tenant) => (tenant, Value::Null),
        None => {
            let count = |name: &str| -> Result<Option<u32>, Problem> {
                let text = fields.get(name);
                text.map(|text| {
                    text.parse()
                        .map_err(|_| wrong(format!("`{name}` is a whole number.")))
                })
                .transpose()
            };
            let rule = json!({"max": count("max")?, "reserved": count("reserved")?.unwrap_or(0)});
            (fields.get("tenant").unwrap_or_default(), rule)
        }
    };
    let tenant: Tenant =
        tenant
            .to_owned()
            .try_into()
            .map_err(|invalid: crate::names::Invalid| {
                wrong(format!("Nothing was saved: {invalid}."))
            })?;
    let rules = Map::from_iter([(tenant.as_str().to_owned(), rule)]);
    let changes = Map::from_iter([("tenants".to_owned(), Value::Object(rules))]);
    let back = format!("{}?saved=1", Tab::Tenants.of(&name));
    change(&app, &operator, &name, &fields, &changes, &back).await
}
