//! Values of the pictures: under the pointer, by arrow keys, and closer at an address of their own.

use serde_json::json;

use crate::harness::{Browser, Launch, Redis};
use crate::history::{event, past};

const END: &str = "\u{e010}";
const ENTER: &str = "\u{e007}";
const DOWN: &str = "\u{e015}";
const HOME: &str = "\u{e011}";

#[tokio::test]
async fn each_value_of_a_picture_can_be_read_and_looked_at_closer() {
    let redis = Redis::start().await;
    let (store, _, mut connection, stream) = past(&redis).await;
    let begin = store.clock().await.expect("a clock").0 - 50 * 3_600_000;
    for (number, kind, reason) in [(0, "configured", "7"), (1, "started", "")] {
        event(&mut connection, &stream, (begin, number), kind, "a", reason).await;
    }
    let node = Launch::on(&redis.url())
        .set("redis_timeout_ms", "5000")
        .start()
        .await;
    let history = "/admin/pools/crm/history?range=24h&tz=UTC";

    // Without a script the browser says it, by the title of each place; and each hour is a link to its minutes.
    let page = node
        .get(history)
        .header("accept", "text/html")
        .expect(200)
        .await;
    assert!(
        page.text.contains(": at most 1 of 7 in use, "),
        "{}",
        page.text
    );
    let titles = page.text.matches("<rect x=").count();
    let page = node
        .get("/admin/pools/crm/patterns?tz=UTC")
        .header("accept", "text/html")
        .expect(200)
        .await;
    assert!(
        titles >= 2 && page.text.matches("<title>").count() > 300,
        "{titles}"
    );
    let Some(browser) = Browser::start().await else {
        return;
    };
    let at = |path: &str| format!("http://{}{path}", node.address());
    browser.goto(&at(history)).await;
    browser
        .wait("document.querySelector('svg.wide[tabindex]') !== null")
        .await;
    let says = |text: &str| {
        let text = json!(text);
        format!("document.querySelector('output.reading').textContent.includes({text})")
    };
    let point = "document.querySelector('svg.wide .readings rect:last-of-type').dispatchEvent(new PointerEvent('pointermove', {bubbles: true}))";
    browser.script(point).await;
    browser.wait(&says("at most 1 of 7 in use")).await;
    browser
        .script("document.querySelector('svg.wide').focus()")
        .await;
    browser.press(END).await;
    browser.wait(&says("at most 1 of 7 in use")).await;
    browser
        .wait("document.querySelector('svg.wide .at') !== null")
        .await;

    // A week, of which a day is looked at closer, and back.
    browser
        .goto(&at("/admin/pools/crm/history?range=24h&step=day&tz=UTC"))
        .await;
    browser
        .wait("document.querySelector('svg.wide[tabindex]') !== null")
        .await;
    browser
        .script("document.querySelector('svg.wide').focus()")
        .await;
    browser.press(&format!("{HOME}{ENTER}")).await;
    browser
        .wait("location.search.includes('from=') && location.search.includes('to=')")
        .await;
    browser
        .wait("document.querySelector('svg.wide[tabindex]') !== null")
        .await;
    browser.script("history.back()").await;
    browser.wait("location.search.includes('step=day')").await;

    browser.goto(&at("/admin/pools/crm/patterns?tz=UTC")).await;
    browser
        .wait("document.querySelector('svg.wide[tabindex]') !== null")
        .await;
    browser
        .script("document.querySelector('svg.wide').focus()")
        .await;
    browser.press(HOME).await;
    browser.wait(&says("Monday 00:00 to 01:00")).await;
    browser.press(DOWN).await;
    browser.wait(&says("Tuesday 00:00 to 01:00")).await;
    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "{complaints:?}");
}
