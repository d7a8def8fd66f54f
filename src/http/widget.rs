//! `/client` and `/demo`: the JavaScript client, for pages of any origin and for npm, and a page that shows it at work.
//!
//! Each file has a stable address, which is asked again each time, and one with a hash of all files, which never
//! changes and is kept for a year. `/client/manifest.json` says both, with integrity hashes. The files are part of
//! the binary, so that all nodes of one version serve the same. Deliberately absent: any credential. What is here is public.

use std::sync::LazyLock;

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;
use sha2::{Digest as _, Sha256, Sha384};

use super::base_path::NamesPaths;
use super::extract::Path;
use super::problem::{Code, Problem};

const ASK_EACH_TIME: &str = "no-cache";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const FILES: [File; 4] = [
    File {
        name: "leasehold.js",
        media_type: SCRIPT,
        bytes: include_bytes!("../../web/client/leasehold.js"),
    },
    File {
        name: "leasehold-worker.js",
        media_type: SCRIPT,
        bytes: include_bytes!("../../web/client/leasehold-worker.js"),
    },
    File {
        name: "leasehold.d.ts",
        media_type: "text/plain; charset=utf-8",
        bytes: include_bytes!("../../web/client/leasehold.d.ts"),
    },
    // For `npm install <address>`.
    File {
        name: "leasehold-client.tgz",
        media_type: "application/gzip",
        bytes: include_bytes!("../../web/client/leasehold-client.tgz"),
    },
];

/// A strict policy, also to show that the client works under one.
const DEMO_POLICY: &str = "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; \
                           style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const DEMO: [File; 3] = [
    File {
        name: "demo.html",
        media_type: "text/html; charset=utf-8",
        bytes: include_bytes!("../../web/demo/demo.html"),
    },
    File {
        name: "demo.js",
        media_type: SCRIPT,
        bytes: include_bytes!("../../web/demo/demo.js"),
    },
    File {
        name: "demo.css",
        media_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../../web/demo/demo.css"),
    },
];

/// Changes with any of the files. Worker and module find each other beside themselves, so they share it.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for file in &FILES {
        hash.update(file.bytes);
    }
    hash.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
});

#[derive(Clone, Copy)]
struct File {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

/// The routes of the client's files and of the demo.
pub(crate) fn routes() -> Router {
    Router::new()
        .route("/client/{file}", get(stable))
        .route("/client/{version}/{file}", get(immutable))
        .route("/demo", get(demo_page))
        .route("/demo/{file}", get(demo_file))
}

async fn stable(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    if name == "manifest.json" {
        return Ok(manifest());
    }
    Ok(find(&FILES, &name)?.answer(&headers, ASK_EACH_TIME))
}

async fn immutable(
    Path((version, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if version != *VERSION {
        return Err(no_file());
    }
    Ok(find(&FILES, &name)?.answer(&headers, "public, max-age=31536000, immutable"))
}

async fn demo_page(headers: HeaderMap) -> Result<Response, Problem> {
    demo_file(Path("demo.html".to_owned()), headers).await
}

async fn demo_file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let mut response = find(&DEMO, &name)?.answer(&headers, ASK_EACH_TIME);
    response.headers_mut().insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(DEMO_POLICY),
    );
    Ok(response)
}

fn find(files: &[File], name: &str) -> Result<File, Problem> {
    let found = files.iter().find(|file| file.name == name);
    found.copied().ok_or_else(no_file)
}

fn no_file() -> Problem {
    Problem::new(
        Code::RouteNotFound,
        "There is no such file, or it is of another version. /client/manifest.json lists the files.",
    )
}

/// Where each file is, and what it must hash to (subresource integrity).
fn manifest() -> Response {
    let files: serde_json::Map<_, _> = FILES
        .iter()
        .map(|file| {
            let entry = json!({
                "url": format!("/client/{}", file.name),
                "immutable_url": format!("/client/{}/{}", *VERSION, file.name),
                "integrity": file.integrity(),
                "bytes": file.bytes.len(),
            });
            (file.name.to_owned(), entry)
        })
        .collect();
    (
        [
            (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (CACHE_CONTROL, ASK_EACH_TIME),
        ],
        Extension(NamesPaths),
        axum::Json(json!({ "version": *VERSION, "files": files })),
    )
        .into_response()
}

impl File {
    fn integrity(self) -> String {
        format!(
            "sha384-{}",
            BASE64_STANDARD.encode(Sha384::digest(self.bytes))
        )
    }

    fn answer(self, asked: &HeaderMap, keep: &'static str) -> Response {
        let tag = format!("\"{}\"", self.integrity());
        let known = asked
            .get(IF_NONE_MATCH)
            .and_then(|tags| tags.to_str().ok())
            .is_some_and(|tags| tags.contains(&tag));
        let headers = [
            (CONTENT_TYPE, self.media_type.to_owned()),
            (CACHE_CONTROL, keep.to_owned()),
            (ETAG, tag),
            (ACCESS_CONTROL_ALLOW_ORIGIN, "*".to_owned()),
            // For pages that isolate themselves: they load nothing, and start no worker, that does not say this.
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                "cross-origin".to_owned(),
            ),
            (
                HeaderName::from_static("cross-origin-embedder-policy"),
                "require-corp".to_owned(),
            ),
        ];
        if known {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, self.bytes).into_response()
    }
}
