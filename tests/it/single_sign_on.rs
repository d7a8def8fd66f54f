//! Single sign-on: whom the provider logs in gets the role of their groups, and nobody else gets anything.

use reqwest::Method;
use serde_json::{Value, json};

use crate::admin_pages::{form, log_in, page_of_ours};
use crate::harness::{
    ANY, Browser, CLIENT, CLIENT_SECRET, Call, Client, Fault, Launch, Node, Provider, Redis, Reply,
};

const KEY: &str = "the-operator-key-of-the-tests";
const ROLES: &str = "readers = viewer; floor-leads = operator pools=crm,phone; acme-leads = operator tenants=acme; seat-admins = admin";

fn launch(redis: &Redis, provider: &Provider) -> Launch {
    let launch = Launch::on(&redis.url());
    let address = launch.address();
    launch
        .set("admin_key", KEY)
        .set("public_url", &address)
        .set("oidc_issuer", provider.issuer())
        .set("oidc_client_id", CLIENT)
        .set("oidc_client_secret", CLIENT_SECRET)
        .set("oidc_roles", ROLES)
}

fn html(node: &Client, path: &str) -> Call {
    node.get(path).header("accept", "text/html")
}

/// The cookies that an answer sets, without those that it takes away.
fn cookies(reply: &Reply) -> Vec<String> {
    let set = reply.headers.get_all("set-cookie").iter();
    let set = set.map(|cookie| cookie.to_str().expect("ASCII").to_owned());
    set.filter(|cookie| !cookie.contains("Max-Age=0;"))
        .collect()
}

fn pair(cookie: &str) -> String {
    cookie.split(';').next().expect("a pair").to_owned()
}

/// A login that has been to the provider: the path that the browser is led back to, and the cookie that it has.
async fn at_provider(node: &Client, provider: &Provider, next: &str) -> (String, String) {
    let begun = html(node, &format!("/admin/login/oidc{next}"))
        .expect(303)
        .await;
    let [cookie] = &cookies(&begun)[..] else {
        panic!("{:?}", begun.headers);
    };
    for part in [
        "__Host-leasehold-oidc-",
        "Secure",
        "HttpOnly",
        "SameSite=Lax",
        "Path=/;",
    ] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let back = provider
        .log_in(begun.header("location").expect("an address"))
        .await;
    let path = back
        .strip_prefix(&node.url(""))
        .expect("it leads back to public_url");
    (path.to_owned(), pair(cookie))
}

/// A whole login; the answer to who comes back.
async fn come_back(node: &Client, provider: &Provider) -> Reply {
    let (path, cookie) = at_provider(node, provider, "?next=/admin/audit").await;
    html(node, &path)
        .header("cookie", &cookie)
        .expect(ANY)
        .await
}

/// The session of a login that works.
async fn enter(node: &Client, provider: &Provider) -> String {
    let entered = come_back(node, provider).await;
    assert_eq!(entered.status, 200, "{}", entered.text);
    session(&entered)
}

fn session(entered: &Reply) -> String {
    let set = cookies(entered);
    let [cookie] = &set[..] else {
        panic!("{set:?}");
    };
    assert!(cookie.starts_with("__Host-leasehold="), "{cookie}");
    assert!(
        cookie.contains("SameSite=Strict") && cookie.contains("HttpOnly"),
        "{cookie}"
    );
    pair(cookie)
}

async fn status(node: &Client, cookie: &str, path: &str) -> u16 {
    node.get(path)
        .header("cookie", cookie)
        .expect(ANY)
        .await
        .status
}

fn anna(groups: &[&str]) -> Value {
    json!({"sub": "u-1", "email": "anna@desk.example", "groups": groups, "sid": "s-1"})
}

#[tokio::test]
async fn a_person_gets_the_role_of_the_groups_and_a_name_in_the_trail() {
    let (redis, provider) = (Redis::start().await, Provider::start().await);
    let node = launch(&redis, &provider).start().await;
    let admin = node.with_key(KEY);
    for pool in ["crm", "mail"] {
        admin.put_pool(pool, json!({"capacity": 5}), 201).await;
    }
    let page = html(&node, "/admin/login?next=%2Fadmin%2Faudit")
        .expect(200)
        .await;
    assert!(
        page.text
            .contains("/admin/login/oidc?next=%2Fadmin%2Faudit"),
        "{}",
        page.text
    );

    // Each algorithm that providers sign with.
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        provider.algorithm(algorithm);
        provider.person(anna(&["staff", "floor-leads", "readers"]));
        let entered = come_back(&node, &provider).await;
        assert_eq!(entered.status, 200, "{}", entered.text);
        assert_eq!(entered.header("refresh"), Some("0;url=/admin/audit"));
        let lead = session(&entered);
        assert_eq!(status(&node, &lead, "/v1/pools/crm").await, 200);
        assert_eq!(status(&node, &lead, "/v1/pools/mail").await, 403);
        assert_eq!(status(&node, &lead, "/v1/sessions").await, 403);
    }
    let lead = enter(&node, &provider).await;
    let block = node
        .call(Method::PUT, "/v1/pools/crm/blocks/bert")
        .header("cookie", &lead)
        .header("sec-fetch-site", "same-origin")
        .json(&json!({"for_ms": 60_000}));
    assert_eq!(block.expect(200).await["by"], "anna@desk.example");
    provider.person(anna(&["seat-admins", "floor-leads"]));
    let boss = enter(&node, &provider).await;
    assert_eq!(status(&node, &boss, "/v1/audit").await, 200);
    let trail = admin.get("/v1/audit?action=block").expect(200).await;
    let entry = &trail["items"][0];
    assert_eq!(entry["actor"], "oidc:u-1", "{entry}");
    assert_eq!(entry["actor_name"], "anna@desk.example", "{entry}");
    let sessions = admin.get("/v1/sessions").expect(200).await;
    assert_eq!(sessions["items"][0]["who"], "anna@desk.example");

    // Groups without a rule let nobody in, and the page names them, as text.
    provider.person(anna(&["staff", "<script>x</script>"]));
    let refused = come_back(&node, &provider).await;
    assert_eq!((refused.status, cookies(&refused).len()), (403, 0));
    assert!(refused.text.contains("staff"), "{}", refused.text);
    assert!(!refused.text.contains("<script>x"), "{}", refused.text);
    provider.person(anna(&[]));
    assert_eq!(come_back(&node, &provider).await.status, 403);
    provider.fault(Fault::TooManyGroups);
    let refused = come_back(&node, &provider).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text.contains("app roles"), "{}", refused.text);
    provider.fault(Fault::None);

    // Where the token says nothing of groups the userinfo may, if it is of the same person.
    let without = json!({"sub": "u-1", "email": "anna@desk.example"});
    provider.person(without);
    provider.userinfo(json!({"groups": ["readers"]}));
    let reader = enter(&node, &provider).await;
    assert_eq!(status(&node, &reader, "/v1/audit").await, 200);
    assert_eq!(status(&node, &reader, "/v1/sessions").await, 403);
    // A group may be for some tenants only.
    provider.person(anna(&["acme-leads"]));
    let lead = enter(&node, &provider).await;
    assert_eq!(status(&node, &lead, "/v1/pools/crm/leases").await, 200);
    assert_eq!(status(&node, &lead, "/v1/pools/crm/usage").await, 403);
    provider.person(json!({"sub": "u-1", "email": "anna@desk.example"}));
    provider.fault(Fault::OtherUser);
    assert_eq!(come_back(&node, &provider).await.status, 403);
    let log = node.all_said().await;
    for secret in [CLIENT_SECRET, "of-this-login", KEY] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_an_answer_lets_nobody_in() {
    let (redis, provider) = (Redis::start().await, Provider::start().await);
    let node = launch(&redis, &provider)
        .set("trusted_proxies", "127.0.0.1")
        .start()
        .await;
    provider.person(anna(&["seat-admins"]));
    let faults = [
        (Fault::Nonce, 400),
        (Fault::NoNonce, 400),
        (Fault::Issuer, 400),
        (Fault::Audience, 400),
        (Fault::Party, 400),
        (Fault::NoParty, 400),
        (Fault::Expired, 400),
        (Fault::Early, 400),
        (Fault::Unsigned, 400),
        (Fault::SharedSecret, 400),
        (Fault::PublicKeyAsSecret, 400),
        (Fault::Changed, 400),
        (Fault::ForeignKey, 400),
        (Fault::UnknownKey, 400),
        (Fault::Nobody, 400),
        (Fault::AnswerOfAnother, 400),
        (Fault::AnswerOfNobody, 400),
        (Fault::CodeRefused, 403),
        (Fault::Denied, 403),
        (Fault::Redirects, 503),
    ];
    for (at, (fault, expected)) in faults.into_iter().enumerate() {
        provider.fault(fault);
        let (path, cookie) = at_provider(&node, &provider, "").await;
        let back = html(&node, &path)
            .header("cookie", &cookie)
            // Whoever comes with what is not to be believed is slowed down, by address.
            .header("x-forwarded-for", &format!("203.0.113.{at}"))
            .expect(expected)
            .await;
        assert!(cookies(&back).is_empty(), "{fault:?}: {:?}", back.headers);
        assert!(!back.text.contains("<b>"), "{}", back.text);
    }
    // Keys that nobody knows are asked for, and not each time.
    assert!(provider.asked("/keys") <= 3, "{}", provider.asked("/keys"));
    assert_eq!(provider.asked("/realms/ops/elsewhere"), 0);
    provider.fault(Fault::Skewed);
    enter(&node, &provider).await;
    provider.fault(Fault::None);

    // What comes back is of a login that this browser began, and is used once.
    let (path, cookie) = at_provider(&node, &provider, "").await;
    html(&node, &path).expect(400).await;
    let (_, other) = at_provider(&node, &provider, "").await;
    html(&node, &path)
        .header("cookie", &other)
        .expect(400)
        .await;
    let both = format!("{other}; {cookie}");
    let entered = html(&node, &path).header("cookie", &both).expect(200).await;
    let gone = entered.headers.get_all("set-cookie").iter().any(|set| {
        let set = set.to_str().expect("ASCII");
        set.starts_with(cookie.split('=').next().expect("a name")) && set.contains("Max-Age=0;")
    });
    assert!(gone, "{:?}", entered.headers);
    assert_eq!(
        html(&node, &path)
            .header("cookie", &cookie)
            .expect(403)
            .await
            .header("refresh"),
        None
    );
    // A browser keeps no more than five attempts.
    let many: Vec<String> = (0..6)
        .map(|at| format!("__Host-leasehold-oidc-{at}=x"))
        .collect();
    let mut open = many.join("; ");
    let mut taken_away = 0;
    for _ in 0..7 {
        let begun = html(&node, "/admin/login/oidc")
            .header("cookie", &open)
            .expect(303)
            .await;
        open = format!("{open}; {}", pair(&cookies(&begun)[0]));
        let all = begun.headers.get_all("set-cookie").iter().count();
        taken_away += all - 1;
    }
    assert_eq!(taken_away, 1 + 2, "five are kept");
    // Nobody chooses where it leads then.
    for next in ["https://evil.example", "//evil.example", "/v1/pools"] {
        let (path, cookie) = at_provider(&node, &provider, &format!("?next={next}")).await;
        let entered = html(&node, &path)
            .header("cookie", &cookie)
            .expect(200)
            .await;
        assert_eq!(entered.header("refresh"), Some("0;url=/admin"), "{next}");
    }
    // A name under which the request comes in means nothing.
    let begun = html(&node, "/admin/login/oidc")
        .header("x-forwarded-host", "evil.example")
        .header("host", "evil.example")
        .expect(303)
        .await;
    assert!(
        !begun
            .header("location")
            .expect("an address")
            .contains("evil")
    );
}

#[tokio::test]
async fn whoever_comes_back_refused_again_and_again_has_to_wait_and_junk_in_the_name_of_the_provider_locks_out_nobody()
 {
    let (redis, provider) = (Redis::start().await, Provider::start().await);
    let node = launch(&redis, &provider)
        .set("trusted_proxies", "127.0.0.1")
        .start()
        .await;
    provider.person(anna(&["seat-admins"]));
    // Any page can make a browser send this.
    let junk = async || {
        let call = node.post("/admin/login/backchannel");
        let call = call.header("content-type", "application/x-www-form-urlencoded");
        call.body("logout_token=junk").expect(ANY).await.status
    };
    while junk().await == 400 {}
    assert_eq!(junk().await, 429);
    enter(&node, &provider).await;

    provider.fault(Fault::Denied);
    let refused = async || {
        let (path, cookie) = at_provider(&node, &provider, "").await;
        let call = html(
            &node,
            &format!("{path}&error_description={}", "x".repeat(2_000)),
        );
        let call = call.header("cookie", &cookie);
        call.header("x-forwarded-for", "203.0.113.9")
            .expect(ANY)
            .await
            .status
    };
    let mut tries = 0;
    while refused().await == 403 {
        tries += 1;
        assert!(tries < 30, "nobody is slowed down");
    }
    assert_eq!(refused().await, 429);
    let log = node.log();
    assert!(log.contains("a login at the provider failed"), "{log}");
    assert!(!log.contains(&"x".repeat(400)), "{log}");
}

#[tokio::test]
async fn a_login_ends_here_at_the_provider_and_with_its_rules() {
    let (redis, provider) = (Redis::start().await, Provider::start().await);
    let launch = launch(&redis, &provider).set("oidc_logout", "provider");
    let mut node = launch.start().await;
    let admin = node.with_key(KEY);
    provider.person(anna(&["readers"]));

    // The node did without the provider until now, and its logins do when it is gone.
    let first = enter(&node, &provider).await;
    let message = |token: &str| {
        form(
            node.post("/admin/login/backchannel"),
            &[("logout_token", token)],
        )
    };
    let usual = json!({"sub": "u-1", "sid": "s-1"});
    for (more, why) in [
        (json!({"nonce": "x"}), "a nonce"),
        (json!({"events": {}}), "no event"),
        (json!({"aud": "another"}), "for another"),
        (json!({"iss": "https://other.example"}), "of another"),
        (json!({"jti": null}), "no jti"),
        (json!({"sub": null, "sid": null}), "nobody"),
        (json!({"iat": 1_000_000}), "old"),
    ] {
        let mut claims = usual.clone();
        for (name, value) in more.as_object().expect("fields") {
            claims[name] = value.clone();
        }
        let answer = message(&provider.logout_token(claims)).expect(400).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{why}");
    }
    message("nonsense").expect(400).await;
    assert_eq!(status(&node, &first, "/v1/pools").await, 200);
    let token = provider.logout_token(json!({"sub": "u-1", "sid": "another"}));
    message(&token).expect(200).await;
    assert_eq!(status(&node, &first, "/v1/pools").await, 200);
    let token = provider.logout_token(usual);
    let ended = message(&token).expect(200).await;
    assert_eq!(ended.header("cache-control"), Some("no-store"));
    assert_eq!(status(&node, &first, "/v1/pools").await, 401);
    message(&token).expect(400).await;

    // A log-out here goes on to the provider, which is shown the token of the login.
    let second = enter(&node, &provider).await;
    let hint: Vec<String> = redis.keys("lh1:{login}:hint:*").await;
    assert_eq!(hint.len(), 1, "{hint:?}");
    let kept: String = redis.query(&["GET", &hint[0]]).await;
    assert!(!kept.contains('.'), "it is kept encrypted: {kept}");
    let out = page_of_ours(&node, "/admin/logout")
        .header("cookie", &second)
        .expect(200)
        .await;
    let to = out.header("refresh").expect("it leads on");
    assert!(
        to.starts_with("0;url=http://127.0.0.1:") && to.contains("/end?id_token_hint=ey"),
        "{to}"
    );
    assert!(
        to.contains(&format!("client_id={CLIENT}")) && to.contains("post_logout_redirect_uri="),
        "{to}"
    );
    assert_eq!(status(&node, &second, "/v1/pools").await, 401);
    assert!(redis.keys("lh1:{login}:hint:*").await.is_empty());
    // Who came with a key has no session there.
    let by_key = log_in(&node, KEY).await;
    page_of_ours(&node, "/admin/logout")
        .header("cookie", &by_key)
        .expect(303)
        .await;

    // A rule that is gone ends what stands on it, and another provider knows nobody.
    let third = enter(&node, &provider).await;
    let others = node.launch().set("oidc_roles", "seat-admins = admin");
    drop(node);
    node = others.start().await;
    assert_eq!(status(&node, &third, "/v1/pools").await, 401);
    let again = node.launch().set("oidc_roles", ROLES);
    drop(node);
    node = again.start().await;
    assert_eq!(status(&node, &third, "/v1/pools").await, 200);
    admin.call(Method::DELETE, "/v1/sessions").expect(204).await;
    assert_eq!(status(&node, &third, "/v1/pools").await, 401);
}

#[tokio::test]
async fn a_node_starts_and_runs_without_the_provider() {
    let (redis, provider) = (Redis::start().await, Provider::start().await);
    let before = launch(&redis, &provider);
    provider.fault(Fault::Hangs);
    let node = before.set("login_with_keys", "off").start().await;
    let hanging = {
        let asked = html(&node, "/admin/login/oidc");
        tokio::spawn(asked.expect(ANY))
    };
    // The page has the link alone, and the key where somebody asks for it.
    let page = html(&node, "/admin/login").expect(200).await;
    assert!(!page.text.contains("type=\"password\""), "{}", page.text);
    let page = html(&node, "/admin/login?with=key").expect(200).await;
    assert!(page.text.contains("type=\"password\""), "{}", page.text);
    let admin = log_in(&node, KEY).await;
    assert_eq!(status(&node, &admin, "/v1/pools").await, 200);
    provider.fault(Fault::OtherDocument);
    let refused = html(&node, "/admin/login/oidc").expect(503).await;
    assert!(
        refused.text.contains("/admin/login?with=key"),
        "{}",
        refused.text
    );
    node.says("oidc_issuer").await;
    hanging.abort();

    provider.fault(Fault::None);
    provider.person(anna(&["readers"]));
    let anna = enter(&node, &provider).await;
    // A login needs it, and what goes on does not.
    drop(provider);
    assert_eq!(status(&node, &anna, "/v1/pools").await, 200);
}

#[tokio::test]
async fn a_browser_comes_back_from_the_provider_and_from_a_mail_and_lands_on_the_page() {
    let (redis, provider) = (Redis::start().await, Provider::start().await);
    let launch = Launch::on(&redis.url());
    // Another site than the provider, for a browser: 127.0.0.1 is one, localhost another.
    let public = launch.address().replace("127.0.0.1", "localhost");
    let _node = launch
        .set("admin_key", KEY)
        .set("public_url", &public)
        .set("oidc_issuer", provider.issuer())
        .set("oidc_client_id", CLIENT)
        .set("oidc_client_secret", CLIENT_SECRET)
        .set("oidc_roles", ROLES)
        .start()
        .await;
    let Some(browser) = Browser::start().await else {
        return;
    };
    provider.person(anna(&["readers"]));
    browser.goto(&format!("{public}/admin/audit")).await;
    browser
        .wait("document.querySelector('a[href^=\"/admin/login/oidc\"]')")
        .await;
    browser
        .script("document.querySelector('a[href^=\"/admin/login/oidc\"]').click()")
        .await;
    browser
        .wait("location.pathname === '/admin/audit' && document.title.startsWith('Audit')")
        .await;
    browser
        .wait("document.body.textContent.includes('anna@desk.example')")
        .await;

    // A link on a page of others, as in a mail that is read in the browser.
    let page = format!("data:text/html,<a id=link href='{public}/admin/nodes'>look</a>");
    browser.goto(&page).await;
    browser
        .script("document.getElementById('link').click()")
        .await;
    browser
        .wait("location.pathname === '/admin/nodes' && document.title.startsWith('Nodes')")
        .await;
}

/// A node that believes a proxy on this machine.
async fn behind_a_proxy(redis: &Redis, settings: &[(&str, &str)]) -> Node {
    Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("oidc_roles", ROLES)
        .set("trusted_proxies", "127.0.0.1")
        .set("proxy_user_header", "Remote-User")
        .set("proxy_groups_header", "Remote-Groups")
        .set_all(settings)
        .start()
        .await
}

#[tokio::test]
async fn a_trusted_proxy_names_people_and_nobody_else_does() {
    let redis = Redis::start().await;
    let node = behind_a_proxy(&redis, &[]).await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 5}), 201).await;
    let named = |call: Call, user: &str, groups: &str| {
        call.header("remote-user", user)
            .header("remote-groups", groups)
    };
    let reads = |user: &str, groups: &str| named(node.get("/v1/pools/crm"), user, groups);
    reads("anna", "staff, floor-leads").expect(200).await;
    let refused = reads("anna", "staff,visitors").expect(403).await;
    assert!(
        refused["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("visitors"))
    );
    named(node.get("/v1/sessions"), "anna", "floor-leads")
        .expect(403)
        .await;
    // Without a name nobody is named.
    reads("", "seat-admins").expect(401).await;
    // Two names: one of them may be the client's.
    let twice = reads("anna", "seat-admins").header("remote-user", "eve");
    twice.expect(403).await;

    // The browser is always logged in, so what changes something comes from our own pages.
    let block = |site: &str| {
        let call = node
            .call(Method::PUT, "/v1/pools/crm/blocks/bert")
            .header("sec-fetch-site", site);
        named(call, "anna", "floor-leads").json(&json!({"for_ms": 60_000}))
    };
    block("cross-site").expect(403).await;
    assert_eq!(block("same-origin").expect(200).await["by"], "anna");
    let trail = admin.get("/v1/audit?action=block").expect(200).await;
    assert_eq!(trail["items"][0]["actor"], "proxy:anna");
    // It makes no session, and a key counts more.
    assert!(
        admin
            .get("/v1/sessions")
            .expect(200)
            .await
            .list("items")
            .is_empty()
    );
    named(admin.get("/v1/sessions"), "anna", "readers")
        .expect(200)
        .await;

    // A stranger is refused whatever it shows, and so is a proxy without the secret.
    let node = behind_a_proxy(&redis, &[("trusted_proxies", "192.0.2.1")]).await;
    let call = node.get("/v1/pools/crm").header("remote-user", "anna");
    call.header("remote-groups", "seat-admins")
        .expect(403)
        .await;
    let call = node
        .with_key(KEY)
        .get("/v1/pools/crm")
        .header("remote-groups", "x");
    call.expect(403).await;
    node.says("it is not one of trusted_proxies").await;
    node.with_key(KEY).get("/v1/pools/crm").expect(200).await;
    drop(node);
    let secret = "of-the-proxy-and-this-node";
    let node = behind_a_proxy(&redis, &[("proxy_secret", secret)]).await;
    let call = || {
        node.get("/v1/pools/crm")
            .header("remote-user", "anna")
            .header("remote-groups", "readers")
    };
    call().expect(403).await;
    call()
        .header("leasehold-proxy-secret", "another")
        .expect(403)
        .await;
    call()
        .header("leasehold-proxy-secret", secret)
        .expect(200)
        .await;
    assert!(!node.all_said().await.contains(secret));
}

#[tokio::test]
async fn a_key_that_several_use_is_told_apart_by_the_names_at_the_login() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let entered = form(
        page_of_ours(&node, "/admin/login"),
        &[("key", KEY), ("name", "Anna")],
    )
    .expect(303)
    .await;
    let anna = pair(entered.header("set-cookie").expect("a cookie"));
    form(
        page_of_ours(&node, "/admin/login"),
        &[("key", KEY), ("name", "a\u{202e}b")],
    )
    .expect(400)
    .await;
    let put = node
        .call(Method::PUT, "/v1/pools/crm")
        .header("cookie", &anna)
        .header("sec-fetch-site", "same-origin")
        .json(&json!({"capacity": 1}));
    put.expect(201).await;
    let admin = node.with_key(KEY);
    let trail = admin.get("/v1/audit?action=pool").expect(200).await;
    assert_eq!(trail["items"][0]["actor"], "admin_key");
    assert_eq!(
        trail["items"][0]["actor_name"],
        "Anna (admin key of the settings)"
    );
    let sessions = admin.get("/v1/sessions").expect(200).await;
    assert_eq!(sessions["items"][0]["who"], "Anna (admin_key)");

    // The page lists who is there, and ends one or all the others.
    let other = log_in(&node, KEY).await;
    let page = html(&node, "/admin/sessions")
        .header("cookie", &anna)
        .expect(200)
        .await;
    assert!(
        page.text.contains("Anna (admin_key)") && page.text.contains("(you)"),
        "{}",
        page.text
    );
    let post = |path: &str| form(page_of_ours(&node, path).header("cookie", &anna), &[]);
    post("/admin/sessions").expect(303).await;
    assert_eq!(status(&node, &other, "/v1/pools").await, 401);
    assert_eq!(status(&node, &anna, "/v1/pools").await, 200);
    let id = sessions["items"][0]["id"].as_str().expect("an id");
    post(&format!("/admin/sessions/{id}/end")).expect(303).await;
    assert_eq!(status(&node, &anna, "/v1/pools").await, 401);
}

#[tokio::test]
async fn settings_that_would_let_in_nobody_or_anybody_do_not_start() {
    let base = [
        ("admin_key", KEY),
        ("public_url", "https://seats.example"),
        ("oidc_issuer", "https://login.example"),
        ("oidc_client_id", "leasehold"),
        ("oidc_roles", "a = viewer"),
    ];
    for (name, words) in [
        ("admin_key", "admin_key"),
        ("public_url", "public_url"),
        ("oidc_issuer", "oidc_issuer"),
        ("oidc_client_id", "oidc_client_id"),
        ("oidc_roles", "oidc_roles"),
    ] {
        let settings: Vec<_> = base
            .into_iter()
            .filter(|(known, _)| *known != name)
            .collect();
        let (status, said) = Launch::embedded().set_all(&settings).refuse().await;
        assert_eq!(status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(words), "{said}");
    }
    let proxy = [
        ("admin_key", KEY),
        ("oidc_roles", "a = viewer"),
        ("trusted_proxies", "10.0.0.0/8"),
        ("proxy_user_header", "Remote-User"),
        ("proxy_groups_header", "Remote-Groups"),
    ];
    for (name, value) in [
        ("oidc_issuer", "http://login.example"),
        ("oidc_roles", "a = boss"),
        ("proxy_user_header", "no header"),
        // Others reach it, so a secret is needed.
        ("listen", "0.0.0.0:0"),
    ] {
        let launch = Launch::embedded()
            .set_all(&base)
            .set_all(&proxy)
            .set(name, value);
        let (status, said) = launch.refuse().await;
        assert_eq!(status.code(), Some(2), "{name}: {said}");
    }
}

#[tokio::test]
async fn the_doctor_says_whether_people_can_log_in_and_as_what() {
    let provider = Provider::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let claims = directory.path().join("claims.json");
    let doctor = async |claims_of_somebody: Value, fails: bool| -> Vec<Value> {
        std::fs::write(&claims, claims_of_somebody.to_string()).expect("written");
        let run = tokio::process::Command::new(env!("CARGO_BIN_EXE_leasehold"))
            .args(["doctor", "oidc", "--json", "--claims"])
            .arg(&claims)
            .env_clear()
            .current_dir(directory.path())
            .envs([
                ("LEASEHOLD_ADMIN_KEY", KEY),
                ("LEASEHOLD_PUBLIC_URL", "https://seats.example/"),
                ("LEASEHOLD_OIDC_ISSUER", provider.issuer()),
                ("LEASEHOLD_OIDC_CLIENT_ID", CLIENT),
                ("LEASEHOLD_OIDC_ROLES", ROLES),
            ])
            .output()
            .await
            .expect("it runs");
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        assert_eq!(
            run.status.code(),
            Some(i32::from(fails)),
            "{said}{}",
            String::from_utf8_lossy(&run.stderr)
        );
        serde_json::from_str(&said).expect("JSON")
    };
    let says = |findings: &[Value], place: &str, level: &str, words: &str| {
        let found = findings.iter().find(|finding| finding["place"] == place);
        let found = found.unwrap_or_else(|| panic!("no {place} in {findings:?}"));
        assert_eq!(found["level"], level, "{found}");
        assert!(
            found["found"]
                .as_str()
                .is_some_and(|text| text.contains(words)),
            "{found}"
        );
    };
    let good = doctor(anna(&["floor-leads", "staff"]), false).await;
    says(&good, "role", "ok", "operator, pools crm, phone");
    says(
        &good,
        "addresses",
        "ok",
        "https://seats.example/admin/login/callback",
    );
    says(&good, "pkce", "ok", "S256");
    says(&good, "keys", "ok", "3 can be used");
    let none = doctor(anna(&["staff"]), true).await;
    says(&none, "role", "error", "staff");
    provider.fault(Fault::OtherDocument);
    let wrong = doctor(anna(&["readers"]), true).await;
    says(&wrong, "discovery", "error", "equal to the last character");
}
