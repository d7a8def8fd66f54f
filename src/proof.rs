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
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::lease::Seat;
    use crate::names::Activities;
    use crate::pool::Proofs;
    use crate::time::Timestamp;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    fn keys(secrets: &[&str]) -> ProofKeys {
        let secrets: Vec<SecretString> = secrets.iter().map(|text| secret(text)).collect();
        ProofKeys::of_secrets("https://seats.example".to_owned(), &secrets)
    }

    fn policy() -> Policy {
        Policy {
            proofs: Some(Proofs::default()),
            ..Policy::with_capacity(1)
        }
    }

    fn lease(expires_at: i64) -> Lease {
        Lease {
            id: LeaseId::from_bytes([7; 16]),
            pool: "crm".parse().unwrap(),
            holder: Some("ann".to_owned().try_into().unwrap()),
            tenant: None,
            label: None,
            activities: Activities::default(),
            platform: None,
            seat: Seat::Concurrent,
            fence: 1_795_000_000_000_000,
            started_at: Timestamp(1_795_953_600_000),
            renewed_at: Timestamp(1_795_953_600_900),
            expires_at: Timestamp(expires_at),
            expires_in: Duration::from_secs(60),
            active_at: None,
            ends: None,
            ttl: Duration::from_secs(60),
        }
    }

    fn claims(proof: &str) -> Value {
        let part = proof.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn a_proof_says_the_end_of_the_lease_exactly_and_no_holder_where_there_is_privacy() {
        let keys = keys(&["one"]);
        let proof = keys.prove(&lease(1_795_953_660_900), 1, &policy()).unwrap();
        assert_eq!(
            claims(&proof),
            json!({"iss": "https://seats.example", "aud": "crm", "sub": "ann", "jti": "BwcHBwcHBwcHBwcHBwcHBw",
                "iat": 1_795_953_600, "exp": 1_795_953_660.9, "lh": {"pool": "crm", "tenant": null, "seat": "concurrent",
                "fence": 1_795_000_000_000_000_u64, "gen": 1, "grace_ms": 600_000}})
        );
        let whole = keys.prove(&lease(1_795_953_660_000), 1, &policy()).unwrap();
        assert_eq!(claims(&whole)["exp"], json!(1_795_953_660));
        let private = Policy {
            privacy: Privacy::Pseudonymous,
            ..policy()
        };
        let proof = keys.prove(&lease(1_795_953_660_900), 1, &private).unwrap();
        assert!(claims(&proof).get("sub").is_none());
        assert_eq!(
            keys.prove(&lease(1), 1, &Policy::with_capacity(1)),
            None,
            "a pool without proofs"
        );
    }

    #[test]
    fn only_what_was_signed_here_is_read_and_each_changed_character_is_noticed() {
        let (ours, tokens) = (keys(&["one"]), Tokens::new(&secret("one"), []));
        let known = ours.known(&[], &tokens);
        let proof = ours.prove(&lease(1_795_953_660_900), 1, &policy()).unwrap();
        let proven = ProofKeys::read(&known, &proof).unwrap();
        assert_eq!(proven.id, LeaseId::from_bytes([7; 16]));
        assert_eq!(
            (proven.pool.as_str(), proven.fence),
            ("crm", 1_795_000_000_000_000)
        );
        for at in 0..proof.len() {
            let mut changed = proof.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(ProofKeys::read(&known, &changed), None, "at {at}");
        }
        let foreign = keys(&["two"]).prove(&lease(1), 1, &policy()).unwrap();
        assert_eq!(ProofKeys::read(&known, &foreign), None);
    }

    #[test]
    fn while_a_secret_is_rotated_every_node_knows_the_keys_of_all() {
        let (old, new) = (keys(&["old"]), keys(&["new", "old"]));
        let old_tokens = Tokens::new(&secret("old"), []);
        let new_tokens = Tokens::new(&secret("new"), [&secret("old")]);
        // A node that has only the old secret publishes the key to come.
        let published = new.to_publish(&new_tokens);
        let at_old: Vec<String> = old
            .known(&published, &old_tokens)
            .into_iter()
            .map(|key| key.kid)
            .collect();
        assert_eq!(at_old.len(), 2);
        assert_eq!(at_old[0], new.keys[1].public.kid);
        assert_eq!(at_old[1], new.keys[0].public.kid);
        // Who can write into Redis and has no secret publishes nothing.
        let foreign = keys(&["foreign"]).to_publish(&Tokens::new(&secret("foreign"), []));
        assert_eq!(old.known(&foreign, &old_tokens).len(), 1);
    }

    #[test]
    fn keys_come_from_a_file_as_openssl_writes_it() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let keys = ProofKeys::of_pem("x".to_owned(), &secret(&pem.repeat(2))).unwrap();
        assert_eq!(keys.keys.len(), 2);
        // RFC 8410, section 10: the private key and the public one.
        assert_eq!(
            STANDARD.encode(keys.keys[0].pair.public_key()),
            "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
        );
        for text in [
            "",
            "nonsense",
            "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----",
        ] {
            assert!(
                ProofKeys::of_pem("x".to_owned(), &secret(text)).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_kid_is_the_thumbprint_of_its_key() {
        // RFC 8037, appendix A.3.
        let key = PublicKey::new("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned());
        assert_eq!(key.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", keys(&["one"])), "ProofKeys(1 keys)");
    }
}
