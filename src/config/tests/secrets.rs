use super::*;

#[test]
fn a_secret_comes_from_a_file_without_its_line_end() {
    let world = World::new();
    let secret = world.other_file("secret", &format!("{SECRET}\n"));
    let key = world.other_file("key", "a-key-of-16-chars\r\n");
    // Editors of Windows begin a file with the mark of UTF-8.
    let previous = world.other_file("previous", &format!("\u{feff}{SECRET}1\n{SECRET}2\n"));
    let world = world
        .file(&format!("secret_file = '{secret}'"))
        .env("LEASEHOLD_ADMIN_KEY_FILE", &key);
    let world = world.env("LEASEHOLD_PREVIOUS_SECRETS_FILE", &previous);
    let settings = world.settings();
    assert_eq!(settings.secret.expect("a secret").expose_secret(), SECRET);
    assert_eq!(
        settings.admin_key.expect("a key").expose_secret(),
        "a-key-of-16-chars"
    );
    let previous = settings.previous_secrets.iter();
    let previous: Vec<_> = previous.map(|secret| secret.expose_secret()).collect();
    assert_eq!(previous, [format!("{SECRET}1"), format!("{SECRET}2")]);
    assert_eq!(world.origin("secret"), secret);
}

#[test]
fn a_secret_and_its_file_do_not_go_together() {
    let world = World::new();
    let file = world.other_file("secret", SECRET);
    let world = world
        .env("LEASEHOLD_SECRET", SECRET)
        .env("LEASEHOLD_SECRET_FILE", &file);
    world.refused([
        "secret and secret_file",
        "LEASEHOLD_SECRET_FILE",
        "keep one",
    ]);
    World::new()
        .env("LEASEHOLD_SECRET_FILE", "/nowhere/secret")
        .refused(["secret_file", "/nowhere/secret"]);
    let empty = World::new();
    let file = empty.other_file("empty", "\n");
    empty
        .env("LEASEHOLD_ADMIN_KEY_FILE", &file)
        .refused(["admin_key_file", "empty"]);
}

#[test]
fn a_secret_of_digits_is_text() {
    let digits = "12345678901234567890123456789012";
    let settings = World::new().env("LEASEHOLD_SECRET", digits).settings();
    assert_eq!(settings.secret.expect("a secret").expose_secret(), digits);
    let settings = World::new()
        .env("LEASEHOLD_PREVIOUS_SECRETS", &format!("{digits},{SECRET}"))
        .settings();
    assert_eq!(settings.previous_secrets.len(), 2);
}

#[test]
fn short_secrets_are_refused() {
    World::new()
        .env("LEASEHOLD_SECRET", "too short")
        .refused(["secret", "9 characters", "32"]);
    World::new()
        .env("LEASEHOLD_ADMIN_KEY", "fifteen-letters")
        .refused(["admin_key", "15 characters", "16"]);
    World::new()
        .env("LEASEHOLD_ADMIN_KEY", "with spaces in between")
        .refused(["admin_key", "header"]);
    World::new()
        .env("LEASEHOLD_PREVIOUS_SECRETS", "short")
        .refused(["previous_secrets", "32"]);
}

#[test]
fn nothing_secret_is_shown() {
    let world = World::new().env(
        "LEASEHOLD_REDIS_URL",
        "redis://u:hunter2-hunter2@127.0.0.1/0",
    );
    let world = world
        .env("LEASEHOLD_SECRET", SECRET)
        .env("LEASEHOLD_PREVIOUS_SECRETS", SECRET);
    let world = world.env("LEASEHOLD_ADMIN_KEY", "hunter2-hunter2-hunter2");
    let loaded = world.load().expect("loaded");
    let shown = format!(
        "{loaded:?} {:?} {}",
        loaded.rows(),
        world.settings().redis().expect("a Redis")
    );
    assert!(
        !shown.contains("hunter2") && !shown.contains(SECRET),
        "{shown}"
    );
    assert!(shown.contains("(set)"));
}

#[test]
fn an_error_does_not_repeat_a_secret() {
    for text in [
        "secret = 1234567812345678123456781234567812345",
        "secret = 12345678",
        "admin_key = [\"12345678\"]",
        "secret = 12345678-not-quoted",
        "previous_secrets = [12345678]",
        "redis_url = 'hunter://12345678@h'",
    ] {
        let sentence = World::new().file(text).refused([]);
        assert!(!sentence.contains("12345678"), "{sentence}");
    }
}

#[test]
fn what_systemd_hands_over_is_taken_for_what_nobody_set() {
    let world = World::new();
    let admin_key = world.other_file("leasehold_admin_key", "0123456789abcdef\n");
    world.other_file("leasehold_secret", SECRET);
    let directory = world.directory.path().to_str().expect("UTF-8").to_owned();
    let world = world.env("CREDENTIALS_DIRECTORY", &directory).env(
        "LEASEHOLD_SECRET",
        "another-secret-of-at-least-32-characters",
    );
    let settings = world.settings();
    assert!(!settings.is_open());
    assert_eq!(world.origin("admin_key"), admin_key);
    assert_eq!(
        world.origin("admin_key_file"),
        "CREDENTIALS_DIRECTORY in the environment"
    );
    assert_eq!(
        world.origin("secret"),
        "LEASEHOLD_SECRET in the environment"
    );
}
