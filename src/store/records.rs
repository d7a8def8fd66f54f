//! Records of the whole installation, of which every node has a copy: access keys and webhooks.
//!
//! They lie in a hash by id, beside a revision that grows with each change. A node reads them when the revision has grown, those
//! that were changed if it is known which, and puts them back when Redis lost them.

use std::collections::{BTreeMap, HashMap};

use redis::RedisResult;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connection::Connection;
use super::error::Error;
use super::keys::RecordKeys;
use super::script::Request as _;
use super::scripts;
use super::scripts::put_back_records::Record;
use super::unreadable::Kind;
use super::{Store, json};

/// Where the records of one kind lie.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) keys: RecordKeys,
    pub(super) kind: Kind,
}

/// What a node that has a copy of some revision finds.
pub(super) enum Refresh<T> {
    /// The same.
    Same,
    /// An older one, or nothing.
    Lost,
    /// A newer one, its records, and those that only a later version can read.
    Newer(u64, Vec<T>, Others),
    /// A newer one, and the texts of the records that are others in it; none of those that are gone.
    Changed(u64, HashMap<String, Option<String>>),
}

/// Changes that are read one by one; after more of them all records are read.
const CHANGES: usize = 200;

/// Records that this version cannot read, as they are, by id: they are put back with the others.
pub(super) type Others = BTreeMap<String, String>;

impl Store {
    /// Looks whether there are other records than those of the revision `known`.
    pub(super) async fn look_for_records<T: DeserializeOwned>(
        &self,
        kept: &Records,
        known: u64,
    ) -> Result<Refresh<T>, Error> {
        // What another installation has is not ours to read, and what ours has is not its to get.
        if self.is_at_another_installation() {
            return Ok(Refresh::Same);
        }
        let mut connection = self.0.connections.get().await?;
        let revision: Option<u64> = redis::cmd("GET")
            .arg(kept.keys.revision())
            .query_async(&mut *connection)
            .await?;
        let revision = revision.unwrap_or(0);
        if revision == known {
            return Ok(Refresh::Same);
        }
        if revision < known {
            return Ok(Refresh::Lost);
        }
        if known > 0
            && let Some((revision, changed)) =
                changes_since(kept, known, revision, &mut connection).await?
        {
            return Ok(Refresh::Changed(revision, changed));
        }
        // Together, so that the records are not newer than the revision they are kept under.
        let (revision, records): (u64, HashMap<String, String>) = redis::pipe()
            .atomic()
            .cmd("GET")
            .arg(kept.keys.revision())
            .cmd("HGETALL")
            .arg(kept.keys.records())
            .query_async(&mut *connection)
            .await?;
        let (mut found, mut others) = (Vec::new(), Others::new());
        for (id, record) in records {
            match serde_json::from_str(&record) {
                Ok(record) => found.push(record),
                Err(_) => {
                    others.insert(id, record);
                }
            }
        }
        let unreadable = &self.0.unreadable;
        unreadable.keep(kept.kind, |id| others.contains_key(id));
        for id in others.keys() {
            unreadable.note(kept.kind, id);
        }
        Ok(Refresh::Newer(revision, found, others))
    }

    /// Puts back what Redis lost, unless another node was faster.
    pub(super) async fn put_back_records<'a, T: Serialize + 'a>(
        &self,
        kept: &Records,
        revision: u64,
        records: impl Iterator<Item = (&'a str, &'a T)>,
        others: &Others,
    ) -> Result<(), Error> {
        let ours: Vec<(&str, String)> = records.map(|(id, record)| (id, json(record))).collect();
        let ours = ours.iter().map(|(id, text)| Record { id, text });
        let others = others.iter().map(|(id, text)| Record { id, text });
        let records: Vec<Record<'_>> = ours.chain(others).collect();
        let call = scripts::PutBackRecords {
            keys: kept.keys,
            remembered: revision,
            records: &records,
        };
        self.send(&call.call()).await?;
        Ok(())
    }

    async fn text_of_any_record(&self, kept: &Records, id: &str) -> Result<Option<String>, Error> {
        let mut connection = self.0.connections.get().await?;
        let stored = redis::cmd("HGET")
            .arg(kept.keys.records())
            .arg(id)
            .query_async(&mut *connection)
            .await?;
        Ok(stored)
    }

    /// The text of the record that is as in `expect`; none if it is another one by now.
    ///
    /// Compared as values here, and as text by the script that changes it: another version may have written it in other
    /// words.
    pub(super) async fn text_of_record<T: DeserializeOwned + PartialEq>(
        &self,
        kept: &Records,
        id: &str,
        expect: &T,
    ) -> Result<Option<String>, Error> {
        let stored = self.text_of_any_record(kept, id).await?;
        Ok(stored.filter(|stored| serde_json::from_str(stored).ok().as_ref() == Some(expect)))
    }

    /// The text of a record that only a later version can read; none if there is no such record.
    pub(super) async fn text_of_newer_record<T: DeserializeOwned>(
        &self,
        kept: &Records,
        id: &str,
    ) -> Result<Option<String>, Error> {
        let stored = self.text_of_any_record(kept, id).await?;
        Ok(stored.filter(|stored| serde_json::from_str::<T>(stored).is_err()))
    }
}

/// The records that have changed since a revision, and the revision with which they have; none if it is not known which. `least` is a
/// revision that there was before.
///
/// Each revision has its change, or there are some that nobody wrote down: an earlier version does not say what it changes.
async fn changes_since(
    kept: &Records,
    known: u64,
    least: u64,
    connection: &mut Connection,
) -> RedisResult<Option<(u64, HashMap<String, Option<String>>)>> {
    let changes: Vec<String> = redis::cmd("ZRANGE")
        .arg(kept.keys.changes())
        .arg(format!("({known}"))
        .arg("+inf")
        .arg("BYSCORE")
        .arg("LIMIT")
        .arg(0)
        .arg(CHANGES)
        .query_async(connection)
        .await?;
    let changes: Vec<(&str, &str)> = changes
        .iter()
        .filter_map(|change| change.split_once(':'))
        .collect();
    let revision = known + changes.len() as u64;
    let newest = changes.last().and_then(|(at, _)| at.parse().ok());
    if revision < least || newest != Some(revision) {
        return Ok(None);
    }
    let ids: Vec<&str> = changes.into_iter().map(|(_, id)| id).collect();
    let texts: Vec<Option<String>> = redis::cmd("HMGET")
        .arg(kept.keys.records())
        .arg(&ids)
        .query_async(connection)
        .await?;
    let changed = ids.into_iter().map(str::to_owned).zip(texts).collect();
    Ok(Some((revision, changed)))
}
