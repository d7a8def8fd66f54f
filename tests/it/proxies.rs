//! The proxies that people have, with the settings that `deploy/` shows: everything works behind them, plain, with TLS, and under a
//! path. Where a proxy is not installed its test says so.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::header::{ACCEPT, LOCATION, SET_COOKIE};
use reqwest::{Response, StatusCode};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::admin_pages::{form, page_of_ours};
use crate::harness::{Certificates, Launch, Node, Redis, free_port, openapi, wait_until};

const KEY: &str = "the-operator-key-of-the-tests";
const HTML: &str = "text/html,application/xhtml+xml;q=0.9";

/// Much longer than anything here takes, much shorter than what a proxy holds back until its buffer is full.
const PATIENCE: Duration = Duration::from_secs(5);

/// A proxy in front of a node.
struct Proxy {
    process: Child,
    plain: String,
    tls: String,
    _directory: TempDir,
    _certificates: Certificates,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The workers of some outlive their parent.
        let _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        let _ = self.process.wait();
    }
}

/// How to start a proxy: what it needs around the file in `deploy/`.
struct Kind {
    program: &'static str,
    shipped: &'static str,
    /// The whole file, given where the shipped one and a directory are.
    settings: fn(&Path, &Path) -> String,
    arguments: fn(&Path, &Path) -> Vec<String>,
}

const NGINX: Kind = Kind {
    program: "nginx",
    shipped: "nginx/leasehold.conf",
    settings: |shipped, directory| {
        let own = directory.display();
        let bodies: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {own}/{name};\n"))
            .concat();
        format!(
            "daemon off; user root; pid {own}/pid; error_log {own}/log;\nevents {{}}\nhttp {{\naccess_log off;\n{bodies}\
             include {};\n}}\n",
            shipped.display()
        )
    },
    arguments: |settings, directory| {
        let own = directory.display();
        vec![
            "-p".to_owned(),
            own.to_string(),
            "-e".to_owned(),
            format!("{own}/log"),
            "-c".to_owned(),
            settings.display().to_string(),
        ]
    },
};

const CADDY: Kind = Kind {
    program: "caddy",
    shipped: "caddy/Caddyfile",
    settings: |shipped, _| {
        let sites = fs::read_to_string(shipped).expect("written a moment ago");
        // What would touch the machine: an interface to administer it, and a port for redirects.
        format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{sites}")
    },
    arguments: |settings, _| {
        ["run", "--adapter", "caddyfile", "--config"]
            .map(str::to_owned)
            .into_iter()
            .chain([settings.display().to_string()])
            .collect()
    },
};

const APACHE: Kind = Kind {
    program: "apache2",
    shipped: "apache/leasehold.conf",
    settings: |shipped, directory| {
        let modules: String = [
            "mpm_event",
            "authz_core",
            "proxy",
            "proxy_http",
            "ssl",
            "headers",
            "socache_shmcb",
        ]
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .concat();
        let own = directory.display();
        format!(
            "{modules}ServerRoot {own}\nDefaultRuntimeDir {own}\nPidFile {own}/pid\nErrorLog {own}/log\nServerName localhost\n\
             User nobody\nGroup nogroup\nInclude {}\n",
            shipped.display()
        )
    },
    arguments: |settings, _| {
        ["-D", "FOREGROUND", "-f"]
            .map(str::to_owned)
            .into_iter()
            .chain([settings.display().to_string()])
            .collect()
    },
};

/// The program, on the PATH or where scripts/proxies.sh and Debian put it.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join(".proxies/bin");
    let mut directories = std::env::split_paths(&path).chain([fetched, "/usr/sbin".into()]);
    let found = directories.find_map(|directory| {
        let program = directory.join(name);
        program.is_file().then_some(program)
    });
    if found.is_none() {
        eprintln!("skipped: there is no {name} (scripts/proxies.sh gets one)");
    }
    found
}

impl Proxy {
    async fn start(kind: &Kind, node: &Node) -> Option<Self> {
        Self::start_with(kind, node, ("", "")).await
    }

    /// The same with something else replaced in the file that is shipped.
    async fn start_with(kind: &Kind, node: &Node, (from, to): (&str, &str)) -> Option<Self> {
        let program = program(kind.program)?;
        let (plain, tls) = (free_port(), free_port());
        let certificates = Certificates::make();
        let bundle = bundle(&certificates);
        let directory = TempDir::with_prefix("leasehold-proxy-").expect("a temporary directory");
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("deploy")
            .join(kind.shipped);
        let shipped = fs::read_to_string(&shipped)
            .expect("it is shipped")
            .replace("127.0.0.1:7070", node.address())
            .replace(if from.is_empty() { "\0" } else { from }, to)
            .replace("8080", &plain.to_string())
            .replace("8443", &tls.to_string())
            .replace("/etc/ssl/certs/seats.pem", &bundle)
            .replace("/etc/ssl/private/seats.key", &bundle);
        let site = directory.path().join("site");
        fs::write(&site, shipped).expect("ours");
        let settings = directory.path().join("settings");
        fs::write(&settings, (kind.settings)(&site, directory.path())).expect("ours");
        let mut command = Command::new(program);
        command.args((kind.arguments)(&settings, directory.path()));
        Some(Self::run(command, plain, tls, directory, certificates).await)
    }

    async fn haproxy(node: &Node, prefix: bool) -> Option<Self> {
        let program = program("haproxy")?;
        let (plain, tls) = (free_port(), free_port());
        let certificates = Certificates::make();
        let directory = TempDir::with_prefix("leasehold-proxy-").expect("a temporary directory");
        let mut command = Command::new(program);
        command
            .args(["-db", "-f"])
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/deploy/haproxy/haproxy.cfg"
            ))
            .env("NODE_1", node.address())
            .env("BALANCER_LISTEN", format!("127.0.0.1:{plain}"))
            .env("BALANCER_TLS", format!("127.0.0.1:{tls}"))
            .env("BALANCER_CERTIFICATE", bundle(&certificates))
            .env("BALANCER_REDIRECT", tls.to_string())
            .env("BALANCER_STATISTICS", format!("127.0.0.1:{}", free_port()));
        if prefix {
            command.env("BALANCER_PREFIX", "/seats");
        }
        Some(Self::run(command, plain, tls, directory, certificates).await)
    }

    async fn run(
        mut command: Command,
        plain: u16,
        tls: u16,
        directory: TempDir,
        certificates: Certificates,
    ) -> Self {
        let log = fs::File::create(directory.path().join("said")).expect("ours");
        let process = command
            .env("HOME", directory.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("it is a program");
        let proxy = Self {
            process,
            plain: format!("http://localhost:{plain}"),
            tls: format!("https://localhost:{tls}"),
            _directory: directory,
            _certificates: certificates,
        };
        for port in [plain, tls] {
            wait_until("the proxy listens", Duration::from_secs(20), async || {
                TcpStream::connect(("127.0.0.1", port)).await.is_ok()
            })
            .await;
        }
        proxy
    }
}

/// A file with the certificate of a server and its key.
fn bundle(certificates: &Certificates) -> String {
    let directory = certificates.ca().with_file_name("");
    let read = |name: &str| fs::read_to_string(directory.join(name)).expect("it was made");
    let bundle = directory.join("bundle.pem");
    fs::write(&bundle, read("server.pem") + &read("server.key")).expect("ours");
    bundle.display().to_string()
}

/// A client of one address, as a browser or a program behind the proxy.
struct Visitor {
    http: reqwest::Client,
    base: String,
}

impl Visitor {
    fn new(base: String) -> Self {
        leasehold::tls::choose_cryptography();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .danger_accept_invalid_certs(true)
            .timeout(Duration::from_secs(15))
            .build()
            .expect("a client");
        Self { http, base }
    }

    /// The path in front of everything, as the visitor sees it.
    fn path(&self) -> &str {
        let after = self.base.splitn(4, '/').nth(3);
        after.map_or("", |_| &self.base[self.base.rfind('/').expect("one")..])
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> Response {
        let method = method.parse().expect("a method");
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(KEY);
        if !body.is_null() {
            request = request.json(&body);
        }
        request.send().await.expect("an answer")
    }

    async fn json(&self, method: &str, path: &str, body: Value, status: u16) -> Value {
        let response = self.send(method, path, body).await;
        let (found, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap_or_default();
        assert_eq!(found, status, "{method} {}{path}: {text}", self.base);
        let answer = serde_json::from_str(&text).unwrap_or_default();
        let method = method.parse().expect("a method");
        let asked = path.split('?').next().unwrap_or(path);
        let violation = openapi::violation(&method, asked, found, &headers, &answer);
        assert_eq!(violation, None, "{}{path}: {text}", self.base);
        answer
    }

    /// What a browser gets for a whole path of this host.
    async fn page(&self, path: &str, cookie: &str) -> Response {
        let host = self.base.strip_suffix(self.path()).unwrap_or(&self.base);
        let mut request = self
            .http
            .get(format!("{host}{path}"))
            .header(ACCEPT, HTML)
            .header("sec-fetch-site", "same-origin");
        if !cookie.is_empty() {
            request = request.header("cookie", cookie);
        }
        request.send().await.expect("an answer")
    }
}

/// Takes a seat, beats, waits for one that comes free, and gives them back.
async fn seats(visitor: &Visitor, pool: &str) {
    let policy = json!({"capacity": 1, "queue": {"max_waiting": 5}});
    visitor
        .json("PUT", &format!("/v1/pools/{pool}"), policy, 201)
        .await;
    let leases = format!("/v1/pools/{pool}/leases");
    let lease = visitor
        .json("POST", &leases, json!({"holder": "ann"}), 201)
        .await;
    let token = json!({"token": lease["token"]});
    visitor
        .json("POST", "/v1/leases/renew", token.clone(), 200)
        .await;

    let asks = json!({"holder": "a/b", "wait": true, "wait_ms": 10_000});
    let (granted, _) = tokio::join!(visitor.json("POST", &leases, asks, 201), async {
        wait_until("somebody waits", PATIENCE, async || {
            let pool = visitor
                .json("GET", &format!("/v1/pools/{pool}"), Value::Null, 200)
                .await;
            pool["waiting"] == 1
        })
        .await;
        visitor.json("POST", "/v1/leases/release", token, 204).await;
    });
    let token = json!({"token": granted["token"]});
    visitor.json("POST", "/v1/leases/release", token, 204).await;
}

/// Both streams begin at once, and an event comes when it happens.
async fn events(visitor: &Visitor, pool: &str) {
    for path in [
        format!("/v1/pools/{pool}/events"),
        "/v1/alerts/events".to_owned(),
    ] {
        let begun = timeout(PATIENCE, async {
            let mut response = visitor.send("GET", &path, Value::Null).await;
            let first = response.chunk().await.expect("a stream");
            (response, first)
        });
        let (mut response, first) = begun
            .await
            .unwrap_or_else(|_| panic!("{}{path} says nothing", visitor.base));
        assert_eq!(response.status(), StatusCode::OK);
        assert!(first.is_some(), "{path}");
        if path.starts_with("/v1/alerts") {
            continue;
        }
        let leases = format!("/v1/pools/{pool}/leases");
        let lease = visitor
            .json("POST", &leases, json!({"holder": "eva"}), 201)
            .await;
        let mut told = String::new();
        while !told.contains("\"holder\":\"eva\"") {
            let chunk = timeout(PATIENCE, response.chunk()).await;
            let chunk = chunk.unwrap_or_else(|_| panic!("{path} tells nothing: {told}"));
            told += &String::from_utf8_lossy(&chunk.expect("a stream").expect("no end"));
        }
        let token = json!({"token": lease["token"]});
        visitor.json("POST", "/v1/leases/release", token, 204).await;
    }
}

/// Values of attributes that hold addresses.
fn links(page: &str) -> BTreeSet<String> {
    let attributes = [" href=\"", " src=\"", " action=\""];
    let found = attributes.iter().flat_map(|attribute| {
        page.split(attribute)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
    });
    found
        .filter(|link| link.starts_with('/'))
        .map(|link| link.replace("&amp;", "&"))
        .collect()
}

fn location(response: &Response) -> &str {
    let location = response.headers().get(LOCATION);
    location
        .unwrap_or_else(|| panic!("{} leads nowhere: {}", response.url(), response.status()))
        .to_str()
        .expect("a text")
}

/// The files of the client, and the page that shows it.
async fn widget(visitor: &Visitor) {
    let base = visitor.path();
    let manifest = visitor
        .json("GET", "/client/manifest.json", Value::Null, 200)
        .await;
    for file in ["leasehold.js", "leasehold-worker.js"] {
        for field in ["url", "immutable_url"] {
            let path = manifest["files"][file][field].as_str().expect("a path");
            assert!(path.starts_with(&format!("{base}/client/")), "{path}");
            assert_eq!(visitor.page(path, "").await.status(), StatusCode::OK);
        }
    }
    let demo = visitor.page(&format!("{base}/demo"), "").await;
    let demo = demo.text().await.expect("a page");
    assert!(links(&demo).len() >= 2, "{demo}");
    for link in links(&demo) {
        let status = visitor.page(&link, "").await.status();
        assert_eq!(status, StatusCode::OK, "{link} of the demo");
    }
    let document = visitor
        .json("GET", "/v1/openapi.json", Value::Null, 200)
        .await;
    if let Some(server) = document["servers"][0]["url"].as_str() {
        let served = format!("{}/", server.trim_end_matches('/'));
        assert_eq!(served, format!("{base}/"), "where the interface is");
    }
}

/// From the root to the overview by way of the login, and each link of each page on the way.
async fn pages(visitor: &Visitor) {
    let base = visitor.path();
    let root = visitor.page(&format!("{base}/"), "").await;
    assert_eq!(location(&root), format!("{base}/admin"));
    let first = visitor.page(&format!("{base}/admin"), "").await;
    let login = location(&first).to_owned();
    assert!(
        login.starts_with(&format!("{base}/admin/login?")),
        "{login}"
    );
    let form = visitor.page(&login, "").await;
    let form = form.text().await.expect("a page");
    let action = format!("{base}/admin/login");
    assert!(links(&form).contains(&action), "{form}");
    assert!(!form.contains("needs https"), "{form}");

    let host = visitor.base.strip_suffix(base).unwrap_or(&visitor.base);
    let entered = visitor
        .http
        .post(format!("{host}{action}"))
        .header(ACCEPT, HTML)
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("key={KEY}&next=%2Fadmin"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(location(&entered), format!("{base}/admin"));
    let cookie = entered.headers()[SET_COOKIE].to_str().expect("a text");
    let path = if base.is_empty() { "/" } else { base };
    assert!(cookie.contains(&format!("; Path={path};")), "{cookie}");
    let cookie = cookie.split(';').next().expect("a pair");

    let mut seen = BTreeSet::new();
    let mut next = BTreeSet::from([format!("{base}/admin")]);
    while let Some(link) = next.pop_first() {
        if !seen.insert(link.clone()) || seen.len() > 40 || link.ends_with("/logout") {
            continue;
        }
        assert!(link.starts_with(&format!("{base}/")), "{link} leads away");
        let response = visitor.page(&link, cookie).await;
        let status = response.status();
        // A form's address has no page of its own.
        assert!(
            status == StatusCode::OK
                || status == StatusCode::METHOD_NOT_ALLOWED
                || link.ends_with("/login"),
            "{link}: {status}"
        );
        let text = response.text().await.unwrap_or_default();
        next.extend(links(&text));
    }
    assert!(seen.len() > 10, "{seen:?}");
}

async fn everything(base: String, pool: &str) {
    let visitor = Visitor::new(base);
    seats(&visitor, pool).await;
    events(&visitor, pool).await;
    widget(&visitor).await;
    pages(&visitor).await;
}

async fn node(redis: &Redis) -> Node {
    Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("trusted_proxies", "127.0.0.1,::1")
        .start()
        .await
}

async fn works_behind(kind: &Kind) {
    let redis = Redis::start().await;
    let node = node(&redis).await;
    let Some(proxy) = Proxy::start(kind, &node).await else {
        return;
    };
    tokio::join!(
        everything(proxy.plain.clone(), "plain"),
        everything(proxy.tls.clone(), "tls"),
        everything(format!("{}/seats", proxy.tls), "path"),
    );
}

#[tokio::test]
async fn everything_works_behind_nginx() {
    works_behind(&NGINX).await;
}

#[tokio::test]
async fn everything_works_behind_caddy() {
    works_behind(&CADDY).await;
}

#[tokio::test]
async fn everything_works_behind_apache() {
    works_behind(&APACHE).await;
}

#[tokio::test]
async fn everything_works_behind_haproxy() {
    let redis = Redis::start().await;
    let node = node(&redis).await;
    let Some(proxy) = Proxy::haproxy(&node, false).await else {
        return;
    };
    let Some(under_a_path) = Proxy::haproxy(&node, true).await else {
        return;
    };
    tokio::join!(
        everything(proxy.plain.clone(), "plain"),
        everything(proxy.tls.clone(), "tls"),
        everything(format!("{}/seats", under_a_path.tls), "path"),
    );

    // A client without TLS on another machine is redirected there, and probes are not.
    let visitor = Visitor::new(proxy.plain.clone());
    let from_elsewhere = async |path: &str| {
        let request = visitor.http.get(format!("{}{path}", proxy.plain));
        let asked = request.header("host", "seats.example.com:80").send().await;
        asked.expect("an answer")
    };
    let led = from_elsewhere("/admin?sort=use").await;
    let port = proxy.tls.rsplit(':').next().expect("a port");
    assert_eq!(led.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(
        location(&led),
        format!("https://seats.example.com:{port}/admin?sort=use")
    );
    assert_eq!(from_elsewhere("/readyz").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_node_knows_its_path_by_itself_and_believes_only_proxies_about_another() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("base_path", "/seats/")
        .start()
        .await;
    // With the path or without, as the proxy likes.
    everything(node.url("/seats"), "path").await;
    for header in ["/evil", "//evil.example", "/a\"b"] {
        let form = node
            .get("/admin/login")
            .header("x-forwarded-prefix", header)
            .expect(200)
            .await;
        assert!(
            form.text.contains("action=\"/seats/admin/login\""),
            "{}",
            form.text
        );
    }
    // An address that somebody copies has the path as well.
    let made = form(
        page_of_ours(&node.with_key(KEY), "/admin/keys"),
        &[("name", "wall"), ("role", "reports")],
    )
    .expect(200)
    .await;
    let wall = format!("http://{}/seats/admin/wall#key=", node.address());
    assert!(made.text.contains(&wall), "{}", made.text);
    let (status, text) = Launch::on(&redis.url())
        .set("base_path", "seats")
        .refuse()
        .await;
    assert_eq!(status.code(), Some(2), "{text}");
    assert!(
        text.contains("base_path") && text.contains("/seats"),
        "{text}"
    );
}

#[tokio::test]
async fn over_plain_http_the_login_page_says_that_it_needs_https_before_a_key_is_typed() {
    let redis = Redis::start().await;
    let node = node(&redis).await;
    let form = |host: &'static str, more: &'static [(&'static str, &'static str)]| {
        let call = node.get("/admin/login").header("host", host);
        let call = more
            .iter()
            .fold(call, |call, (name, value)| call.header(name, value));
        async move { call.expect(200).await.text.contains("needs https") }
    };
    assert!(form("seats.example.com", &[]).await);
    assert!(form("seats.example.com:7070", &[("x-forwarded-proto", "http")]).await);
    assert!(!form("seats.example.com", &[("x-forwarded-proto", "https")]).await);
    // Browsers send this over TLS only.
    assert!(!form("seats.example.com", &[("sec-fetch-site", "none")]).await);
    for near in ["localhost:7070", "127.0.0.1", "[::1]:7070"] {
        assert!(!form(near, &[]).await, "{near}");
    }
    let refused = node
        .post("/admin/login")
        .header("host", "seats.example.com")
        .header("origin", "null")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("key=the-operator-key-of-the-tests")
        .expect(403)
        .await;
    assert!(refused.text.contains("needs https"), "{}", refused.text);
}

#[tokio::test]
async fn the_root_leads_a_browser_to_the_pages_and_there_is_an_icon() {
    let redis = Redis::start().await;
    let node = node(&redis).await;
    let root = node.get("/").header("accept", HTML).expect(303).await;
    assert_eq!(root.headers["location"], "/admin");
    let program = node.get("/").expect(404).await;
    assert_eq!(program["code"], "route_not_found");
    let icon = node.get("/favicon.ico").expect(200).await;
    assert_eq!(icon.headers["content-type"], "image/x-icon");
    let demo = node.get("/demo").expect(200).await;
    let policy = demo.headers["content-security-policy"]
        .to_str()
        .expect("a text");
    assert!(policy.contains("img-src 'self'"), "{policy}");
}

/// Knows who has the cookie `desk=anna`, as Authelia does for those who have logged in there.
async fn whoami() -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let router = axum::Router::new().fallback(async |headers: axum::http::HeaderMap| {
        let knows = headers
            .get("cookie")
            .is_some_and(|cookie| cookie == "desk=anna");
        let status = if knows { 200 } else { 401 };
        let headers = [
            ("remote-user", "anna"),
            ("remote-groups", "staff,floor-leads"),
        ];
        (StatusCode::from_u16(status).expect("a status"), headers)
    });
    let server = tokio::spawn(crate::harness::axum_serve(listener, router));
    (address, server)
}

#[tokio::test]
async fn people_whom_something_else_logged_in_get_in_through_nginx() {
    const FORWARD_AUTH: Kind = Kind {
        shipped: "nginx/forward-auth.conf",
        ..NGINX
    };
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("trusted_proxies", "127.0.0.1")
        .set("proxy_user_header", "Remote-User")
        .set("proxy_groups_header", "Remote-Groups")
        .set("proxy_secret", "the same as in proxy_secret")
        .set(
            "oidc_roles",
            "floor-leads = operator pools=crm; seat-admins = admin",
        )
        .start()
        .await;
    node.with_key(KEY)
        .put_pool("crm", json!({"capacity": 5}), 201)
        .await;
    let (address, server) = whoami().await;
    let replaced = ("127.0.0.1:9091", &*address);
    let Some(proxy) = Proxy::start_with(&FORWARD_AUTH, &node, replaced).await else {
        return;
    };
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let get = |path: &str| {
        http.get(format!("{}{path}", proxy.plain))
            .header(ACCEPT, HTML)
    };
    let page = get("/admin/pools/crm").header("cookie", "desk=anna");
    // What a browser says about itself counts nothing.
    let page = page
        .header("remote-user", "mallory")
        .header("remote-groups", "seat-admins");
    let page = page.send().await.expect("an answer");
    assert_eq!(page.status(), 200);
    let text = page.text().await.expect("a page");
    assert!(text.contains("anna") && !text.contains("mallory"), "{text}");
    let others = get("/admin/sessions")
        .header("cookie", "desk=anna")
        .send()
        .await;
    assert_eq!(others.expect("an answer").status(), 403);
    let nobody = get("/admin/pools/crm").send().await;
    assert_eq!(nobody.expect("an answer").status(), 401);
    let forged = |call: reqwest::RequestBuilder| {
        call.header("remote-user", "mallory")
            .header("remote-groups", "seat-admins")
            .send()
    };
    let by_the_interface = forged(get("/v1/pools")).await.expect("an answer");
    assert_eq!(by_the_interface.status(), 401);
    let past_the_proxy = forged(http.get(node.url("/v1/pools")))
        .await
        .expect("an answer");
    assert_eq!(past_the_proxy.status(), 403);
    let with_key = get("/v1/pools")
        .bearer_auth(KEY)
        .send()
        .await
        .expect("an answer");
    assert_eq!(with_key.status(), 200);
    server.abort();
}
