//! Who serves: the nodes that share a Redis, and the Redis.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::frame::{bytes, count, downloads, page, span, time};
use super::{Fields, Format};
use crate::http::App;
use crate::http::access::Operator;
use crate::http::nodes::{NodeBody, NodesBody, ServerBody, nodes, to_csv};
use crate::http::problem::Problem;

pub(super) async fn show(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Problem> {
    let nodes = nodes(&app).await?;
    match Format::wanted(&headers, fields.get("format")) {
        Format::Json => return Ok(Json(nodes).into_response()),
        Format::Csv => return Ok(to_csv(&nodes)),
        Format::Html => {}
    }
    let body = html! {
        h1 { "Nodes" }
        div #live data-every="5" {
            p { (health(&nodes)) }
            @for sentence in &nodes.disagreements {
                p.bad role="alert" { (sentence) }
            }
            div.scroll tabindex="0" role="region" aria-labelledby="nodes" {
                table {
                    caption #nodes { "Nodes that share this Redis" }
                    thead {
                        tr {
                            @for title in ["Host", "State", "Address", "Version", "Runs since", "Last seen", "Background work", "Id"] {
                                th scope="col" { (title) }
                            }
                        }
                    }
                    tbody { @for node in &nodes.items { (row(node)) } }
                }
            }
            div.scroll tabindex="0" role="region" aria-labelledby="servers" {
                table {
                    caption #servers { "Redis, as this node sees it" }
                    thead {
                        tr {
                            @for title in ["Server", "Role", "Version", "Memory", "Persistence", "Replicas", "Answers in"] {
                                th scope="col" { (title) }
                            }
                        }
                    }
                    tbody { @for server in &nodes.redis { (server_row(server)) } }
                }
            }
        }
        p.row { (downloads("?format=csv", "?format=json")) }
        p.quiet {
            "A node that stops takes itself from the list; one that crashed is in it for a quarter of an hour. Nothing is \
             decided by this list: any node serves any pool. "
            code { "leasehold doctor" } " looks at the Redis more closely."
        }
    };
    Ok(page(&operator.caller, "Nodes", "/admin/nodes", &body))
}

/// How all of it is, in a line.
pub(super) fn health(nodes: &NodesBody) -> Markup {
    let (up, silent): (Vec<&NodeBody>, Vec<_>) =
        nodes.items.iter().partition(|node| node.state == "up");
    let servers = &nodes.redis;
    html! {
        span.dot.(if silent.is_empty() { "ok" } else { "bad" }) aria-hidden="true" {}
        (count(up.len() as u64, "node is up", "nodes are up"))
        @if !silent.is_empty() {
            ", " strong.bad { (count(silent.len() as u64, "is silent", "are silent")) }
        }
        @for server in servers {
            span.apart {
                span.dot.(if server.persists { "ok" } else { "bad" }) aria-hidden="true" {}
                (server.name) " " (server.version) " is " (role(server)) ", answers in "
                (format!("{:.1}", server.latency_ms)) " ms, uses " (memory(server)) ", "
                (persistence(server))
                ", " (count(server.replicas, "replica", "replicas"))
            }
        }
    }
}

fn row(node: &NodeBody) -> Markup {
    html! {
        tr data-key=(node.id) {
            th scope="row" { (node.host) @if node.is_this { span.quiet { " (this one)" } } }
            td { @if node.state == "up" { span.good { "up" } } @else { strong.bad { "silent for " (span(node.silent_ms)) } } }
            td { (node.address) }
            td { (node.version) }
            td { (time(node.started_at)) }
            td { (time(node.seen_at)) }
            td { @if !node.owned_buckets.is_empty() { (count(node.owned_buckets.len() as u64, "bucket", "buckets")) } }
            td { code { (node.id) } }
        }
    }
}

fn server_row(server: &ServerBody) -> Markup {
    html! {
        tr data-key=(server.name) {
            th scope="row" { (server.name) }
            td { (role(server)) }
            td { (server.version) }
            td { (memory(server)) }
            td { @if server.persists { (persistence(server)) } @else { strong.bad { (persistence(server)) } } }
            td.num { (server.replicas) }
            td.num { (format!("{:.2}", server.latency_ms)) " ms" }
        }
    }
}

/// The words of other people's documentation, without the one that nobody should have to write.
fn role(server: &ServerBody) -> &str {
    match server.role.as_str() {
        "slave" => "a replica",
        "master" => "the master",
        role => role,
    }
}

fn memory(server: &ServerBody) -> String {
    let used = bytes(server.used_memory_bytes);
    match server.max_memory_bytes {
        0 => used,
        most => format!("{used} of {}", bytes(most)),
    }
}

const fn persistence(server: &ServerBody) -> &'static str {
    match (server.persists, server.append_only) {
        (false, _) => "cannot write to its disk",
        (true, true) => "keeps an append-only file",
        (true, false) => "keeps no append-only file",
    }
}
