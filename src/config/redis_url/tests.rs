use super::*;

fn parse(url: &str) -> RedisUrl {
    url.parse().unwrap_or_else(|wrong| panic!("{url} {wrong}"))
}

#[test]
fn every_scheme_of_the_settings_is_read() {
    assert_eq!(parse("redis://h").hosts, [("h".to_owned(), 6379)]);
    assert_eq!(
        parse("rediss://u:p@h:1/2").node_url("x", 3).expose_secret(),
        "rediss://u:p@x:3/2"
    );
    assert!(parse("unix:///run/redis.sock").hosts.is_empty());
    assert!(parse("redis+unix:///run/redis.sock?db=1").is_local());
    assert_eq!(
        parse("redis+cluster://a,b:7000").hosts,
        [("a".to_owned(), 6379), ("b".to_owned(), 7000)]
    );

    let sentinel = parse("redis+sentinel://u:p%40@a,b:1,[::2]:3/main/4");
    assert_eq!(
        sentinel.topology,
        Topology::Sentinel {
            master: "main".into()
        }
    );
    assert_eq!(
        sentinel.hosts,
        [
            ("a".to_owned(), 26379),
            ("b".to_owned(), 1),
            ("::2".to_owned(), 3)
        ]
    );
    assert_eq!(
        sentinel.node_url("::9", 5).expose_secret(),
        "redis://u:p%40@[::9]:5/4"
    );
    assert_eq!(
        sentinel.sentinel_url("a", 26379).expose_secret(),
        "redis://a:26379"
    );
}

#[test]
fn sentinels_have_credentials_of_their_own() {
    let url = parse(
        "rediss+sentinel://u:p@a/main/4?sentinel_username=s&protocol=3&sentinel_password=q%40&sentinel_tls=off",
    );
    assert_eq!(
        url.sentinel_url("a", 1).expose_secret(),
        "redis://s:q%40@a:1"
    );
    assert_eq!(
        url.node_url("b", 2).expose_secret(),
        "rediss://u:p@b:2/4?protocol=resp3"
    );
    let url = parse("rediss+sentinel://a/main?sentinel_password=q");
    assert_eq!(url.sentinel_url("a", 1).expose_secret(), "rediss://:q@a:1");
    assert_eq!(url.node_url("b", 2).expose_secret(), "rediss://b:2");
}

#[test]
fn what_cannot_be_used_is_said() {
    for url in [
        "",
        "localhost:6379",
        "http://h",
        "redis://",
        "redis://h:port",
        "redis://a,b",
        "unix://relative",
        "redis+sentinel://a,b",
        "redis+sentinel://a,b/m?sentinel_user=x",
        "redis+sentinel://a,b/m?sentinel_username=x",
        "redis+sentinel://a,b/m?sentinel_tls=yes",
        "redis+cluster://a,,b",
        "redis://h:70000",
    ] {
        assert!(url.parse::<RedisUrl>().is_err(), "{url}");
    }
}

#[test]
fn a_database_is_the_same_wherever_it_stands() {
    for url in [
        "redis://h/2",
        "redis://h/2/",
        "redis://h?db=2",
        "redis://h/?db=2",
        "redis://h/2?db=2",
        "redis+sentinel://h/main/2",
        "redis+sentinel://h/main?db=2",
        "redis+sentinel://h/main/?db=2",
    ] {
        let url = parse(url);
        assert_eq!(url.database, 2, "{url}");
        assert_eq!(url.node_url("x", 1).expose_secret(), "redis://x:1/2");
        assert!(url.to_string().ends_with("/2"), "{url}");
    }
    assert_eq!(parse("redis://h/").database, 0);
    assert_eq!(parse("redis+cluster://h/0").database, 0);
    assert_eq!(
        parse("unix:///run/r.sock?db=3&pass=p%26q&user=u&protocol=resp3")
            .as_single()
            .expose_secret(),
        "unix:///run/r.sock?db=3&user=u&pass=p%26q&protocol=resp3"
    );
    assert_eq!(
        parse("redis://:p@[::1]?protocol=2")
            .as_single()
            .expose_secret(),
        "redis://:p@[::1]:6379?protocol=resp2"
    );
}

#[test]
fn what_means_nothing_is_refused_by_its_name() {
    for (url, part) in [
        ("redis://h?nonsense=1", "nonsense"),
        ("redis://h?timeout=5s", "timeout"),
        ("redis://h?sentinel_password=x", "sentinel_password"),
        ("redis://h?user=x", "user"),
        ("redis+cluster://h?database=0", "database"),
        ("redis+sentinel://h/m?ssl=1", "ssl"),
        ("unix:///s?database=1", "database"),
        ("redis://h?db=x", "database"),
        ("redis://h?db=-1", "database"),
        ("redis://h?db=", "database"),
        ("redis://h/x", "database"),
        ("redis://h/1?db=2", "database"),
        ("redis://h?db=1&db=1", "db"),
        ("redis://h/1/2", "path"),
        ("redis+sentinel://h/m/1/2", "path"),
        ("redis+cluster://h/1", "database 1"),
        ("redis+cluster://h?db=1", "database 1"),
        ("redis://h?protocol=4", "protocol"),
        ("rediss://h#insecure", "fragment"),
        ("redis://:pa#ss@h", "%23"),
        ("redis://:pa/ss@h", "%2F"),
        ("redis://secret@h", "password"),
        ("redis://user:@h", "password"),
        ("unix:///s?user=x", "pass"),
        ("valkey+s://h", "scheme"),
    ] {
        let Err(Invalid(wrong)) = url.parse::<RedisUrl>() else {
            panic!("{url} is taken");
        };
        assert!(wrong.contains(part), "{url}: {wrong}");
        assert!(!wrong.contains("secret"), "{url}: {wrong}");
    }
}

#[test]
fn only_this_machine_is_local() {
    for url in [
        "redis://localhost",
        "redis://127.3.2.1:1",
        "redis://[::1]:6379",
        "unix:///s",
    ] {
        assert!(parse(url).is_local(), "{url}");
    }
    for url in [
        "redis://redis",
        "redis://10.0.0.1",
        "redis+cluster://127.0.0.1,10.0.0.1",
        "redis://[::2]",
    ] {
        assert!(!parse(url).is_local(), "{url}");
    }
}

#[test]
fn credentials_are_never_shown() {
    for url in [
        "redis://u:hunter2@h/0",
        "redis+sentinel://:hunter2@a,b/m",
        "redis+sentinel://a,b/m?sentinel_password=hunter2",
        "unix:///s?pass=hunter2",
    ] {
        let url = parse(url);
        assert!(!format!("{url} {url:?}").contains("hunter2"));
    }
}
