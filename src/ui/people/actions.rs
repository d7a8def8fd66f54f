//! What operators do about a person: end, message, block and unblock.

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::person::{Forms, draw};
use super::{HERE, address};
use crate::http::App;
use crate::http::access::Operator;
use crate::http::blocks::{PutBlock, block, unblock};
use crate::http::extract::{HolderSegment, Path};
use crate::http::holders::end::{EndHolder, When, end_leases};
use crate::http::holders::notify::{NotifyHolder, send};
use crate::http::holders::read::{HolderDetails, HolderQuery, details};
use crate::http::problem::{Code, Problem};
use crate::names::{Holder, PoolName};
use crate::ui::form::Form;
use crate::ui::frame::{count, page, time};
use crate::ui::quantity::duration_ms;
use crate::ui::{Fields, query, redirect};

/// What was done, for the page that comes after.
pub(super) fn said(fields: &Fields) -> Option<Markup> {
    let number = || fields.get("n").and_then(|number| number.parse().ok());
    Some(match fields.get("done")? {
        "ended" => {
            html! { (count(number().unwrap_or(0), "lease was ended", "leases were ended")) ". " a href="/admin/audit?action=holder.terminate" { "Audit trail" } }
        }
        "idle" => {
            html! { (count(number().unwrap_or(0), "lease ends", "leases end")) " with the first heartbeat without activities." }
        }
        "told" => {
            html! { "The message comes with the next heartbeat of " (count(number().unwrap_or(0), "lease", "leases")) "." }
        }
        "blocked" => html! { "The block is set." },
        "unblocked" => html! { "The block is lifted." },
        _ => return None,
    })
}

fn back(holder: &Holder, done: &str, number: usize) -> Response {
    let number = number.to_string();
    let done = query([("done", Some(done)), ("n", Some(number.as_str()))]);
    redirect(&format!("{}{done}", address(holder.as_str())))
}

/// The forms for a message and for a block.
pub(super) fn section(
    app: &App,
    operator: &Operator,
    holder: &Holder,
    found: &HolderDetails,
    forms: &Forms<'_>,
) -> Markup {
    let here = address(holder.as_str());
    let mut pools = app.store().cached_names();
    pools.retain(|pool| operator.caller.is_for(pool));
    let first = found.leases.first().map(|lease| lease.pool.to_string());
    let first = first.unwrap_or_default();
    html! {
        section.forms {
            @if !found.leases.is_empty() {
                details open[forms.notice.is_refused()] {
                    summary { "Send a message" }
                    form method="post" action=(format!("{here}/notice")) {
                        (forms.notice.text("message", "Message", "Comes with the next heartbeat of each lease, once.", ""))
                        p.row { button.main type="submit" { "Send" } }
                    }
                }
            }
            details open[forms.block.is_refused()] {
                summary { "Block" }
                form method="post" action=(format!("{here}/block")) {
                    (forms.block.field("pool", "In the pool", "What it holds there it keeps.", &first, |control| html! {
                        input id=(control.id) name="pool" value=(control.value) list="pools" required autocomplete="off"
                            aria-invalid=[control.invalid] aria-describedby=[&control.described];
                        datalist #pools { @for pool in &pools { option value=(pool) {} } }
                    }))
                    (forms.block.text("for", "For", "Such as 10 min, 1 h or 2 d; at most a year.", "1 h"))
                    (forms.block.text("reason", "Reason", "What it reads when it asks for a seat.", ""))
                    p.row { button.danger type="submit" { "Block" } }
                }
            }
        }
    }
}

/// Asks what is to end, and when.
pub(in crate::ui) async fn confirm_end(
    State(app): State<App>,
    operator: Operator,
    Path(HolderSegment(holder)): Path<HolderSegment>,
) -> Result<Response, Problem> {
    ask_to_end(&app, &operator, &holder, &Form::new("end")).await
}

async fn ask_to_end(
    app: &App,
    operator: &Operator,
    holder: &Holder,
    form: &Form<'_>,
) -> Result<Response, Problem> {
    let found = details(app, operator, holder, &HolderQuery::default()).await?;
    let here = address(holder.as_str());
    let leases = found.leases.len();
    let mut pools: Vec<&PoolName> = found.leases.iter().map(|lease| &lease.pool).collect();
    pools.dedup();
    let what = match leases {
        1 => "1 lease".to_owned(),
        leases => format!("{leases} leases"),
    };
    let body = html! {
        p.crumbs { a href=(HERE) { "People" } " / " a href=(here) { bdi { (holder.as_str()) } } " / End" }
        h1 { "End " (what) " of " bdi { (holder.as_str()) } "?" }
        (form.summary())
        @if leases == 0 {
            p.empty { "There is nothing to end: this person holds no seat now. " a href=(here) { "Back" } }
        } @else {
            form method="post" action=(format!("{here}/end")) {
                fieldset {
                    legend { "Where" }
                    @for pool in &pools {
                        @let of_pool = || found.leases.iter().filter(|lease| lease.pool == **pool);
                        label {
                            input type="checkbox" name="pools" value=(pool) checked[form.has("pools", pool.as_str(), true)];
                            (pool) span.quiet {
                                ": " (count(of_pool().count() as u64, "lease", "leases"))
                                @if let Some(since) = of_pool().map(|lease| lease.started_at).min() { ", since " (time(since)) }
                            }
                        }
                    }
                }
                fieldset.field {
                    legend { "When" }
                    label { input type="radio" name="when" value="now" checked[form.has("when", "now", true)]; "At once" }
                    label { input type="radio" name="when" value="idle" checked[form.has("when", "idle", false)]; "After the current activity: with the first heartbeat without activities" }
                }
                (form.reason("What the person reads."))
                (form.text("block", "Keep from coming back for", "Such as 10 min or 1 h; empty for no time.", ""))
                p.row {
                    a.button href=(here) autofocus[!form.is_refused()] { "Cancel" }
                    button.danger type="submit" { "End " (what) " of " bdi { (holder.as_str()) } }
                }
            }
        }
    };
    let page = page(
        &operator.caller,
        &format!("End the leases of {}", holder.as_str()),
        "",
        &body,
    );
    Ok(form.answer(page))
}

pub(in crate::ui) async fn end(
    State(app): State<App>,
    operator: Operator,
    Path(HolderSegment(holder)): Path<HolderSegment>,
    fields: Fields,
) -> Result<Response, Problem> {
    let when = match fields.get("when") {
        Some("idle") => When::Idle,
        _ => When::Now,
    };
    let ended = async {
        let block_ms = match fields.get("block") {
            Some(text) => duration_ms("block", text)?,
            None => 0,
        };
        let pools: Vec<PoolName> = fields
            .all("pools")
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|invalid: crate::names::Invalid| {
                Problem::new(Code::InvalidRequest, invalid.to_string())
            })?;
        if pools.is_empty() {
            return Err(Problem::new(
                Code::InvalidRequest,
                "Tick the pools in which the leases are to end.",
            ));
        }
        let body = EndHolder {
            pools: Some(pools),
            reason: fields.get("reason").map(str::to_owned),
            block_ms,
            when,
        };
        end_leases(&app, &operator, &holder, body).await
    };
    match ended.await {
        Ok(ended) => {
            let wanted = match when {
                When::Now => "terminated",
                When::Idle => "pending",
            };
            let ended = ended.results.iter().filter(|one| one.status == wanted);
            let done = match when {
                When::Now => "ended",
                When::Idle => "idle",
            };
            Ok(back(&holder, done, ended.count()))
        }
        Err(problem) => {
            let form = Form::refused("end", &fields, problem)?;
            ask_to_end(&app, &operator, &holder, &form).await
        }
    }
}

pub(in crate::ui) async fn notify(
    State(app): State<App>,
    operator: Operator,
    Path(HolderSegment(holder)): Path<HolderSegment>,
    fields: Fields,
) -> Result<Response, Problem> {
    let message = fields.get("message").unwrap_or_default().to_owned();
    let body = NotifyHolder {
        message,
        pools: None,
    };
    match send(&app, &operator, &holder, body).await {
        Ok(told) => Ok(back(&holder, "told", told.leases)),
        Err(problem) => {
            let forms = Forms {
                notice: Form::refused("notice", &fields, problem)?,
                ..Forms::new()
            };
            let page = draw(&app, &operator, &holder, &Fields(Vec::new()), &forms).await?;
            Ok(forms.notice.answer(page))
        }
    }
}

pub(in crate::ui) async fn put_block(
    State(app): State<App>,
    operator: Operator,
    Path(HolderSegment(holder)): Path<HolderSegment>,
    fields: Fields,
) -> Result<Response, Problem> {
    let blocked = async {
        let pool = pool_of(&app, &operator, &fields).await?;
        operator.notes.pool(&pool);
        let body = PutBlock {
            for_ms: Some(duration_ms("for", fields.get("for").unwrap_or_default())?),
            reason: fields.get("reason").map(str::to_owned),
            ..PutBlock::default()
        };
        block(&app, &operator, &pool, holder.clone(), body).await
    };
    match blocked.await {
        Ok(_) => Ok(back(&holder, "blocked", 1)),
        Err(problem) => {
            let forms = Forms {
                block: Form::refused("block", &fields, problem)?,
                ..Forms::new()
            };
            let page = draw(&app, &operator, &holder, &Fields(Vec::new()), &forms).await?;
            Ok(forms.block.answer(page))
        }
    }
}

pub(in crate::ui) async fn lift_block(
    State(app): State<App>,
    operator: Operator,
    Path(HolderSegment(holder)): Path<HolderSegment>,
    fields: Fields,
) -> Result<Response, Problem> {
    let pool = pool_of(&app, &operator, &fields).await?;
    operator.notes.pool(&pool);
    unblock(&app, &operator, &pool, holder.clone()).await?;
    Ok(match fields.get("back") {
        Some("blocks") => redirect("/admin/blocks?done=unblocked"),
        _ => back(&holder, "unblocked", 1),
    })
}

/// The pool of a form. A foreign one is as unknown as one that is not there: the table of rights looks at paths only.
async fn pool_of(app: &App, operator: &Operator, fields: &Fields) -> Result<PoolName, Problem> {
    let unknown = || {
        Problem::new(
            Code::InvalidRequest,
            "There is no pool of this name. Choose one of the list.",
        )
        .at_field("pool", "There is no pool of this name.")
    };
    let pool: PoolName = fields
        .get("pool")
        .unwrap_or_default()
        .parse()
        .map_err(|_| unknown())?;
    let is_there = operator.caller.is_for(&pool) && app.store().status(&pool).await?.is_some();
    is_there.then_some(pool).ok_or_else(unknown)
}
