//! What each code of a problem means and what to do about it: the page that `type` of every problem names.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::frame::{commands, whole};
use super::reference::{example_of, operations_that_answer};
use crate::http::extract::Path;
use crate::http::problem::{Code, Problem, TYPES};

/// Codes that the shipped balancer answers when it has no node that could.
const BALANCER: [(&str, u16, &str, &str); 3] = [
    (
        "no_node",
        503,
        "The balancer has no node to ask.",
        "Nothing was done. Ask again after `Retry-After`; if it lasts, see whether the nodes run.",
    ),
    (
        "node_lost",
        502,
        "The node went away before it answered.",
        "It may have been done. Send the request again: what has an Idempotency-Key or a token is not done twice.",
    ),
    (
        "node_silent",
        504,
        "The node took too long to answer.",
        "It may have been done. Send the request again: what has an Idempotency-Key or a token is not done twice.",
    ),
];

/// All codes.
pub(super) async fn list() -> Response {
    let body = html! {
        h1 { "Error codes" }
        p {
            "Every error is a problem document (RFC 9457), " code { "application/problem+json" } ". Programs go by " code { "code" }
            ", which never changes its meaning; " code { "detail" } " is for people. 409, 429 and 503 say in " code { "retry_after_ms" }
            " when to ask again; with 503, " code { "outcome" } " is " code { "none" } " if surely nothing was done."
        }
        div.scroll tabindex="0" role="region" aria-labelledby="codes" {
            table {
                caption #codes { "Codes, and when they come" }
                thead { tr { th scope="col" { "Code" } th scope="col" { "Status" } th scope="col" { "What it says" } } }
                tbody {
                    @for code in Code::ALL {
                        (row(code.as_str(), code.status().as_u16(), code.meaning()))
                    }
                    @for (code, status, meaning, _) in BALANCER {
                        (row(code, status, meaning))
                    }
                }
            }
        }
    };
    whole(StatusCode::OK, "Error codes", &html! {}, &body)
}

fn row(code: &str, status: u16, meaning: &str) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(format!("{TYPES}{code}")) { code { (code) } } }
            td { (status) }
            td { (meaning) }
        }
    }
}

/// One of them.
pub(super) async fn show(Path(word): Path<String>) -> Result<Response, Problem> {
    let code = Code::ALL.iter().find(|code| code.as_str() == word);
    let (status, title, meaning, advice) = match code {
        Some(code) => (
            code.status().as_u16(),
            code.title(),
            code.meaning(),
            advice(*code),
        ),
        None => {
            let known = BALANCER.iter().find(|(known, ..)| *known == word);
            let Some((_, status, meaning, advice)) = known else {
                let detail = "There is no such code in this version. /docs/errors lists them.";
                return Err(Problem::new(Code::RouteNotFound, detail));
            };
            (*status, "From the balancer", *meaning, *advice)
        }
    };
    let example = code.and_then(|code| example_of(*code));
    let operations = operations_that_answer(&word);
    let body = html! {
        p.crumbs { a href="/docs/errors" { "Error codes" } " / " (word) }
        h1 { code { (word) } span.quiet { " · " (status) " · " (title) } }
        section { h2 { "What happened" } p { (meaning.trim()) } }
        section { h2 { "What to do" } p { (advice) } }
        @if let Some(example) = example {
            section { h2 { "How it looks" } (commands(&example)) }
        }
        @if !operations.is_empty() {
            section {
                h2 { "Who answers it" }
                ul {
                    @for (address, name) in operations { li { a href=(address) { code { (name) } } } }
                }
            }
        }
    };
    Ok(whole(StatusCode::OK, &word, &html! {}, &body))
}

/// What a caller does about it. Codes that need no more than their status says share a sentence.
fn advice(code: Code) -> &'static str {
    match code {
        Code::PoolFull => {
            "Ask again after retry_after_ms, when a seat can come free, or say \"wait\": true in a pool with a queue. If it happens often, \
             the page Sizing of the pool says how many seats it needs."
        }
        Code::TenantFull => {
            "Ask again later. An operator can raise the limit of the tenant in the pool's policy (tenants)."
        }
        Code::NamedSeatsExhausted => {
            "Named seats come back at the end of the billing period. An operator can free one, transfer one, or raise their number."
        }
        Code::QueueFull => {
            "Ask again after retry_after_ms. An operator can raise queue.max_waiting of the pool."
        }
        Code::HolderBlocked => {
            "Wait until blocked_until, or ask the operator who blocked this holder; reason says why."
        }
        Code::PlatformNotLicensed => {
            "Use one of the platforms in the answer, or have it added to the pool's policy."
        }
        Code::OriginNotAllowed => {
            "The client key may be used from the pages that it names. Add the origin of yours: leasehold key set ID --origin …"
        }
        Code::Forbidden => {
            "The key is known, but its role, its pools or its tenants do not allow this. Use another key, or have this one changed."
        }
        Code::Unauthorized => {
            "Send a key as Authorization: Bearer …, and see whether it is still good: leasehold key list."
        }
        Code::InvalidToken => {
            "The token is not one of this installation, or was changed on its way. Acquire again. If all clients get it, the nodes do not \
             have the same secret: leasehold doctor says so."
        }
        Code::LeaseExpired => {
            "No heartbeat came in time, and the seat was given back. Acquire again. If it happens often, look at the network of the \
             clients, or give the pool a longer ttl_ms."
        }
        Code::LeaseReleased => {
            "This holder gave the seat back, perhaps in another tab or process. Acquire again if it is still needed."
        }
        Code::LeaseTerminated => {
            "An operator ended it; reason says why. Tell the person, and acquire again when blocked_until has passed."
        }
        Code::LeaseEvicted => {
            "A rule of the pool ended it: a newer login of the same holder, or a seat that was idle or held too long; reason says which."
        }
        Code::PoolInUse => {
            "End the leases first (terminate), or give force where the route has it."
        }
        Code::OlderNode => {
            "A node of an earlier version still runs and could not read this. Finish the upgrade: leasehold doctor names it."
        }
        Code::TicketExpired => {
            "The place in the queue is lost, because nobody asked in time. Acquire again without the ticket."
        }
        Code::PoolNotFound => {
            "See whether the name is right: GET /v1/pools. Holders of a pool that was deleted have lost their seats."
        }
        Code::RouteNotFound => {
            "See whether path and base path are right; /docs/api lists all routes."
        }
        Code::InvalidRequest => {
            "detail names what is wrong, errors each field. The same request will fail again."
        }
        Code::MethodNotAllowed => "The answer's Allow header has the methods that this path takes.",
        Code::RequestTimeout => "Send the request again, whole and at once.",
        Code::PreconditionFailed => {
            "Read it again, put your change on what is there now, and send it with the new ETag."
        }
        Code::PayloadTooLarge => {
            "Send less at a time: up to 500 acquires or 1 000 heartbeats in one request."
        }
        Code::UnsupportedMediaType => "Send JSON, with content-type: application/json.",
        Code::TooManyRequests => {
            "Wait for retry_after_ms. A key's limits can be raised: leasehold key set ID --per-minute …"
        }
        Code::HeadersTooLarge => {
            "Send fewer or smaller headers, in most cases cookies of another application on the same host."
        }
        Code::Maintenance => {
            "Wait for retry_after_ms; the message is for the person. Seats that are held go on."
        }
        Code::Recovering => {
            "Redis lost data, and those who had a seat come first. Wait for retry_after_ms, a minute at most."
        }
        Code::StoreUnavailable => {
            "Redis does not answer this node. Wait for retry_after_ms and ask again: nobody loses a seat meanwhile. Operators: the runbook \
             store-down."
        }
        Code::StoreFull => {
            "Redis is out of memory. Heartbeats go on, new leases do not. Operators: the runbook store-full."
        }
        Code::NewerNodeNeeded => "Ask again: another node can do it. It ends with the upgrade.",
        Code::Overloaded => {
            "Ask another node, or again after retry_after_ms. Operators: start more nodes, or raise max_connections."
        }
        Code::Draining => "The node stops. Ask again: the balancer leads to another one.",
        Code::NotReady => {
            "checks in the answer says what is wrong with this node. Operators: the runbook node-not-ready."
        }
        Code::Internal => {
            "It is a bug of this program. Send the request_id to the operator; the log of the node has it."
        }
        code if code.status() == StatusCode::NOT_FOUND => {
            "See whether the id is right. It may have been deleted, or be another key's to see."
        }
        code if code.status() == StatusCode::CONFLICT => {
            "detail says what stands against it. Change that first, then ask again."
        }
        code if code.status() == StatusCode::SERVICE_UNAVAILABLE => {
            "Wait for retry_after_ms, and ask again."
        }
        _ => "detail says what to do.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_says_what_happened_and_what_to_do() {
        for code in Code::ALL {
            assert!(code.meaning().trim().ends_with('.'), "{code:?}");
            assert!(advice(*code).len() > 20, "{code:?}");
        }
    }
}
