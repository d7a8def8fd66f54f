//! Blocks: holders that get no seat in a pool until an instant.

use std::time::Duration;

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::scripts;
use super::scripts::block::Status;
use crate::names::{Holder, PoolName, Tenant};
use crate::time::Timestamp;

/// Longest block: a year.
pub const LONGEST_BLOCK: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A holder that gets no seat in a pool for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Who it is, as the pool keeps it.
    pub holder: String,
    /// For which alone it gets none; for all of them if there is none.
    pub tenant: Option<Tenant>,
    /// The end of it.
    pub until: Timestamp,
    /// Since when. Not known of blocks from before nodes wrote it down, as is the rest.
    pub since: Option<Timestamp>,
    /// Who did it.
    pub by: Option<String>,
    /// What the holder reads.
    pub reason: Option<String>,
}

impl Block {
    /// The block with this end; `note` is packed as in `lua/parts/blocks.lua`, and counts only if it is about it.
    fn of(entry: &str, until: Timestamp, note: &str) -> Self {
        let (holder, tenant) = match entry.split_once(SEPARATOR) {
            Some((holder, tenant)) => (holder, Tenant::recorded(tenant.to_owned()).ok()),
            None => (entry, None),
        };
        let mut parts = note.splitn(4, '\u{1}');
        let mut part = || parts.next().unwrap_or_default();
        let number = |text: &str| text.parse().ok().map(Timestamp);
        let is_about_it = number(part()) == Some(until);
        let (since, by, reason) = (number(part()), part(), part());
        let known = |text: &str| (is_about_it && !text.is_empty()).then(|| text.to_owned());
        Self {
            holder: holder.to_owned(),
            tenant,
            until,
            since: since.filter(|_| is_about_it),
            by: known(by),
            reason: known(reason),
        }
    }

    /// How Redis knows it, which is also its place among those that end together.
    pub fn entry(&self) -> String {
        entry(&self.holder, self.tenant.as_ref())
    }
}

/// What parts the holder and the tenant of an entry; no name has it.
const SEPARATOR: char = '\u{1}';

/// How Redis knows the block of a holder: for one tenant, or for all of them.
fn entry(holder: &str, tenant: Option<&Tenant>) -> String {
    match tenant {
        Some(tenant) => format!("{holder}{SEPARATOR}{}", tenant.as_str()),
        None => holder.to_owned(),
    }
}

/// How Redis knows the blocks of a holder for these tenants; without any for all of them.
fn entries(holder: &Holder, tenants: &[Tenant]) -> Vec<String> {
    if tenants.is_empty() {
        return vec![entry(holder.key(), None)];
    }
    let tenants = tenants.iter();
    tenants
        .map(|tenant| entry(holder.key(), Some(tenant)))
        .collect()
}

/// When a block is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockEnd {
    /// So long from now.
    After(Duration),
    /// At this instant.
    At(Timestamp),
}

/// What became of a block that was to be put or lifted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// It is as asked; with the one from before, if there was one.
    Done {
        /// None if it was lifted.
        now: Option<Block>,
        /// None if the holder was not blocked.
        before: Option<Box<Block>>,
    },
    /// It would not end later than now, or later than the longest.
    OutOfRange,
    /// There is no such pool.
    NoPool,
}

impl Store {
    /// Blocks of a pool in the order in which they end, at most `limit` (1 to 1001), after the last one seen. `None` if there is
    /// no such pool.
    pub async fn blocks(
        &self,
        pool: &PoolName,
        after: Option<&(Timestamp, String)>,
        limit: usize,
    ) -> Result<Option<Vec<Block>>, Error> {
        let keys = Keys::of(pool);
        let blocks = scripts::Blocks {
            keys: &keys,
            after_until: after.map_or(Timestamp(0), |(until, _)| *until),
            after_blocked: after.map(|(_, entry)| entry.as_str()),
            limit: limit as u64,
        };
        let reply = self.call(keys.bucket, &blocks).await?;
        match reply.status {
            scripts::blocks::Status::NoPool => return Ok(None),
            scripts::blocks::Status::Recovering => return Err(Error::Recovering),
            scripts::blocks::Status::Listed => {}
        }
        let blocks = reply.blocks.into_iter();
        let blocks =
            blocks.map(|block| Block::of(&block.blocked, block.blocked_until, &block.note));
        Ok(Some(blocks.collect()))
    }

    /// Blocks a holder for these tenants, whether or not it is blocked already; without any for all of them.
    pub async fn block(
        &self,
        pool: &PoolName,
        holder: &Holder,
        tenants: &[Tenant],
        end: BlockEnd,
        by: &str,
        reason: Option<&str>,
    ) -> Result<Blocked, Error> {
        self.check_blocks_of_tenants(tenants).await?;
        let entries = entries(holder, tenants);
        self.change_block(pool, &entries, Some(end), by, reason)
            .await
    }

    /// Lets a holder acquire again for these tenants. A success also if it may. Without any, the block for all of them is lifted, and
    /// `also`: those for one each.
    pub async fn unblock(
        &self,
        pool: &PoolName,
        holder: &Holder,
        tenants: &[Tenant],
        also: &[Tenant],
    ) -> Result<Blocked, Error> {
        let mut entries = entries(holder, tenants);
        let also = also.iter();
        entries.extend(also.map(|tenant| entry(holder.key(), Some(tenant))));
        self.change_block(pool, &entries, None, "", None).await
    }

    async fn change_block(
        &self,
        pool: &PoolName,
        entries: &[String],
        end: Option<BlockEnd>,
        by: &str,
        reason: Option<&str>,
    ) -> Result<Blocked, Error> {
        let keys = Keys::of(pool);
        let (until_at, lasting) = match end {
            Some(BlockEnd::At(until)) => (Some(until), None),
            Some(BlockEnd::After(time)) => (None, Some(time)),
            None => (None, None),
        };
        let of_script: Vec<scripts::block::Entry<'_>> = entries
            .iter()
            .map(|entry| scripts::block::Entry { blocked: entry })
            .collect();
        let block = scripts::Block {
            keys: &keys,
            until_at,
            lasting,
            by,
            reason,
            longest: LONGEST_BLOCK,
            entries: &of_script,
        };
        let reply = self.call(keys.bucket, &block).await?;
        let named = |until: Timestamp, note: &str| Block::of(&entries[0], until, note);
        let now = match reply.status {
            Status::Blocked => Some(Block {
                since: Some(reply.now),
                by: Some(by.to_owned()),
                reason: reason.map(str::to_owned),
                ..named(reply.blocked_until, "")
            }),
            Status::Lifted => None,
            Status::OutOfRange => return Ok(Blocked::OutOfRange),
            Status::NoPool => return Ok(Blocked::NoPool),
            Status::Recovering => return Err(Error::Recovering),
        };
        let note = reply.before.unwrap_or_default();
        let before = (reply.before_until.0 > 0).then(|| Box::new(named(reply.before_until, &note)));
        Ok(Blocked::Done { now, before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_of_another_block_says_nothing() {
        let note = "1795758394887\u{1}1795758390000\u{1}ops\u{1}a reason\u{1} of two parts";
        let block = Block::of("ann", Timestamp(1_795_758_394_887), note);
        assert_eq!(block.since, Some(Timestamp(1_795_758_390_000)));
        assert_eq!(block.by.as_deref(), Some("ops"));
        assert_eq!(block.reason.as_deref(), Some("a reason\u{1} of two parts"));
        let block = Block::of("ann\u{1}acme", Timestamp(1_795_758_394_888), note);
        assert_eq!(
            (
                block.holder.as_str(),
                block.tenant.as_ref().map(Tenant::as_str)
            ),
            ("ann", Some("acme"))
        );
        assert_eq!(block.entry(), "ann\u{1}acme");
        assert_eq!((block.since, block.by, block.reason), (None, None, None));
    }
}
