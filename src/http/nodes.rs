//! `GET /v1/nodes`: who serves, and what stands behind them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::accept::{self, Format};
use super::access::Operator;
use super::csv::{self, Cell};
use super::extract::Query;
use super::problem::Problem;
use crate::store::{Announcement, Node, Server, disagreements};
use crate::time::Timestamp;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// In which form.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NodesQuery {
    /// `json` or `csv` (the nodes), in place of the header `Accept`.
    #[param(inline)]
    format: Option<Format>,
}

/// The nodes that share a Redis, and what its masters say about themselves.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NodesBody {
    /// The longest running first.
    pub(crate) items: Vec<NodeBody>,
    /// What the nodes do not agree on, in sentences; empty if all is well.
    pub(crate) disagreements: Vec<String>,
    /// The masters, as this node sees them.
    pub(crate) redis: Vec<ServerBody>,
}

/// A node. One that stops takes itself from the list; one that crashed is in it for a quarter of an hour.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Node)]
pub(crate) struct NodeBody {
    /// Drawn anew at each start.
    pub(crate) id: String,
    /// `up`, or `silent` if it has not been heard of for ten seconds.
    #[schema(example = "up")]
    pub(crate) state: &'static str,
    /// Whether it is the node that answers.
    pub(crate) is_this: bool,
    /// Version of the program.
    pub(crate) version: String,
    /// Whether nodes that were there before can verify what it signs: `ok`, `differs`, or `unknown` for a version that does not
    /// say.
    #[schema(example = "ok")]
    pub(crate) secret: &'static str,
    /// Settings that should be the same on all nodes.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub(crate) settings: BTreeMap<String, String>,
    /// Name of its machine or container.
    pub(crate) host: String,
    /// What it listens on.
    pub(crate) address: String,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) started_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) seen_at: Timestamp,
    /// How long ago it was seen.
    pub(crate) silent_ms: u64,
    /// Numbers of the buckets of pools that it does the background work of: recording ends, alerts, roll-ups. Empty for a version
    /// that does not say.
    pub(crate) owned_buckets: Vec<u16>,
}

/// A Redis server, as it describes itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RedisServer)]
pub(crate) struct ServerBody {
    /// What it is for, or its address in a cluster.
    #[schema(example = "Redis")]
    pub(crate) name: String,
    pub(crate) version: String,
    /// `master`, or `slave` in Redis's word.
    pub(crate) role: String,
    pub(crate) used_memory_bytes: u64,
    /// 0 for no limit.
    pub(crate) max_memory_bytes: u64,
    /// Whether it keeps an append-only file.
    pub(crate) append_only: bool,
    /// Whether its last writes to the disk went well.
    pub(crate) persists: bool,
    /// Replicas that are connected.
    pub(crate) replicas: u64,
    /// How long it takes to answer this node, median.
    pub(crate) latency_ms: f64,
}

impl From<&Server> for ServerBody {
    fn from(server: &Server) -> Self {
        Self {
            name: server.name.clone(),
            version: server.version.clone(),
            role: server.role.clone(),
            used_memory_bytes: server.used_memory,
            max_memory_bytes: server.max_memory,
            append_only: server.append_only,
            persists: server.persists,
            replicas: server.replicas,
            latency_ms: (server.latency_ms * 1_000.0).round() / 1_000.0,
        }
    }
}

impl NodeBody {
    fn of(node: Node, this: &str, owned_buckets: Vec<u16>) -> Self {
        Self {
            state: if node.is_up() { "up" } else { "silent" },
            is_this: node.sign.id == this,
            secret: match (node.sign.verifies.is_empty(), node.sign.differs) {
                (true, _) => "unknown",
                (false, true) => "differs",
                (false, false) => "ok",
            },
            settings: node
                .sign
                .settings
                .into_iter()
                .filter(|(name, _)| !Announcement::is_secret(name))
                .collect(),
            id: node.sign.id,
            version: node.sign.version,
            host: node.sign.host,
            address: node.sign.address,
            started_at: node.sign.started_at,
            seen_at: node.seen_at,
            silent_ms: node.silent_ms,
            owned_buckets,
        }
    }
}

/// All nodes and servers.
pub(crate) async fn nodes(app: &App) -> Result<NodesBody, Problem> {
    let store = app.store();
    let nodes = store.nodes().await?;
    let mut owners = store.buckets_by_owner().await?;
    let servers = store.servers().await?;
    Ok(NodesBody {
        disagreements: disagreements(&nodes),
        items: nodes
            .into_iter()
            .map(|node| {
                let owned = owners.remove(&node.sign.id).unwrap_or_default();
                NodeBody::of(node, store.node_id(), owned)
            })
            .collect(),
        redis: servers.iter().map(ServerBody::from).collect(),
    })
}

/// The nodes as a file.
pub(crate) fn to_csv(nodes: &NodesBody) -> Response {
    let columns = [
        "id",
        "state",
        "version",
        "secret",
        "host",
        "address",
        "started_at",
        "seen_at",
    ];
    let rows = nodes.items.iter().map(|node| {
        vec![
            Cell::text(Some(&node.id)),
            Cell::plain(node.state),
            Cell::text(Some(&node.version)),
            Cell::plain(node.secret),
            Cell::text(Some(&node.host)),
            Cell::text(Some(&node.address)),
            Cell::plain(&node.started_at),
            Cell::plain(&node.seen_at),
        ]
    });
    csv::file("leasehold-nodes", &columns, rows)
}

/// Lists the nodes that share a Redis, and what its masters say about themselves.
#[utoipa::path(
    get, path = "/v1/nodes", operation_id = "list_nodes", tag = "machines",
    params(NodesQuery),
    responses((status = 200, description = "The nodes also as `text/csv`", body = NodesBody)),
)]
async fn list(
    State(app): State<App>,
    _operator: Operator,
    headers: HeaderMap,
    Query(wanted): Query<NodesQuery>,
) -> Result<Response, Problem> {
    let nodes = nodes(&app).await?;
    if accept::is_csv(&headers, wanted.format) {
        return Ok(to_csv(&nodes));
    }
    Ok(Json(nodes).into_response())
}
