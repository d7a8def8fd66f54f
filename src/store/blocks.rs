//! Blocks: holders that get no seat in a pool until an instant.

use std::time::Duration;

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::script::millis;
use super::script::{BLOCK, BLOCKS};
use crate::names::{Holder, PoolName};
use crate::time::Timestamp;

/// Longest block: a year.
pub const LONGEST_BLOCK: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A holder that gets no seat in a pool for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Who it is, as the pool keeps it.
    pub holder: String,
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
    fn of(holder: String, until: Timestamp, note: &str) -> Self {
        let mut parts = note.splitn(4, '\u{1}');
        let mut part = || parts.next().unwrap_or_default();
        let number = |text: &str| text.parse().ok().map(Timestamp);
        let is_about_it = number(part()) == Some(until);
        let (since, by, reason) = (number(part()), part(), part());
        let known = |text: &str| (is_about_it && !text.is_empty()).then(|| text.to_owned());
        Self {
            holder,
            until,
            since: since.filter(|_| is_about_it),
            by: known(by),
            reason: known(reason),
        }
    }
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
        before: Option<Block>,
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
        let call = BLOCKS
            .call(4)
            .arg(keys.bucket.clock())
            .arg(keys.config())
            .arg(keys.blocks())
            .arg(keys.block_notes())
            .arg(after.map_or(0, |(until, _)| until.0))
            .arg(after.map_or("", |(_, holder)| holder))
            .arg(limit);
        let reply = self.run(keys.bucket, &call).await?;
        match reply.status() {
            "no_pool" => return Ok(None),
            "recovering" => return Err(Error::Recovering),
            "listed" => {}
            _ => return Err(reply.unexpected(0)),
        }
        let block = |at: usize| {
            let (holder, until) = (reply.text(at)?.to_owned(), reply.instant(at + 1)?);
            Ok(Block::of(holder, until, reply.text(at + 2)?))
        };
        (3..reply.len())
            .step_by(3)
            .map(block)
            .collect::<Result<_, Error>>()
            .map(Some)
    }

    /// Blocks a holder, whether or not it is blocked already.
    pub async fn block(
        &self,
        pool: &PoolName,
        holder: &Holder,
        end: BlockEnd,
        by: &str,
        reason: Option<&str>,
    ) -> Result<Blocked, Error> {
        let (until_ms, for_ms) = match end {
            BlockEnd::At(until) => (until.0, 0),
            BlockEnd::After(time) => (0, millis(time)),
        };
        self.change_block(pool, holder, until_ms, for_ms, by, reason)
            .await
    }

    /// Lets a holder acquire again. A success also if it may.
    pub async fn unblock(&self, pool: &PoolName, holder: &Holder) -> Result<Blocked, Error> {
        self.change_block(pool, holder, 0, 0, "", None).await
    }

    async fn change_block(
        &self,
        pool: &PoolName,
        holder: &Holder,
        until_ms: i64,
        for_ms: u64,
        by: &str,
        reason: Option<&str>,
    ) -> Result<Blocked, Error> {
        let keys = Keys::of(pool);
        let call = BLOCK
            .call(4)
            .arg(keys.bucket.clock())
            .arg(keys.config())
            .arg(keys.blocks())
            .arg(keys.block_notes())
            .arg(holder.as_str())
            .arg(until_ms)
            .arg(for_ms)
            .arg(by)
            .arg(reason.unwrap_or_default())
            .arg(millis(LONGEST_BLOCK));
        let reply = self.run(keys.bucket, &call).await?;
        let named =
            |until: Timestamp, note: &str| Block::of(holder.as_str().to_owned(), until, note);
        let now = match reply.status() {
            "blocked" => Some(Block {
                since: Some(reply.now()?),
                by: Some(by.to_owned()),
                reason: reason.map(str::to_owned),
                ..named(reply.instant(3)?, "")
            }),
            "lifted" => None,
            "out_of_range" => return Ok(Blocked::OutOfRange),
            "no_pool" => return Ok(Blocked::NoPool),
            "recovering" => return Err(Error::Recovering),
            _ => return Err(reply.unexpected(0)),
        };
        let before = reply.instant(4)?;
        let before = (before.0 > 0).then(|| reply.text(5).map(|note| named(before, note)));
        Ok(Blocked::Done {
            now,
            before: before.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_of_another_block_says_nothing() {
        let note = "1795758394887\u{1}1795758390000\u{1}ops\u{1}a reason\u{1} of two parts";
        let block = Block::of("ann".to_owned(), Timestamp(1_795_758_394_887), note);
        assert_eq!(block.since, Some(Timestamp(1_795_758_390_000)));
        assert_eq!(block.by.as_deref(), Some("ops"));
        assert_eq!(block.reason.as_deref(), Some("a reason\u{1} of two parts"));
        let block = Block::of("ann".to_owned(), Timestamp(1_795_758_394_888), note);
        assert_eq!((block.since, block.by, block.reason), (None, None, None));
    }
}
