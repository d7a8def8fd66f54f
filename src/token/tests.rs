use super::*;

fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

fn claims() -> Claims {
    Claims {
        id: LeaseId::random(),
        pool: "crm".parse().unwrap(),
        generation: 1_795_000_000_000,
        holder: Some("agent-7".to_owned().try_into().unwrap()),
        tenant: None,
        label: Some("Ämtli".to_owned().try_into().unwrap()),
        platform: None,
        fence: 1_795_000_000_000_001,
        started_at: Timestamp(1_795_000_000_100),
        issued_at: Timestamp(1_795_000_000_200),
        seat: Seat::Named,
        details: true,
    }
}

const NOW: Timestamp = Timestamp(1_795_000_001_000);

#[test]
fn what_was_signed_is_what_verifies() {
    let tokens = Tokens::new(&secret("one"), []);
    let claims = claims();
    assert_eq!(tokens.verify(&tokens.sign(&claims), NOW), Ok(claims));
}

#[test]
fn only_a_long_text_takes_a_token_that_nodes_of_the_last_version_refuse() {
    let tokens = Tokens::new(&secret("one"), []);
    let with_holder = |length| {
        let mut claims = claims();
        claims.holder = Some("x".repeat(length).try_into().unwrap());
        let text = tokens.sign(&claims);
        assert_eq!(tokens.verify(&text, NOW), Ok(claims), "{length}");
        URL_SAFE_NO_PAD.decode(text).unwrap()[0]
    };
    assert_eq!(with_holder(1), 1);
    assert_eq!(with_holder(128), 1);
    assert_eq!(with_holder(129), 2);
    assert_eq!(with_holder(Holder::MAX), 2);
}

#[test]
fn the_longest_texts_fit() {
    let tokens = Tokens::new(&secret("one"), []);
    let mut claims = claims();
    claims.pool = "p".repeat(64).parse().unwrap();
    claims.holder = Some("h".repeat(Holder::MAX).try_into().unwrap());
    claims.tenant = Some("t".repeat(Tenant::MAX).try_into().unwrap());
    claims.label = Some("l".repeat(Label::MAX).try_into().unwrap());
    claims.platform = Some("p".repeat(Platform::MAX).try_into().unwrap());
    assert_eq!(tokens.verify(&tokens.sign(&claims), NOW), Ok(claims));
}

#[test]
fn a_field_behind_the_texts_is_passed_over() {
    let tokens = Tokens::new(&secret("one"), []);
    for length in [7, 300] {
        let mut claims = claims();
        claims.holder = Some("x".repeat(length).try_into().unwrap());
        let mut bytes = URL_SAFE_NO_PAD.decode(tokens.sign(&claims)).unwrap();
        bytes.truncate(bytes.len() - MAC);
        bytes.extend_from_slice(b"a later field");
        let mut mac = tokens.keys[0].mac.clone();
        mac.update(&bytes);
        bytes.extend_from_slice(&mac.finalize().into_bytes());
        let text = URL_SAFE_NO_PAD.encode(bytes);
        assert_eq!(tokens.verify(&text, NOW), Ok(claims));
    }
}

#[test]
fn every_changed_character_is_noticed() {
    let tokens = Tokens::new(&secret("one"), []);
    let text = tokens.sign(&claims());
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        // The last character carries bits that are not part of a byte; those must be zero.
        assert_eq!(
            tokens.verify(&changed, NOW),
            Err(Rejected::Forged),
            "at {at}"
        );
    }
    for length in 0..text.len() {
        assert_eq!(
            tokens.verify(&text[..length], NOW),
            Err(Rejected::Forged),
            "cut to {length}"
        );
    }
}

#[test]
fn a_rotated_secret_still_verifies_and_a_foreign_one_does_not() {
    let (old, new) = (secret("old"), secret("new"));
    let text = Tokens::new(&old, []).sign(&claims());
    assert!(Tokens::new(&new, [&old]).verify(&text, NOW).is_ok());
    assert_eq!(
        Tokens::new(&new, []).verify(&text, NOW),
        Err(Rejected::Forged)
    );
}

#[test]
fn a_token_ends_after_its_life() {
    let tokens = Tokens::new(&secret("one"), []);
    let claims = claims();
    let end = claims.issued_at.0 + i64::try_from(LIFE.as_millis()).unwrap();
    let text = tokens.sign(&claims);
    assert!(tokens.verify(&text, Timestamp(end - 1)).is_ok());
    assert_eq!(tokens.verify(&text, Timestamp(end)), Err(Rejected::Stale));
}

#[test]
fn a_ticket_is_of_one_pool_and_cannot_be_made_of_an_id() {
    let tokens = Tokens::new(&secret("one"), []);
    let (crm, erp) = ("crm".parse().unwrap(), "erp".parse().unwrap());
    let id = LeaseId::random();
    let ticket = tokens.ticket(&crm, id);
    assert_eq!(tokens.verify_ticket(&crm, &ticket), Some(id));
    assert_eq!(tokens.verify_ticket(&erp, &ticket), None);
    assert_eq!(
        Tokens::new(&secret("two"), []).verify_ticket(&crm, &ticket),
        None
    );
    assert_eq!(tokens.verify_ticket(&crm, &id.to_string()), None);
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(
        format!("{:?}", Tokens::new(&secret("one"), [])),
        "Tokens(1 keys)"
    );
}
