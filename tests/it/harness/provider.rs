//! A provider of single sign-on (OpenID Connect) that logs anybody in at once, and can be wrong in every way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::receiver::axum_serve;

pub(crate) const CLIENT: &str = "leasehold";
pub(crate) const CLIENT_SECRET: &str = "s3cret of the client: with / signs";

/// What is wrong with the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The ID token is of another login.
    Nonce,
    /// It has no nonce.
    NoNonce,
    /// It is of another issuer.
    Issuer,
    /// It is for another client.
    Audience,
    /// It is for several, and was made for another.
    Party,
    /// It is for several, and does not say for which it was made.
    NoParty,
    /// It ended two minutes ago.
    Expired,
    /// It begins in two minutes.
    Early,
    /// It ended half a minute ago, and was made half a minute from now: clocks differ.
    Skewed,
    /// It is not signed.
    Unsigned,
    /// It is signed with the secret of the client.
    SharedSecret,
    /// It is signed with the public key, taken for a secret.
    PublicKeyAsSecret,
    /// It was changed after it was signed.
    Changed,
    /// Another key has signed it, under the name of the right one.
    ForeignKey,
    /// Its key is not among those that are published.
    UnknownKey,
    /// It names nobody.
    Nobody,
    /// The answer names another issuer.
    AnswerOfAnother,
    /// The answer names no issuer.
    AnswerOfNobody,
    /// The code is not taken.
    CodeRefused,
    /// The person said no.
    Denied,
    /// The userinfo is of another person.
    OtherUser,
    /// The groups do not fit.
    TooManyGroups,
    /// The token endpoint leads elsewhere.
    Redirects,
    /// The discovery document is of another issuer.
    OtherDocument,
    /// It answers after longer than anybody waits.
    Hangs,
}

/// Keys that sign.
struct Keys {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

struct Shared {
    issuer: String,
    keys: Keys,
    /// Others, which nobody publishes.
    foreign: Ed25519KeyPair,
    state: Mutex<Changing>,
}

struct Changing {
    fault: Fault,
    algorithm: &'static str,
    claims: Value,
    userinfo: Value,

    /// What each code is good for: nonce, challenge and the address to which it was sent.
    codes: HashMap<String, [String; 3]>,
    /// Paths that were asked for.
    asked: Vec<String>,
}

/// The provider; it ends with its value.
pub(crate) struct Provider {
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs().cast_signed()
}

fn rsa() -> RsaKeyPair {
    let made = std::process::Command::new("openssl")
        .args([
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-outform",
            "DER",
        ])
        .output()
        .expect("openssl is needed to make a key");
    // Which of the two forms it writes depends on the version.
    let key = RsaKeyPair::from_pkcs8(&made.stdout);
    key.or_else(|_| RsaKeyPair::from_der(&made.stdout))
        .expect("a key of RSA")
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let random = SystemRandom::new();
        let ec =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let ed = || {
            let key = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
            Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("a key")
        };
        let shared = Arc::new(Shared {
            issuer: format!("http://127.0.0.1:{port}/realms/ops"),
            keys: Keys {
                rsa: rsa(),
                ec: EcdsaKeyPair::from_pkcs8(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    ec.as_ref(),
                    &random,
                )
                .expect("a key"),
                ed: ed(),
            },
            foreign: ed(),
            state: Mutex::new(Changing {
                fault: Fault::None,
                algorithm: "RS256",
                claims: json!({}),
                userinfo: json!({}),

                codes: HashMap::new(),
                asked: Vec::new(),
            }),
        });
        let router = Router::new()
            .route(
                "/realms/ops/.well-known/openid-configuration",
                get(discovery),
            )
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/keys", get(keys))
            .route("/userinfo", get(userinfo))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(axum_serve(listener, router));
        Self { shared, server }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.shared.issuer
    }

    /// Logs in somebody with these claims from now on.
    pub(crate) fn person(&self, claims: Value) {
        self.change(|state| state.claims = claims);
    }

    /// Answers this to questions for more.
    pub(crate) fn userinfo(&self, claims: Value) {
        self.change(|state| state.userinfo = claims);
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.change(|state| state.fault = fault);
    }

    /// Signs with this from now on.
    pub(crate) fn algorithm(&self, algorithm: &'static str) {
        self.change(|state| state.algorithm = algorithm);
    }

    /// How often this path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let state = self.shared.state.lock().expect("no panic while held");
        state.asked.iter().filter(|asked| *asked == path).count()
    }

    fn change(&self, change: impl FnOnce(&mut Changing)) {
        change(&mut self.shared.state.lock().expect("no panic while held"));
    }

    /// A log-out token with these claims besides the usual ones.
    pub(crate) fn logout_token(&self, more: Value) -> String {
        let mut claims = json!({
            "iss": self.issuer(),
            "aud": CLIENT,
            "iat": now(),
            "exp": now() + 120,
            "jti": URL_SAFE_NO_PAD.encode(ring_random()),
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        merge(&mut claims, more);
        self.shared.sign(&claims)
    }

    /// Where a browser is led from the provider: the address with the answer.
    pub(crate) async fn log_in(&self, address: &str) -> String {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client without TLS");
        let answer = http
            .get(address)
            .send()
            .await
            .expect("the provider answers");
        assert_eq!(answer.status(), 302, "{address}");
        answer.headers()["location"]
            .to_str()
            .expect("an address")
            .to_owned()
    }
}

fn ring_random() -> [u8; 16] {
    rand::random()
}

/// Puts fields in; null takes one out.
fn merge(into: &mut Value, more: Value) {
    let into = into.as_object_mut().expect("an object");
    let Value::Object(more) = more else {
        panic!("no object: {more}");
    };
    for (name, value) in more {
        if value.is_null() {
            into.remove(&name);
        } else {
            into.insert(name, value);
        }
    }
}

impl Shared {
    fn ask(&self, path: &str) -> Fault {
        let mut state = self.state.lock().expect("no panic while held");
        state.asked.push(path.to_owned());
        state.fault
    }

    fn kid(algorithm: &str) -> String {
        format!("{algorithm}-of-today")
    }

    /// A token, signed as the fault of today wants it.
    fn sign(&self, claims: &Value) -> String {
        let (fault, algorithm) = {
            let state = self.state.lock().expect("no panic while held");
            (state.fault, state.algorithm)
        };
        let (alg, kid) = match fault {
            Fault::Unsigned => ("none", None),
            Fault::SharedSecret | Fault::PublicKeyAsSecret => ("HS256", Some(Self::kid(algorithm))),
            Fault::ForeignKey => ("EdDSA", Some(Self::kid("EdDSA"))),
            Fault::UnknownKey => ("EdDSA", Some("nobody-1".to_owned())),
            _ => (algorithm, Some(Self::kid(algorithm))),
        };
        let header = json!({"alg": alg, "typ": "JWT", "kid": kid});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let message = signed.as_bytes();
        let hmac = |key: &[u8]| {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
            ring::hmac::sign(&key, message).as_ref().to_vec()
        };
        let random = SystemRandom::new();
        let signature = match fault {
            Fault::Unsigned => Vec::new(),
            Fault::SharedSecret => hmac(CLIENT_SECRET.as_bytes()),
            Fault::PublicKeyAsSecret => hmac(self.keys.rsa.public().as_ref()),
            Fault::ForeignKey | Fault::UnknownKey => self.foreign.sign(message).as_ref().to_vec(),
            _ => match alg {
                "RS256" => {
                    let mut signature = vec![0; self.keys.rsa.public().modulus_len()];
                    self.keys
                        .rsa
                        .sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                        .expect("it signs");
                    signature
                }
                "ES256" => self
                    .keys
                    .ec
                    .sign(&random, message)
                    .expect("it signs")
                    .as_ref()
                    .to_vec(),
                _ => self.keys.ed.sign(message).as_ref().to_vec(),
            },
        };
        let mut claims = claims.clone();
        if fault == Fault::Changed {
            claims["email"] = json!("mallory@desk.example");
        }
        let signed = format!("{}.{}", part(&header), part(&claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

type Query = HashMap<String, String>;

fn fields(text: &[u8]) -> Query {
    form_urlencoded::parse(text).into_owned().collect()
}

async fn discovery(State(shared): State<Arc<Shared>>) -> Response {
    let fault = shared.ask("/discovery");
    if fault == Fault::Hangs {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let base = shared.issuer.trim_end_matches("/realms/ops");
    let issuer = match fault {
        Fault::OtherDocument => format!("{}/", shared.issuer),
        _ => shared.issuer.clone(),
    };
    let document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{base}/authorize?realm=ops"),
        "token_endpoint": format!("{base}/token"),
        "jwks_uri": format!("{base}/keys"),
        "userinfo_endpoint": format!("{base}/userinfo"),
        "end_session_endpoint": format!("{base}/end"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "code_challenge_methods_supported": ["plain", "S256"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
        "authorization_response_iss_parameter_supported": true,
    });
    axum::Json(document).into_response()
}

async fn authorize(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let fault = shared.ask("/authorize");
    let query = fields(query.unwrap_or_default().as_bytes());
    for (name, value) in [
        ("realm", "ops"),
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(query[name], value, "{query:?}");
    }
    assert!(query["scope"].starts_with("openid"), "{query:?}");
    let code = URL_SAFE_NO_PAD.encode(ring_random());
    let kept = ["nonce", "code_challenge", "redirect_uri"].map(|name| query[name].clone());
    let mut answer = form_urlencoded::Serializer::new(String::new());
    answer.append_pair("state", &query["state"]);
    match fault {
        Fault::Denied => {
            answer
                .append_pair("error", "access_denied")
                .append_pair("error_description", "<b>not today</b>");
        }
        _ => {
            answer.append_pair("code", &code);
        }
    }
    match fault {
        Fault::AnswerOfNobody => {}
        Fault::AnswerOfAnother => {
            answer.append_pair("iss", "https://other.example");
        }
        _ => {
            answer.append_pair("iss", &shared.issuer);
        }
    }
    let location = format!("{}?{}", kept[2], answer.finish());
    shared
        .state
        .lock()
        .expect("no panic while held")
        .codes
        .insert(code, kept);
    (StatusCode::FOUND, [("location", location)]).into_response()
}

async fn token(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let fault = shared.ask("/token");
    if fault == Fault::Redirects {
        let elsewhere = format!("{}/elsewhere", shared.issuer);
        return (StatusCode::TEMPORARY_REDIRECT, [("location", elsewhere)]).into_response();
    }
    let refused = |why: &str| {
        let body = axum::Json(json!({"error": "invalid_grant", "error_description": why}));
        (StatusCode::BAD_REQUEST, body).into_response()
    };
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let basic = STANDARD.encode(format!("{CLIENT}:{}", encoded(CLIENT_SECRET)));
    if headers
        .get("authorization")
        .is_none_or(|shown| *shown != format!("Basic {basic}"))
    {
        return refused("the client is not who it says");
    }
    let form = fields(&body);
    let kept = {
        let mut state = shared.state.lock().expect("no panic while held");
        state.codes.remove(&form["code"])
    };
    let Some([nonce, challenge, redirect_uri]) = kept.filter(|_| fault != Fault::CodeRefused)
    else {
        return refused("no such code");
    };
    let shown = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
    if shown != challenge
        || form["redirect_uri"] != redirect_uri
        || form["grant_type"] != "authorization_code"
    {
        return refused("not of this login");
    }
    let mut claims = json!({
        "iss": shared.issuer, "aud": CLIENT, "nonce": nonce, "iat": now(), "exp": now() + 300, "sub": "u-1",
    });
    merge(
        &mut claims,
        shared
            .state
            .lock()
            .expect("no panic while held")
            .claims
            .clone(),
    );
    let changes = match fault {
        Fault::Nonce => json!({"nonce": "another"}),
        Fault::NoNonce => json!({"nonce": null}),
        Fault::Issuer => json!({"iss": "https://other.example"}),
        Fault::Audience => json!({"aud": ["another"]}),
        Fault::Party => json!({"aud": [CLIENT, "another"], "azp": "another"}),
        Fault::NoParty => json!({"aud": [CLIENT, "another"]}),
        Fault::Expired => json!({"iat": now() - 420, "exp": now() - 120}),
        Fault::Early => json!({"iat": now() + 120, "exp": now() + 420}),
        Fault::Skewed => json!({"iat": now() + 30, "nbf": now() + 30, "exp": now() - 30}),
        Fault::Nobody => json!({"sub": null}),
        Fault::TooManyGroups => json!({
            "groups": null,
            "_claim_names": {"groups": "src1"},
            "_claim_sources": {"src1": {"endpoint": "https://graph.example/"}},
        }),
        _ => json!({}),
    };
    merge(&mut claims, changes);
    let answer = json!({
        "access_token": "of-this-login", "token_type": "Bearer", "expires_in": 300, "id_token": shared.sign(&claims),
    });
    axum::Json(answer).into_response()
}

async fn keys(State(shared): State<Arc<Shared>>) -> Response {
    shared.ask("/keys");
    let Keys { rsa, ec, ed } = &shared.keys;
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let parts = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(rsa.public());
    let point = ec.public_key().as_ref();
    let set = json!({"keys": [
        // What nobody here can read hides none of the others.
        {"kty": "FUTURE", "kid": "x"},
        {"kty": "oct", "kid": "secret", "k": text(b"0123456789")},
        {"kty": "RSA", "use": "enc", "kid": Shared::kid("RS256"), "n": text(&parts.n), "e": text(&parts.e)},
        {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": Shared::kid("RS256"), "n": text(&parts.n), "e": text(&parts.e)},
        {"kty": "EC", "crv": "P-256", "use": "sig", "kid": Shared::kid("ES256"), "x": text(&point[1..33]), "y": text(&point[33..])},
        {"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": Shared::kid("EdDSA"), "x": text(ed.public_key().as_ref())},
    ]});
    axum::Json(set).into_response()
}

async fn userinfo(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let fault = shared.ask("/userinfo");
    if headers
        .get("authorization")
        .is_none_or(|shown| shown != "Bearer of-this-login")
    {
        return (StatusCode::UNAUTHORIZED, axum::Json(json!({}))).into_response();
    }
    let mut claims = json!({"sub": if fault == Fault::OtherUser { "u-2" } else { "u-1" }});
    merge(
        &mut claims,
        shared
            .state
            .lock()
            .expect("no panic while held")
            .userinfo
            .clone(),
    );
    axum::Json(claims).into_response()
}
