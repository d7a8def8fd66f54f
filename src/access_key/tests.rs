use super::*;

#[test]
fn a_text_names_its_key_and_any_change_of_it_none() {
    let id = KeyId::random();
    for role in Role::ALL {
        let text = AccessKey::text(role, &id);
        let text = text.expose_secret();
        assert_eq!(id_in(text), Some(id.clone()), "{text}");
        for at in 0..text.len() {
            let mut damaged = text.as_bytes().to_vec();
            damaged[at] = if damaged[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(id_in(std::str::from_utf8(&damaged).unwrap()), None);
        }
        assert_eq!(id_in(&text[1..]), None);
        assert_eq!(id_in(&format!("{text}0")), None);
    }
    assert_eq!(id_in(""), None);
    assert_eq!(id_in("lh_client_é"), None);
}

#[test]
fn texts_do_not_repeat() {
    let id = KeyId::random();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..10_000 {
        assert!(
            seen.insert(
                AccessKey::text(Role::Client, &id)
                    .expose_secret()
                    .to_owned()
            )
        );
    }
}

#[test]
fn an_origin_is_what_browsers_send() {
    for (text, kept) in [
        ("https://crm.example", "https://crm.example"),
        ("HTTPS://CRM.Example", "https://crm.example"),
        ("https://crm.example:443", "https://crm.example"),
        ("http://crm.example:8080", "http://crm.example:8080"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("null", "null"),
        ("file://", "file://"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("tauri://localhost", "tauri://localhost"),
        ("app://crm", "app://crm"),
        (
            "chrome-extension://gighmmpiobklfepjocnamgkkbiglidom",
            "chrome-extension://gighmmpiobklfepjocnamgkkbiglidom",
        ),
        (
            "moz-extension://6f1f0c1e-5a8b-4d2c-9f60-2b1c7a9e2d11",
            "moz-extension://6f1f0c1e-5a8b-4d2c-9f60-2b1c7a9e2d11",
        ),
    ] {
        assert_eq!(text.parse::<Origin>().unwrap().as_str(), kept);
    }
    for text in [
        "",
        "nul",
        "capacitor://",
        "app://a/b",
        "javascript://x",
        "wss://crm.example",
        "*",
        "crm.example",
        "https://",
        "https://*.crm.example",
        "https://crm.example/",
        "https://crm.example/page",
        "https://crm.example.",
        "https://user@crm.example",
        "https://crm.example:",
        "https://crm.example:0",
        "https://crm.example:99999",
        "https://crm.example?x",
        "https://crm .example",
        "https://münchen.example",
        "ftp://crm.example",
        "file:///home",
        "https://[::1",
        "https://[::1]x",
        "https://[crm]",
    ] {
        assert!(text.parse::<Origin>().is_err(), "{text}");
    }
}

#[test]
fn a_rolled_key_is_good_twice_and_then_once() {
    let id = KeyId::random();
    let first = AccessKey::text(Role::Viewer, &id);
    let mut key = AccessKey {
        id: id.clone(),
        name: Label::try_from("one".to_owned()).unwrap(),
        role: Role::Viewer,
        pools: vec![],
        tenants: vec![],
        tenant: None,
        origins: vec![],
        limits: Limits::default(),
        burst: None,
        created_at_ms: 0,
        expires_at_ms: None,
        fingerprint: Fingerprint::of(first.expose_secret()),
        former: None,
    };
    let second = key.roll(Timestamp(1_000));
    let stored: AccessKey = serde_json::from_str(&serde_json::to_string(&key).unwrap()).unwrap();
    assert_eq!(stored, key);
    let ring = Keyring {
        revision: 1,
        keys: HashMap::from([(id.clone(), Arc::new(key))]),
    };
    for (text, at, good) in [
        (&first, 999, true),
        (&second, 999, true),
        (&first, 1_000, false),
        (&second, 1_000, true),
    ] {
        assert_eq!(
            ring.verify(&id, &Fingerprint::of(text.expose_secret()), Timestamp(at))
                .is_some(),
            good
        );
    }
}
