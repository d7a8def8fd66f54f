mod secrets;

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args as _, Command, FromArgMatches as _};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A directory, an environment and a command line, which are all that settings come from.
struct World {
    directory: TempDir,
    env: Vec<(OsString, OsString)>,
    flags: Vec<String>,
}

impl World {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            env: Vec::new(),
            flags: vec!["serve".into()],
        }
    }

    fn file(self, text: &str) -> Self {
        self.other_file("leasehold.toml", text);
        self
    }

    fn other_file(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn flags<const N: usize>(mut self, flags: [&str; N]) -> Self {
        self.flags.extend(flags.map(str::to_owned));
        self
    }

    fn load(&self) -> Result<Loaded, WrongSetting> {
        let matches = Flags::augment_args(Command::new("serve"))
            .try_get_matches_from(&self.flags)
            .expect("flags");
        let flags = Flags::from_arg_matches(&matches).expect("flags");
        Settings::load(&flags, self.env.clone(), self.directory.path())
    }

    fn settings(&self) -> Settings {
        match self.load().and_then(Loaded::check) {
            Ok(settings) => settings,
            Err(wrong) => panic!("{wrong}"),
        }
    }

    /// The sentence of the refusal, which has each of these words.
    fn refused<const N: usize>(&self, words: [&str; N]) -> String {
        let sentence = self
            .load()
            .and_then(Loaded::check)
            .expect_err("refused")
            .to_string();
        for word in words {
            assert!(sentence.contains(word), "{word} is not in: {sentence}");
        }
        sentence
    }

    fn origin(&self, setting: &str) -> String {
        let rows = self.load().expect("loaded").rows();
        rows.into_iter()
            .find(|row| row.setting == setting)
            .expect("a row")
            .origin
    }
}

#[test]
fn without_anything_the_defaults_hold() {
    let settings = World::new().settings();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:7070");
    assert_eq!(settings.data_dir, Path::new("./leasehold-data"));
    assert_eq!(settings.log_format, LogFormat::Text);
    assert_eq!(settings.drain_wait(), Duration::from_secs(5));
    assert_eq!(settings.max_connections, 10_000);
    assert_eq!(settings.redis_connections, 8);
    assert_eq!(settings.redis_timeout(), Duration::from_millis(500));
    assert_eq!(settings.sweep_every(), Duration::from_secs(1));
    assert!(settings.is_open() && settings.redis().is_none() && settings.pools.is_empty());
}

#[test]
fn the_command_line_wins_over_the_environment_over_the_file() {
    let world =
        World::new().file("drain_wait_ms = 1\nredis_timeout_ms = 101\nsweep_every_ms = 201");
    let world = world
        .env("LEASEHOLD_DRAIN_WAIT_MS", "2")
        .env("LEASEHOLD_REDIS_TIMEOUT_MS", "102");
    let world = world.flags(["--drain-wait-ms", "3"]);
    let settings = world.settings();
    assert_eq!(
        (
            settings.drain_wait_ms,
            settings.redis_timeout_ms,
            settings.sweep_every_ms
        ),
        (3, 102, 201)
    );
    assert_eq!(world.origin("drain_wait_ms"), "--drain-wait-ms");
    assert_eq!(
        world.origin("redis_timeout_ms"),
        "LEASEHOLD_REDIS_TIMEOUT_MS in the environment"
    );
    assert_eq!(world.origin("sweep_every_ms"), "leasehold.toml");
    assert_eq!(world.origin("listen"), "default");
}

#[test]
fn a_flag_that_repeats_the_default_still_wins() {
    let world = World::new()
        .env("LEASEHOLD_LOG", "debug")
        .flags(["--log", "info"]);
    assert_eq!(world.settings().log, "info");
}

#[test]
fn unknown_names_are_refused_wherever_they_stand() {
    World::new()
        .file("lissten = '127.0.0.1:1'")
        .refused(["lissten", "leasehold.toml", "listen"]);
    World::new()
        .env("LEASEHOLD_FOO", "1")
        .refused(["LEASEHOLD_FOO", "LEASEHOLD_LISTEN"]);
    World::new()
        .env("LEASEHOLD_listen", "127.0.0.1:1")
        .refused(["LEASEHOLD_listen"]);
    World::new()
        .file("[pools.crm]\ncapacity = 5\nttl = 1")
        .refused(["pools.crm.ttl", "leasehold.toml", "ttl_ms"]);
    World::new()
        .env("LEASEHOLD_POOLS", r#"{"crm": {"capacity": 5, "ttl": 1}}"#)
        .refused(["ttl", "LEASEHOLD_POOLS"]);
}

#[test]
fn names_of_others_in_the_environment_are_left_alone() {
    let world = World::new()
        .env("LEASEHOLD_KEY", "k")
        .env("LEASEHOLD_SERVER", "http://h")
        .env("PATH", "/bin");
    let world = world
        .env("LEASEHOLD_SERVICE_HOST", "10.0.0.1")
        .env("LEASEHOLD_SERVICE_PORT_HTTP", "7070");
    let world = world
        .env("LEASEHOLD_PORT", "tcp://10.0.0.1:7070")
        .env("LEASEHOLD_PORT_7070_TCP_ADDR", "10.0.0.1");
    world.settings();
    World::new()
        .env("LEASEHOLD_PORT", "7070")
        .refused(["LEASEHOLD_PORT"]);
}

#[test]
fn a_wrong_value_is_told_with_its_name_and_place_and_what_is_right() {
    World::new().env("LEASEHOLD_LISTEN", "localhost").refused([
        "listen",
        "LEASEHOLD_LISTEN",
        "127.0.0.1:7070",
    ]);
    World::new().file("drain_wait_ms = 'soon'").refused([
        "drain_wait_ms",
        "leasehold.toml",
        "whole number",
    ]);
    World::new()
        .file("log_format = 'xml'")
        .refused(["log_format", "text or json"]);
    World::new()
        .file("redis_timeout_ms = 5")
        .refused(["redis_timeout_ms", "10 to 60000"]);
    World::new()
        .file("max_connections = -1")
        .refused(["max_connections", "leasehold.toml"]);
    World::new()
        .file("threads = 0")
        .refused(["threads", "1 to 1024"]);
    World::new()
        .env("LEASEHOLD_LOG", "leasehold=loud")
        .refused(["LEASEHOLD_LOG", "debug"]);
    World::new()
        .env("LEASEHOLD_REDIS_URL", "http://h")
        .refused(["redis_url", "rediss://"]);
    World::new()
        .env("LEASEHOLD_ADMIN_KEY", "")
        .refused(["admin_key", "empty"]);
    World::new()
        .file("listen = ")
        .refused(["leasehold.toml", "TOML", "line 1"]);
}

#[test]
fn a_named_file_is_read_instead_and_has_to_be_there() {
    let world = World::new().file("log = 'warn'");
    let other = world.other_file("other.toml", "log = 'debug'");
    assert_eq!(world.flags(["--config", &other]).settings().log, "debug");
    World::new()
        .env("LEASEHOLD_CONFIG", "none.toml")
        .refused(["none.toml"]);
}

#[test]
fn pools_of_all_layers_come_together() {
    let world = World::new()
        .file("[pools.crm]\ncapacity = 5\nttl_ms = 2000\n[pools.\"a.b\"]\ncapacity = 1");
    let world = world
        .env("LEASEHOLD_POOLS", "{chat = {capacity = 7}}")
        .flags(["--pool", "crm=6", "--pool", "demo=3"]);
    let settings = world.settings();
    let capacities = settings
        .pools
        .iter()
        .map(|(name, policy)| (name.as_str(), policy.capacity));
    assert_eq!(
        capacities.collect::<Vec<_>>(),
        [("a.b", 1), ("chat", 7), ("crm", 6), ("demo", 3)]
    );
    let crm = &settings.pools[&"crm".parse().expect("a name")];
    assert_eq!(
        (crm.ttl_ms, crm.linger_ms),
        (2000, 10_000),
        "what a later layer does not say stays"
    );
    assert_eq!(
        world.origin("pools.chat"),
        "LEASEHOLD_POOLS in the environment"
    );
    assert_eq!(world.origin("pools.demo"), "--pool");
    assert_eq!(world.origin("pools.a.b"), "leasehold.toml");

    for text in [
        "demo=5, crm=10",
        r#"{"demo": {"capacity": 5}, "crm": {"capacity": 10}}"#,
    ] {
        let pools = World::new().env("LEASEHOLD_POOLS", text).settings().pools;
        assert_eq!(
            pools
                .values()
                .map(|policy| policy.capacity)
                .collect::<Vec<_>>(),
            [10, 5],
            "{text}"
        );
    }
}

#[test]
fn a_pool_that_cannot_be_is_refused() {
    World::new()
        .file("[pools.'a b']\ncapacity = 1")
        .refused(["pools", "A-Z", "leasehold.toml"]);
    World::new()
        .file("[pools.crm]\ncapacity = 1\nttl_ms = 5")
        .refused(["pools.crm", "ttl_ms is 1000"]);
    World::new()
        .file("[pools.crm]\nttl_ms = 5000")
        .refused(["pools.crm", "capacity"]);
    World::new()
        .env("LEASEHOLD_POOLS", "demo")
        .refused(["LEASEHOLD_POOLS", "demo=5"]);
    World::new()
        .env("LEASEHOLD_POOLS", "{demo}")
        .refused(["LEASEHOLD_POOLS", "JSON"]);
    World::new()
        .env("LEASEHOLD_POOLS", "demo=1,demo=2")
        .refused(["demo", "twice"]);
}

#[test]
fn open_mode_serves_loopback_only() {
    let sentence = World::new()
        .env("LEASEHOLD_LISTEN", "0.0.0.0:7070")
        .refused(["listen", "admin_key", "LEASEHOLD_LISTEN"]);
    assert!(
        sentence.contains("open mode serves loopback only: set admin_key, or listen on 127.0.0.1"),
        "{sentence}"
    );
    World::new().env("LEASEHOLD_LISTEN", "[::1]:0").settings();
    World::new()
        .env("LEASEHOLD_LISTEN", "[::ffff:127.0.0.1]:0")
        .settings();
    let with_key = World::new()
        .env("LEASEHOLD_LISTEN", "0.0.0.0:0")
        .env("LEASEHOLD_ADMIN_KEY", "a-key-of-16-chars");
    assert!(!with_key.settings().is_open());
}

#[test]
fn proxies_are_named_in_every_spelling_of_addresses_and_lists() {
    for (text, networks) in [
        ("127.0.0.1", vec!["127.0.0.1/32"]),
        ("127.0.0.1, ::1", vec!["127.0.0.1/32", "::1/128"]),
        (
            "[\"127.0.0.1\", \"10.0.0.0/8\"]",
            vec!["127.0.0.1/32", "10.0.0.0/8"],
        ),
        ("::ffff:127.0.0.1", vec!["127.0.0.1/32"]),
        ("::ffff:10.0.0.0/104", vec!["10.0.0.0/8"]),
        ("::/0", vec!["::/0"]),
    ] {
        let settings = World::new()
            .env("LEASEHOLD_TRUSTED_PROXIES", text)
            .settings();
        let found: Vec<String> = settings
            .trusted_proxies
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, networks, "{text}");
    }
    World::new()
        .env("LEASEHOLD_TRUSTED_PROXIES", "proxy.example")
        .refused(["trusted_proxies", "10.0.0.0/8"]);
}

#[test]
fn a_log_filter_of_a_word_that_is_no_level_is_refused() {
    for filter in [
        "info",
        "WARN",
        "info,leasehold::store=debug",
        "leasehold=debug,off",
    ] {
        World::new().env("LEASEHOLD_LOG", filter).settings();
    }
    for filter in ["debugg", "inf", "info,leasehold"] {
        World::new().env("LEASEHOLD_LOG", filter).refused([
            "log",
            "no level",
            "info,leasehold::store=debug",
        ]);
    }
    for filter in ["leasehold::stor=debug", "info,leasehold::htp::keys=debug"] {
        World::new()
            .env("LEASEHOLD_LOG", filter)
            .refused(["log", "which does not exist", "store"]);
    }
}

#[test]
fn a_proxy_for_webhooks_is_an_address() {
    for proxy in [
        "http://proxy.example:3128",
        "https://name:password@proxy.example",
    ] {
        let settings = World::new()
            .env("LEASEHOLD_WEBHOOK_PROXY", proxy)
            .settings();
        assert!(settings.webhook_proxy().is_some());
    }
    for wrong in [
        "proxy.example:3128",
        "socks5://proxy.example",
        "http://proxy.example/path",
    ] {
        World::new()
            .env("LEASEHOLD_WEBHOOK_PROXY", wrong)
            .refused(["webhook_proxy", "http://proxy.example:3128"]);
    }
}

#[test]
fn mail_needs_a_server_and_a_sender() {
    let server = "smtps://seats:hunter2@mail.example";
    let with = |server: &str, from: &str| {
        World::new()
            .env("LEASEHOLD_SMTP_URL", server)
            .env("LEASEHOLD_SMTP_FROM", from)
    };
    let world = with(server, "Leasehold <seats@example.com>");
    let (url, from) = world.settings().mail().expect("mail");
    assert_eq!(url.to_string(), "smtps://mail.example:465");
    assert_eq!(from.email.to_string(), "seats@example.com");
    let shown = format!("{:?}", world.load().expect("loaded").rows());
    assert!(!shown.contains("hunter2"), "{shown}");

    let sentence = World::new()
        .env("LEASEHOLD_SMTP_URL", server)
        .refused(["smtp_url and smtp_from", "give both"]);
    assert!(!sentence.contains("hunter2"), "{sentence}");
    World::new()
        .env("LEASEHOLD_SMTP_FROM", "seats@example.com")
        .refused(["smtp_url and smtp_from"]);
    with(server, "seats").refused(["smtp_from", "seats@example.com"]);
    with("smtp://mail.example?tls=perhaps", "seats@example.com").refused(["smtp_url", "tls=off"]);

    let world = World::new();
    let file = world.other_file("smtp", &format!("{server}\n"));
    let world = world
        .env("LEASEHOLD_SMTP_URL_FILE", &file)
        .env("LEASEHOLD_SMTP_FROM", "seats@example.com");
    assert!(world.settings().mail().is_some());
}

#[test]
fn nodes_that_share_a_redis_need_a_secret() {
    World::new()
        .env("LEASEHOLD_REDIS_URL", "redis://redis:6379")
        .refused(["redis_url", "secret", "redis://redis:6379"]);
    World::new()
        .env("LEASEHOLD_REDIS_URL", "redis://localhost")
        .settings();
    World::new()
        .env("LEASEHOLD_REDIS_URL", "redis://redis")
        .env("LEASEHOLD_SECRET", SECRET)
        .settings();
}

#[test]
fn the_example_file_shows_the_defaults() {
    let example = include_str!("../../leasehold.example.toml");
    let settings = World::new().file(example).settings();
    assert_eq!(
        format!("{settings:?}"),
        format!("{:?}", World::new().settings()),
        "only comments are in it"
    );

    let lines = || {
        example
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| !line.starts_with([' ', '#']))
    };
    let names = lines().filter_map(|line| line.split_once(" = ").map(|(name, _)| name));
    for row in World::new().load().expect("loaded").rows() {
        assert!(
            names
                .clone()
                // Pools are a table.
                .any(|name| name == row.setting || row.setting == "pools"),
            "{} is not in the example",
            row.setting
        );
    }

    // What has no default is shown with an invented value; the rest is the default.
    let invented = |line: &&str| {
        let text = line.starts_with(['s', 'p', 'a', 'r']) && line.contains(['"', ']']);
        (text && !line.starts_with('['))
            || line.starts_with("threads")
            || [
                "key_prefix",
                "metrics_listen",
                "tls_",
                "base_path",
                "otlp_endpoint",
                "webhook_proxy",
                "oidc_issuer",
                "oidc_client",
                "oidc_roles",
                "oidc_ca_file",
            ]
            .iter()
            .any(|name| line.starts_with(name))
    };
    let text = lines()
        .filter(|line| !invented(line))
        .collect::<Vec<_>>()
        .join("\n");
    let mut settings = World::new().file(&text).settings();
    let crm = settings.pools.remove(&"crm".parse().expect("a name"));
    assert_eq!(crm, Some(Policy::with_capacity(50)));
    assert_eq!(
        format!("{settings:?}"),
        format!("{:?}", World::new().settings())
    );
}
