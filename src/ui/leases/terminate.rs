//! Ending leases: those that are ticked, or all that match; first the question, with the people that it is about.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use maud::{Markup, html};
use serde_json::json;

use super::{COUNTED, FILTERS, is_filtered, wanted};
use crate::http::App;
use crate::http::access::Operator;
use crate::http::blocks::blocked_tenants;
use crate::http::extract::Path;
use crate::http::leases::MAX_IDS;
use crate::http::leases::list::LeasesQuery;
use crate::http::leases::terminate::{Outcome, terminate_ids, terminate_matching};
use crate::http::pool_not_found;
use crate::http::problem::{Code, Problem};
use crate::http::records::DAY_MS;
use crate::lease::{Lease, Seat};
use crate::names::{Holder, Invalid, LeaseId, PoolName};
use crate::pool::SeatPer;
use crate::store::{Grant, Selection, Termination};
use crate::ui::form::{Form, is_first};
use crate::ui::frame::{count, number, page};
use crate::ui::people::{self, linked};
use crate::ui::quantity::{duration, duration_ms};
use crate::ui::{Fields, query, redirect};

/// Leases that are read by their ids at a time.
const AT_ONCE: usize = 16;

/// Which leases a form is about: those that are ticked, or all that match.
enum SelectedLeases {
    Ids(Vec<LeaseId>),
    Matching(Box<Selection>),
}

fn chosen(
    operator: &Operator,
    pool: &PoolName,
    fields: &Fields,
) -> Result<SelectedLeases, Problem> {
    if fields.get("all").is_some() {
        let selection = LeasesQuery {
            cursor: None,
            sort: None,
            ..wanted(fields)?
        }
        .selection()?
        .within(operator.tenants_in(pool));
        return Ok(SelectedLeases::Matching(Box::new(selection)));
    }
    let ids: Vec<LeaseId> = fields
        .all("ids")
        .map(|id| id.parse())
        .collect::<Result<_, _>>()
        .map_err(|invalid: Invalid| Problem::new(Code::InvalidRequest, invalid.to_string()))?;
    if ids.is_empty() || ids.len() > MAX_IDS {
        return Err(Problem::new(
            Code::InvalidRequest,
            "Select the leases to terminate first, at most 1000 at a time.",
        ));
    }
    Ok(SelectedLeases::Ids(ids))
}

/// Asks for confirmation, with the people that it is about.
pub(in crate::ui) async fn confirm(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    ask(&app, &operator, &name, &fields, &Form::new("end")).await
}

/// Where somebody came from.
fn back_to(pool: &PoolName, fields: &Fields) -> String {
    match fields.get("person") {
        Some(person) => people::address(person),
        None => {
            let kept = FILTERS.map(|name| (name, fields.get(name)));
            format!("/admin/pools/{pool}{}", query(kept))
        }
    }
}

/// Seats and people in a few words, as in "3 seats of 2 people".
fn whose(leases: &[Lease]) -> String {
    let people: BTreeSet<&str> = leases
        .iter()
        .filter_map(|lease| lease.holder.as_ref().map(Holder::key))
        .collect();
    let guests = leases.iter().filter(|lease| lease.holder.is_none()).count();
    let seats = match leases.len() {
        1 => "1 seat".to_owned(),
        COUNTED => format!("at least {COUNTED} seats"),
        seats => format!("{seats} seats"),
    };
    let people = match people.len() {
        0 => None,
        1 => leases
            .iter()
            .find_map(|lease| lease.holder.as_ref())
            .map(|holder| holder.as_str().to_owned()),
        people => Some(format!("{people} people")),
    };
    let guests = match guests {
        0 => None,
        1 => Some("1 guest".to_owned()),
        guests => Some(format!("{guests} guests")),
    };
    let all: Vec<String> = people.into_iter().chain(guests).collect();
    format!("{seats} of {}", all.join(" and "))
}

/// The people of some leases, each once, with how many seats of each.
fn names(leases: &[Lease]) -> Markup {
    const SHOWN: usize = 20;
    let mut seats: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    for lease in leases {
        *seats
            .entry(lease.holder.as_ref().map(Holder::as_str))
            .or_default() += 1;
    }
    html! {
        ul {
            @for (holder, seats) in seats.iter().take(SHOWN) {
                li { (linked(*holder)) @if *seats > 1 { " ×" (seats) } }
            }
            @if SHOWN < seats.len() { li { "and " (seats.len() - SHOWN) " more" } }
        }
    }
}

async fn ask(
    app: &App,
    operator: &Operator,
    name: &PoolName,
    fields: &Fields,
    form: &Form<'_>,
) -> Result<Response, Problem> {
    let back = back_to(name, fields);
    let chosen = chosen(operator, name, fields);
    let chosen = match chosen {
        Ok(chosen) => chosen,
        // Nothing is ticked: the list again, with a word about it.
        Err(problem) if problem.code() == Code::InvalidRequest => {
            return Ok(redirect(&format!("/admin/pools/{name}?none=1")));
        }
        Err(problem) => return Err(problem),
    };
    app.pool(name).await?;
    let leases = selected(app, operator, name, &chosen).await?;
    let what = whose(&leases);
    let whole_pool = matches!(&chosen, SelectedLeases::Matching(_)) && !is_filtered(fields);
    let body = html! {
        p.crumbs { a href="/admin" { "Overview" } " / " a href=(format!("/admin/pools/{name}")) { (name) } " / End" }
        (form.summary())
        @if leases.is_empty() {
            h1 { "There is nothing to end" }
            p.empty { "These leases have ended meanwhile. " a href=(back) { "Back" } }
        } @else {
            h1 { "End " (what) " in " (name) "?" }
            @if let Some(idle_ms) = fields.get("idle_ms").and_then(|ms| ms.parse().ok()) {
                p { "Only those whose users had done nothing for " (duration(idle_ms)) " by their last report when you confirm. Whoever is back by then keeps the seat." }
            }
            p { "The seats are free at once. Who held them reads the reason with the next heartbeat. This cannot be undone." }
            (names(&leases))
            form method="post" action=(format!("/admin/pools/{name}/terminate")) {
                @for name in ["all", "person"].into_iter().chain(FILTERS) {
                    @if let Some(value) = fields.get(name) { input type="hidden" name=(name) value=(value); }
                }
                @for id in fields.all("ids") { input type="hidden" name="ids" value=(id); }
                input type="hidden" name="seen" value=(leases.len());
                (form.once())
                (form.reason("What the people read."))
                (form.text("block", "Keep from coming back for", "Such as 10 min or 1 h, at most a day; empty for no time.", ""))
                @if whole_pool {
                    (form.text("sure", "To end all seats of the pool, write its name", "", ""))
                }
                p.row {
                    a.button href=(back) autofocus[!form.is_refused()] { "Cancel" }
                    button.danger type="submit" { "End " (what) }
                }
            }
        }
    };
    Ok(form.answer(page(&operator.caller, "End seats", "", &body)))
}

/// The leases that a form is about, at most as many as are counted.
async fn selected(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    chosen: &SelectedLeases,
) -> Result<Vec<Lease>, Problem> {
    match chosen {
        SelectedLeases::Ids(ids) => by_ids(app, operator, pool, ids).await,
        SelectedLeases::Matching(selection) => {
            let leases = matching(app, pool, selection).await?;
            match selection.idle_ms {
                Some(_) => unused(app, pool, leases).await,
                None => Ok(leases),
            }
        }
    }
}

/// Of leases that nobody uses those whose seats nobody uses: no named one, and none whose holder works with another lease that
/// shares the seat. The script that ends them judges again.
async fn unused(app: &App, pool: &PoolName, leases: Vec<Lease>) -> Result<Vec<Lease>, Problem> {
    let mut leases = leases;
    leases.retain(|lease| lease.seat != Seat::Named);
    if app.pool(pool).await?.policy.seat_per == SeatPer::Lease {
        return Ok(leases);
    }
    let mut idle: HashMap<&str, usize> = HashMap::new();
    for lease in &leases {
        let holder = lease.holder.as_ref().map_or("", Holder::key);
        *idle.entry(holder).or_default() += 1;
    }
    let holders: BTreeSet<&Holder> = leases
        .iter()
        .filter_map(|lease| lease.holder.as_ref())
        .collect();
    let busy: BTreeSet<Holder> = stream::iter(holders.into_iter().cloned())
        .map(|holder| async move {
            let all = matching(app, pool, &Selection::of(Some(holder.clone()), None)).await?;
            Ok::<_, Problem>((holder, all.len()))
        })
        .buffered(AT_ONCE)
        .try_filter_map(|(holder, all)| {
            let works = all > idle.get(holder.key()).copied().unwrap_or(0);
            std::future::ready(Ok(works.then_some(holder)))
        })
        .try_collect()
        .await?;
    leases.retain(|lease| {
        lease
            .holder
            .as_ref()
            .is_none_or(|holder| !busy.contains(holder))
    });
    Ok(leases)
}

/// Those of these leases that are live, and of tenants whom the operator sees.
async fn by_ids(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    ids: &[LeaseId],
) -> Result<Vec<Lease>, Problem> {
    let ids: BTreeSet<LeaseId> = ids.iter().copied().collect();
    let found: Vec<Option<Grant>> = stream::iter(ids)
        .map(|id| app.store().granted_lease(pool, id))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let own = operator.tenants_in(pool);
    let leases = found.into_iter().flatten().map(|grant| grant.lease);
    let sees = |lease: &Lease| match &own {
        Some(own) => lease.tenant.as_ref().is_some_and(|of| own.contains(of)),
        None => true,
    };
    Ok(leases.filter(sees).collect())
}

/// The leases that match, each once, although one that is renewed while the list is read comes twice.
async fn matching(
    app: &App,
    pool: &PoolName,
    selection: &Selection,
) -> Result<Vec<Lease>, Problem> {
    let mut selection = selection.clone();
    selection.limit = 1_000;
    let mut found: Vec<Lease> = Vec::new();
    let mut seen: HashSet<LeaseId> = HashSet::new();
    loop {
        let listing = app.store().select(pool, &selection).await?;
        let listing = listing.ok_or_else(|| pool_not_found(pool))?;
        let new = listing.leases.into_iter();
        found.extend(new.filter(|lease| seen.insert(lease.id)));
        match listing.next {
            Some(next) if found.len() < COUNTED => selection.after = Some(next),
            _ => break,
        }
    }
    found.truncate(COUNTED);
    Ok(found)
}

pub(in crate::ui) async fn terminate(
    State(app): State<App>,
    operator: Operator,
    Path(name): Path<PoolName>,
    fields: Fields,
) -> Result<Response, Problem> {
    match end(&app, &operator, &name, &fields).await {
        Ok(page) => Ok(page),
        Err(problem) => {
            let form = Form::refused("end", &fields, problem)?;
            ask(&app, &operator, &name, &fields, &form).await
        }
    }
}

async fn end(
    app: &App,
    operator: &Operator,
    name: &PoolName,
    fields: &Fields,
) -> Result<Response, Problem> {
    let reason = fields.get("reason").map(str::to_owned);
    let block_ms = match fields.get("block") {
        Some(text) => duration_ms("block", text)?,
        None => 0,
    };
    let all = fields.get("all").is_some();
    let said = |name: &str| fields.get(name).map(str::to_owned);
    operator.notes.after(&json!({
        "all": all, "q": said("q"), "tenant": said("tenant"), "holder": said("holder"), "idle_ms": said("idle_ms"), "reason": reason, "block_ms": block_ms,
    }));
    let invalid = |field: &str, sentence: &'static str| {
        Problem::new(Code::InvalidRequest, sentence).at_field(field, sentence)
    };
    if reason.as_ref().is_some_and(|reason| reason.len() > 512) {
        return Err(invalid("reason", "The reason has at most 512 bytes."));
    }
    if block_ms > DAY_MS {
        return Err(invalid("block", "The block lasts at most a day."));
    }
    let chosen = chosen(operator, name, fields)?;
    if all && !is_filtered(fields) && fields.get("sure") != Some(name.as_str()) {
        return Err(invalid(
            "sure",
            "To end all seats of a pool, write its name.",
        ));
    }
    app.pool(name).await?;
    let leases = selected(app, operator, name, &chosen).await?;
    let seen = fields
        .get("seen")
        .and_then(|seen| seen.parse::<usize>().ok());
    if let Some(seen) = seen
        && all
        && leases.len() > seen.saturating_add(seen.div_ceil(10))
    {
        return Err(Problem::new(
            Code::PreconditionFailed,
            format!(
                "There are {} seats now, and you saw {seen}. Look at the names again.",
                leases.len()
            ),
        ));
    }
    let why = Termination {
        reason,
        block: Duration::from_millis(block_ms),
        holder: None,
        blocked_tenants: blocked_tenants(app, operator, name, block_ms).await?,
        by: operator.caller.name().to_owned(),
        unused: false,
    };
    // A reload would end whoever has come since.
    if all && !is_first(app, fields).await? {
        return Ok(redirect(&back_to(name, fields)));
    }
    let results = match &chosen {
        SelectedLeases::Ids(ids) => terminate_ids(app, operator, name, ids, &why).await?,
        SelectedLeases::Matching(selection) => {
            terminate_matching(app, name, selection, &why).await?
        }
    };
    let ended: Vec<&Outcome> = results
        .iter()
        .filter(|result| result.status == "terminated")
        .collect();
    operator.notes.target(&format!("{} leases", ended.len()));
    let ids: Vec<LeaseId> = ended.iter().take(MAX_IDS).map(|result| result.id).collect();
    operator.notes.before(&json!({ "leases": ids }));

    let holders: HashMap<LeaseId, Option<&str>> = leases
        .iter()
        .map(|lease| (lease.id, lease.holder.as_ref().map(Holder::as_str)))
        .collect();
    let ended_ids: HashSet<LeaseId> = ended.iter().map(|result| result.id).collect();
    let of_ended: Vec<Lease> = leases
        .iter()
        .filter(|lease| ended_ids.contains(&lease.id))
        .take(MAX_IDS)
        .cloned()
        .collect();
    let with = |status: &str| {
        results
            .iter()
            .filter(|result| result.status == status)
            .count() as u64
    };
    let (before, used) = (with("ended"), with("used"));
    let back = back_to(name, fields);
    let body = html! {
        p.crumbs { a href="/admin" { "Overview" } " / " a href=(format!("/admin/pools/{name}")) { (name) } " / Ended" }
        h1 {
            @if of_ended.len() == ended.len() && !of_ended.is_empty() { (whose(&of_ended)) @if ended.len() == 1 { " was ended" } @else { " were ended" } }
            @else { (count(ended.len() as u64, "seat was ended", "seats were ended")) }
        }
        p role="status" {
            @if ended.len() == results.len() { "The seats are free." }
            @if before > 0 { (number(before)) " had ended before." }
            @if used > 0 { " " (count(used, "seat is", "seats are")) " in use, and kept." }
        }
        table.short {
            caption { "The result for each seat" }
            thead { tr { th scope="col" { "Person" } th scope="col" { "Lease" } th scope="col" { "Result" } } }
            tbody {
                @for result in results.iter().take(MAX_IDS) {
                    tr {
                        th scope="row" { (linked(holders.get(&result.id).copied().flatten())) }
                        td { code { (result.id) } }
                        td { (said_of(result)) }
                    }
                }
            }
        }
        p.row { a.button href=(back) { "Back" } a href="/admin/audit?action=leases.terminate" { "Audit trail" } }
    };
    Ok(page(&operator.caller, "Ended", "", &body))
}

/// What became of a seat, in words.
fn said_of(result: &Outcome) -> &'static str {
    match result.status {
        "terminated" => "ended",
        "used" => "in use, kept",
        _ => "had ended before",
    }
}
