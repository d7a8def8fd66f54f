//! What all pages share: the head, the navigation, and a few shapes.

use axum::body::to_bytes;
use axum::http::header::{CONTENT_TYPE, REFRESH};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use crate::access_key::Role;
use crate::history::last_day;
use crate::http::access::Caller;
use crate::http::problem::Code;
use crate::lease::Seat;
use crate::names::PoolName;
use crate::pool::{DEMO, Pool};
use crate::time::Timestamp;

/// Longest problem document that is made into a page.
const PROBLEM: usize = 64 * 1024;

tokio::task_local! {
    /// How many alerts nobody has acknowledged: every page shows it, and none asks for it.
    pub(super) static OPEN_ALERTS: u64;
}

/// The number of open alerts of all pools, beside the link to them. It is there also without any, so that it can appear on a page that stays open.
fn open_alerts() -> Markup {
    let open = OPEN_ALERTS.try_with(|open| *open).unwrap_or_default();
    html! { " " span.badge #open-alerts hidden[open == 0] { (number(open)) span.hidden { " open" } } }
}

/// A page for somebody who is let in.
pub(super) fn page(caller: &Caller, title: &str, here: &str, body: &Markup) -> Response {
    framed(caller, title, here, None, body)
}

fn framed(
    caller: &Caller,
    title: &str,
    here: &str,
    pool_zone: Option<&str>,
    body: &Markup,
) -> Response {
    let all_pools = caller.sees_everything() && may(caller, Role::Viewer);
    let places = [
        ("/admin", "Overview", true),
        ("/admin/people", "People", may(caller, Role::Viewer)),
        ("/admin/reports", "Reports", true),
        ("/admin/nodes", "Nodes", all_pools),
        (
            "/admin/alerts",
            "Alerts",
            may(caller, Role::Viewer) && !caller.names_tenants(),
        ),
        ("/admin/webhooks", "Webhooks", all_pools),
        ("/admin/keys", "Keys", all_pools || may(caller, Role::Admin)),
        (
            "/admin/audit",
            "Audit trail",
            may(caller, Role::Viewer) && !caller.names_tenants(),
        ),
        (
            "/admin/sessions",
            "Sessions",
            all_pools && may(caller, Role::Admin),
        ),
    ];
    let nav = html! {
        nav aria-label="Pages" {
            ul {
                @for (path, name, shown) in places {
                    @if shown {
                        li {
                            a href=(path) aria-current=[(path == here).then_some("page")] {
                                (name) @if all_pools && path == "/admin/alerts" { (open_alerts()) }
                            }
                        }
                    }
                }
            }
        }
        @if may(caller, Role::Viewer) {
            form.find role="search" aria-label="People" method="get" action="/admin/people" {
                label.hidden for="find" { "Find a person" }
                input #find name="q" type="search" placeholder="Find a person" autocomplete="off" aria-keyshortcuts="/";
            }
        }
        div.who {
            label.quiet for="zone" { "Times in" }
            select #zone aria-label="Times in" hidden {
                option value="browser" { "my zone" }
                option value="UTC" { "UTC" }
                @if let Some(zone) = pool_zone { option value="pool" data-zone=(zone) { "the pool's zone" } }
            }
            span #zone-utc { "UTC" }
            button #theme type="button" hidden { "Theme" }
            span.name title=(format!("{} ({})", caller.name(), caller.id())) {
                @if caller.is_limited() { (caller.role().as_str()) ": " }
                bdi { (caller.name()) }
            }
            @if !caller.is_open() && !caller.is_of_a_proxy() {
                form method="post" action="/admin/logout" { button type="submit" { "Log out" } }
            }
        }
    };
    whole(StatusCode::OK, title, &nav, body)
}

/// The views of a pool, each with an address of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Agents,
    Queue,
    History,
    Patterns,
    Sizing,
    Denials,
    Holders,
    Tenants,
    Named,
    Settings,
}

impl Tab {
    const ALL: [Self; 10] = [
        Self::Agents,
        Self::Queue,
        Self::History,
        Self::Patterns,
        Self::Sizing,
        Self::Denials,
        Self::Holders,
        Self::Tenants,
        Self::Named,
        Self::Settings,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Agents => "Active agents",
            Self::Queue => "Queue",
            Self::History => "History",
            Self::Patterns => "Patterns",
            Self::Sizing => "Sizing",
            Self::Denials => "Denials",
            Self::Holders => "Holders",
            Self::Tenants => "Tenants",
            Self::Named => "Named seats",
            Self::Settings => "Settings",
        }
    }

    /// Whether a caller may see it, who is for all tenants of the pool or for some.
    fn is_for(self, caller: &Caller, whole: bool) -> bool {
        let is_report = matches!(
            self,
            Self::History | Self::Patterns | Self::Sizing | Self::Tenants
        );
        let keeps_to_tenants = matches!(
            self,
            Self::Agents | Self::Queue | Self::Denials | Self::Holders
        );
        (is_report || may(caller, Role::Viewer)) && (whole || keeps_to_tenants)
    }

    /// The address of the view, behind that of the pool.
    const fn path(self) -> &'static str {
        match self {
            Self::Agents => "",
            Self::Queue => "/queue",
            Self::History => "/history",
            Self::Patterns => "/patterns",
            Self::Sizing => "/sizing",
            Self::Denials => "/denials",
            Self::Holders => "/holders",
            Self::Tenants => "/tenants",
            Self::Named => "/named",
            Self::Settings => "/settings",
        }
    }

    /// The address of this view of a pool.
    pub(super) fn of(self, pool: &PoolName) -> String {
        format!("/admin/pools/{pool}{}", self.path())
    }
}

/// Whether a pool has what the view is about.
fn has(pool: &Pool, tab: Tab) -> bool {
    match tab {
        Tab::Queue => pool.policy.queue.is_some() || pool.waiting > 0,
        Tab::Named => pool.policy.named.is_some(),
        _ => true,
    }
}

/// A view of a pool.
pub(super) fn pool_page(caller: &Caller, pool: &Pool, here: Tab, body: &Markup) -> Response {
    let name = &pool.name;
    let whole = caller.tenants_in(name).is_none();
    let zone = last_day::zone(pool);
    let zone = (zone != chrono_tz::Tz::UTC).then(|| zone.name());
    let body = html! {
        p.crumbs { a href="/admin" { "Overview" } " / " (name) }
        h1 { (name) @if here != Tab::Agents { span.quiet { " · " (here.title()) } } }
        nav.tabs aria-label="Views of the pool" {
            @for tab in Tab::ALL {
                @if (has(pool, tab) && tab.is_for(caller, whole)) || here == tab {
                    a href=(tab.of(name)) aria-current=[(tab == here).then_some("page")] { (tab.title()) }
                }
            }
        }
        @if name.as_str().starts_with(DEMO) {
            p.notice { strong { "Demonstration: " } "the past and the people of this pool are made up." }
        }
        @if let Some(maintenance) = &pool.policy.maintenance {
            p.notice { strong { "Maintenance: " } "nobody new gets a seat. They read: " q { (maintenance.message) } }
        }
        (body)
    };
    let title = match here {
        Tab::Agents => name.to_string(),
        tab => format!("{name}: {}", tab.title()),
    };
    framed(caller, &title, "", zone, &body)
}

/// A page for anybody.
pub(super) fn whole(status: StatusCode, title: &str, nav: &Markup, body: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Leasehold" }
                link rel="stylesheet" href="/admin/assets/style.css";
                link rel="icon" href="/favicon.ico";
                script src="/admin/assets/times.js" type="module" {}
                script src="/admin/assets/admin.js" type="module" {}
                script src="/admin/assets/select.js" type="module" {}
                script src="/admin/assets/chart.js" type="module" {}
                script src="/admin/assets/spark.js" type="module" {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header { a.brand href="/admin" { "Leasehold" } (nav) }
                main #main tabindex="-1" { (body) }
                p #say role="status" aria-live="polite" {}
            }
        }
    };
    let mut response = (status, page.into_string()).into_response();
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    response
}

/// Seconds after which a page that could not be made asks again by itself.
const ASKS_AGAIN: HeaderValue = HeaderValue::from_static("10");

/// A problem as a page, with the same status.
pub(super) async fn problem(response: Response, reads: bool) -> Response {
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, PROBLEM).await.unwrap_or_default();
    let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let word = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
    let is_away = reads && parts.status == StatusCode::SERVICE_UNAVAILABLE;
    let body = html! {
        h1 { (word("title")) }
        p.problem role="alert" {
            @if is_away { "This page cannot be shown now: the store does not answer. Seats that are held are kept. It asks again by itself every 10 seconds." }
            @else { (word("detail")) }
        }
        p.quiet { code { (word("code")) } " · request " code { (word("request_id")) } }
        p { a href="/admin" { "Back to the overview" } }
    };
    let mut page = whole(parts.status, &word("title"), &html! {}, &body);
    if is_away {
        page.headers_mut().insert(REFRESH, ASKS_AGAIN);
    }
    for name in ["retry-after", "allow"] {
        if let Some(value) = parts.headers.get(name) {
            page.headers_mut().insert(name, value.clone());
        }
    }
    page
}

/// An instant, for people in UTC and for the script to put into the chosen zone.
pub(super) fn time(at: Timestamp) -> Markup {
    instant(at, false)
}

/// An instant that is mostly one of today; then the script leaves the day out.
pub(super) fn time_of_day(at: Timestamp) -> Markup {
    instant(at, true)
}

fn instant(at: Timestamp, is_near: bool) -> Markup {
    let text = at.to_string();
    let shown = text
        .split_once('.')
        .map_or_else(|| text.clone(), |(seconds, _)| seconds.replace('T', " "));
    html! { time datetime=(text) data-near[is_near] { (shown) } }
}

/// A length of time, in the one or two units that matter.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// How full that is, as a class: red only where nothing is left.
pub(super) fn level(in_use: u64, capacity: u64) -> &'static str {
    match (in_use.min(capacity) * 100).checked_div(capacity) {
        Some(100..) => "full",
        Some(80..) => "high",
        None if in_use > 0 => "full",
        _ => "fine",
    }
}

/// How much of a pool is in use. Wider than the whole is drawn as the whole, and said in words next to it.
pub(super) fn gauge(in_use: u64, capacity: u64) -> Markup {
    let width = (in_use.min(capacity) * 100)
        .checked_div(capacity)
        .unwrap_or(u64::from(in_use > 0) * 100);
    html! {
        svg.gauge viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
            rect.track width="100" height="6" rx="1" {}
            rect class=(level(in_use, capacity)) width=(width) height="6" rx="1" {}
        }
    }
}

/// Whether a caller may do what needs this role, so that pages offer nothing that would be refused.
pub(super) fn may(caller: &Caller, role: Role) -> bool {
    caller.role() != Role::Client && caller.role() >= role
}

/// Why somebody was denied, in words.
pub(super) fn why_denied(code: &str) -> &str {
    let known = Code::ALL.iter().find(|known| known.as_str() == code);
    known.map_or(code, |known| known.title())
}

/// How a lease ended, in words.
pub(super) fn why_ended(reason: &str) -> &str {
    match reason {
        "expired" => "without a heartbeat",
        "released" => "given back",
        "terminated" => "by an operator",
        "evicted" => "by a rule of the pool",
        "idle" => "because nobody used it",
        "max_hold" => "because it was held for too long",
        "handed_over" => "given to somebody who asked",
        other => other,
    }
}

/// The kind of a seat, in a word.
pub(super) const fn kind_of_seat(seat: Seat) -> &'static str {
    match seat {
        Seat::Concurrent => "concurrent",
        Seat::Named => "named",
        Seat::Overdraft => "overdraft",
    }
}

/// Commands to copy.
pub(super) fn commands(lines: &str) -> Markup {
    html! { pre tabindex="0" { code { (lines) } } }
}

/// A number with thin spaces between thousands, which screen readers read as one.
pub(super) fn number(number: u64) -> Markup {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    PreEscaped(grouped)
}

/// A size in bytes, in the unit that fits.
pub(super) fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if size < 1_024.0 {
            break;
        }
        (size, unit) = (size / 1_024.0, larger);
    }
    if unit == "B" || 100.0 <= size {
        format!("{size:.0} {unit}")
    } else {
        format!("{size:.1} {unit}")
    }
}

/// Seats on average. Whole numbers have no decimals, and nothing is rounded to nothing.
pub(super) fn seats(mean: f64) -> String {
    if mean == mean.trunc() {
        format!("{mean:.0}")
    } else if mean < 0.05 {
        "< 0.1".to_owned()
    } else {
        format!("{mean:.1}")
    }
}

/// A share in percent. What is not quite everything is never told as everything, nor what is something as nothing.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_owned(),
        percent if percent < 1.0 => "< 1 %".to_owned(),
        percent if (99.0..100.0).contains(&percent) => "> 99 %".to_owned(),
        percent => format!("{percent:.0} %"),
    }
}

/// So many of something, in words for one and for more.
pub(super) fn count(number: u64, one: &str, more: &str) -> Markup {
    html! { (self::number(number)) " " @if number == 1 { (one) } @else { (more) } }
}

/// Links to the data of a view.
pub(super) fn downloads(csv: &str, json: &str) -> Markup {
    html! {
        a href=(csv) download { "CSV" }
        a href=(json) { "JSON" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_the_unit_that_fits() {
        for (size, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (300 * 1_024 * 1_024, "300 MiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
        for (share, text) in [
            (0.0, "0 %"),
            (0.004, "< 1 %"),
            (0.5, "50 %"),
            (0.996, "> 99 %"),
            (1.0, "100 %"),
            (1.2, "120 %"),
        ] {
            assert_eq!(percent(share), text);
        }
        assert_eq!(
            [seats(0.0), seats(2.0), seats(0.01), seats(2.25)],
            ["0", "2", "< 0.1", "2.2"]
        );
        assert_eq!(number(1_234_567).into_string(), "1\u{202f}234\u{202f}567");
        assert_eq!(span(3_599_999), "59 min 59 s");
    }
}
