//! The only module that speaks HTTP: one file for each resource, and the edge that they share.
//!
//! Handlers translate and nothing more: extract, one call of the store, one `match`. What they know about a
//! request that failed is a [`problem::Problem`].

pub(crate) mod accept;
pub(crate) mod access;
pub(crate) mod alerts;
pub(crate) mod audit;
pub(crate) mod base_path;
pub(crate) mod blocks;
pub(crate) mod csv;
mod event_stream;
mod events;
pub mod extract;
pub(crate) mod history;
pub(crate) mod holders;
pub(crate) mod json;
mod jwks;
pub(crate) mod keys;
pub(crate) mod leases;
pub mod machines;
pub(crate) mod named;
pub(crate) mod nodes;
mod openapi;
pub(crate) mod pools;
mod privacy;
pub mod problem;
pub(crate) mod queue;
pub(crate) mod records;
pub(crate) mod reports;
pub mod request_id;
pub mod server;
pub(crate) mod sessions;
pub(crate) mod sizing;
pub(crate) mod table;
pub mod trace;
pub(crate) mod webhooks;
pub(crate) mod when;
pub(crate) mod widget;

use std::sync::Arc;

use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use self::access::Access;
pub use self::access::client_address;
pub use self::openapi::document as openapi;
use self::problem::{Code, Problem};
use self::server::{ConnectionLimit, Drain};
use crate::alerts::address::Allowed;
use crate::config::Settings;
use crate::names::PoolName;
use crate::oidc::Provider;
use crate::pool::Pool;
use crate::proof::ProofKeys;
use crate::store::{self, Store};
use crate::tasks;
use crate::token::Tokens;

/// What handlers can reach.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

pub(crate) struct Inner {
    store: Store,
    tokens: Tokens,
    proofs: ProofKeys,
    access: Access,
    drain: Drain,
    connections: ConnectionLimit,
    /// Where webhooks may lead.
    webhooks_allowed: Allowed,
    /// Where people log in, if the settings name a provider.
    provider: Option<Provider>,
}

impl App {
    pub(crate) fn new(
        store: &Store,
        tokens: &Tokens,
        proofs: ProofKeys,
        settings: &Settings,
        drain: &Drain,
        connections: &ConnectionLimit,
    ) -> Self {
        let app = Self(Arc::new(Inner {
            store: store.clone(),
            tokens: tokens.clone(),
            proofs,
            access: Access::new(settings),
            drain: drain.clone(),
            connections: connections.clone(),
            webhooks_allowed: Allowed::of(settings),
            provider: Provider::of(settings),
        }));
        tasks::spawn("refusals", {
            let inner = Arc::downgrade(&app.0);
            move || access::refusals::write_counts(inner.clone())
        });
        app
    }

    /// A pool as it is now; a problem if there is none of this name.
    pub(crate) async fn pool(&self, name: &PoolName) -> Result<Pool, Problem> {
        let pool = self.0.store.status(name).await?;
        pool.ok_or_else(|| pool_not_found(name))
    }

    /// Pools, leases, keys.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// What signs.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    /// Where people log in, if the settings name a provider.
    pub(crate) fn provider(&self) -> Option<&Provider> {
        self.0.provider.as_ref()
    }

    /// The rights of callers.
    pub(crate) fn access(&self) -> &Access {
        &self.0.access
    }
}

/// The routes of holders and operators, with their description.
pub(crate) fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::Description::openapi())
        .merge(pools::routes())
        .merge(named::routes())
        .merge(queue::routes())
        .merge(blocks::routes())
        .merge(leases::routes())
        .merge(holders::routes())
        .merge(events::routes())
        .merge(history::routes())
        .merge(reports::routes())
        .merge(sizing::routes())
        .merge(jwks::routes())
        .merge(keys::routes())
        .merge(sessions::routes())
        .merge(alerts::routes())
        .merge(webhooks::routes())
        .merge(audit::routes())
        .merge(nodes::routes())
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        match &error {
            store::Error::Unavailable { outcome, .. } => {
                let detail = match outcome {
                    store::Outcome::None => {
                        "The store did not take the request, so nothing has changed. Send it again."
                    }
                    store::Outcome::Unknown => {
                        "The store did not answer, so it may have done what was asked. Send the same request again, \
                         with the same Idempotency-Key if it had one."
                    }
                };
                Self::new(Code::StoreUnavailable, detail)
                    .with("outcome", outcome.as_str())
                    .cause(&error)
            }
            store::Error::Full => Self::new(
                Code::StoreFull,
                "The store has no memory for a new lease. Existing leases go on. Ask again later.",
            )
            .with("outcome", store::Outcome::None.as_str())
            .cause(&error),
            store::Error::Newer(what) => Self::new(
                Code::NewerNodeNeeded,
                format!(
                    "A later version wrote {what}, and this node cannot read it. Ask a node of that version, or \
                     replace this one by it."
                ),
            )
            .with("outcome", store::Outcome::None.as_str())
            .cause(&error),
            store::Error::Recovering => Self::new(
                Code::Recovering,
                "The store has lost its data, and the pool was not put back yet, if there is one of this name. Ask again in a moment.",
            )
            .with("outcome", store::Outcome::None.as_str())
            .cause(&error)
            .retry_after_ms(1_000),
            store::Error::OlderNode(sentence) => {
                Self::new(Code::OlderNode, sentence.clone()).cause(&error)
            }
            store::Error::Broken(_) => Self::new(
                Code::Internal,
                "Something went wrong inside. It was logged.",
            )
            .cause(&error),
        }
    }
}

/// There is no pool of this name.
pub(crate) fn pool_not_found(pool: &PoolName) -> Problem {
    Problem::new(
        Code::PoolNotFound,
        format!("There is no pool named {pool}. An operator creates it with PUT /v1/pools/{pool}."),
    )
}
