//! The admin pages in a real browser: by mouse and by keyboard, live, in both schemes, wide and narrow, and with strings that
//! want to be scripts.

use std::collections::HashMap;
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use crate::admin_pages::HOSTILE;
use crate::harness::{
    Browser, Installation, Launch, Redis, Reply, SECRET, Terminal, free_port, let_pass,
};

const KEY: &str = "the-operator-key-of-the-tests";

/// A browser keeps a busy machine busy, and these tests are not about how fast Redis answers.
const PATIENT: (&str, &str) = ("redis_timeout_ms", "5000");

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

async fn log_in(browser: &Browser, server: &str) {
    browser.goto(&format!("{server}/admin/login")).await;
    browser.wait("document.activeElement.id === 'key'").await;
    browser.press(&format!("{KEY}{ENTER}")).await;
    browser
        .wait("document.querySelector('h1').innerText === 'Overview'")
        .await;
}

/// Goes on with Tab until the focus is there, and sees to it that one can see where it is.
async fn tab_to(browser: &Browser, css: &str) {
    let css = json!(css);
    for _ in 0..80 {
        browser.press(TAB).await;
        let at = browser
            .script(&format!(
                "const at = document.activeElement; const style = getComputedStyle(at);
                 return [at.matches({css}), at === document.body || style.outlineStyle !== 'none', at.outerHTML.slice(0, 120)]"
            ))
            .await;
        assert_eq!(at[1], json!(true), "the focus cannot be seen: {at}");
        if at[0] == json!(true) {
            return;
        }
    }
    panic!("{css} is not reached by Tab: {}", browser.text().await);
}

#[tokio::test]
async fn an_operator_works_in_a_browser() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = Installation::start_with(2, &[("admin_key", KEY), PATIENT]).await;
    let [a, b] = [&cluster.nodes[0], &cluster.nodes[1]];
    let at = |path: &str| format!("http://{}{path}", a.address());

    // Log in by keyboard; an empty installation shows how it becomes live.
    browser.goto(&at("/admin")).await;
    browser.wait("document.activeElement.id === 'key'").await;
    browser.press(&format!("{KEY}\u{e007}")).await;
    browser
        .wait("document.querySelector('h1').innerText === 'Overview'")
        .await;
    let text = browser.text().await;
    assert!(
        text.contains("There are no pools yet") && text.matches("curl").count() == 3,
        "{text}"
    );
    browser.write("[name=name]", "crm").await;
    browser.write("[name=capacity]", "5\u{e007}").await;
    browser
        .wait("document.body.innerText.includes('There are currently no agents connected.')")
        .await;

    // What happens on the other node is on the page without a reload; filtered and sorted by the address.
    let admin = b.with_key(KEY);
    let mut leases: HashMap<&str, Reply> = HashMap::new();
    for holder in ["carl", "anna", "bert", "dora"] {
        let activities: &[&str] = if holder == "anna" { &HOSTILE } else { &[] };
        let asked = json!({"holder": holder, "tenant": "acme", "label": HOSTILE[1], "activities": activities});
        leases.insert(holder, admin.acquire("crm", asked, 201).await);
    }
    admin.acquire("crm", json!({}), 201).await;
    browser
        .wait("document.querySelectorAll('tbody tr').length === 5")
        .await;
    assert!(browser.text().await.contains("Guest"));
    browser.click("thead a[href*='sort=holder']").await;
    browser
        .wait("document.querySelector('th[aria-sort=ascending]')?.innerText.startsWith('Holder')")
        .await;
    let holders = browser
        .script("return [...document.querySelectorAll('tbody th')].map((cell) => cell.innerText)")
        .await;
    assert_eq!(holders, json!(["Guest", "anna", "bert", "carl", "dora"]));
    browser.press("/").await;
    browser.press("acme\u{e007}").await;
    browser
        .wait("document.querySelectorAll('tbody tr').length === 4")
        .await;

    // Three are terminated, with a reason that they read: a range with Shift, one of all with the bar.
    browser.click(".bar [data-page]").await;
    browser
        .wait(
            "document.querySelector('.bar').innerText.includes('All 4 on this page are selected.')",
        )
        .await;
    browser.click(".bar [data-none]").await;
    browser.click("input[aria-label='Select anna']").await;
    browser
        .script(
            "document.querySelector(\"input[aria-label='Select carl']\")
                 .dispatchEvent(new MouseEvent('click', { bubbles: true, shiftKey: true }))",
        )
        .await;
    browser
        .wait("document.querySelector('.bar').innerText.includes('3 selected')")
        .await;
    browser.wait("document.getElementById('refresh').innerText.includes('Paused while leases are selected')").await;
    browser.click(".bar button[type=submit]:not([name])").await;
    browser
        .wait("document.querySelector('h1').innerText === 'End 3 seats of 3 people in crm?'")
        .await;
    browser
        .wait("document.activeElement.innerText === 'Cancel'")
        .await;
    browser.write("#end-reason", "The shift is over.").await;
    browser.click("button.danger").await;
    browser
        .wait("document.querySelector('h1').innerText === '3 seats of 3 people were ended'")
        .await;
    let lost = b.renew(&leases["anna"].token(), 410).await;
    assert_eq!(
        (&lost["code"], &lost["reason"]),
        (&json!("lease_terminated"), &json!("The shift is over."))
    );
    b.renew(&leases["dora"].token(), 200).await;

    // A smaller pool: what it means is said first.
    browser.goto(&at("/admin/pools/crm/settings")).await;
    browser
        .script("document.getElementById('f-capacity').value = 1")
        .await;
    browser.click("button.main").await;
    browser.wait("document.body.innerText.includes('2 in use, new capacity 1: nobody is ended, no new seats until 0 are in use.')").await;
    browser.click("button.main").await;
    browser
        .wait("document.body.innerText.includes('The settings are saved, on all nodes.')")
        .await;
    assert_eq!(admin.pool("crm", 200).await["capacity"], 1);

    // A key, whose secret is shown once.
    browser.goto(&at("/admin/keys")).await;
    browser.write("#key-name", HOSTILE[0]).await;
    browser.write("#key-pools", "crm").await;
    browser.click("main button.main").await;
    browser
        .wait("document.querySelector('pre')?.innerText.startsWith('lh_client_')")
        .await;
    let program = format!(
        "{}/client/leasehold-client.tgz",
        at("").trim_end_matches('/')
    );
    browser
        .wait(&format!(
            "document.querySelectorAll('pre')[1].innerText.includes('{program}')"
        ))
        .await;

    assert_eq!(
        browser.script("return window.pwned ?? null").await,
        Value::Null
    );
    assert_eq!(browser.complaints().await, [] as [String; 0]);

    browser.goto(&at("/admin")).await;
    browser.click(".who form button").await;
    browser
        .wait("document.querySelector('h1').innerText === 'Log in'")
        .await;
}

#[tokio::test]
async fn leases_are_terminated_by_keyboard_alone() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set_all(&[PATIENT]).start().await;
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let mut tokens = HashMap::new();
    for holder in ["anna", "bert", "carl"] {
        let lease = node.acquire("crm", json!({"holder": holder}), 201).await;
        tokens.insert(holder, lease.token());
    }

    browser.goto(&node.url("/admin")).await;
    browser.wait("document.querySelector('h2 a')").await;
    tab_to(&browser, "h2 a[href='/admin/pools/crm']").await;
    browser.press(ENTER).await;
    browser
        .wait("document.querySelectorAll('tbody tr').length === 3")
        .await;
    // The first stop of every page leads over all that stands on each of them.
    browser.press(TAB).await;
    browser
        .wait("document.activeElement.matches('a.skip')")
        .await;
    browser.press(ENTER).await;
    for holder in ["anna", "bert"] {
        tab_to(&browser, &format!("input[aria-label='Select {holder}']")).await;
        browser.press(" ").await;
    }
    tab_to(&browser, ".bar button[type=submit]:not([name])").await;
    browser.press(ENTER).await;
    browser
        .wait("document.querySelector('h1').innerText === 'End 2 seats of 2 people in crm?'")
        .await;
    // Who presses Enter without reading destroys nothing.
    browser
        .wait("document.activeElement.innerText === 'Cancel'")
        .await;
    browser.back_tab().await;
    browser
        .wait("document.activeElement.id === 'end-block'")
        .await;
    browser.press("5 min").await;
    browser.back_tab().await;
    browser
        .wait("document.activeElement.id === 'end-reason'")
        .await;
    browser.press("Over.").await;
    tab_to(&browser, "button.danger").await;
    browser.press(ENTER).await;
    browser
        .wait("document.querySelector('h1').innerText === '2 seats of 2 people were ended'")
        .await;
    let lost = node.renew(&tokens["anna"], 410).await;
    assert_eq!(lost["reason"], "Over.");
    assert!(lost["blocked_until"].is_string(), "{}", lost.text);
    node.acquire("crm", json!({"holder": "bert"}), 409).await;
    node.renew(&tokens["carl"], 200).await;
    assert_eq!(browser.complaints().await, [] as [String; 0]);
}

#[tokio::test]
async fn a_live_list_leaves_its_reader_in_peace_and_says_when_it_is_old() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let mut cluster = Installation::start_with(1, &[PATIENT]).await;
    let node = cluster.first();
    let policy = json!({"capacity": 90, "ttl_ms": 600_000});
    node.put_pool("crm", policy, 201).await;
    let lease = |name: String| {
        let asked = json!({"holder": name, "activities": ["Order 17"]});
        node.acquire("crm", asked, 201)
    };
    for number in 10..50 {
        lease(format!("agent-{number}")).await;
    }
    browser.look_like("light", 1280).await;
    browser
        .goto(&node.url("/admin/pools/crm?sort=holder"))
        .await;
    let rows = |count: usize| format!("document.querySelectorAll('tbody tr').length === {count}");
    let says =
        |text: &str| format!("document.getElementById('refresh').innerText.includes('{text}')");
    browser.wait(&rows(40)).await;
    browser
        .script(
            "const every = document.querySelector('#refresh select');
             every.value = '2'; every.dispatchEvent(new Event('change'));
             window.row = [...document.querySelectorAll('tbody tr')].find((row) => row.innerText.startsWith('agent-17')
                 || row.querySelector('th').innerText === 'agent-17');
             const details = row.querySelector('details'); details.open = true; details.querySelector('summary').focus();
             scrollTo(0, 250)",
        )
        .await;

    // Something new below changes nothing of what is looked at.
    lease("agent-60".to_owned()).await;
    browser.wait(&rows(41)).await;
    let kept = browser
        .script(
            "return [document.activeElement === row.querySelector('summary'), row.querySelector('details').open, scrollY,
                 row.isConnected]",
        )
        .await;
    assert_eq!(kept, json!([true, true, 250, true]));

    // While something is selected, and when that is wanted, it stands still; that is said.
    let still = async |count: usize, why: &str| {
        browser.wait(&says(why)).await;
        let_pass(2_500).await;
        browser.wait(&rows(count)).await;
    };
    browser.click("input[aria-label='Select agent-17']").await;
    lease("agent-61".to_owned()).await;
    still(41, "Paused while leases are selected").await;
    browser.click("input[aria-label='Select agent-17']").await;
    browser.wait(&rows(42)).await;
    browser
        .script("getSelection().selectAllChildren(row.querySelector('th'))")
        .await;
    lease("agent-62".to_owned()).await;
    still(42, "Paused while text is selected").await;
    browser.script("getSelection().removeAllRanges()").await;
    browser.wait(&rows(43)).await;
    browser.click("#refresh button").await;
    lease("agent-63".to_owned()).await;
    still(43, "Paused, data of").await;
    browser.click("#refresh button").await;
    browser.wait(&rows(44)).await;
    browser.wait(&says("Live, updated")).await;

    // Redis is away, then the node: what is shown is called old, and stays.
    cluster.redis.kill().await;
    browser.wait(&says("Stale: no answer, last data of")).await;
    browser
        .wait("document.getElementById('say').innerText.startsWith('Data is stale')")
        .await;
    browser.wait(&rows(44)).await;
    cluster.redis.restart().await;
    browser.wait_long(&says("Live, updated")).await;
    browser.wait(&rows(44)).await;
    cluster.nodes[0].kill();
    browser.wait_long(&says("Stale: no answer")).await;
    browser.wait(&rows(44)).await;
    cluster.nodes[0].restart().await;
    browser.wait_long(&says("Live, updated")).await;
}

#[tokio::test]
async fn the_login_that_a_terminal_shows_is_good_once() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let redis = Redis::start().await;
    let listen = format!("127.0.0.1:{}", free_port());
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command
        .args(["serve", "--listen", &listen])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LEASEHOLD_REDIS_URL", redis.url())
        .env("LEASEHOLD_SECRET", SECRET)
        .env("LEASEHOLD_ADMIN_KEY", KEY)
        .current_dir(directory.path());
    let terminal = Terminal::run(command);
    terminal.shows("logs in once").await;
    let text = terminal.text();
    let from = text.find("http://").expect("an address");
    let address = text
        .split_whitespace()
        .find(|word| word.contains("/admin/login?code="))
        .unwrap_or_else(|| panic!("no login in {}", &text[from..]));

    browser.goto(address).await;
    browser.click("main button.main").await;
    browser
        .wait("document.querySelector('h1').innerText === 'Overview'")
        .await;
    browser.click(".who form button").await;
    browser
        .wait("document.querySelector('h1').innerText === 'Log in'")
        .await;
    browser.goto(address).await;
    browser.click("main button.main").await;
    browser
        .wait("document.querySelector('.problem')?.innerText.startsWith('That did not work.')")
        .await;
}

#[tokio::test]
async fn the_three_commands_of_an_empty_installation_make_it_live() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    for key in [None, Some(KEY)] {
        let redis = Redis::start().await;
        let mut launch = Launch::on(&redis.url()).set_all(&[PATIENT]);
        if let Some(key) = key {
            launch = launch.set("admin_key", key);
        }
        let node = launch.start().await;
        if key.is_some() {
            log_in(&browser, &node.url("")).await;
        } else {
            browser.goto(&node.url("/admin")).await;
        }
        let commands = browser
            .script("return [...document.querySelectorAll('.empty pre')].map((command) => command.innerText)")
            .await;
        let commands: Vec<&str> = commands
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(commands.len(), 3, "{commands:?}");
        // As they are pasted: one after the other, into one shell.
        let output = tokio::process::Command::new("sh")
            .args(["-ec", &commands.join("\n")])
            .env("LEASEHOLD_KEY", key.unwrap_or_default())
            .env("no_proxy", "*")
            .output()
            .await
            .expect("sh runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("\"resumed\":false"),
            "{said}"
        );
        let admin = node.with_key(key.unwrap_or_default());
        assert_eq!(admin.pool("crm", 200).await["in_use"], 1);
        let leases = admin.list("crm", "", 200).await;
        assert_eq!(leases["items"][0]["holder"], "agent-7");
        // The page that showed them becomes that of a live installation by itself.
        browser
            .wait("document.querySelector('.cards')?.innerText.includes('1 of 5 in use')")
            .await;
    }
}

#[tokio::test]
async fn every_page_can_be_used_by_everybody_and_runs_nothing_that_others_wrote() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set_all(&[PATIENT])
        .set("admin_key", KEY)
        .set("webhook_private_networks", "on")
        .start()
        .await;
    let server = node.url("");
    let pages = hostile_installation(&node.with_key(KEY)).await;
    log_in(&browser, &server).await;
    // What is asked for and not there is refused with a page, and the browser's log has its status.
    let refused = [
        "/admin/pools/nowhere",
        "/admin/pools/crm/history?tz=Mars/Base",
    ];
    for (scheme, width) in [
        ("light", 1280),
        ("dark", 1280),
        ("light", 390),
        ("dark", 390),
    ] {
        browser.look_like(scheme, width).await;
        for path in pages.iter().map(String::as_str).chain(refused) {
            browser.goto(&format!("{server}{path}")).await;
            browser
                .wait("document.querySelectorAll('h1').length === 1 && document.querySelector('main')")
                .await;
            let place = format!("{path}, {scheme}, {width} wide");
            for (what, check) in [
                ("without a name", UNNAMED),
                ("with too little contrast", CONTRAST),
                ("too small to be touched", SMALL),
                ("of somebody else's making", PLANTED),
            ] {
                let found = browser.script(check).await;
                assert_eq!(found, json!([]), "{place}: something {what}");
            }
            let wide = browser
                .script("return document.documentElement.scrollWidth > innerWidth")
                .await;
            assert_eq!(wide, Value::Bool(false), "{place} scrolls sideways");
            let mut complaints = browser.complaints().await;
            complaints.retain(|complaint| {
                !refused.contains(&path)
                    || !complaint.contains("the server responded with a status of 40")
            });
            assert_eq!(complaints, [] as [String; 0], "{place}");
        }
    }
}

/// Hostile strings in every field that takes one; all pages that show them.
async fn hostile_installation(admin: &crate::harness::Client) -> Vec<String> {
    let [script, image, quote, formula] = HOSTILE;
    let encoded =
        |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let policy = json!({
        "capacity": 9, "named": {"seats": 3, "spill_to_concurrent": true}, "queue": {"max_waiting": 5},
        "tenants": {script: {"max": 5}, image: {"reserved": 1}}, "alert_at_percent": [10],
        "schedule": [
            {"name": script, "from": "2036-12-01T08:00:00Z", "until": "2036-12-02T08:00:00Z", "capacity": 12},
            {"name": image, "from": "2037-12-01T08:00:00Z", "until": "2037-12-02T08:00:00Z", "capacity": 12},
        ],
    });
    admin.put_pool("crm", policy, 201).await;
    let mut id = String::new();
    for text in HOSTILE {
        let asked =
            json!({"holder": text, "tenant": text, "label": text, "activities": [text, text]});
        id = admin.acquire("crm", asked, 201).await.id();
    }
    let full = json!({"capacity": 1, "tenants": {script: {"max": 1}}});
    admin.put_pool("full", full, 201).await;
    let asked = |text: &str| json!({"holder": text, "tenant": text});
    let ended = admin.acquire("full", asked(image), 201).await.id();
    for text in HOSTILE {
        admin.acquire("full", asked(text), 409).await;
    }
    let ended = json!({"ids": [ended], "reason": script, "block_ms": 60_000});
    admin.terminate("full", ended, 200).await;
    admin.acquire("full", asked(quote), 201).await;
    admin
        .patch_pool("full", json!({"maintenance": {"message": image}}), 200)
        .await;

    let mut key = String::new();
    for text in [script, image, quote, formula] {
        let made = json!({"name": text, "role": "client", "pools": ["crm"], "origins": ["https://crm.example"]});
        let made = admin.post("/v1/keys").json(&made).expect(201).await;
        key = made["id"].as_str().expect("an id").to_owned();
    }
    let mut webhook = String::new();
    for text in [script, image] {
        // Nobody listens there, so that there are deliveries that failed.
        let url = format!("https://127.0.0.1:9/{}", encoded(text));
        let made = json!({"name": text, "url": url, "events": ["*"]});
        let made = admin.post("/v1/webhooks").json(&made).expect(201).await;
        webhook = made["id"].as_str().expect("an id").to_owned();
        admin
            .post(&format!("/v1/webhooks/{webhook}/test"))
            .expect(202)
            .await;
    }
    // Refused, and written down.
    admin
        .call(
            Method::PUT,
            &format!("/v1/pools/crm/named/{}", encoded(script)),
        )
        .expect([200, 201])
        .await;
    let q = encoded(script);
    [
        "/admin/login",
        "/admin",
        "/admin?sort=use",
        "/admin?view=table",
        &format!("/admin?q={q}"),
        "/admin/blocks",
        "/admin/people",
        "/admin/reports",
        "/admin/reports/people",
        "/admin/reports/denials",
        &format!("/admin/people?q={q}"),
        &format!("/admin/people/{q}"),
        &format!("/admin/people/{q}/end"),
        "/admin/pools/crm",
        &format!("/admin/pools/crm?sort=-holder&q={q}"),
        &format!("/admin/pools/crm?tenant={q}"),
        "/admin/pools/full",
        &format!("/admin/pools/crm/terminate?ids={id}"),
        "/admin/pools/crm/terminate?all=1",
        &format!("/admin/pools/crm/terminate?all=1&q={q}"),
        "/admin/pools/crm/history",
        "/admin/pools/crm/history?range=1h",
        "/admin/pools/full/history?range=1y&tz=Europe/Zurich",
        "/admin/pools/crm/patterns",
        "/admin/pools/crm/sizing?price_named=10&price_concurrent=35",
        "/admin/pools/full/denials",
        "/admin/pools/crm/denials",
        "/admin/pools/crm/holders",
        "/admin/pools/full/holders",
        "/admin/pools/crm/tenants",
        "/admin/pools/full/tenants",
        "/admin/pools/crm/named",
        &format!("/admin/pools/crm/named/free?holder={q}"),
        &format!("/admin/pools/crm/named/transfer?holder={q}"),
        "/admin/pools/crm/settings",
        "/admin/pools/full/settings",
        "/admin/keys",
        &format!("/admin/keys/{key}/roll"),
        &format!("/admin/keys/{key}/revoke"),
        "/admin/alerts",
        "/admin/alerts?pool=crm",
        "/admin/webhooks",
        &format!("/admin/webhooks/{webhook}"),
        &format!("/admin/webhooks/{webhook}/roll"),
        &format!("/admin/webhooks/{webhook}/delete"),
        "/admin/audit",
        &format!("/admin/audit?actor={q}"),
        "/admin/nodes",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What has no name for those who do not see it, or points at a name that is not there.
const UNNAMED: &str = "
    const controls = [...document.querySelectorAll('a, button, input:not([type=hidden]), select, textarea')]
        .filter((node) => !(node.textContent.trim() || node.ariaLabel || node.labels?.length || node.value));
    const pictures = [...document.querySelectorAll('svg:not([aria-hidden]):not([aria-hidden] svg)')]
        .filter((node) => !['img', 'application'].includes(node.getAttribute('role')) || !(node.ariaLabel || node.getAttribute('aria-labelledby')));
    const lost = [...document.querySelectorAll('[aria-labelledby], [aria-describedby]')]
        .filter((node) => ['aria-labelledby', 'aria-describedby'].some((name) => (node.getAttribute(name) ?? '')
            .split(' ').some((id) => id && !document.getElementById(id))));
    const ids = [...document.querySelectorAll('[id]')].map((node) => node.id);
    const twice = ids.filter((id, place) => ids.indexOf(id) !== place);
    return [...controls, ...pictures, ...lost].map((node) => node.outerHTML.slice(0, 120)).concat(twice);
";

/// Texts whose colour differs too little from what is behind them (WCAG 2.2, 1.4.3: 4.5 to 1).
const CONTRAST: &str = "
    const channel = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const behind = (node) => {
        for (; node; node = node.parentElement) {
            const colour = parts(getComputedStyle(node).backgroundColor);
            if (colour.length === 3 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll('body *')]
        .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()))
        .filter((node) => node.checkVisibility() && node.getClientRects().length)
        .map((node) => {
            const [a, b] = [light(parts(getComputedStyle(node)[node.closest('svg') ? 'fill' : 'color'])), light(behind(node))];
            return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.outerHTML.slice(0, 120)];
        })
        .filter(([ratio]) => ratio < 4.5);
";

/// What is hard to touch (WCAG 2.2, 2.5.8: 24 by 24 pixels). Ticks have the room of their cell around them.
const SMALL: &str = "
    return [...document.querySelectorAll('button, select, summary, input:not([type=hidden], [type=checkbox], [type=radio])')]
        .filter((node) => node.checkVisibility() && node.getClientRects().length)
        .filter((node) => { const box = node.getBoundingClientRect(); return box.width < 24 || box.height < 24; })
        .map((node) => node.outerHTML.slice(0, 120));
";

/// What somebody else's text would have become if it had not been written as text.
const PLANTED: &str = "
    return [...document.querySelectorAll('img, script:not([src^=\"/admin/assets/\"]), [onerror], [style]')]
        .map((node) => node.outerHTML.slice(0, 120)).concat(window.pwned ? ['it ran'] : []);
";
