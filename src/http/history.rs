//! What happened in a pool, as JSON and as CSV: one file for each report, and here what they share.

pub(crate) mod denials;
pub(crate) mod holders;
pub(crate) mod patterns;
pub(crate) mod slots;
pub(crate) mod tenants;
pub(crate) mod usage;

use chrono_tz::Tz;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;

use super::App;
use super::accept::Format;
use super::problem::{Code, Problem};
use super::when::When;
use crate::names::PoolName;
use crate::time::Timestamp;

/// Rows of a page unless the caller says otherwise, and at most.
const LIMIT: usize = 100;
pub(crate) const MAX_LIMIT: usize = 1_000;
/// Length of a report without `from`, ms: as long as events are kept.
const EVENTS_KEPT_MS: i64 = 35 * 86_400_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    usage::routes()
        .merge(slots::routes())
        .merge(patterns::routes())
        .merge(denials::routes())
        .merge(holders::routes())
        .merge(tenants::routes())
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidRequest, detail.into())
}

/// A time zone by its name; UTC without one.
pub(crate) fn zone(name: Option<&str>) -> Result<Tz, Problem> {
    name.map_or(Ok(Tz::UTC), |name| {
        name.parse().map_err(|_| {
            invalid("`tz` is not a time zone of the IANA database. Send one like Europe/Zurich, or UTC.")
        })
    })
}

/// A range of time; by default it ends now and is `usual_ms` long.
pub(crate) fn range(
    from: Option<&When>,
    to: Option<&When>,
    zone: Tz,
    now: Timestamp,
    usual_ms: i64,
) -> Result<(Timestamp, Timestamp), Problem> {
    let at = |name, when: Option<&When>| when.map(|when| when.at(name, zone)).transpose();
    let to = at("to", to)?.unwrap_or(Timestamp(now.0 + 1));
    let from = at("from", from)?.unwrap_or(Timestamp(to.0 - usual_ms));
    if to <= from {
        return Err(invalid("`from` comes before `to`."));
    }
    Ok((from, to))
}

async fn must_exist(app: &App, pool: &PoolName) -> Result<Timestamp, Problem> {
    Ok(app.pool(pool).await?.at)
}

fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

/// What part of the whole something is; 0 of nothing.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

/// What is wanted of a list of what happened.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// From when; without it as long as events are kept, 35 days.
    #[param(value_type = Option<String>, example = "2026-11-28")]
    pub(crate) from: Option<When>,
    /// End. Default: now.
    #[param(value_type = Option<String>, example = "2026-11-29T08:00:00Z")]
    pub(crate) to: Option<When>,
    /// Time zone of `from` and `to` where they name none, and of the times in a CSV file, by its IANA name; UTC without it.
    pub(crate) tz: Option<String>,
    /// Maximum rows per page, 1 to 1000; 100 without it.
    #[param(minimum = 1, maximum = 1_000)]
    pub(crate) limit: Option<usize>,
    /// `next_cursor` of the page before, with everything else as it was.
    pub(crate) cursor: Option<String>,
    /// `json` or `csv`, in place of the header `Accept`.
    #[param(inline)]
    pub(crate) format: Option<Format>,
    /// Whether all rows are wanted in one page: a file of the admin pages is whole.
    #[serde(skip)]
    pub(crate) whole: bool,
}

impl ListQuery {
    fn limit(&self) -> Result<usize, Problem> {
        if self.whole {
            return Ok(usize::MAX);
        }
        let limit = self.limit.unwrap_or(LIMIT);
        if (1..=MAX_LIMIT).contains(&limit) {
            Ok(limit)
        } else {
            Err(invalid(format!("`limit` is 1 to {MAX_LIMIT}.")))
        }
    }

    fn zone(&self) -> Result<Tz, Problem> {
        zone(self.tz.as_deref())
    }

    /// The zone of the times in a file; UTC in the form of programs if none was chosen.
    fn zone_of_files(&self) -> Result<Option<Tz>, Problem> {
        self.tz.as_deref().map(|name| zone(Some(name))).transpose()
    }

    fn range(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), Problem> {
        range(
            self.from.as_ref(),
            self.to.as_ref(),
            self.zone()?,
            now,
            EVENTS_KEPT_MS,
        )
    }
}

/// The cursor of a list by name: the name of the last row of the page, behind a sign. The row without a name comes first.
fn cursor(name: Option<&str>) -> String {
    name.map_or("-".to_owned(), |name| format!("={name}"))
}

/// The name after which a page begins; none for the first page.
fn after(cursor: Option<&str>) -> Result<Option<Option<String>>, Problem> {
    let Some(cursor) = cursor else {
        return Ok(None);
    };
    match cursor.split_at_checked(1) {
        Some(("=", name)) => Ok(Some(Some(name.to_owned()))),
        Some(("-", "")) => Ok(Some(None)),
        _ => Err(not_a_cursor()),
    }
}

fn not_a_cursor() -> Problem {
    invalid("`cursor` is not one of this list. Begin again without it.")
}
