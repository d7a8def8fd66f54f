//! The time that a view is about: a preset or two instants, and a time zone, all of it in the address.

use chrono::{DateTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use maud::{Markup, html};

use super::{Fields, link};
use crate::http::problem::{Code, Problem};
use crate::http::{history, when};
use crate::time::Timestamp;

pub(super) const HOUR_MS: i64 = 3_600_000;

/// A stretch of time up to now: its word in the address, its name, its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Preset {
    pub(super) word: &'static str,
    name: &'static str,
    ms: i64,
}

const fn preset(word: &'static str, name: &'static str, hours: i64) -> Preset {
    Preset {
        word,
        name,
        ms: hours * HOUR_MS,
    }
}

pub(super) const HOUR: Preset = preset("1h", "Last hour", 1);
pub(super) const DAY: Preset = preset("24h", "Last 24 hours", 24);
pub(super) const WEEK: Preset = preset("7d", "Last 7 days", 7 * 24);
pub(super) const WEEKS: Preset = preset("28d", "Last 4 weeks", 28 * 24);
pub(super) const MONTH: Preset = preset("30d", "Last 30 days", 30 * 24);
pub(super) const FIVE_WEEKS: Preset = preset("35d", "Last 35 days", 35 * 24);
pub(super) const YEAR: Preset = preset("1y", "Last year", 365 * 24);

/// What the address says about time.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    pub(super) zone: Tz,
    /// The preset that was chosen; none for two instants.
    pub(super) preset: Option<Preset>,
    presets: &'static [Preset],
    /// The zone that the pool itself has.
    pool_zone: Tz,
}

impl Range {
    /// From the address; the first preset without it. `now` is Redis's.
    pub(super) fn of(
        fields: &Fields,
        now: Timestamp,
        pool_zone: Tz,
        presets: &'static [Preset],
        usual: Preset,
    ) -> Result<Self, Problem> {
        let zone = match fields.get("tz") {
            Some(name) => history::zone(Some(name))?,
            None => pool_zone,
        };
        let now = utc(now);
        let at = |name: &str| {
            let text = fields.get(name);
            text.map(|text| instant(name, text, zone)).transpose()
        };
        let (from, to) = (at("from")?, at("to")?);
        let preset = match fields.get("range") {
            Some(word) => presets.iter().copied().find(|preset| preset.word == word),
            None => None,
        };
        let preset = (from.is_none() && to.is_none()).then(|| preset.unwrap_or(usual));
        let length = chrono::TimeDelta::milliseconds(preset.unwrap_or(usual).ms);
        // Now included.
        let to = to.unwrap_or(now + chrono::TimeDelta::milliseconds(1));
        let from = match from {
            Some(from) => from,
            None => to - length,
        };
        if to <= from {
            return Err(Problem::new(
                Code::InvalidRequest,
                "The time ends before it begins. Choose a begin that comes before the end.",
            ));
        }
        Ok(Self {
            from,
            to,
            zone,
            preset,
            presets,
            pool_zone,
        })
    }

    /// The zone that the address names, for files.
    pub(super) fn chosen(&self, fields: &Fields) -> Option<Tz> {
        fields.get("tz").map(|_| self.zone)
    }

    /// The length, in ms.
    pub(super) fn ms(&self) -> i64 {
        (self.to - self.from).num_milliseconds()
    }

    /// What a person can choose. `path` is the address of the view; `kept` are the other words of it that stay.
    pub(super) fn choice(
        &self,
        path: &str,
        fields: &Fields,
        kept: &[&str],
        more: &Markup,
    ) -> Markup {
        let zone = self.zone.name();
        let other = |name: &str| {
            let all: Vec<&str> = kept
                .iter()
                .copied()
                .chain(["range", "from", "to"])
                .collect();
            link(path, fields, &all, &[("tz", name)])
        };
        let shown = |at: DateTime<Utc>| {
            let local = at.with_timezone(&self.zone);
            local.format("%Y-%m-%dT%H:%M").to_string()
        };
        html! {
            nav.presets aria-label="Time" data-tz=(zone) {
                @for preset in self.presets {
                    @let is_chosen = self.preset == Some(*preset);
                    a href=(link(path, fields, &["tz"], &[("range", preset.word)]))
                        aria-current=[is_chosen.then_some("true")] { (preset.name) }
                }
                details.other open[self.preset.is_none()] {
                    summary { "Another time" }
                    form.row method="get" action=(path) {
                        input type="hidden" name="tz" value=(zone);
                        @for name in kept { @if let Some(value) = fields.get(name) { input type="hidden" name=(name) value=(value); } }
                        label { "From" input type="datetime-local" name="from" value=(shown(self.from)) required; }
                        label { "To" input type="datetime-local" name="to" value=(shown(self.to)) required; }
                        button type="submit" { "Show" }
                    }
                }
                (more)
                span.quiet.zones {
                    "Times in " (zone)
                    @if self.zone != Tz::UTC { " · " a href=(other("UTC")) { "in UTC" } }
                    @if self.zone != self.pool_zone && self.pool_zone != Tz::UTC {
                        " · " a href=(other(self.pool_zone.name())) { "in the pool's zone" }
                    }
                }
            }
        }
    }
}

pub(super) fn utc(at: Timestamp) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(at.0).single().unwrap_or_default()
}

/// A time in the address of a page.
pub(super) fn instant(name: &str, text: &str, zone: Tz) -> Result<DateTime<Utc>, Problem> {
    when::at(name, text, zone).map(utc)
}

/// An instant for people, in a zone that the page names.
pub(super) fn at(at: Timestamp, zone: Tz) -> String {
    let local = utc(at).with_timezone(&zone);
    local.format("%a %-d %b %H:%M").to_string()
}
