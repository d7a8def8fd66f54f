//! In which form an answer comes: `Accept` as RFC 9110 says, and `format` in the address above it.

use serde_json::json;

use crate::harness::{Launch, Redis};

#[tokio::test]
async fn a_list_comes_in_the_form_that_the_caller_accepts_best() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 2}), 201).await;
    node.acquire("crm", json!({"holder": "agent-7"}), 201).await;

    let json = "application/json";
    let csv = "text/csv";
    let page = "text/html";
    for (path, accept, form) in [
        ("/v1/pools/crm/leases", "*/*", json),
        ("/v1/pools/crm/leases", "text/csv", csv),
        // As a client of a generator sends it: everything that the document names.
        (
            "/v1/pools/crm/leases",
            "application/json, application/problem+json, text/csv",
            json,
        ),
        (
            "/v1/pools/crm/leases",
            "text/csv;q=0.1, application/json",
            json,
        ),
        (
            "/v1/pools/crm/leases",
            "application/json;q=0.1, text/csv",
            csv,
        ),
        (
            "/v1/pools/crm/leases",
            "application/json;q=0, */*;q=0.1",
            csv,
        ),
        // What nobody offers, and what is no range, is as if nothing were said.
        ("/v1/pools/crm/leases", "image/png", json),
        ("/v1/pools/crm/leases", "csv", json),
        // The address is above the header: a link can say it.
        ("/v1/pools/crm/leases?format=json", "text/csv", json),
        ("/v1/pools/crm/leases?format=csv", "application/json", csv),
        (
            "/v1/audit",
            "application/jsonl, application/json;q=0.9",
            "application/jsonl",
        ),
        ("/v1/audit", "application/jsonl, application/json", json),
        ("/admin/pools/crm", "*/*", page),
        (
            "/admin/pools/crm",
            "application/json, text/html;q=0.9",
            json,
        ),
        (
            "/admin/pools/crm",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            page,
        ),
    ] {
        let answer = node.get(path).header("accept", accept).expect(200).await;
        let kind = answer.header("content-type").unwrap_or_default();
        assert_eq!(kind.split(';').next(), Some(form), "{path} with {accept}");
    }

    // A problem is a problem document whatever was accepted, but for a person, who gets a page.
    let denied = node
        .get("/v1/pools/nobody/leases")
        .header("accept", "text/csv")
        .expect(404)
        .await;
    assert_eq!(denied["code"], "pool_not_found");
    let denied = node
        .get("/admin/pools/nobody")
        .header("accept", "*/*")
        .expect(404)
        .await;
    assert_eq!(denied["code"], "pool_not_found");
    // A form that there is not is a mistake, and no silent JSON.
    let refused = node
        .get("/v1/pools/crm/leases?format=xml")
        .expect(400)
        .await;
    assert_eq!(refused["code"], "invalid_request");
}
