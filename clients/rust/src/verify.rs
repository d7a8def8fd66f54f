//! Verifies proofs of leases without asking the server.
//!
//! A proof says that somebody had a seat when it was signed, and until when the lease runs. It does not say that the seat was not taken
//! away since: what is dear asks `POST /v1/leases/check`.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

const FRESH: Duration = Duration::from_secs(300);
const REFETCH: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(60);
/// The y of points of small order that are not 0, 1 or -1, in hexadecimal: a signature for one may fit every message.
const SMALL: [&str; 2] = [
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
];

/// The proof proves nothing, and this is why.
#[derive(Clone, Copy, Debug)]
pub struct InvalidProof(&'static str);

impl fmt::Display for InvalidProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidProof {}

/// What a proof says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Proof {
    pub id: String,
    pub pool: String,
    pub holder: Option<String>,
    pub tenant: Option<String>,
    pub fence: u64,
    pub issued_at: SystemTime,
    pub expires_at: SystemTime,
    /// None is without limit, or not told.
    pub grace: Option<Duration>,
}

/// Verifies the proofs of one instance for one audience.
pub struct Verifier {
    issuer: String,
    audience: String,
    leeway: f64,
    url: Option<String>,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    known: HashMap<String, Vec<u8>>,
    fetched: Option<Instant>,
    paused: Option<Instant>,
    failures: u32,
}

impl Verifier {
    /// With the keys that a server publishes: fetched when they are five minutes old, and for an unknown key at most once a minute. Never
    /// from an address in a proof.
    pub fn new(issuer: &str, audience: &str, url: &str) -> Self {
        let url = format!("{}/v1/jwks", url.trim_end_matches('/'));
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            leeway: 5.0,
            url: Some(url),
            keys: Mutex::default(),
        }
    }

    /// With pinned keys: a set of keys as an instance publishes it.
    pub fn pinned(issuer: &str, audience: &str, keys: &Value) -> Self {
        let keys = Keys {
            known: usable(keys).unwrap_or_default(),
            ..Keys::default()
        };
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            leeway: 5.0,
            url: None,
            keys: Mutex::new(keys),
        }
    }

    /// How far clocks may be apart: up to a minute, five seconds without.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway.as_secs_f64().min(60.0);
        self
    }

    /// What a proof says now.
    pub async fn verify(&self, proof: &str) -> Result<Proof, InvalidProof> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        self.verify_at(proof, now.as_secs_f64()).await
    }

    /// What it says at some other time, in seconds since 1970.
    pub async fn verify_at(&self, proof: &str, at: f64) -> Result<Proof, InvalidProof> {
        let parts: Vec<&str> = proof.split('.').collect();
        let &[head, body, signature] = &*parts else {
            return Err(InvalidProof("it has not three parts"));
        };
        must(proof.len() <= 8_192, "it is too long")?;
        let (header, claims, signature) = (object(head)?, object(body)?, decode(signature)?);
        must(
            header["alg"] == "EdDSA" || header["alg"] == "Ed25519",
            "its algorithm is not Ed25519",
        )?;
        must(
            header["typ"] == "leasehold-lease+jwt",
            "it is not a proof of a lease",
        )?;
        let more = ["crit", "jwk", "jku", "x5u", "x5c"]
            .iter()
            .any(|name| header.get(name).is_some());
        must(!more, "its header wants more than a proof may")?;
        let kid = header["kid"]
            .as_str()
            .ok_or(InvalidProof("it names no key"))?;
        let key = self
            .key(kid)
            .await
            .ok_or(InvalidProof("its key is unknown"))?;
        let signed = UnparsedPublicKey::new(&ED25519, key)
            .verify(format!("{head}.{body}").as_bytes(), &signature);
        must(
            signed.is_ok(),
            "its signature is of another key or another text",
        )?;
        must(claims["iss"] == *self.issuer, "it is of another instance")?;
        let ours = |audience: &Value| *audience == *self.audience;
        must(
            ours(&claims["aud"])
                || claims["aud"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(ours)),
            "it is for somebody else",
        )?;
        let instant = |name: &str| {
            claims[name]
                .as_f64()
                .filter(|seconds| (0.0..1e11).contains(seconds))
                .ok_or(InvalidProof("it has no times"))
        };
        let (issued, expires) = (instant("iat")?, instant("exp")?);
        must(issued <= at + self.leeway, "it is of the future")?;
        must(at < expires + self.leeway, "it has expired")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let lease = &claims["lh"];
        let (id, pool, fence) = (
            text(&claims["jti"]),
            text(&lease["pool"]),
            lease["fence"].as_u64(),
        );
        let (Some(id), Some(pool), Some(fence)) = (id, pool, fence) else {
            return Err(InvalidProof("it says nothing of a lease"));
        };
        must(
            claims["sub"].is_null() || claims["sub"].is_string(),
            "its holder is no text",
        )?;
        let time = |seconds: f64| SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds);
        Ok(Proof {
            id,
            pool,
            holder: text(&claims["sub"]),
            tenant: text(&lease["tenant"]),
            fence,
            issued_at: time(issued),
            expires_at: time(expires),
            grace: lease["grace_ms"].as_u64().map(Duration::from_millis),
        })
    }

    async fn key(&self, kid: &str) -> Option<Vec<u8>> {
        let mut keys = self.keys.lock().await;
        let old = |limit: Duration| keys.fetched.is_none_or(|at| at.elapsed() > limit);
        let due = old(FRESH) || (!keys.known.contains_key(kid) && old(REFETCH));
        let paused = keys.paused.is_some_and(|until| Instant::now() < until);
        if let Some(url) = self.url.as_ref().filter(|_| due && !paused) {
            match fetch(url).await {
                Some(known) => {
                    *keys = Keys {
                        known,
                        fetched: Some(Instant::now()),
                        ..Keys::default()
                    }
                }
                None => {
                    // The old ones are good for a while, and no proof waits for a server that is away.
                    keys.paused =
                        Some(Instant::now() + PAUSE.min(Duration::from_secs(1 << keys.failures)));
                    keys.failures = (keys.failures + 1).min(10);
                }
            }
        }
        keys.known.get(kid).cloned()
    }
}

async fn fetch(url: &str) -> Option<HashMap<String, Vec<u8>>> {
    let asked = async {
        let answer = crate::client::http()
            .get(url)
            .send()
            .await
            .ok()?
            .error_for_status()
            .ok()?;
        let mut bytes = Vec::new();
        let mut answer = answer;
        while let Some(chunk) = answer.chunk().await.ok()? {
            bytes.extend_from_slice(&chunk);
            (bytes.len() <= 1 << 20).then_some(())?;
        }
        usable(&serde_json::from_slice(&bytes).ok()?)
    };
    tokio::time::timeout(Duration::from_secs(8), asked)
        .await
        .ok()?
}

fn usable(document: &Value) -> Option<HashMap<String, Vec<u8>>> {
    let mut found: HashMap<String, Option<Vec<u8>>> = HashMap::new();
    for jwk in document["keys"].as_array()? {
        let sig = jwk.get("use").is_none_or(|purpose| purpose == "sig");
        let x = jwk["x"]
            .as_str()
            .and_then(|x| decode(x).ok())
            .filter(|x| x.len() == 32 && !is_small(x));
        if let (true, true, true, Some(x), Some(kid)) = (
            jwk["kty"] == "OKP",
            jwk["crv"] == "Ed25519",
            sig,
            x,
            jwk["kid"].as_str(),
        ) {
            // Two of one name are none.
            found
                .entry(kid.to_owned())
                .and_modify(|key| *key = None)
                .or_insert(Some(x));
        }
    }
    Some(
        found
            .into_iter()
            .filter_map(|(kid, key)| Some((kid, key?)))
            .collect(),
    )
}

fn is_small(x: &[u8]) -> bool {
    let mut y = x.to_vec();
    y[31] &= 0x7f;
    let hex: String = y.iter().map(|byte| format!("{byte:02x}")).collect();
    let near_zero = y[1..].iter().all(|byte| *byte == 0) && y[0] <= 1;
    let near_field =
        y[31] == 0x7f && y[1..31].iter().all(|byte| *byte == 0xff) && (0xec..=0xee).contains(&y[0]);
    near_zero || near_field || SMALL.contains(&&*hex)
}

fn must(right: bool, why: &'static str) -> Result<(), InvalidProof> {
    if right {
        Ok(())
    } else {
        Err(InvalidProof(why))
    }
}

fn decode(text: &str) -> Result<Vec<u8>, InvalidProof> {
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| InvalidProof("it is not base64url without padding"))?;
    must(!bytes.is_empty(), "a part is empty").map(|()| bytes)
}

fn object(part: &str) -> Result<Value, InvalidProof> {
    let bytes = decode(part)?;
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let value = Once
        .deserialize(&mut reader)
        .map_err(|_| InvalidProof("it is no JSON in which each member stands once"))?;
    reader.end().map_err(|_| InvalidProof("it is no JSON"))?;
    must(value.is_object(), "it is no object").map(|()| value)
}

/// JSON in which no member stands twice.
struct Once;

impl<'de> DeserializeSeed<'de> for Once {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = list.next_element_seed(Once)? {
            all.push(value);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if all.insert(name, members.next_value_seed(Once)?).is_some() {
                return Err(de::Error::custom("a member stands there twice"));
            }
        }
        Ok(all.into())
    }
}
