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
        seat_requested: None,
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
