//! The signed token that renews and releases one lease.
//!
//! A token is a secret: whoever has it has the seat. It carries what is needed to rebuild the lease if Redis
//! lost it, so nodes keep nothing. Text: base64url of payload and HMAC-SHA256 together, about 170 characters.
//!
//! Payload: version (1 byte), key id (4), generation, started, issued (8 each, ms), fence (8), lease id (16),
//! flags (1), then pool, holder, tenant, label and platform, each with its length in front. The key id
//! says which secret signed, so that secrets can be rotated; there is no algorithm field, so there is nothing
//! to confuse. Activities are left out: they may be long, and the next beat brings them again.
//!
//! In version 1 a length is one byte, in version 2 it is two. Nodes that know only version 1 take no text of more than
//! `SHORT` bytes, and refuse version 2 as they refuse a forgery. So version 2 signs only what has a longer text, and
//! every other token keeps its seat on every node of a fleet that is being upgraded. What follows the last text is signed
//! and not read: a new field goes there, where nodes that do not know it pass it over.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use crate::lease::Seat;
use crate::names::{Holder, Invalid, Label, LeaseId, Platform, PoolName, Tenant};
use crate::pool::Pseudonyms;
use crate::time::Timestamp;

/// How long a token is good for. Past the half of it a renew brings a new one.
///
/// Tombstones stay as long: a token that verifies and whose lease Redis does not know means lost data.
pub const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Maximum length of a token, in characters; a longer one is not read. One with the longest fields has about 1 200.
const MAX_TEXT: usize = 1536;
/// The version whose lengths are one byte.
const VERSION_1: u8 = 1;
/// The version whose lengths are two bytes.
const VERSION_2: u8 = 2;
/// Maximum length of a field in a token of version 1, in bytes.
const SHORT: usize = 128;
const FIXED: usize = 1 + 4 + 8 * 4 + 16 + 1;
const MAC: usize = 32;
/// Flag: the record holds a label or activities that the token does not know.
const DETAILS: u8 = 1;
/// Flags: the kind of seat, if it is not a concurrent one.
const NAMED: u8 = 2;
const OVERDRAFT: u8 = 4;
/// Bytes of the MAC that makes a ticket of an id.
const TICKET_MAC: usize = 16;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The lease.
    pub id: LeaseId,
    /// Its pool.
    pub pool: PoolName,
    /// Generation of the pool's bucket when the token was signed.
    pub generation: u64,
    /// The holder; `None` is anonymous.
    pub holder: Option<Holder>,
    /// The sub-account it belongs to.
    pub tenant: Option<Tenant>,
    /// What operators read next to the holder.
    pub label: Option<Label>,
    /// What the holder runs on.
    pub platform: Option<Platform>,
    /// The lease's fence.
    pub fence: u64,
    /// The kind of seat.
    pub seat: Seat,
    /// When the seat was granted.
    pub started_at: Timestamp,
    /// When the token was signed.
    pub issued_at: Timestamp,
    /// Whether the lease's record knows more than the token: activities, or a newer label.
    pub details: bool,
}

impl Claims {
    /// How much longer the token is good for; zero when it is not.
    pub fn rest(&self, now: Timestamp) -> Duration {
        LIFE.saturating_sub(Duration::from_millis(now.since(self.issued_at)))
    }
}

/// The reason why a string is not a token of ours. Deliberately vague: a forger learns nothing from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Not made by this installation, damaged, or signed with a secret that is not used any more.
    #[error("the token does not verify; acquire a new lease")]
    Forged,
    /// Older than [`LIFE`].
    #[error("the token has expired because newer ones were not kept; acquire a new lease")]
    Stale,
}

/// Signs and verifies tokens.
#[derive(Clone)]
pub struct Tokens {
    /// The first signs; all verify.
    keys: Vec<Key>,
    pseudonyms: Pseudonyms,
}

#[derive(Clone)]
struct Key {
    id: [u8; 4],
    mac: Hmac<Sha256>,
    /// Hides what others keep for us.
    cipher: LessSafeKey,
}

impl Key {
    /// Both are derived from the secret, so that the secret itself signs nothing else by accident.
    fn new(secret: &SecretString) -> Self {
        let derive = |purpose: &[u8]| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
                .expect("HMAC takes a key of any length");
            mac.update(purpose);
            mac.finalize().into_bytes()
        };
        let id = derive(b"leasehold lease token key id 1");
        let key = derive(b"leasehold lease token key 1");
        let cipher = UnboundKey::new(&AES_256_GCM, &derive(b"leasehold encryption key 1"));
        Self {
            id: [id[0], id[1], id[2], id[3]],
            mac: Hmac::new_from_slice(&key).expect("HMAC takes a key of any length"),
            cipher: LessSafeKey::new(cipher.expect("32 bytes")),
        }
    }

    fn seal(&self, text: &str) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(b"seal\0");
        mac.update(text.as_bytes());
        mac
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} keys)", self.keys.len())
    }
}

impl Tokens {
    /// Signs with `secret`, and also verifies what one of `previous` signed.
    pub fn new<'a>(
        secret: &SecretString,
        previous: impl IntoIterator<Item = &'a SecretString>,
    ) -> Self {
        let mut keys = vec![Key::new(secret)];
        keys.extend(previous.into_iter().map(Key::new));
        Self {
            keys,
            pseudonyms: Pseudonyms::new(secret),
        }
    }

    /// What makes names of holders unreadable in pools that keep none, with the same secret.
    pub const fn pseudonyms(&self) -> &Pseudonyms {
        &self.pseudonyms
    }

    /// Signs a string that is not a token: the cookie of a login. Its first character is one that no payload starts with.
    pub fn seal(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.keys[0].seal(text).finalize().into_bytes())
    }

    /// The seals of a string by all secrets, also the former ones, for nodes that have only one of them.
    pub(crate) fn seals(&self, text: &str) -> Vec<String> {
        let macs = self.keys.iter().map(|key| key.seal(text).finalize());
        macs.map(|mac| URL_SAFE_NO_PAD.encode(mac.into_bytes()))
            .collect()
    }

    /// Whether the seal was made here for this text.
    pub fn is_sealed(&self, text: &str, seal: &str) -> bool {
        let Ok(seal) = URL_SAFE_NO_PAD.decode(seal) else {
            return false;
        };
        self.keys
            .iter()
            .any(|key| key.seal(text).verify_slice(&seal).is_ok())
    }

    /// Encrypts a string that somebody else keeps for us, and detects changes. `purpose` keeps a string of one kind from being shown as one
    /// of another kind.
    pub(crate) fn encrypt(&self, purpose: &str, text: &str) -> String {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut hidden = text.as_bytes().to_vec();
        self.keys[0]
            .cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose.as_bytes()),
                &mut hidden,
            )
            .expect("a string is no longer than the cipher takes");
        URL_SAFE_NO_PAD.encode([&nonce[..], &hidden].concat())
    }

    /// The text that was hidden, if that was done here for this purpose.
    pub(crate) fn decrypt(&self, purpose: &str, hidden: &str) -> Option<String> {
        let hidden = URL_SAFE_NO_PAD.decode(hidden).ok()?;
        let (nonce, hidden) = hidden.split_first_chunk::<NONCE_LEN>()?;
        self.keys.iter().find_map(|key| {
            let mut text = hidden.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let aad = Aad::from(purpose.as_bytes());
            let text = key.cipher.open_in_place(nonce, aad, &mut text).ok()?;
            String::from_utf8(text.to_vec()).ok()
        })
    }

    /// Ids of the keys, the one that signs first. They are in every token, and nothing leads from them to the secrets.
    pub fn key_ids(&self) -> impl Iterator<Item = String> {
        self.keys
            .iter()
            .map(|key| format!("{:08x}", u32::from_be_bytes(key.id)))
    }

    /// Something to compare secrets by, of no use to who does not have ours.
    pub fn fingerprint(&self, secret: &SecretString) -> String {
        let text = format!("fingerprint\0{}", secret.expose_secret());
        self.seal(&text).chars().take(12).collect()
    }

    /// The token that says `claims`.
    pub fn sign(&self, claims: &Claims) -> String {
        let key = &self.keys[0];
        let texts = [
            claims.pool.as_str(),
            claims.holder.as_ref().map_or("", Holder::as_str),
            claims.tenant.as_ref().map_or("", Tenant::as_str),
            claims.label.as_ref().map_or("", Label::as_str),
            claims.platform.as_ref().map_or("", Platform::as_str),
        ];
        let is_short = texts.iter().all(|text| text.len() <= SHORT);
        let mut bytes = Vec::with_capacity(192);
        bytes.push(if is_short { VERSION_1 } else { VERSION_2 });
        bytes.extend_from_slice(&key.id);
        for number in [
            claims.generation,
            claims.started_at.0.cast_unsigned(),
            claims.issued_at.0.cast_unsigned(),
            claims.fence,
        ] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(claims.id.as_bytes());
        let details = if claims.details { DETAILS } else { 0 };
        bytes.push(match claims.seat {
            Seat::Concurrent => details,
            Seat::Named => details | NAMED,
            Seat::Overdraft => details | OVERDRAFT,
        });
        for text in texts {
            let length = u16::try_from(text.len()).expect("checked strings have at most 512 bytes");
            let length = length.to_be_bytes();
            bytes.extend_from_slice(&length[usize::from(is_short)..]);
            bytes.extend_from_slice(text.as_bytes());
        }
        let mut mac = key.mac.clone();
        mac.update(&bytes);
        bytes.extend_from_slice(&mac.finalize().into_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The ticket of a place in a pool's queue. Ids of leases are no secrets, and a ticket is worth a token.
    pub fn ticket(&self, pool: &PoolName, id: LeaseId) -> String {
        let mut bytes = [0; 16 + TICKET_MAC];
        bytes[..16].copy_from_slice(id.as_bytes());
        let mac = ticket_mac(&self.keys[0], pool, id).finalize().into_bytes();
        bytes[16..].copy_from_slice(&mac[..TICKET_MAC]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The id behind a ticket of this pool; `None` if it is not one.
    pub fn verify_ticket(&self, pool: &PoolName, text: &str) -> Option<LeaseId> {
        let mut bytes = [0; 16 + TICKET_MAC];
        if text.len() != 43 || URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) != Ok(bytes.len()) {
            return None;
        }
        let (id, mac) = bytes.split_first_chunk::<16>()?;
        let id = LeaseId::from_bytes(*id);
        self.keys
            .iter()
            .any(|key| ticket_mac(key, pool, id).verify_truncated_left(mac).is_ok())
            .then_some(id)
    }

    /// What `text` says, if this installation signed it less than [`LIFE`] before `now`.
    pub fn verify(&self, text: &str, now: Timestamp) -> Result<Claims, Rejected> {
        let mut buffer = [0; MAX_TEXT / 4 * 3 + 3];
        if text.len() > MAX_TEXT {
            return Err(Rejected::Forged);
        }
        let length = URL_SAFE_NO_PAD
            .decode_slice(text, &mut buffer)
            .map_err(|_| Rejected::Forged)?;
        let signed = length
            .checked_sub(MAC)
            .filter(|signed| *signed > FIXED)
            .ok_or(Rejected::Forged)?;
        let (payload, mac) = buffer[..length].split_at(signed);
        let key = self
            .keys
            .iter()
            .find(|key| payload[1..5] == key.id)
            .ok_or(Rejected::Forged)?;
        let mut check = key.mac.clone();
        check.update(payload);
        check.verify_slice(mac).map_err(|_| Rejected::Forged)?;

        let length_bytes = match payload[0] {
            VERSION_1 => 1,
            VERSION_2 => 2,
            _ => return Err(Rejected::Forged),
        };
        let claims = parse(&payload[5..], length_bytes).ok_or(Rejected::Forged)?;
        if claims.rest(now).is_zero() {
            return Err(Rejected::Stale);
        }
        Ok(claims)
    }
}

/// No token begins like this, so that neither can stand for the other.
fn ticket_mac(key: &Key, pool: &PoolName, id: LeaseId) -> Hmac<Sha256> {
    let mut mac = key.mac.clone();
    mac.update(b"ticket");
    mac.update(id.as_bytes());
    mac.update(pool.as_str().as_bytes());
    mac
}

/// Reads what follows version and key id. `None` cannot happen to what [`Tokens::sign`] made.
fn parse(mut rest: &[u8], length_bytes: usize) -> Option<Claims> {
    fn number(rest: &mut &[u8]) -> Option<u64> {
        let (head, tail) = rest.split_first_chunk::<8>()?;
        *rest = tail;
        Some(u64::from_be_bytes(*head))
    }
    fn text<T>(
        rest: &mut &[u8],
        length_bytes: usize,
        read: impl FnOnce(String) -> Result<T, Invalid>,
    ) -> Option<Option<T>> {
        let (length, tail) = rest.split_at_checked(length_bytes)?;
        let length = length
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        let (head, tail) = tail.split_at_checked(length)?;
        *rest = tail;
        if head.is_empty() {
            return Some(None);
        }
        let text = std::str::from_utf8(head).ok()?.to_owned();
        Some(Some(read(text).ok()?))
    }

    let rest = &mut rest;
    let generation = number(rest)?;
    let started_at = Timestamp(number(rest)?.cast_signed());
    let issued_at = Timestamp(number(rest)?.cast_signed());
    let fence = number(rest)?;
    let (id, tail) = rest.split_first_chunk::<16>()?;
    let (flags, tail) = tail.split_first()?;
    *rest = tail;
    Some(Claims {
        id: LeaseId::from_bytes(*id),
        generation,
        fence,
        started_at,
        issued_at,
        details: flags & DETAILS != 0,
        seat: match (flags & NAMED != 0, flags & OVERDRAFT != 0) {
            (true, _) => Seat::Named,
            (_, true) => Seat::Overdraft,
            _ => Seat::Concurrent,
        },
        pool: text(rest, length_bytes, PoolName::try_from)??,
        holder: text(rest, length_bytes, Holder::recorded)?,
        tenant: text(rest, length_bytes, Tenant::recorded)?,
        label: text(rest, length_bytes, Label::recorded)?,
        platform: text(rest, length_bytes, Platform::recorded)?,
    })
}

/// A name for what one caller asked once, the same whenever it asks again: hash of the parts, unambiguous.
pub fn fingerprint(parts: &[&[u8]]) -> LeaseId {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let (head, _) = hash
        .finalize()
        .split_first_chunk::<16>()
        .map(|(head, tail)| (*head, tail.len()))
        .expect("32 bytes");
    LeaseId::from_bytes(head)
}

#[cfg(test)]
mod tests;
