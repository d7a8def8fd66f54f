//! Proofs of leases: signed tokens that others can verify without asking. No HTTP, no Redis.
//!
//! A proof is a JWT with one fixed header: `alg` `EdDSA`, `typ` `leasehold-lease+jwt`, `kid`. It names the holder of a seat at the time
//! it was signed, and the end of the lease. It does not prove that the seat was not taken away since. Unlike a token it gives no right:
//! whoever has it can neither renew nor release.
//!
//! Keys are Ed25519. They come from `signing_key_file`, else from the secrets that sign tokens, so that nodes which share those
//! share these. A kid is the thumbprint of its key (RFC 7638). Deliberately absent: any choice of algorithm, and any key or address
//! of keys in a proof.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::lease::Lease;
use crate::names::{LeaseId, PoolName};
use crate::pool::{Policy, Privacy};
use crate::token::Tokens;

/// How long whoever verifies may keep the keys, in seconds.
pub const MAX_AGE_S: u64 = 300;
/// Maximum length of a proof, in characters; a longer one is not read.
const MAX_TEXT: usize = 8_192;

/// Signs and verifies proofs.
pub struct ProofKeys {
    /// The first signs. The others are published, because they will sign or have signed.
    keys: Vec<Key>,
    /// Whose proofs they are (`iss`).
    issuer: String,
}

struct Key {
    pair: Ed25519KeyPair,
    public: PublicKey,
    /// The header, as it stands in the proof.
    header: String,
}

/// What verifies the proofs of one key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey {
    /// The key as JWKs write it.
    pub x: String,
    /// Its thumbprint.
    pub kid: String,
}

/// A public key as nodes publish it to each other: with seals, so that whoever can write into Redis can publish none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedKey {
    /// The key.
    pub x: String,
    /// One for each secret of the node.
    pub seals: Vec<String>,
}

/// What a proof says of its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The lease.
    pub id: LeaseId,
    /// Its pool.
    pub pool: PoolName,
    /// Its fence.
    pub fence: u64,
}

/// Why a file has no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoKeys(&'static str);

impl PublicKey {
    fn new(x: String) -> Self {
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(canonical));
        Self { x, kid }
    }

    fn verifies(&self, message: &str, signature: &[u8]) -> bool {
        let Ok(x) = URL_SAFE_NO_PAD.decode(&self.x) else {
            return false;
        };
        let key = UnparsedPublicKey::new(&ED25519, x);
        key.verify(message.as_bytes(), signature).is_ok()
    }
}

impl PublishedKey {
    fn text(x: &str) -> String {
        format!("proof key\0{x}")
    }
}

impl Key {
    fn new(pair: Ed25519KeyPair) -> Self {
        let public = PublicKey::new(URL_SAFE_NO_PAD.encode(pair.public_key()));
        let header = format!(
            r#"{{"alg":"EdDSA","typ":"leasehold-lease+jwt","kid":"{}"}}"#,
            public.kid
        );
        Self {
            pair,
            public,
            header: URL_SAFE_NO_PAD.encode(header),
        }
    }

    /// The key that goes with a secret. From this one the secret cannot be worked out.
    fn of_secret(secret: &SecretString) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
            .expect("HMAC takes a key of any length");
        mac.update(b"leasehold lease proof key 1");
        let seed = mac.finalize().into_bytes();
        Self::new(Ed25519KeyPair::from_seed_unchecked(&seed).expect("32 bytes"))
    }
}

impl fmt::Debug for ProofKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProofKeys({} keys)", self.keys.len())
    }
}

/// What a proof says, in the words of JWTs.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    jti: LeaseId,
    iat: i64,
    exp: Seconds,
    lh: LeaseClaims<'a>,
}

/// What only we say.
#[derive(Serialize)]
struct LeaseClaims<'a> {
    pool: &'a PoolName,
    tenant: Option<&'a str>,
    seat: crate::lease::Seat,
    fence: u64,
    #[serde(rename = "gen")]
    generation: u64,
    grace_ms: Option<u64>,
}

/// Milliseconds, written as seconds: a whole number where it is one, so that the end is exact.
struct Seconds(i64);

impl Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 1_000 {
            0 => serializer.serialize_i64(self.0 / 1_000),
            _ => serializer.serialize_f64(self.0 as f64 / 1e3),
        }
    }
}

impl ProofKeys {
    /// The keys that go with these secrets; the first one signs.
    pub fn of_secrets<'a>(
        issuer: String,
        secrets: impl IntoIterator<Item = &'a SecretString>,
    ) -> Self {
        Self {
            keys: secrets.into_iter().map(Key::of_secret).collect(),
            issuer,
        }
    }

    /// The keys of a file with PKCS #8 keys in PEM form, as `openssl genpkey -algorithm ed25519` makes them; the first one signs.
    pub fn of_pem(issuer: String, text: &SecretString) -> Result<Self, NoKeys> {
        const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
        let mut keys = Vec::new();
        for block in text.expose_secret().split(BEGIN).skip(1) {
            let base64 = block.split("-----END").next().unwrap_or_default();
            let base64: String = base64.split_whitespace().collect();
            let der = STANDARD
                .decode(base64)
                .map_err(|_| NoKeys("holds a key that is not in PEM form"))?;
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
                .map_err(|_| NoKeys("holds a key that is not an Ed25519 key"))?;
            keys.push(Key::new(pair));
        }
        if keys.is_empty() {
            return Err(NoKeys("holds no private key in PEM form"));
        }
        Ok(Self { keys, issuer })
    }

    /// Whose proofs these are.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The own public keys, for the other nodes, sealed with the secrets of this one.
    pub fn to_publish(&self, tokens: &Tokens) -> Vec<PublishedKey> {
        let keys = self.keys.iter().map(|key| PublishedKey {
            x: key.public.x.clone(),
            seals: tokens.seals(&PublishedKey::text(&key.public.x)),
        });
        keys.collect()
    }

    /// The public keys of all nodes: the own ones first, then what others published, if that was sealed with a secret of ours.
    pub fn known(&self, published: &[PublishedKey], tokens: &Tokens) -> Vec<PublicKey> {
        let mut known: Vec<PublicKey> = self.keys.iter().map(|key| key.public.clone()).collect();
        for key in published {
            let text = PublishedKey::text(&key.x);
            let is_ours = || key.seals.iter().any(|seal| tokens.is_sealed(&text, seal));
            if known.iter().all(|known| known.x != key.x) && is_ours() {
                known.push(PublicKey::new(key.x.clone()));
            }
        }
        known
    }

    /// A proof of a lease as it is now, in a pool whose policy wants proofs; none in others.
    pub fn prove(&self, lease: &Lease, generation: u64, policy: &Policy) -> Option<String> {
        let proofs = policy.proofs.as_ref()?;
        let claims = Claims {
            iss: &self.issuer,
            aud: proofs.audience.as_deref().unwrap_or(lease.pool.as_str()),
            sub: lease
                .holder
                .as_ref()
                .filter(|_| policy.privacy == Privacy::Named)
                .map(|holder| holder.as_str()),
            jti: lease.id,
            iat: lease.renewed_at.0 / 1_000,
            exp: Seconds(lease.expires_at.0),
            lh: LeaseClaims {
                pool: &lease.pool,
                tenant: lease.tenant.as_ref().map(|tenant| tenant.as_str()),
                seat: lease.seat,
                fence: lease.fence,
                generation,
                grace_ms: policy.outage_limit_ms(),
            },
        };
        let key = &self.keys[0];
        let claims = serde_json::to_vec(&claims).expect("strings and numbers have a JSON form");
        let mut text = format!("{}.{}", key.header, URL_SAFE_NO_PAD.encode(claims));
        let signature = key.pair.sign(text.as_bytes());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        Some(text)
    }

    /// The claims of a proof that one of these keys signed, however old it is.
    pub fn read(known: &[PublicKey], text: &str) -> Option<Proven> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            typ: String,
            kid: String,
        }
        #[derive(Deserialize)]
        struct Said {
            jti: String,
            lh: Lh,
        }
        #[derive(Deserialize)]
        struct Lh {
            pool: PoolName,
            fence: u64,
        }
        if text.len() > MAX_TEXT {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if header.alg != "EdDSA" || header.typ != "leasehold-lease+jwt" {
            return None;
        }
        let key = known.iter().find(|key| key.kid == header.kid)?;
        if !key.verifies(signed, &decode(signature)?) {
            return None;
        }
        let said: Said = serde_json::from_slice(&decode(claims)?).ok()?;
        Some(Proven {
            id: said.jti.parse().ok()?,
            pool: said.lh.pool,
            fence: said.lh.fence,
        })
    }
}

#[cfg(test)]
mod tests;
