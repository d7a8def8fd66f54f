//! A real browser: headless Chromium, spoken to over WebDriver.
//!
//! The protocol is a few JSON calls, so there is no library for it here. Where no `chromedriver` is on the `PATH` the
//! tests of pages report that and do nothing; `make test` installs it where it may.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::free_port;

/// The name under which WebDriver hands out elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window and nothing remembered.
pub(crate) struct Browser {
    http: reqwest::Client,
    session: String,
    driver: Child,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; `None` on a machine without a browser.
    pub(crate) async fn start() -> Option<Self> {
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(driver) = driver else {
            eprintln!(
                "skipped: no chromedriver on the PATH, so no page is tested (apt-get install chromium-driver)"
            );
            return None;
        };
        let profile = TempDir::with_prefix("leasehold-browser-").expect("a temporary directory");
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "chromedriver does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        leasehold::tls::choose_cryptography();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .build()
            .expect("a client without TLS");
        let mut browser = Self {
            http,
            session: format!("http://127.0.0.1:{port}/session"),
            driver,
            _profile: profile,
        };
        let arguments = [
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-quic".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--window-size=1280,900".to_owned(),
            format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let answer = browser.post("", wanted).await;
        let id = answer["sessionId"].as_str().expect("a session").to_owned();
        browser.session = format!("{}/{id}", browser.session);
        Some(browser)
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = self
            .http
            .post(format!("{}{path}", self.session))
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = request.send().await.expect("chromedriver answers");
        let text = answer.text().await.expect("a whole answer");
        let mut answer: Value = serde_json::from_str(&text).expect("JSON");
        let value = answer["value"].take();
        assert!(value["error"].is_null(), "{path} {body}: {value}");
        value
    }

    pub(crate) async fn goto(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// Runs a script in the page, with `return` if something is asked.
    pub(crate) async fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []}))
            .await
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub(crate) fn wait(&self, expression: &str) -> impl Future<Output = ()> {
        self.wait_for(expression, Duration::from_secs(15))
    }

    /// The same for what takes its time, such as a page that asks less and less often while nobody answers.
    #[track_caller]
    pub(crate) fn wait_long(&self, expression: &str) -> impl Future<Output = ()> {
        self.wait_for(expression, Duration::from_secs(60))
    }

    #[track_caller]
    fn wait_for(&self, expression: &str, within: Duration) -> impl Future<Output = ()> {
        let asked_at = std::panic::Location::caller();
        async move {
            let deadline = Instant::now() + within;
            while self.script(&format!("return Boolean({expression})")).await != Value::Bool(true) {
                if Instant::now() > deadline {
                    let page = self
                        .script("return location.href + ' ' + document.body.innerText")
                        .await;
                    panic!("{asked_at}: never true: {expression}\n{page}");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    async fn find(&self, css: &str) -> String {
        let found = self
            .post("/element", json!({"using": "css selector", "value": css}))
            .await;
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    pub(crate) async fn click(&self, css: &str) {
        let element = self.find(css).await;
        self.post(&format!("/element/{element}/click"), json!({}))
            .await;
    }

    /// Types into a field. `\u{e007}` is the Enter key, `\u{e004}` is Tab.
    pub(crate) async fn write(&self, css: &str, text: &str) {
        let element = self.find(css).await;
        self.post(
            &format!("/element/{element}/value"),
            json!({ "text": text }),
        )
        .await;
    }

    /// Presses keys, wherever the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [
                    json!({"type": "keyDown", "value": key.to_string()}),
                    json!({"type": "keyUp", "value": key.to_string()}),
                ]
            })
            .collect();
        self.post(
            "/actions",
            json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]}),
        )
        .await;
    }

    /// Goes one place back: Tab with Shift held.
    pub(crate) async fn back_tab(&self) {
        let key = |kind: &str, value: &str| json!({"type": kind, "value": value});
        let actions = [
            key("keyDown", "\u{e008}"),
            key("keyDown", "\u{e004}"),
            key("keyUp", "\u{e004}"),
            key("keyUp", "\u{e008}"),
        ];
        self.post(
            "/actions",
            json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]}),
        )
        .await;
    }

    /// Shows pages as a reader with this scheme (`light`, `dark`) and a window of this width sees them.
    pub(crate) async fn look_like(&self, scheme: &str, width: u32) {
        for (command, parameters) in [
            (
                "Emulation.setEmulatedMedia",
                json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
            ),
            (
                "Emulation.setDeviceMetricsOverride",
                json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false}),
            ),
        ] {
            let body = json!({"cmd": command, "params": parameters});
            self.post("/goog/cdp/execute", body).await;
        }
    }

    /// The text of the page, as people see it.
    pub(crate) async fn text(&self) -> String {
        let text = self.script("return document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// What the browser complained about since the last time: violations of the policy, errors of scripts.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({"type": "browser"})).await;
        let entries = entries.as_array().cloned().unwrap_or_default();
        let bad = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        bad.map(|entry| entry["message"].to_string()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ending the driver ends its browser; asking it first leaves no process behind.
        let _ = std::process::Command::new("curl")
            .args(["-s", "-X", "DELETE", &self.session])
            .stdout(Stdio::null())
            .status();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
