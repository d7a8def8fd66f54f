//! What the views of a pool's past share that are lists: the time that is looked at, a page of it, and the links that turn it.

use maud::{Markup, html};

use super::frame::{Tab, downloads};
use super::range::{DAY, MONTH, Preset, Range, WEEK};
use super::{Fields, Format, link};
use crate::history::last_day;
use crate::http::App;
use crate::http::history::{ListQuery, MAX_LIMIT};
use crate::http::pool_not_found;
use crate::http::problem::Problem;
use crate::http::when::When;
use crate::names::PoolName;
use crate::pool::Pool;

const PRESETS: &[Preset] = &[DAY, WEEK, MONTH];

/// A page of a list about a time of a pool.
pub(super) struct Past<'a> {
    /// The pool as it is now.
    pub(super) pool: Pool,
    /// What the interface is asked for.
    pub(super) wanted: ListQuery,
    pub(super) range: Range,
    /// The view's address, without what it asks for.
    path: String,
    fields: &'a Fields,
    /// What the address says besides the time, and keeps when something else of it changes.
    own: &'static [&'static str],
}

impl<'a> Past<'a> {
    /// What the address asks for; `default` where it names no time.
    pub(super) async fn of(
        app: &App,
        name: &PoolName,
        tab: Tab,
        fields: &'a Fields,
        format: Format,
        own: &'static [&'static str],
        default: Preset,
    ) -> Result<Self, Problem> {
        let pool = app.store().status(name).await?;
        let pool = pool.ok_or_else(|| pool_not_found(name))?;
        let range = Range::of(fields, pool.at, last_day::zone(&pool), PRESETS, default)?;
        let wanted = ListQuery {
            from: Some(When::exactly(range.from)),
            to: Some(When::exactly(range.to)),
            tz: Some(range.zone.name().to_owned()),
            limit: Some(MAX_LIMIT),
            cursor: fields.get("cursor").map(str::to_owned),
            format: None,
            whole: format != Format::Html,
        };
        Ok(Self {
            pool,
            wanted,
            range,
            path: tab.of(name),
            fields,
            own,
        })
    }

    /// The address of this view with some of it replaced, from the first page on.
    pub(super) fn here(&self, replaced: &[(&str, &str)]) -> String {
        let kept = [&["range", "from", "to", "tz"], self.own].concat();
        link(&self.path, self.fields, &kept, replaced)
    }

    /// Whether the page has all there is.
    pub(super) fn is_whole(&self, next: Option<&String>) -> bool {
        self.wanted.cursor.is_none() && next.is_none()
    }

    /// The choice of the time, with what the view adds to it.
    pub(super) fn choice(&self, more: &Markup) -> Markup {
        self.range.choice(&self.path, self.fields, self.own, more)
    }

    /// The links below the list: to its start and to the next page, under these titles, and to its data.
    pub(super) fn turning(&self, next: Option<&String>, titles: [&str; 2]) -> Markup {
        html! {
            p.row {
                @if self.wanted.cursor.is_some() { a href=(self.here(&[])) { (titles[0]) } }
                @if let Some(next) = next { a href=(self.here(&[("cursor", next)])) rel="next" { (titles[1]) } }
                (downloads(&self.here(&[("format", "csv")]), &self.here(&[("format", "json")])))
            }
        }
    }
}
