//! Other capacities for a time, entry by entry.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::super::Fields;
use super::super::frame::{number, time};
use super::super::range;
use super::change;
use crate::history::last_day;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Path;
use crate::http::problem::{Code, Problem};
use crate::names::PoolName;
use crate::pool::{Pool, Scheduled};
use crate::time::Timestamp;

pub(super) fn editor(pool: &Pool, may_schedule: bool) -> Markup {
    let zone = last_day::zone(pool);
    let action = format!("/admin/pools/{}/schedule", pool.name);
    let schedule = &pool.policy.schedule;
    let now = range::utc(pool.at);
    html! {
        section aria-labelledby="schedule" {
            h2 #schedule { "Schedule" }
            p.quiet { "Other capacities for a time: training, a season, an event. Where two overlap, the one that began last counts. Each ends by itself." }
            @if !schedule.is_empty() {
                div.scroll tabindex="0" role="region" aria-label="Schedule" {
                    table {
                        caption.hidden { "Other capacities for a time" }
                        thead {
                            tr {
                                @for title in ["Name", "From", "Until", "Seats", "State"] { th scope="col" { (title) } }
                                @if may_schedule { th scope="col" { span.hidden { "Actions" } } }
                            }
                        }
                        tbody {
                            @for (place, entry) in schedule.iter().enumerate() {
                                tr {
                                    th scope="row" { @if entry.name.is_empty() { "–" } @else { (entry.name) } }
                                    td { (time(Timestamp(entry.from.timestamp_millis()))) }
                                    td { (time(Timestamp(entry.until.timestamp_millis()))) }
                                    td.num { (number(u64::from(entry.capacity))) }
                                    td { @if entry.until <= now { "over" } @else if entry.from <= now { strong.good { "in force" } } @else { "to come" } }
                                    @if may_schedule {
                                        td.actions {
                                            form method="post" action=(action) {
                                                input type="hidden" name="version" value=(pool.version);
                                                button type="submit" name="remove" value=(place) {
                                                    "Remove" span.hidden { " " (entry.name) }
                                                }
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            @if may_schedule {
                form.row method="post" action=(action) {
                    input type="hidden" name="version" value=(pool.version);
                    input type="hidden" name="tz" value=(zone.name());
                    label { "Name" input name="name" maxlength="64" autocomplete="off"; }
                    label { "From" input name="from" type="datetime-local" required; }
                    label { "Until" input name="until" type="datetime-local" required; }
                    label { "Seats" input name="capacity" type="number" min="0" max="10000000" required; }
                    button type="submit" { "Add" }
                    span.quiet data-zone-of-form { "Times in " span { (zone.name()) } }
                }
            }
        }
    }
}

/// Adds an entry, or removes one.
pub(in super::super) async fn edit(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    let wrong = |detail: String| Problem::new(Code::InvalidRequest, detail);
    let pool = app.pool(&name).await?;
    let mut schedule = pool.policy.schedule;
    if let Some(place) = fields.get("remove") {
        let place = place.parse().ok().filter(|place| *place < schedule.len());
        let place =
            place.ok_or_else(|| wrong("There is no such entry. Reload the page.".into()))?;
        schedule.remove(place);
    } else {
        let zone = crate::http::history::zone(fields.get("tz"))?;
        let at = |name: &str| {
            let text = fields.get(name).unwrap_or_default();
            range::instant(name, text, zone)
        };
        schedule.push(Scheduled {
            name: fields.get("name").unwrap_or_default().to_owned(),
            from: at("from")?,
            until: at("until")?,
            capacity: fields
                .get("capacity")
                .and_then(|capacity| capacity.parse().ok())
                .ok_or_else(|| wrong("Say how many seats, as a whole number.".into()))?,
        });
        schedule.sort_by_key(|entry| entry.from);
    }
    let value: Value = json!(schedule);
    let changes = Map::from_iter([("schedule".to_owned(), value)]);
    let back = format!("/admin/pools/{name}/settings?saved=1");
    change(&app, &operator, &name, &fields, &changes, &back).await
}
