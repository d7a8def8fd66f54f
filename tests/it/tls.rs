//! TLS of a node itself: what it shows and speaks, how a renewed certificate is taken, and what it does not start with.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use reqwest::{Certificate, Version};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Certificates, Launch, Node, free_port, wait_until};

const PATIENCE: Duration = Duration::from_secs(10);

/// The file of a pair that a server shows.
fn of_server(certificates: &Certificates, name: &str) -> PathBuf {
    certificates.ca().with_file_name(name)
}

/// A node that shows a copy of this pair, and the files of the copy.
async fn node(certificates: &Certificates) -> (Node, [PathBuf; 2], String) {
    let port = free_port();
    let launch = Launch::embedded().set("listen", &format!("127.0.0.1:{port}"));
    let files = ["server.pem", "server.key"].map(|name| {
        let copy = launch.directory().join(name);
        std::fs::copy(of_server(certificates, name), &copy).expect("ours");
        copy
    });
    let text = files.each_ref().map(|file| file.display().to_string());
    let node = launch
        .set("tls_cert_file", &text[0])
        .set("tls_key_file", &text[1])
        .spawn();
    let base = format!("https://localhost:{port}");
    let client = trusting(certificates);
    wait_until("the node is ready", PATIENCE * 2, async || {
        let answer = client.get(format!("{base}/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    (node, files, base)
}

/// A program that believes this authority and no other.
fn trusting(certificates: &Certificates) -> reqwest::Client {
    leasehold::tls::choose_cryptography();
    let ca = std::fs::read(certificates.ca()).expect("it was made");
    reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .tls_certs_only([Certificate::from_pem(&ca).expect("PEM")])
        .timeout(PATIENCE)
        .build()
        .expect("a client")
}

#[tokio::test]
async fn a_node_with_a_certificate_speaks_tls_and_nothing_else() {
    let certificates = Certificates::make();
    let (node, [certificate, key], base) = node(&certificates).await;
    let client = trusting(&certificates);
    let answer = client
        .put(format!("{base}/v1/pools/crm"))
        .json(&json!({"capacity": 1}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (201, Version::HTTP_2)
    );
    let old = reqwest::Client::builder()
        .no_proxy()
        .http1_only()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .expect("a client");
    let asked = old
        .post(format!("{base}/v1/pools/crm/leases"))
        .json(&json!({"holder": "ann"}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        (asked.status().as_u16(), asked.version()),
        (201, Version::HTTP_11)
    );
    let lease: Value = asked.json().await.expect("JSON");
    // On the connection that was silent meanwhile: nothing of the next request is lost by looking for it.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let renewed = old
        .post(format!("{base}/v1/leases/renew"))
        .json(&json!({"token": lease["token"]}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(renewed.status(), 200);

    // Whoever forgets the s reads what to do.
    let address = base.replace("https://localhost", "127.0.0.1");
    let mut plain = TcpStream::connect(&address).await.expect("it listens");
    plain
        .write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("Write https://"), "{answer}");

    // A container asks its own node, by an address that no certificate names.
    let healthy = Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .args(["healthcheck", "--ready", "--listen", &address, "--tls-cert"])
        .arg(certificate)
        .arg("--tls-key")
        .arg(key)
        .current_dir(node.directory())
        .output()
        .expect("it runs");
    assert!(healthy.status.success(), "{healthy:?}");
    assert!(node.log().contains(&format!("serving https://{address}")));
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_never() {
    let (first, second) = (Certificates::make(), Certificates::make());
    let (node, [certificate, key], base) = node(&first).await;
    let is_shown = async |certificates: &Certificates| {
        let answer = trusting(certificates).get(format!("{base}/livez")).send();
        answer.await.is_ok_and(|answer| answer.status() == 200)
    };
    assert!(is_shown(&first).await && !is_shown(&second).await);

    // Two files, one after the other, as a program does that renews them.
    std::fs::copy(of_server(&second, "server.pem"), &certificate).expect("ours");
    std::fs::copy(of_server(&second, "server.key"), &key).expect("ours");
    wait_until("the new one is shown", PATIENCE, async || {
        is_shown(&second).await
    })
    .await;

    std::fs::copy(of_server(&first, "server.pem"), &certificate).expect("ours");
    node.says("the certificate and the key do not go together")
        .await;
    assert!(is_shown(&second).await && !is_shown(&first).await);
}

#[tokio::test]
async fn a_node_does_not_start_with_half_of_a_pair() {
    let (first, second) = (Certificates::make(), Certificates::make());
    let file = |certificates, name| of_server(certificates, name).display().to_string();
    for (certificate, key, said) in [
        (
            file(&first, "server.pem"),
            String::new(),
            "give both, or none",
        ),
        (
            file(&first, "server.pem"),
            file(&second, "server.key"),
            "do not go together",
        ),
        (
            file(&first, "server.key"),
            file(&first, "server.key"),
            "no certificate in PEM form",
        ),
        (
            file(&first, "server.pem"),
            file(&first, "server.pem"),
            "no private key in PEM form",
        ),
        (
            file(&first, "none.pem"),
            file(&first, "server.key"),
            "No such file",
        ),
    ] {
        let mut launch = Launch::embedded().set("tls_cert_file", &certificate);
        if !key.is_empty() {
            launch = launch.set("tls_key_file", &key);
        }
        let (status, log) = launch.refuse().await;
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(said), "{said}: {log}");
    }
}
