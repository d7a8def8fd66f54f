//! People of the demo: they come, work, go or fall silent, and come again, through the interface as any other client.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::DemoPool;
use crate::time::millis;

const HEARTBEAT: Duration = Duration::from_secs(15);

/// Lets the people of a pool come, for as long as the program runs.
pub(super) fn come(pool: &'static DemoPool, address: SocketAddr) {
    crate::tls::choose_cryptography();
    let client = Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10))
        // It speaks to its own node, without TLS.
        .tls_certs_only([])
        .build()
        .expect("a client without settings of its own");
    for number in 0..pool.people {
        let person = Person {
            pool,
            number,
            client: client.clone(),
            base: format!("http://{address}/v1"),
        };
        tokio::spawn(person.live());
    }
}

struct Person {
    pool: &'static DemoPool,
    number: usize,
    client: Client,
    base: String,
}

fn between(from: u64, to: u64) -> Duration {
    Duration::from_millis(rand::random_range(from..to))
}

impl Person {
    async fn live(self) {
        // Most are there at once, so that there is something to see.
        sleep(between(0, 4_000)).await;
        loop {
            if let Some(token) = self.sit_down().await {
                self.work(&token).await;
            }
            sleep(between(10_000, 90_000)).await;
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Option<(StatusCode, Value)> {
        let call = self.client.post(format!("{}{path}", self.base));
        let call = call.header("content-type", "application/json");
        let answer = call.body(body.to_string()).send().await.ok()?;
        let status = answer.status();
        let text = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or_default()))
    }

    fn doing(&self) -> Vec<String> {
        let activities = self.pool.activities;
        if rand::random_range(0..5) == 0 {
            return Vec::new();
        }
        let activity = activities[rand::random_range(0..activities.len())];
        vec![format!("{activity} {}", rand::random_range(10_000..99_999))]
    }

    /// A seat, sooner or later; none if the person gives up.
    async fn sit_down(&self) -> Option<String> {
        let path = format!("/pools/{}/leases", self.pool.name);
        let mut asked = json!({
            "holder": self.pool.person(self.number),
            "tenant": self.pool.tenant(self.number),
            "label": format!("Desk {}", self.number + 1),
            "activities": self.doing(),
            "platform": if self.number.is_multiple_of(4) { "desktop" } else { "web" },
            "wait": self.pool.queue,
        });
        for _ in 0..20 {
            let (status, answer) = self.post(&path, &asked).await?;
            if let Some(token) = answer["token"].as_str() {
                return Some(token.to_owned());
            }
            if status == StatusCode::ACCEPTED {
                asked = json!({ "ticket": answer["ticket"] });
                let wait = answer["retry_after_ms"].as_u64().unwrap_or(2_000);
                sleep(Duration::from_millis(wait)).await;
            } else if status == StatusCode::CONFLICT {
                sleep(between(10_000, 40_000)).await;
            } else {
                return None;
            }
        }
        None
    }

    /// Works for some minutes.
    async fn work(&self, token: &str) {
        let begin = tokio::time::Instant::now();
        let until = begin + between(60_000, 420_000);
        // One in three is somewhere else, and has been for some minutes.
        let away = self.pool.counts_idle && self.number.is_multiple_of(3);
        let away_for = between(0, super::IDLE_MS);
        while tokio::time::Instant::now() < until {
            sleep(HEARTBEAT).await;
            let beat = if away {
                let idle_ms = millis(away_for + begin.elapsed());
                json!({ "token": token, "activities": [], "idle_ms": idle_ms })
            } else {
                json!({ "token": token, "activities": self.doing(), "idle_ms": 0 })
            };
            match self.post("/leases/renew", &beat).await {
                Some((status, _)) if status == StatusCode::GONE => return,
                _ => {}
            }
        }
        // Some only close the lid.
        if rand::random_range(0..8) > 0 {
            self.post("/leases/release", &json!({ "token": token }))
                .await;
        }
    }
}
