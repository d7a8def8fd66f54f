//! Named seats: who has one in a billing period.

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::scripts;
use super::scripts::named::{Reply, Status, What};
use crate::names::{Holder, PoolName};
use crate::time::Timestamp;

/// A named seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSeat {
    /// Its owner.
    pub holder: Holder,
    /// Since when.
    pub since: Timestamp,
    /// `used`, `assigned` or `transferred`.
    pub how: String,
}

/// The named seats of a pool in one period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSeats {
    /// How many there are.
    pub seats: u64,
    /// Begin of the period.
    pub from: Timestamp,
    /// End of the period.
    pub until: Timestamp,
    /// How many are taken.
    pub taken: u64,
    /// Some of those, by holder.
    pub items: Vec<NamedSeat>,
}

/// Whether an administrator sets aside that a named seat changes hands once in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// The rule holds.
    No,
    /// It does not, and what is freed is as new.
    Yes,
}

/// What an operator does with named seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedChange<'a> {
    /// Those of the period of this instant, or of the present one, behind a holder, up to a limit.
    List(Option<Timestamp>, Option<&'a Holder>, usize),
    /// That of a holder.
    Read(&'a Holder),
    /// Gives one to a holder that has used none yet.
    Assign(&'a Holder),
    /// Takes it from a holder; by force also one that changed hands before in this period.
    Free(&'a Holder, Force),
    /// Takes it from one holder and gives it to another.
    Transfer(&'a Holder, &'a Holder, Force),
}

/// What became of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedChanged {
    /// Done; those asked for, or the one that was made.
    Done(NamedSeats),
    /// The holder had one already.
    Had(NamedSeats),
    /// The holder has none.
    None,
    /// The holder has live leases on it.
    InUse,
    /// It changed hands before in this period.
    Moved,
    /// All are taken.
    Exhausted,
    /// The pool has no named seats.
    NoNamed,
    /// There is no such pool.
    NoPool,
}

impl Store {
    /// Reads or changes who has the named seats of a pool.
    pub async fn named(
        &self,
        pool: &PoolName,
        change: NamedChange<'_>,
    ) -> Result<NamedChanged, Error> {
        let (what, holder, to, force) = match change {
            NamedChange::List(_, after, _) => (What::List, after, None, Force::No),
            NamedChange::Read(holder) => (What::Read, Some(holder), None, Force::No),
            NamedChange::Assign(holder) => (What::Assign, Some(holder), None, Force::No),
            NamedChange::Free(holder, force) => (What::Free, Some(holder), None, force),
            NamedChange::Transfer(holder, to, force) => {
                (What::Transfer, Some(holder), Some(to), force)
            }
        };
        let (earlier, limit) = match change {
            NamedChange::List(at, _, limit) => (at, limit),
            _ => (None, 0),
        };
        let named = scripts::Named {
            keys: &Keys::of(pool),
            what,
            holder: holder.map(Holder::key),
            to: to.map(Holder::key),
            earlier,
            limit: limit as u64,
            force: force == Force::Yes,
        };
        let reply = self.call_whole(pool, &named).await?;
        Ok(match reply.status {
            Status::Done => NamedChanged::Done(named_seats(&reply)?),
            Status::Had => NamedChanged::Had(named_seats(&reply)?),
            Status::None => NamedChanged::None,
            Status::InUse => NamedChanged::InUse,
            Status::Moved => NamedChanged::Moved,
            Status::Exhausted => NamedChanged::Exhausted,
            Status::NoNamed => NamedChanged::NoNamed,
            Status::NoPool => NamedChanged::NoPool,
            Status::Recovering => return Err(Error::Recovering),
        })
    }
}

fn named_seats(reply: &Reply) -> Result<NamedSeats, Error> {
    let items = reply.seats.iter().map(|seat| {
        named_seat(&seat.entry)
            .ok_or_else(|| Error::Broken(format!("{:?} is no entry of a named seat", seat.entry)))
    });
    Ok(NamedSeats {
        seats: reply.count,
        from: reply.period,
        until: reply.period_end,
        taken: reply.taken,
        items: items.collect::<Result<_, _>>()?,
    })
}

fn named_seat(entry: &str) -> Option<NamedSeat> {
    let mut parts = entry.split('\u{1}').skip(1);
    Some(NamedSeat {
        holder: Holder::recorded(parts.next()?.to_owned()).ok()?,
        since: Timestamp(parts.next()?.parse().ok()?),
        how: parts.next()?.to_owned(),
    })
}
