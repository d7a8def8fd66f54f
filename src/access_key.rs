//! Access keys: who may do what, and from where. No HTTP, no Redis.
//!
//! The text of a key is `lh_client_` or `lh_operator_`, then 12 characters of id, 32 of secret and 6 of checksum, all
//! of `0-9A-Za-z`. The prefix lets people and secret scanners recognise one, the checksum lets a node refuse a
//! damaged or invented one without asking anybody. The secret has 190 random bits, so a plain SHA-256 of the text
//! is all that is kept of it: there is nothing to guess.

mod origin;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use rand::distr::{Alphanumeric, SampleString as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

pub use self::origin::Origin;
use crate::names::{Invalid, Label, PoolName, Tenant, recorded};
use crate::scope::Scope;
use crate::time::Timestamp;

/// Pattern of keys, for secret scanners: `lh_(client|operator)_[0-9A-Za-z]{50}`.
pub const PREFIX: &str = "lh_";

const ID: usize = 12;
const SECRET: usize = 32;
const CHECKSUM: usize = 6;

/// What a key allows. Client keys acquire, and nothing else; of the others each does all that the one before it does, but that who reads
/// reports verifies nothing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Acquires in the pools that it names. Not a secret among the users of a page.
    Client,
    /// Verifies leases: asks whether somebody holds one, and nothing else.
    Verifier,
    /// Reads reports: how full pools are and were. No lists of leases, and no names of people.
    Reports,
    /// Reads everything, and verifies.
    Viewer,
    /// Reads, terminates, and changes schedules and named seats.
    Operator,
    /// Everything, acquiring included.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 6] = [
        Self::Client,
        Self::Verifier,
        Self::Reports,
        Self::Viewer,
        Self::Operator,
        Self::Admin,
    ];

    /// The word in JSON and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Verifier => "verifier",
            Self::Reports => "reports",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = Invalid;

    fn from_str(word: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == word)
            .ok_or_else(|| {
                Invalid("a role is client, verifier, reports, viewer, operator or admin".into())
            })
    }
}

/// Names a key: 12 characters of `0-9A-Za-z`. Not a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(String);

impl KeyId {
    /// A new id.
    pub fn random() -> Self {
        Self(Alphanumeric.sample_string(&mut rand::rng(), ID))
    }

    /// The id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyId {
    type Error = Invalid;

    fn try_from(id: String) -> Result<Self, Invalid> {
        if id.len() == ID && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            Ok(Self(id))
        } else {
            Err(Invalid("a key id has 12 letters and digits".into()))
        }
    }
}

impl std::str::FromStr for KeyId {
    type Err = Invalid;

    fn from_str(id: &str) -> Result<Self, Invalid> {
        Self::try_from(id.to_owned())
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How often a client key may be used, on each node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests per minute with this key, from everywhere together.
    pub per_minute: NonZeroU32,
    /// The same from one network address. Offices share one address: a shift begins with many at once.
    pub per_address_per_minute: NonZeroU32,
}

/// What comes at once where nothing else is said: ten seconds' worth.
pub fn usual_burst(per_minute: NonZeroU32) -> NonZeroU32 {
    NonZeroU32::new(per_minute.get().div_ceil(6)).unwrap_or(NonZeroU32::MIN)
}

impl Limits {
    /// Of a key that no page may use: a backend asks for everybody from one address.
    pub fn of_a_backend() -> Self {
        let usual = Self::default();
        Self {
            per_address_per_minute: usual.per_minute,
            ..usual
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_minute: NonZeroU32::new(6_000).expect("not zero"),
            per_address_per_minute: NonZeroU32::new(1_200).expect("not zero"),
        }
    }
}

/// SHA-256 of a key's text: all that is kept of it.
#[derive(Clone, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

/// In a time that does not tell how much is equal.
impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Fingerprint {
    /// Of this text.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

/// A hash is no secret, but nobody needs to read it either.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        use std::fmt::Write as _;
        fingerprint.0.iter().fold(Self::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes any text");
            text
        })
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let mut bytes = [0; 32];
        let fits = text.len() == 64 && text.is_ascii();
        for (at, byte) in bytes.iter_mut().enumerate() {
            let digits = fits.then(|| &text[2 * at..2 * at + 2]);
            *byte = digits
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                .ok_or_else(|| Invalid("a fingerprint has 64 hexadecimal digits".into()))?;
        }
        Ok(Self(bytes))
    }
}

/// A secret that was replaced and is still good for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// Of the former text.
    pub fingerprint: Fingerprint,
    /// Until when it is good, ms since the epoch.
    pub until_ms: i64,
}

/// What is kept of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// Its name for machines; the audit trail names who did something by it.
    pub id: KeyId,
    /// Its name for people.
    #[serde(deserialize_with = "recorded")]
    pub name: Label,
    /// What it allows.
    pub role: Role,
    /// The pools that it is for; of an operator's key none means all.
    pub pools: Vec<PoolName>,
    /// The tenants that an operator's key is for; none means all. Left out where it says nothing, because nodes of earlier versions would
    /// take such a key for one that is for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<Tenant>,
    /// The tenant of everybody who acquires with a client key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// The pages that may use it. Requests that come from no page are not held to it.
    pub origins: Vec<Origin>,
    /// How often a client key may be used.
    pub limits: Limits,
    /// How many requests may come at once, also from one address; none is the usual burst of each limit. Not among the limits,
    /// because nodes of earlier versions refuse a word there that they do not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU32>,
    /// When it was created, ms since the epoch.
    pub created_at_ms: i64,
    /// When it ends by itself, ms since the epoch.
    pub expires_at_ms: Option<i64>,
    /// Of the present text.
    pub fingerprint: Fingerprint,
    /// The text before, while both are good.
    pub former: Option<PreviousSecret>,
}

impl AccessKey {
    /// Most pools and most origins of a key.
    pub const MAX_LIST: usize = 100;

    /// Makes the secret of the key `id`.
    pub fn text(role: Role, id: &KeyId) -> SecretString {
        let secret = Alphanumeric.sample_string(&mut rand::rng(), SECRET);
        let body = format!("{}{id}{secret}", kind(role));
        let checksum = checksum(&body);
        SecretString::from(format!("{body}{checksum}"))
    }

    /// Gives the key a new text; the present one stays good until `until`.
    pub fn roll(&mut self, until: Timestamp) -> SecretString {
        let text = Self::text(self.role, &self.id);
        let fingerprint = Fingerprint::of(text.expose_secret());
        self.former = Some(PreviousSecret {
            fingerprint: std::mem::replace(&mut self.fingerprint, fingerprint),
            until_ms: until.0,
        });
        text
    }

    /// Whether the key is for this pool.
    pub fn is_for(&self, pool: &PoolName) -> bool {
        (self.pools.is_empty() && self.role != Role::Client) || self.pools.contains(pool)
    }

    /// The tenants that whoever shows the key may see and touch; none is all of them.
    pub fn own_tenants(&self) -> Option<BTreeSet<Tenant>> {
        let own: BTreeSet<Tenant> = self.tenants.iter().chain(&self.tenant).cloned().collect();
        (!own.is_empty()).then_some(own)
    }

    /// Whether a page of this origin may use the key.
    pub fn is_for_page(&self, origin: &str) -> bool {
        self.origins.iter().any(|named| named.is(origin))
    }

    /// What the key may see and touch.
    pub fn scope(&self) -> Scope {
        Scope::of(&self.pools, &self.tenants)
    }

    /// Whether the key is over.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at_ms.is_some_and(|at| at <= now.0)
    }

    /// Whether the secret with this fingerprint is good.
    pub fn is_good_with(&self, secret: &Fingerprint, now: Timestamp) -> bool {
        let former = self.former.as_ref();
        let former =
            former.is_some_and(|former| now.0 < former.until_ms && former.fingerprint == *secret);
        (self.fingerprint == *secret || former) && !self.has_expired(now)
    }

    /// When a right by this key may end without any change of it.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let former = self.former.as_ref().map(|former| former.until_ms);
        let ends = [self.expires_at_ms, former].into_iter().flatten();
        ends.filter(|at| now.0 < *at).min().map(Timestamp)
    }
}

const fn kind(role: Role) -> &'static str {
    match role {
        Role::Client => "lh_client_",
        Role::Verifier | Role::Reports | Role::Viewer | Role::Operator | Role::Admin => {
            "lh_operator_"
        }
    }
}

/// CRC-32 in base 62, six characters.
fn checksum(body: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    String::from_utf8_lossy(&digits).into_owned()
}

/// The id in a string that has the form and the checksum of a key. Others need no look-up.
pub fn id_in(text: &str) -> Option<KeyId> {
    let rest = text
        .strip_prefix(kind(Role::Client))
        .or_else(|| text.strip_prefix(kind(Role::Admin)))?;
    if rest.len() != ID + SECRET + CHECKSUM
        || !rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return None;
    }
    let (body, sum) = text.split_at(text.len() - CHECKSUM);
    if checksum(body) != sum {
        return None;
    }
    rest[..ID].parse().ok()
}

/// The keys as a node knows them.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    /// Grows with every change.
    pub revision: u64,
    /// By id.
    pub keys: HashMap<KeyId, Arc<AccessKey>>,
}

impl Keyring {
    /// The key of this id, if this is the fingerprint of its text.
    pub fn verify(
        &self,
        id: &KeyId,
        shown: &Fingerprint,
        now: Timestamp,
    ) -> Option<&Arc<AccessKey>> {
        let key = self.keys.get(id)?;
        key.is_good_with(shown, now).then_some(key)
    }

    /// Whether a page of this origin may use some client key, of this pool if one is given.
    pub fn names_origin(&self, origin: &str, pool: Option<&PoolName>, now: Timestamp) -> bool {
        self.keys.values().any(|key| {
            key.role == Role::Client
                && !key.has_expired(now)
                && pool.is_none_or(|pool| key.is_for(pool))
                && key.is_for_page(origin)
        })
    }
}

#[cfg(test)]
mod tests;
