//! Other capacities for a time, entry by entry.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::{Map, json};

use super::super::Fields;
use super::super::form::Form;
use super::super::frame::{number, time};
use super::super::quantity::whole;
use super::super::range;
use super::{Forms, change, draw};
use crate::history::last_day;
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Path;
use crate::http::problem::{Code, FieldError, Problem};
use crate::names::PoolName;
use crate::pool::{Pool, Scheduled};
use crate::time::Timestamp;

pub(super) fn editor(pool: &Pool, may_schedule: bool, form: &Form<'_>) -> Markup {
    let zone = last_day::zone(pool);
    let action = format!("/admin/pools/{}/schedule", pool.name);
    let schedule = &pool.policy.schedule;
    let now = range::utc(pool.at);
    html! {
        section {
            h2 { "Schedule" }
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
                    input type="hidden" name="tz" value=(form.value("tz", zone.name()));
                    (form.text("name", "Name", "", ""))
                    @for (name, title) in [("from", "From"), ("until", "Until")] {
                        (form.field(name, title, "", "", |control| html! {
                            input id=(control.id) name=(name) type="datetime-local" value=(control.value) required
                                aria-invalid=[control.invalid] aria-describedby=[&control.described];
                        }))
                    }
                    (form.text("capacity", "Seats", "", ""))
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
    let pool = app.pool(&name).await?;
    let back = format!("/admin/pools/{name}/settings?saved=1");
    let edited = match edited(&pool, &fields) {
        Ok(schedule) => {
            let changes = Map::from_iter([("schedule".to_owned(), json!(schedule))]);
            change(&app, &operator, &name, &fields, &changes, &back).await
        }
        Err(problem) => Err(problem),
    };
    match edited {
        Ok(edited) => Ok(edited),
        // An entry has no field of its own for what is wrong with another one.
        Err(problem) if fields.get("remove").is_some() => Err(problem),
        Err(problem) => {
            let forms = Forms {
                schedule: Form::refused("schedule", &fields, of_the_entry(problem))?,
                ..Forms::new()
            };
            Ok(draw(&pool, &operator, &fields, &forms))
        }
    }
}

/// What is wrong with the schedule is wrong with the entry of the form: it was right before.
fn of_the_entry(problem: Problem) -> Problem {
    let errors = problem.errors().iter();
    let errors: Vec<FieldError> = errors
        .map(|error| match error.field.rsplit_once("].") {
            Some((entry, field)) => {
                let message = error.message.replace(&format!("{entry}]."), "");
                FieldError::new(field, message.replacen(field, title(field), 1))
            }
            None => error.clone(),
        })
        .collect();
    problem.with_errors(errors)
}

fn title(field: &str) -> &str {
    match field {
        "from" => "From",
        "until" => "Until",
        "capacity" => "Seats",
        "name" => "Name",
        field => field,
    }
}

/// The schedule with an entry more, or one less.
fn edited(pool: &Pool, fields: &Fields) -> Result<Vec<Scheduled>, Problem> {
    let mut schedule = pool.policy.schedule.clone();
    if let Some(place) = fields.get("remove") {
        let place = place.parse().ok().filter(|place| *place < schedule.len());
        let gone = || {
            Problem::new(
                Code::InvalidRequest,
                "There is no such entry. Reload the page.",
            )
        };
        schedule.remove(place.ok_or_else(gone)?);
        return Ok(schedule);
    }
    let zone = crate::http::history::zone(fields.get("tz"))?;
    let at = |name: &str| {
        let text = fields.get(name).unwrap_or_default();
        range::instant(name, text, zone)
    };
    let capacity = whole("capacity", fields.get("capacity").unwrap_or_default())?;
    schedule.push(Scheduled {
        name: fields.get("name").unwrap_or_default().to_owned(),
        from: at("from")?,
        until: at("until")?,
        capacity: u32::try_from(capacity).unwrap_or(u32::MAX),
    });
    schedule.sort_by_key(|entry| entry.from);
    Ok(schedule)
}
