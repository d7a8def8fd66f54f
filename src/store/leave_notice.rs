//! What an operator leaves for the next heartbeats of leases.

use std::time::Duration;

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::scripts;
use super::scripts::leave_notice::{Kind, Status};
use super::terminate::Termination;
use crate::names::{LeaseId, PoolName, Tenant};
use crate::time::{Timestamp, millis};

/// Maximum of leases per call.
const AT_ONCE: usize = 500;
/// Maximum of leases per pool for which a message waits: every call that renews leases of the pool goes through them.
const MAX_NOTICED: u64 = 1_000;
/// Maximum of messages that wait for one lease: each heartbeat brings one.
pub const MAX_NOTICES: u64 = 8;
/// How long it waits for a heartbeat: longer than any lease.
const KEPT: Duration = Duration::from_secs(2 * 86_400);

/// What is left for a lease.
#[derive(Debug, Clone, Copy)]
pub enum Left<'a> {
    /// A message, which its next heartbeat reads once.
    Notice(&'a str),
    /// That it ends with the first heartbeat without activities.
    EndWhenIdle(&'a Termination),
}

/// A message of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What the holder reads.
    pub message: String,
    /// When the operator sent it.
    pub at: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeLeft {
    /// For each lease, whether it lives and will hear of it.
    Left(Vec<bool>),
    /// As many messages as may wait for one of the leases do.
    Full,
    /// Something is left for too many leases of the pool already.
    TooMany,
    /// There is no such pool.
    NoPool,
}

impl Notice {
    /// The notice behind its text in Redis; none for an empty one.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (at, message) = text.split_once('\u{1}')?;
        Some(Self {
            message: message.to_owned(),
            at: Timestamp(at.parse().ok()?),
        })
    }
}

/// How a lease is to end, behind its text in Redis; none if it is not.
pub(super) fn read_end(text: &str) -> Option<Termination> {
    let mut parts = text.splitn(3, '\u{1}');
    let mut block = parts.next()?.split('\u{2}');
    let block_ms = block.next()?.parse().ok()?;
    let (by, reason) = (parts.next()?, parts.next()?);
    Some(Termination {
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        block: Duration::from_millis(block_ms),
        holder: None,
        blocked_tenants: block
            .map(|tenant| Tenant::recorded(tenant.to_owned()).ok())
            .collect::<Option<_>>()?,
        by: by.to_owned(),
        unused: false,
    })
}

impl Store {
    /// Leaves something for the next heartbeats of leases.
    pub async fn leave_notice(
        &self,
        pool: &PoolName,
        ids: &[LeaseId],
        left: Left<'_>,
    ) -> Result<NoticeLeft, Error> {
        let keys = Keys::of(pool);
        let (kind, text) = match left {
            Left::Notice(message) => (Kind::Notice, format!("{}\u{1}{message}", self.now().0)),
            Left::EndWhenIdle(why) => {
                let reason = why.reason.as_deref().unwrap_or_default();
                let mut block = millis(why.block).to_string();
                for tenant in &why.blocked_tenants {
                    block.push('\u{2}');
                    block.push_str(tenant.as_str());
                }
                (Kind::End, format!("{block}\u{1}{}\u{1}{reason}", why.by))
            }
        };
        let mut living = Vec::with_capacity(ids.len());
        for (chunk, ids) in ids.chunks(AT_ONCE).enumerate() {
            let leases: Vec<_> = ids
                .iter()
                .map(|id| scripts::leave_notice::Lease { id: *id })
                .collect();
            let call = scripts::LeaveNotice {
                keys: &keys,
                kind,
                text: &text,
                keep: KEPT,
                limit: MAX_NOTICED,
                most: MAX_NOTICES,
                leases: &leases,
            };
            let reply = self.call(keys.bucket, &call).await;
            let reply = reply.map_err(|error| error.after_a_part(chunk > 0))?;
            match reply.status {
                Status::Left => living.extend(reply.leases.iter().map(|lease| lease.lives)),
                Status::Full => return Ok(NoticeLeft::Full),
                Status::TooMany => return Ok(NoticeLeft::TooMany),
                Status::NoPool => return Ok(NoticeLeft::NoPool),
            }
        }
        Ok(NoticeLeft::Left(living))
    }
}
