//! The first page: each pool at a glance, and the three commands that make an empty installation live.

mod card;
mod first_steps;
mod pools;
mod table;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use serde_json::json;

use self::card::card;
use self::first_steps::first_steps;
use self::pools::{PoolSummary, PoolSummaryBody, is_only_full, pools, to_csv};
use self::table::table;
use super::form::Form;
use super::frame::{count, downloads, may, number, page};
use super::here::Here;
use super::{Fields, Format, link, nodes, settings};
use crate::access_key::Role;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::holders::list::{HoldersPage, HoldersQuery, people};
use crate::http::problem::{Code, Problem};
use crate::pool::DEMO;

/// People that are shown where somebody may look for one.
const PEOPLE: usize = 5;

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    here: Here,
    fields: Fields,
) -> Result<Response, Problem> {
    match Format::wanted(&headers, fields.get("format")) {
        Format::Json => {
            let page_of = pools(&app, &operator, &fields, fields.get("cursor")).await?;
            let pools: Vec<PoolSummaryBody<'_>> =
                page_of.seen.iter().map(PoolSummary::body).collect();
            let body = json!({"pools": pools, "next_cursor": page_of.next});
            Ok(Json(body).into_response())
        }
        Format::Csv => {
            // A file is whole, from where the page begins.
            let mut page_of = pools(&app, &operator, &fields, fields.get("cursor")).await?;
            let mut rows = page_of.seen;
            while let Some(next) = page_of.next {
                page_of = pools(&app, &operator, &fields, Some(&next)).await?;
                rows.append(&mut page_of.seen);
            }
            Ok(to_csv(&rows))
        }
        Format::Html => draw(&app, &operator, &here, &fields, &Form::new("pool")).await,
    }
}

/// The page, with the form for a new pool.
pub(super) async fn draw(
    app: &App,
    operator: &Operator,
    here: &Here,
    fields: &Fields,
    form: &Form<'_>,
) -> Result<Response, Problem> {
    let caller = &operator.caller;
    let page_of = pools(app, operator, fields, fields.get("cursor")).await?;
    // Whoever has a key for some pools sees those, and nothing of how the installation is built.
    let everything = caller.sees_everything();
    let health = if everything {
        nodes::health(&crate::http::nodes::nodes(app).await?)
    } else {
        html! { span.dot.ok aria-hidden="true" {} "The service answers." }
    };
    let wanted = fields.get("q");
    let people = found_people(app, operator, fields).await?;
    let same = |more: &[(&str, &str)]| link("/admin", fields, &["q", "sort", "view", "only"], more);
    let (as_table, only_full) = (fields.get("view") == Some("table"), is_only_full(fields));
    let body = html! {
        h1 { "Overview" }
        (form.summary())
        @if page_of.all > 1 || wanted.is_some() || only_full {
            (filter(fields, &downloads(&same(&[("limit", "1000"), ("format", "csv")]), &same(&[("limit", "1000"), ("format", "json")]))))
        }
        @if page_of.seen.iter().any(|seen| seen.pool.name.as_str().starts_with(DEMO)) {
            p.notice { strong { "Demonstration: " } "the past and the people of pools that begin with " code { (DEMO) } " are made up." }
        }
        @if let Some(people) = people.filter(|people| !people.items.is_empty()) {
            (super::people::list(&people))
            p.row { a href=(link("/admin/people", fields, &["q"], &[])) { "All people that match" } }
        }
        div #live data-every="5" data-source="?part=now" data-at="/admin" {
            p.health { (health) }
            @if page_of.all == 0 && wanted.is_none() && !only_full {
                (first_steps(here, caller))
            } @else if page_of.seen.is_empty() {
                p.empty { @if only_full { "No pool is full. " } @else { "No pool has this in its name. " } a href="/admin" { "Show all" } }
            } @else {
                @if as_table { (table(&page_of.seen, may(caller, Role::Viewer))) }
                @else { ul.cards {
                    @for seen in &page_of.seen { li data-key=(seen.pool.name) { (card(seen, may(caller, Role::Viewer))) } }
                } }
                p.row {
                    @if page_of.seen.len() < page_of.all {
                        span.quiet { (number(page_of.seen.len() as u64)) " of " (count(page_of.all as u64, "pool", "pools")) }
                    }
                    @if fields.get("cursor").is_some() { a href=(same(&[])) { "First page" } }
                    @if let Some(next) = &page_of.next {
                        a href=(same(&[("cursor", next)])) rel="next" { "Next page" }
                    }
                }
            }
        }
        @if may(caller, Role::Admin) && everything { (settings::new_pool(form)) }
    };
    Ok(form.answer(page(caller, "Overview", "/admin", &body)))
}

/// People of whom what is searched for tells. A search for a person begins here, too. It reads all leases, so the part that refreshes
/// itself does without.
async fn found_people(
    app: &App,
    operator: &Operator,
    fields: &Fields,
) -> Result<Option<HoldersPage>, Problem> {
    let Some(text) = fields.get("q") else {
        return Ok(None);
    };
    if !may(&operator.caller, Role::Viewer) || fields.get("part") == Some("now") {
        return Ok(None);
    }
    let asked = HoldersQuery {
        q: Some(text.to_owned()),
        limit: Some(PEOPLE),
        ..HoldersQuery::default()
    };
    match people(app, operator, &asked).await {
        Ok(found) => Ok(Some(found)),
        // Too many to be searched, or a name that cannot be: it may still be that of a pool.
        Err(problem) if problem.code() == Code::InvalidRequest => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// The form that says which pools to show, and how.
fn filter(fields: &Fields, downloads: &Markup) -> Markup {
    let wanted = fields.get("q");
    let by_use = fields.get("sort") == Some("use");
    let (as_table, only_full) = (fields.get("view") == Some("table"), is_only_full(fields));
    html! {
        form.row.filter role="search" method="get" action="/admin" {
            label { "Pool or person" input name="q" type="search" value=[wanted]; }
            label {
                "Order"
                select name="sort" {
                    option value="name" selected[!by_use] { "by name" }
                    option value="use" selected[by_use] { "fullest first" }
                }
            }
            label {
                "As"
                select name="view" {
                    option value="cards" selected[!as_table] { "cards" }
                    option value="table" selected[as_table] { "a table" }
                }
            }
            label { "Pools" select name="only" { option value="" { "all" } option value="full" selected[only_full] { "only full ones" } } }
            button type="submit" { "Show" }
            @if wanted.is_some() || only_full { a href="/admin" { "Show all" } }
            span.grow {}
            (downloads)
        }
    }
}
