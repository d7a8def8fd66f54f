//! The history of a pool as it is written: one event for each start, end, denial and change.

use std::fmt;
use std::str::FromStr;

use redis::streams::StreamRangeReply;

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::unreadable::Kind;
use crate::names::{Invalid, PoolName};
use crate::time::Timestamp;

/// The place of an event in its pool's history: when it was written, ms, and a number among those of that instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    ms: u64,
    number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.number)
    }
}

impl EventId {
    /// The last that there can be: Redis knows no place behind it, and refuses to look there.
    pub const MAX: Self = Self {
        ms: u64::MAX,
        number: u64::MAX,
    };

    /// Before the first event of this millisecond.
    pub fn before_ms(ms: i64) -> Self {
        Self {
            ms: u64::try_from(ms).unwrap_or(0).saturating_sub(1),
            number: u64::MAX,
        }
    }

    /// The place right before this one.
    pub fn before(self) -> Self {
        match self.number.checked_sub(1) {
            Some(number) => Self { number, ..self },
            None => Self {
                ms: self.ms.saturating_sub(1),
                number: u64::MAX,
            },
        }
    }

    /// When the event was written, ms.
    pub fn written_ms(self) -> i64 {
        i64::try_from(self.ms).unwrap_or(i64::MAX)
    }
}

impl FromStr for EventId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (ms, number) = text.split_once('-').unwrap_or((text, "0"));
        match (ms.parse(), number.parse()) {
            (Ok(ms), Ok(number)) => Ok(Self { ms, number }),
            _ => Err(Invalid(
                "the id of an event is two numbers with a dash between".into(),
            )),
        }
    }
}

/// Something that happened in a pool. `lua/README.md` has the table of types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place.
    pub id: EventId,
    /// What happened: `started`, `resumed`, `rebuilt`, `idle`, `active`, `ended`, `denied`, `configured`.
    pub kind: String,
    /// When it happened; an end that was noticed late has the exact instant.
    pub at: Timestamp,
    /// The lease, if it is about one.
    pub lease: Option<String>,
    /// The holder, where the script knew it.
    pub holder: Option<String>,
    /// The sub-account.
    pub tenant: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// How many seats were taken or freed by it, where that is not one.
    pub seats: Option<u64>,
    /// How many seats more are idle than before; negative for fewer.
    pub idle: i64,
    /// How long its holder had waited in the queue, where it had.
    pub waited_ms: Option<u64>,
    /// What is known of the silence before a resume, or of an outage that put an end off.
    pub silence: Option<Box<Silence>>,
}

/// A time in which nothing was heard of a holder, as the script wrote it down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Silence {
    /// By how much an outage put off the end of the lease, ms.
    pub delayed_ms: u64,
    /// How long nothing was heard, ms.
    pub gap_ms: Option<u64>,
    /// `coordinator_away` or `holder_away`.
    pub cause: Option<String>,
    /// For how long two may have believed in the seat, ms.
    pub possible_overlap_ms: Option<u64>,
    /// For how long the holder went on, by its own account, ms.
    pub grace_used_ms: Option<u64>,
}

impl Store {
    /// Events of a pool after a place, oldest first, at most `limit`.
    pub async fn events(
        &self,
        pool: &PoolName,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        if after == EventId::MAX {
            return Ok(Vec::new());
        }
        let mut connection = self.0.connections.get().await?;
        let entries: Vec<Entry> = redis::cmd("XRANGE")
            .arg(Keys::of(pool).events())
            .arg(format!("({after}"))
            .arg("+")
            .arg("COUNT")
            .arg(limit)
            .query_async(&mut *connection)
            .await?;
        let read = entries.into_iter().map(|entry| {
            let event = read(entry)?;
            if event.kind == UNKNOWN {
                let place = format!("{pool} {}", event.id);
                self.0.unreadable.note(Kind::Event, &place);
            }
            Ok(event)
        });
        read.collect()
    }

    /// The place of a pool's last event; the first place of all before the first event.
    pub async fn last_event(&self, pool: &PoolName) -> Result<EventId, Error> {
        let mut connection = self.0.connections.get().await?;
        let reply: StreamRangeReply = redis::cmd("XREVRANGE")
            .arg(Keys::of(pool).events())
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1)
            .query_async(&mut *connection)
            .await?;
        let last = reply.ids.first().and_then(|entry| entry.id.parse().ok());
        Ok(last.unwrap_or_default())
    }
}

impl Event {
    fn silence(&mut self) -> &mut Silence {
        self.silence.get_or_insert_default()
    }
}

/// The type of an event that only a later version can read.
const UNKNOWN: &str = "unknown";

/// An event as Redis has it: its place, and names and values by turns. No map of the fields is made of it: a report reads
/// hundreds of thousands.
type Entry = (String, Vec<String>);

fn read((place, fields): Entry) -> Result<Event, Error> {
    let broken = || Error::Broken(format!("event {place} is not one of ours"));
    let mut event = Event {
        id: place.parse().map_err(|_| broken())?,
        kind: String::new(),
        at: Timestamp(i64::MIN),
        lease: None,
        holder: None,
        tenant: None,
        reason: None,
        seats: None,
        idle: 0,
        waited_ms: None,
        silence: None,
    };
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if value.is_empty() {
            continue;
        }
        match name.as_str() {
            "type" => event.kind = value,
            "at" => event.at = Timestamp(value.parse().unwrap_or(i64::MIN)),
            "id" => event.lease = Some(value),
            "holder" => event.holder = Some(value),
            "tenant" => event.tenant = Some(value),
            "reason" => event.reason = Some(value),
            "seats" => event.seats = value.parse().ok(),
            "idle" => event.idle = value.parse().unwrap_or(0),
            "waited" => event.waited_ms = value.parse().ok(),
            "delayed_ms" => event.silence().delayed_ms = value.parse().unwrap_or(0),
            "gap_ms" => event.silence().gap_ms = value.parse().ok(),
            "cause" => event.silence().cause = Some(value),
            "possible_overlap_ms" => event.silence().possible_overlap_ms = value.parse().ok(),
            "grace_used_ms" => event.silence().grace_used_ms = value.parse().ok(),
            // A later version may say more.
            _ => {}
        }
    }
    // It keeps its place, or whoever reads on would take it for the end.
    if event.kind.is_empty() || event.at.0 == i64::MIN {
        event.kind = UNKNOWN.to_owned();
        event.at = Timestamp(event.id.written_ms());
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_the_way_through_text() {
        let id: EventId = "1795000000000-3".parse().unwrap();
        assert_eq!(id.to_string(), "1795000000000-3");
        assert!("1795000000000-2".parse::<EventId>().unwrap() < id);
        assert!("x".parse::<EventId>().is_err());
    }
}
