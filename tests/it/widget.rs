//! The widget client's files: served by every node, to pages of any origin, as the manifest says. What the client does
//! with a seat is tested where it runs: `web/client/tests`.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use sha2::{Digest as _, Sha384};

use crate::harness::Installation;

const DOCS: &str = include_str!("../../docs/widget.md");

#[tokio::test]
async fn every_node_serves_the_same_files_to_any_origin_and_says_what_they_hash_to() {
    let cluster = Installation::two().await;
    let (a, b) = (&cluster.nodes[0], &cluster.nodes[1]);

    let manifest = a.get("/client/manifest.json").expect(200).await;
    assert_eq!(
        manifest.body,
        b.get("/client/manifest.json").expect(200).await.body
    );
    assert_eq!(manifest.headers["access-control-allow-origin"], "*");
    let version = manifest["version"].as_str().expect("a text");
    assert!(
        DOCS.contains(version),
        "docs/widget.md is of another version than {version}"
    );

    for name in [
        "leasehold.js",
        "leasehold-worker.js",
        "leasehold.d.ts",
        "leasehold-client.tgz",
    ] {
        let entry = &manifest["files"][name];
        let path = |field: &str| {
            entry[field]
                .as_str()
                .expect("an address or a hash")
                .to_owned()
        };
        let stable = a.get(&path("url")).expect(200).await;
        let kept = b.get(&path("immutable_url")).expect(200).await;
        assert_eq!(stable.text, kept.text);
        // The archive is no text.
        if !name.ends_with(".tgz") {
            assert_eq!(
                path("integrity"),
                format!(
                    "sha384-{}",
                    BASE64_STANDARD.encode(Sha384::digest(&stable.text))
                )
            );
        }
        for answer in [&stable, &kept] {
            assert_eq!(answer.headers["access-control-allow-origin"], "*");
            assert_eq!(
                answer.headers["cross-origin-resource-policy"],
                "cross-origin"
            );
        }
        assert_eq!(stable.headers["cache-control"], "no-cache");
        assert_eq!(
            kept.headers["cache-control"],
            "public, max-age=31536000, immutable"
        );
        let tag = stable.headers["etag"].to_str().expect("a text");
        a.get(&path("url"))
            .header("if-none-match", tag)
            .expect(304)
            .await;
        // What the docs promise, because pages of others pay for it, and what they print.
        if name.ends_with(".js") {
            assert!(
                DOCS.contains(&path("integrity")),
                "docs/widget.md has another hash of {name}: {}",
                path("integrity")
            );
            assert!(stable.text.len() <= 42 * 1024, "{name} is too large");
            assert_eq!(
                stable.headers["content-type"],
                "text/javascript; charset=utf-8"
            );
        }
    }
    a.get("/client/0000000000000000/leasehold.js")
        .expect(404)
        .await;
}

#[tokio::test]
async fn the_demo_comes_with_a_strict_policy() {
    let cluster = Installation::one().await;
    let page = cluster.nodes[0].get("/demo").expect(200).await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let policy = page.headers["content-security-policy"]
        .to_str()
        .expect("a text");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
    for path in ["/demo/demo.js", "/demo/demo.css"] {
        cluster.nodes[0].get(path).expect(200).await;
    }
}
