//! What a reader sees in a browser: times as the browser writes them, in any zone, and the values of the small pictures.

use serde_json::json;

use crate::harness::{Browser, Launch, Redis};

/// The End key, as WebDriver names it.
const END: &str = "\u{e010}";

/// Whether the first time of a page is written as this browser writes it in a zone.
fn is_written_in(zone: &str) -> String {
    format!(
        "(() => {{
            const time = document.querySelector('td time');
            const format = new Intl.DateTimeFormat(undefined, {{ dateStyle: 'medium', timeStyle: 'medium', timeZone: '{zone}' }});
            return time?.textContent === format.format(new Date(time.dateTime));
        }})()"
    )
}

#[tokio::test]
async fn times_are_written_as_the_browser_writes_them_in_any_zone() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 3}), 201).await;
    browser.goto(&node.url("/admin/audit")).await;
    let own = "Intl.DateTimeFormat().resolvedOptions().timeZone";
    let own = browser.script(&format!("return {own}")).await;
    let own = own.as_str().expect("a zone").to_owned();
    browser.wait(&is_written_in(&own)).await;

    // Any zone that the browser knows, and the choice stays.
    browser
        .script(
            "const zone = document.getElementById('zone');
             zone.dispatchEvent(new Event('focus'));
             zone.value = 'Asia/Tokyo';
             zone.dispatchEvent(new Event('change'));",
        )
        .await;
    browser.wait(&is_written_in("Asia/Tokyo")).await;
    browser.goto(&node.url("/admin/audit?actor=open")).await;
    browser.wait(&is_written_in("Asia/Tokyo")).await;
    browser
        .wait("document.getElementById('zone').value === 'Asia/Tokyo'")
        .await;
    assert_eq!(browser.complaints().await, [] as [String; 0]);
}

#[tokio::test]
async fn the_small_pictures_of_the_overview_say_their_values_and_go_on_while_the_page_is_renewed() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 3}), 201).await;
    for _ in 0..2 {
        node.acquire("crm", json!({}), 201).await;
    }
    let says = |text: &str| {
        format!("document.querySelector('.axis output')?.textContent.includes('{text}')")
    };
    browser.goto(&node.url("/admin")).await;
    browser
        .wait("document.querySelector('.spark')?.tabIndex === 0")
        .await;
    browser
        .script("document.querySelector('.spark').focus()")
        .await;
    browser.press(END).await;
    browser.wait(&says("at most 2")).await;
    node.acquire("crm", json!({}), 201).await;
    browser.wait(&says("at most 3")).await;
    browser
        .wait("document.activeElement.matches('.spark')")
        .await;
    browser.script("document.activeElement.blur()").await;
    browser
        .wait("document.querySelector('.axis output').textContent === ''")
        .await;

    // The same under the pointer.
    browser
        .script(
            "const spark = document.querySelector('.spark'), box = spark.getBoundingClientRect();
             const at = { bubbles: true, clientX: box.right - 1, clientY: box.top + 1 };
             spark.dispatchEvent(new PointerEvent('pointermove', at));",
        )
        .await;
    browser.wait(&says("since ")).await;
    assert_eq!(browser.complaints().await, [] as [String; 0]);
}
