//! What holds for each parser of strangers' text, whatever the text is. The targets of `cargo fuzz` ask with random input, and
//! `tests/it/corpora.rs` with the corpora.

// Each target uses one of them.
#![allow(dead_code, unreachable_pub)]

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use leasehold::access_key::{self, Fingerprint};
use leasehold::alerts::address::Allowed;
use leasehold::config::RedisUrl;
use leasehold::lease::Seat;
use leasehold::names::LeaseId;
use leasehold::time::Timestamp;
use leasehold::token::{Claims, Tokens};
use secrecy::{ExposeSecret as _, SecretString};

/// No text verifies that nobody signed, and no change of one that was signed.
pub fn token(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let tokens = Tokens::new(
        &SecretString::from("the secret of the fuzzers, 32 bytes"),
        [],
    );
    let now = Timestamp(1_764_000_000_000);
    let pool = "crm".parse().expect("a name");
    assert!(tokens.verify(&text, now).is_err(), "{text} verifies");
    assert!(tokens.verify_ticket(&pool, &text).is_none());
    assert!(!tokens.is_sealed("somebody", &text));

    let claims = Claims {
        id: LeaseId::from_bytes([7; 16]),
        pool,
        generation: 1,
        holder: "ann".to_owned().try_into().ok(),
        tenant: None,
        label: None,
        platform: None,
        fence: 9,
        seat: Seat::Concurrent,
        started_at: now,
        issued_at: now,
        details: false,
    };
    let signed = tokens.sign(&claims);
    assert!(tokens.verify(&signed, now).is_ok());
    let mut changed = signed.clone().into_bytes();
    if let [at, byte, ..] = *data {
        let at = usize::from(at) % changed.len();
        changed[at] = byte;
        let changed = String::from_utf8_lossy(&changed);
        assert!(
            changed == signed || tokens.verify(&changed, now).is_err(),
            "{changed} verifies"
        );
    }
}

/// What has the id of a key in it has the form of one, and the id is part of it.
pub fn key(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(id) = access_key::id_in(&text) {
        assert!(text.starts_with(access_key::PREFIX), "{text}");
        assert!(text.contains(id.as_str()), "{text} has no {id:?}");
    }
    let origin = text.parse::<access_key::Origin>();
    if let Ok(origin) = origin {
        let again = origin.as_str().parse::<access_key::Origin>();
        assert!(again.is_ok_and(|again| again.is(origin.as_str())), "{text}");
    }
    assert!(Fingerprint::of(&text) == Fingerprint::of(&text));
}

/// A stranger's word moves nobody's address, and a proxy's word makes an address or nothing. A webhook leads to no address of
/// this machine, however it is spelt.
pub fn address(data: &[u8]) {
    let peer: IpAddr = "192.0.2.1".parse().expect("an address");
    let mut headers = HeaderMap::new();
    for (name, line) in ["x-forwarded-for", "forwarded"]
        .iter()
        .zip(data.split(|byte| *byte == b'\n'))
    {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let nobody = leasehold::http::client_address(&[], peer, &headers);
    assert_eq!(nobody, peer);
    let proxies = ["192.0.2.1/32".parse().expect("a network")];
    let client = leasehold::http::client_address(&proxies, peer, &headers);
    assert_eq!(client, client.to_canonical());

    let text = String::from_utf8_lossy(data);
    let public = Allowed {
        http: true,
        private: false,
        mail: false,
    };
    if let Ok(url) = public.url(&text) {
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = literal.parse::<IpAddr>() {
            let address = address.to_canonical();
            assert!(
                !address.is_loopback() && !address.is_unspecified(),
                "{text}"
            );
        }
        assert!(host != "localhost" && url.password().is_none(), "{text}");
    }
}

/// What is shown of a URL has no password in it, and names as many hosts as there are.
pub fn redis_url(data: &[u8]) {
    const PASSWORD: &str = "zzPASSWORDzz";
    let text = String::from_utf8_lossy(data);
    for text in [text.clone(), text.replacen("secret", PASSWORD, 1).into()] {
        let Ok(url) = text.parse::<RedisUrl>() else {
            continue;
        };
        assert!(text.contains("://"), "{text}");
        // Anywhere else it is part of a name, which is shown.
        let is_password = text.contains(&format!(":{PASSWORD}@"));
        for shown in [url.to_string(), format!("{url:?}")] {
            assert!(!is_password || !shown.contains(PASSWORD), "{shown}");
        }
        let _ = (url.as_single().expose_secret().len(), url.is_local());
    }
}
