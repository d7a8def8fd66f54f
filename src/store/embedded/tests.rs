use tempfile::TempDir;

use super::server::quote;
use super::*;

fn directory() -> TempDir {
    TempDir::with_prefix("leasehold-embedded-").expect("a temporary directory")
}

async fn start(data_dir: &Path) -> Embedded {
    match Embedded::start(data_dir, None).await {
        Ok(embedded) => embedded,
        Err(error) => panic!("{error}"),
    }
}

async fn refused(data_dir: &Path, server: Option<&Path>) -> String {
    let error = Embedded::start(data_dir, server)
        .await
        .expect_err("refused");
    error.to_string()
}

async fn ask(embedded: &Embedded, command: &[&str]) -> redis::RedisResult<String> {
    let client = redis::Client::open(embedded.url()).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await?;
    let (name, arguments) = command.split_first().expect("a command");
    redis::cmd(name)
        .arg(arguments)
        .query_async(&mut connection)
        .await
}

async fn setting(embedded: &Embedded, name: &str) -> String {
    let client = redis::Client::open(embedded.url()).expect("a URL");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("a connection");
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg(name);
    let (_, value): (String, String) = command
        .query_async(&mut connection)
        .await
        .expect("a setting");
    value
}

fn pid(data_dir: &Path) -> u32 {
    let text = std::fs::read_to_string(data_dir.join("redis.pid")).expect("a process id");
    text.trim().parse().expect("a number")
}

fn signal(pid: u32, name: &str) {
    let pid = pid.to_string();
    let status = std::process::Command::new("kill")
        .args([&format!("-{name}"), &pid])
        .status();
    assert!(status.expect("kill runs").success());
}

fn runs(pid: u32) -> bool {
    let pid = pid.to_string();
    let output = std::process::Command::new("kill")
        .args(["-0", &pid])
        .output();
    output.expect("kill runs").status.success()
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{what} did not happen"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_a_stop() {
    let directory = directory();
    let embedded = start(directory.path()).await;
    let pid = pid(directory.path());
    ask(&embedded, &["SET", "seat", "taken"])
        .await
        .expect("written");
    embedded.stop().await;
    assert!(!runs(pid), "stopped means gone");
    assert!(!directory.path().join("redis.sock").exists());

    let embedded = start(directory.path()).await;
    assert_eq!(
        ask(&embedded, &["GET", "seat"]).await.expect("read"),
        "taken"
    );
    embedded.stop().await;
}

#[tokio::test]
async fn it_is_private_and_gives_up_no_lease() {
    let directory = directory();
    let data_dir = directory.path().join("made for it");
    let embedded = start(&data_dir).await;
    for (name, value) in [
        ("port", "0"),
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("maxmemory-policy", "noeviction"),
        ("save", ""),
        ("auto-aof-rewrite-min-size", "268435456"),
        ("stream-node-max-bytes", "1536"),
        ("hash-max-ziplist-value", "256"),
        ("unixsocketperm", "700"),
    ] {
        assert_eq!(setting(&embedded, name).await, value, "{name}");
    }
    let mode = data_dir
        .metadata()
        .expect("a directory")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    embedded.stop().await;
}

#[tokio::test]
async fn a_second_one_on_the_same_directory_is_refused_by_name() {
    let directory = directory();
    let embedded = start(directory.path()).await;
    let sentence = refused(directory.path(), None).await;
    assert!(
        sentence.contains(&directory.path().display().to_string()),
        "{sentence}"
    );
    assert!(
        sentence.contains(&format!("process {}", std::process::id())),
        "{sentence}"
    );
    embedded.stop().await;
    start(directory.path()).await.stop().await;
}

#[tokio::test]
async fn a_server_that_dies_is_started_again_with_its_data() {
    let directory = directory();
    let embedded = start(directory.path()).await;
    ask(&embedded, &["SET", "seat", "taken"])
        .await
        .expect("written");
    let first = pid(directory.path());
    signal(first, "KILL");
    eventually("a new server", async || {
        ask(&embedded, &["GET", "seat"])
            .await
            .is_ok_and(|seat| seat == "taken")
    })
    .await;
    assert_ne!(pid(directory.path()), first);
    embedded.stop().await;
}

#[tokio::test]
async fn a_shell_that_is_killed_leaves_no_server_behind() {
    let directory = directory();
    let embedded = start(directory.path()).await;
    let server = pid(directory.path());
    let output = std::process::Command::new("ps")
        .args(["-o", "ppid=", "-p", &server.to_string()])
        .output();
    let shell = String::from_utf8(output.expect("ps runs").stdout).expect("a number");
    signal(shell.trim().parse().expect("a number"), "KILL");
    eventually("another server", async || {
        !runs(server) && ask(&embedded, &["PING"]).await.is_ok()
    })
    .await;
    embedded.stop().await;
}

#[tokio::test]
async fn dropping_it_is_enough() {
    let directory = directory();
    let embedded = start(directory.path()).await;
    let pid = pid(directory.path());
    drop(embedded);
    eventually("the end of the server", async || !runs(pid)).await;
    // The server of before may still be writing its last bytes; this one waits for it.
    start(directory.path()).await.stop().await;
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_gets_a_short_one() {
    let directory = directory();
    let data_dir = directory
        .path()
        .join("long ".repeat(30))
        .join("100% \"long\" #?");
    let embedded = start(&data_dir).await;
    assert!(!embedded.url().contains("long"), "{}", embedded.url());
    let socket = PathBuf::from(setting(&embedded, "unixsocket").await);
    let private = socket.parent().expect("a directory").to_owned();
    assert_eq!(
        private.metadata().expect("it exists").permissions().mode() & 0o777,
        0o700
    );

    signal(pid(&data_dir), "KILL");
    eventually("a new server", async || {
        ask(&embedded, &["PING"]).await.is_ok()
    })
    .await;
    embedded.stop().await;
    assert!(!private.exists());
}

#[tokio::test]
async fn a_path_with_signs_that_mean_something_is_taken_as_it_is() {
    let directory = directory();
    let data_dir = directory.path().join("a 'b' \"c\" $(d) 100%\\e #ü?");
    let embedded = start(&data_dir).await;
    assert!(data_dir.join("redis.sock").exists());
    embedded.stop().await;
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_what_to_do() {
    let directory = directory();
    let embedded = start(directory.path()).await;
    ask(&embedded, &["SET", "seat", "taken"])
        .await
        .expect("written");
    embedded.stop().await;
    let files = directory.path().join("appendonlydir");
    for entry in files.read_dir().expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "aof") {
            let mut bytes = std::fs::read(&path).expect("read");
            bytes.splice(0..0, *b"*what\r\n");
            std::fs::write(&path, bytes).expect("written");
        }
    }
    let sentence = refused(directory.path(), None).await;
    assert!(sentence.contains("redis-check-aof --fix"), "{sentence}");
    assert!(sentence.contains("appendonly.aof.manifest"), "{sentence}");
}

#[tokio::test]
async fn a_program_that_is_no_server_is_refused_with_its_words() {
    let directory = directory();
    let sentence = refused(directory.path(), Some(Path::new("/bin/cat"))).await;
    // cat prints the configuration and ends.
    assert!(sentence.contains("ended while starting"), "{sentence}");
    let sentence = refused(directory.path(), Some(Path::new("/nowhere/redis-server"))).await;
    assert!(sentence.contains("/nowhere/redis-server"), "{sentence}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_refused_by_name() {
    let directory = directory();
    let file = directory.path().join("file");
    std::fs::write(&file, "").expect("written");
    let sentence = refused(&file.join("data"), None).await;
    assert!(
        sentence.contains("--data-dir") && sentence.contains("file/data"),
        "{sentence}"
    );
}

#[test]
fn a_path_is_quoted_as_redis_reads_it() {
    assert_eq!(quote("/a b".as_bytes()), "\"/a b\"");
    assert_eq!(quote("/\"\\\n".as_bytes()), "\"/\\\"\\\\\\x0a\"");
    assert_eq!(quote("ü".as_bytes()), "\"\\xc3\\xbc\"");
}
