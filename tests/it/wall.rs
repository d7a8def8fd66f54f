//! The wallboard: alive without a login, honest in an outage, and over with its key.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Browser, Launch, Redis};

const KEY: &str = "the-operator-key-of-the-tests";

#[tokio::test]
async fn a_wallboard_lives_by_its_key_and_says_how_old_it_is() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let mut redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("redis_timeout_ms", "5000")
        .start()
        .await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 2}), 201).await;
    admin.put_pool("phone", json!({"capacity": 9}), 201).await;
    let lease = admin
        .acquire("crm", json!({"holder": "<b>maria</b>"}), 201)
        .await;
    let make = async |role: &str| {
        let body = json!({"name": "wall", "role": role, "pools": ["crm"]});
        let made = admin.post("/v1/keys").json(&body).expect(201).await;
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        (text("id"), text("secret"))
    };
    let (_, viewer) = make("viewer").await;
    let (id, secret) = make("reports").await;
    let wall = format!("http://{}/admin/wall", node.address());
    let shows = |text: &str| {
        let text = json!(text);
        format!("document.body.innerText.includes({text})")
    };
    let kept = async || {
        browser
            .script("return localStorage['leasehold.wall.key'] ?? null")
            .await
    };

    // A key that tells more than a wall shows is not kept: whoever stands before it could read on.
    browser.goto(&format!("{wall}#key={viewer}")).await;
    browser.wait(&shows("may do more than a wall shows")).await;
    assert_eq!(kept().await, Value::Null);

    // From the address, which does not keep it.
    browser.goto("about:blank").await;
    browser.goto(&format!("{wall}#key={secret}")).await;
    browser.wait(&shows("of 2")).await;
    assert_eq!(browser.script("return location.hash").await, "");
    assert_eq!(kept().await, json!(secret));
    let text = browser.text().await;
    assert!(text.contains("crm") && text.contains("1 free"), "{text}");
    assert!(!text.contains("phone") && !text.contains("maria"), "{text}");
    let second = admin.acquire("crm", json!({}), 201).await;
    browser
        .wait("document.querySelector('#board .full') !== null")
        .await;
    browser.wait(&shows("no seat free")).await;

    // Narrow and wide, light and dark: nothing is wider than the screen, and the figures are large.
    for (scheme, width, least) in [("dark", 390, 48), ("light", 1920, 150)] {
        browser.look_like(scheme, width).await;
        let seen = browser
            .script(
                "const figure = document.querySelector('#board strong');
                 return [document.documentElement.scrollWidth <= innerWidth, parseFloat(getComputedStyle(figure).fontSize)]",
            )
            .await;
        let size = seen[1].as_f64().expect("a size");
        assert!(
            seen[0] == true && size >= f64::from(least),
            "{width}: {seen}"
        );
    }

    // What was known stays through an outage, and through a reload in it.
    redis.freeze().await;
    browser.wait(&shows("No answer for")).await;
    browser.goto(&wall).await;
    browser.wait(&shows("This was so at")).await;
    assert!(browser.text().await.contains("of 2"));
    redis.thaw().await;
    browser
        .wait("!document.body.classList.contains('old')")
        .await;
    admin.release(&lease.token(), 204).await;
    admin.release(&second.token(), 204).await;
    browser.wait(&shows("2 free")).await;

    // Its right ends, and so does all that it showed.
    let path = format!("/v1/keys/{id}");
    admin.call(Method::DELETE, &path).expect(204).await;
    browser.wait(&shows("The key of this wall has ended")).await;
    assert_eq!(kept().await, Value::Null);
    let text = browser.text().await;
    assert!(!text.contains("crm") && !text.contains("of 2"), "{text}");
    let complaints = browser.complaints().await;
    let of_policy: Vec<_> = complaints
        .iter()
        .filter(|complaint| complaint.contains("Content Security") || complaint.contains("Trusted"))
        .collect();
    assert!(of_policy.is_empty(), "{of_policy:?}");
}
