//! Logins to the admin pages. Only hashes of what browsers keep are stored.
//!
//! A login ends half an hour after the last page. What Redis forgets by itself it forgets in an outage too, so the TTL is longer,
//! and tells when the last page was; whether that is too long ago is judged here, by the rule for all deadlines.
//!
//! What is known of a login besides whose it is lies apart from it, because nodes of earlier versions read the login itself.
//! A login of theirs has nothing of the kind.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::FutureExt as _;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::keys::{Bucket, SESSIONS, login, login_code, login_hint};
use super::pool_cache::Silence;
use super::unreadable::Kind;
use super::{Store, json};
use crate::time::Timestamp;

/// How long a login lives without a page.
pub const LOGIN: Duration = Duration::from_secs(30 * 60);
/// How long Redis keeps one after the last page: the eight hours for which a cookie is good, and more than nodes of a version gave
/// that let Redis judge, to tell theirs apart from ours.
const KEPT: Duration = Duration::from_secs(8 * 60 * 60 + 30 * 60);
/// How long a cookie is good at most.
const LONGEST: Duration = Duration::from_secs(8 * 60 * 60);
/// How long a code can be used.
pub const CODE: Duration = Duration::from_secs(10 * 60);

/// Most logins at once; with one more the one that was idle for the longest ends.
const MAX_LOGINS: usize = 1_000;
/// How long a login may take to begin: what is known of it is there first.
const BEGINNING: Duration = Duration::from_secs(60);
/// Logins that are asked for at once.
const CHUNK: usize = 200;
/// Characters of a login's hash that name it for operators.
const ID: usize = 16;

/// What is known of a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whose it is: the id of a key.
    pub caller: String,
    /// Seal of the secret that it was made with: nothing leads from it to the secret.
    pub secret: String,
    /// The network address that it was made from.
    pub address: Option<String>,
    /// When it was made, ms since the epoch.
    pub since_ms: i64,
    /// What whoever showed a key says to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whom a provider logged in, where no key was shown. Nodes of earlier versions let nobody in by it: its caller is no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<SessionOfPerson>,
}

/// What a provider said of somebody. What the groups may do is judged by the settings of today.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOfPerson {
    /// Which provider.
    pub issuer: String,
    /// Names the person there.
    pub subject: String,
    /// For people.
    pub name: String,
    /// Those of the groups that rules named at the login.
    pub groups: Vec<String>,
    /// The session at the provider.
    pub sid: Option<String>,
}

impl SessionOfPerson {
    /// Whether this is what ended at a provider: one session, or all of a person.
    fn is(&self, issuer: &str, subject: Option<&str>, sid: Option<&str>) -> bool {
        let of_person = subject.is_none_or(|subject| subject == self.subject);
        let of_session = match (sid, &self.sid) {
            (Some(sid), Some(own)) => sid == own,
            // Without a word about the session all of the person's end.
            _ => subject.is_some(),
        };
        issuer == self.issuer && of_person && of_session
    }
}

/// What a session says also to a version that cannot read the rest.
#[derive(Deserialize)]
struct Began {
    since_ms: i64,
}

/// A login as operators see it.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// Names it. Nobody can log in with it.
    pub id: String,
    /// What is known of it.
    pub session: Session,
    /// When the last page was.
    pub last_seen: Timestamp,
}

/// A login that a browser showed.
#[derive(Debug, Clone)]
pub struct Login {
    /// Whose it is: the id of a key.
    pub caller: String,
    /// The secret that it was made with; none if a node of an earlier version made it.
    pub secret: Option<String>,
    /// What whoever logged in says to be called.
    pub name: Option<String>,
    /// Whom a provider logged in.
    pub person: Option<SessionOfPerson>,
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).expect("hours")
}

/// The part of a login's hash that names it.
pub(super) fn id_of(fingerprint: &str) -> &str {
    fingerprint.get(..ID).unwrap_or_default()
}

/// Whether a login with this rest of its TTL is over.
fn is_over(rest_ms: i64, now: Timestamp, silence: Silence) -> bool {
    let last_page = Timestamp(now.0 - (ms(KEPT) - rest_ms));
    let kept_by_an_older_node = rest_ms <= ms(LOGIN);
    !kept_by_an_older_node && silence.end_of(Timestamp(last_page.0 + ms(LOGIN)), LOGIN) <= now
}

impl Store {
    /// Keeps a login.
    pub async fn begin_login(&self, fingerprint: &str, session: &Session) -> Result<(), Error> {
        // In this order: a login without what is known of it would look like one of an earlier version.
        self.describe_login(fingerprint, session).await?;
        self.keep(&login(fingerprint), &session.caller, KEPT)
            .await?;
        // What is over is forgotten now, or with the next login.
        if let Err(error) = self.logins().await {
            tracing::debug!(error = %error, "could not look at the logins: {error}");
        }
        Ok(())
    }

    /// Keeps what is known of a login.
    pub async fn describe_login(&self, fingerprint: &str, session: &Session) -> Result<(), Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::cmd("HSET")
            .arg(SESSIONS)
            .arg(fingerprint)
            .arg(json(session))
            .exec_async(&mut *connection)
            .await?)
    }

    /// The login behind this, for another while.
    pub async fn login(&self, fingerprint: &str) -> Result<Option<Login>, Error> {
        let key = login(fingerprint);
        let mut connection = self.0.connections.get().await?;
        let (caller, rest_ms, session): (Option<String>, i64, Option<String>) = redis::pipe()
            .get(&key)
            .pttl(&key)
            .cmd("HGET")
            .arg(SESSIONS)
            .arg(fingerprint)
            .query_async(&mut *connection)
            .await?;
        let Some(caller) = caller else {
            return Ok(None);
        };
        if self.login_is_over(rest_ms).await? {
            return Ok(None);
        }
        let () = redis::cmd("PEXPIRE")
            .arg(&key)
            .arg(ms(KEPT))
            .query_async(&mut *connection)
            .await?;
        let session = match session.map(|text| serde_json::from_str::<Session>(&text)) {
            None => None,
            Some(Ok(session)) => Some(session),
            // What it is bound to cannot be read, so it must not count as valid.
            Some(Err(_)) => {
                self.0.unreadable.note(Kind::Session, id_of(fingerprint));
                return Ok(None);
            }
        };
        let (mut secret, mut name, mut person) = (None, None, None);
        if let Some(session) = session {
            (secret, name, person) = (Some(session.secret), session.name, session.person);
        }
        Ok(Some(Login {
            caller,
            secret,
            name,
            person,
        }))
    }

    /// Whether a login goes on. Asking does not prolong it.
    pub async fn has_login(&self, fingerprint: &str) -> Result<bool, Error> {
        let mut connection = self.0.connections.get().await?;
        let rest_ms: i64 = redis::cmd("PTTL")
            .arg(login(fingerprint))
            .query_async(&mut *connection)
            .await?;
        Ok(rest_ms > 0 && !self.login_is_over(rest_ms).await?)
    }

    async fn login_is_over(&self, rest_ms: i64) -> Result<bool, Error> {
        if !is_over(rest_ms, self.now(), self.0.pool_cache.silence()) {
            return Ok(false);
        }
        // There may have been an outage that this node has not heard of yet.
        self.tick(Bucket::of_no_pool()).boxed().await?;
        Ok(is_over(rest_ms, self.now(), self.0.pool_cache.silence()))
    }

    /// Ends a login on all nodes at once.
    pub async fn end_login(&self, fingerprint: &str) -> Result<(), Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::pipe()
            .cmd("DEL")
            .arg(login(fingerprint))
            .cmd("DEL")
            .arg(login_hint(fingerprint))
            .cmd("HDEL")
            .arg(SESSIONS)
            .arg(fingerprint)
            .exec_async(&mut *connection)
            .await?)
    }

    /// The logins that go on, the last seen first. What is over is forgotten on the way.
    pub async fn sessions(&self) -> Result<Vec<OpenSession>, Error> {
        Ok(self
            .logins()
            .await?
            .into_iter()
            .map(|(_, open)| open)
            .collect())
    }

    /// Ends the login of this id; whether there was one.
    pub async fn end_session(&self, id: &str) -> Result<Option<Session>, Error> {
        let logins = self.logins().await?;
        let Some((fingerprint, open)) = logins.into_iter().find(|(_, open)| open.id == id) else {
            return Ok(None);
        };
        self.end_login(&fingerprint).await?;
        Ok(Some(open.session))
    }

    /// Ends all logins but this one; how many there were.
    pub async fn end_other_sessions(&self, kept: Option<&str>) -> Result<usize, Error> {
        self.end_all(|fingerprint, _| Some(fingerprint) != kept)
            .await
    }

    /// Ends the logins of a session or of a person that ended at a provider; how many there were.
    pub async fn end_sessions_of(
        &self,
        issuer: &str,
        subject: Option<&str>,
        sid: Option<&str>,
    ) -> Result<usize, Error> {
        self.end_all(|_, session| {
            let person = session.person.as_ref();
            person.is_some_and(|person| person.is(issuer, subject, sid))
        })
        .await
    }

    async fn end_all(&self, is_meant: impl Fn(&str, &Session) -> bool) -> Result<usize, Error> {
        let mut ended = 0;
        for (fingerprint, open) in self.logins().await? {
            if is_meant(&fingerprint, &open.session) {
                self.end_login(&fingerprint).await?;
                ended += 1;
            }
        }
        Ok(ended)
    }

    /// Keeps what the provider is shown when the login ends, as long as the login.
    pub async fn keep_login_hint(&self, fingerprint: &str, hint: &str) -> Result<(), Error> {
        self.keep(&login_hint(fingerprint), hint, LONGEST).await
    }

    /// What the provider is shown when the login ends.
    pub async fn login_hint(&self, fingerprint: &str) -> Result<Option<String>, Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::cmd("GET")
            .arg(login_hint(fingerprint))
            .query_async(&mut *connection)
            .await?)
    }

    /// Whether a message of this fingerprint comes for the first time in this while.
    pub async fn is_first(&self, fingerprint: &str, within: Duration) -> Result<bool, Error> {
        let mut connection = self.0.connections.get().await?;
        let set: Option<String> = redis::cmd("SET")
            .arg(login_code(fingerprint))
            .arg("")
            .arg("NX")
            .arg("PX")
            .arg(ms(within))
            .query_async(&mut *connection)
            .await?;
        Ok(set.is_some())
    }

    async fn logins(&self) -> Result<Vec<(String, OpenSession)>, Error> {
        let mut connection = self.0.connections.get().await?;
        let known: HashMap<String, String> = redis::cmd("HGETALL")
            .arg(SESSIONS)
            .query_async(&mut *connection)
            .await?;
        let known: Vec<(String, String)> = known.into_iter().collect();
        let mut rests: Vec<i64> = Vec::with_capacity(known.len());
        for some in known.chunks(CHUNK) {
            let mut asked = redis::pipe();
            for (fingerprint, _) in some {
                asked.pttl(login(fingerprint));
            }
            let some: Vec<i64> = asked.query_async(&mut *connection).await?;
            rests.extend(some);
        }
        drop(connection);
        let (mut open, mut over) = (Vec::new(), Vec::new());
        let mut others = BTreeSet::new();
        for ((fingerprint, text), rest_ms) in known.into_iter().zip(rests) {
            // Not that of a login that begins at this moment: what is known of it comes first.
            let began = serde_json::from_str(&text).map_or(0, |began: Began| began.since_ms);
            let goes_on = rest_ms > 0 && !self.login_is_over(rest_ms).await?;
            match serde_json::from_str::<Session>(&text) {
                Err(_) if goes_on => {
                    self.0.unreadable.note(Kind::Session, id_of(&fingerprint));
                    others.insert(id_of(&fingerprint).to_owned());
                }
                Ok(session) if goes_on => {
                    let id = id_of(&fingerprint).to_owned();
                    let last_seen = Timestamp(self.now().0 - (ms(KEPT) - rest_ms).max(0));
                    open.push((
                        fingerprint,
                        OpenSession {
                            id,
                            session,
                            last_seen,
                        },
                    ));
                }
                _ if self.now().0 - began > ms(BEGINNING) => over.push(fingerprint),
                _ => {}
            }
        }
        self.0
            .unreadable
            .keep(Kind::Session, |id| others.contains(id));
        open.sort_by_key(|(_, open)| std::cmp::Reverse(open.last_seen));
        let excess = open.split_off(open.len().min(MAX_LOGINS));
        over.extend(excess.into_iter().map(|(fingerprint, _)| fingerprint));
        for fingerprint in over {
            self.end_login(&fingerprint).await?;
        }
        Ok(open)
    }

    /// Keeps a login that can be used once.
    pub async fn offer_login(&self, fingerprint: &str, caller: &str) -> Result<(), Error> {
        self.keep(&login_code(fingerprint), caller, CODE).await
    }

    /// Uses a login that was offered; `None` if it was used before, or never was.
    pub async fn take_login(&self, fingerprint: &str) -> Result<Option<String>, Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::cmd("GETDEL")
            .arg(login_code(fingerprint))
            .query_async(&mut *connection)
            .await?)
    }

    async fn keep(&self, key: &str, value: &str, life: Duration) -> Result<(), Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::cmd("SET")
            .arg(key)
            .arg(value)
            .arg("PX")
            .arg(ms(life))
            .exec_async(&mut *connection)
            .await?)
    }
}

#[cfg(test)]
mod tests;
