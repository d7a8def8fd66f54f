use axum::response::IntoResponse as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Example {
    token: Option<String>,
    seats: Option<u32>,
    mode: Option<Mode>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Fast,
}

async fn refused(problem: Problem) -> (u16, Value) {
    let response = problem.into_response();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

fn request(media_type: Option<&str>, body: impl Into<HttpBody>) -> Request {
    let mut request = Request::post("/");
    if let Some(media_type) = media_type {
        request = request.header(CONTENT_TYPE, media_type);
    }
    request.body(body.into()).unwrap()
}

async fn body<const LIMIT: usize>(request: Request) -> Result<Example, Problem> {
    Body::<Example, LIMIT>::from_request(request, &())
        .await
        .map(|body| body.0)
}

fn detail<T: DeserializeOwned>(body: &str) -> String {
    let problem = parse::<T>(body.as_bytes()).err().expect("refused");
    format!("{problem:?}")
}

#[tokio::test]
async fn a_body_is_json_and_says_so() {
    for media_type in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/merge-patch+json",
    ] {
        let wish = body::<100>(request(Some(media_type), r#"{"seats": 3}"#))
            .await
            .unwrap();
        assert_eq!(wish.seats, Some(3), "{media_type}");
    }
    for media_type in [
        None,
        Some("text/plain"),
        Some("text/json"),
        Some("json"),
        Some("application/jsonp"),
    ] {
        let problem = body::<100>(request(media_type, r#"{"seats": 3}"#))
            .await
            .unwrap_err();
        assert_eq!(problem.code(), Code::UnsupportedMediaType, "{media_type:?}");
    }
}

#[tokio::test]
async fn an_empty_body_stands_for_an_empty_object() {
    for media_type in [None, Some("application/json")] {
        let wish = body::<100>(request(media_type, "")).await.unwrap();
        assert_eq!(
            wish,
            Example {
                token: None,
                seats: None,
                mode: None
            }
        );
    }
}

#[tokio::test]
async fn a_beacon_takes_any_media_type() {
    for media_type in [
        None,
        Some("text/plain;charset=UTF-8"),
        Some("application/json"),
    ] {
        let Beacon(wish) =
            Beacon::<Example>::from_request(request(media_type, r#"{"token": "t"}"#), &())
                .await
                .unwrap();
        assert_eq!(wish.token.as_deref(), Some("t"));
    }
}

#[tokio::test]
async fn a_body_in_many_chunks_is_one_body() {
    let chunks = [r#"{"se"#, r#"ats""#, ": 3}"].map(Ok::<_, std::io::Error>);
    let stream = HttpBody::from_stream(futures_util::stream::iter(chunks));
    let wish = body::<100>(request(Some("application/json"), stream))
        .await
        .unwrap();
    assert_eq!(wish.seats, Some(3));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_declared_or_not() {
    let whole = format!(r#"{{"token": "{}"}}"#, "x".repeat(100));
    let problem = body::<100>(request(Some("application/json"), whole.clone()))
        .await
        .unwrap_err();
    assert_eq!(problem.code(), Code::PayloadTooLarge);

    let chunks: Vec<_> = whole
        .as_bytes()
        .chunks(7)
        .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
        .collect();
    let stream = HttpBody::from_stream(futures_util::stream::iter(chunks));
    let problem = body::<100>(request(Some("application/json"), stream))
        .await
        .unwrap_err();
    assert_eq!(problem.code(), Code::PayloadTooLarge);

    let mut declared = request(Some("application/json"), "{}");
    declared
        .headers_mut()
        .insert(CONTENT_LENGTH, "1000000000".parse().unwrap());
    let (status, document) = refused(body::<100>(declared).await.unwrap_err()).await;
    assert_eq!(status, 413);
    assert_eq!(document["limit_bytes"], 100);
}

#[tokio::test]
async fn a_body_that_came_too_slowly_is_a_408() {
    let stream = HttpBody::from_stream(futures_util::stream::iter([Err::<Bytes, _>(BodyTimedOut)]));
    let problem = body::<100>(request(Some("application/json"), stream))
        .await
        .unwrap_err();
    assert_eq!(problem.code(), Code::RequestTimeout);
}

#[test]
fn what_does_not_fit_is_named_and_what_was_sent_is_not() {
    let secret = "s3cr3t-and-long-enough-to-be-a-token-of-somebody";
    let cases = [
        (
            format!(r#"{{"seats": "{secret}"}}"#),
            "At `seats`: this is text, and takes a whole number that is not negative, such as 5",
        ),
        (
            format!(r#"{{"seats": "x\", expected {secret}"}}"#),
            "At `seats`: this is text, and takes a whole number that is not negative, such as 5",
        ),
        (
            format!(r#"{{"seats": "a `b` {secret}"}}"#),
            "At `seats`: this is text, and takes a whole number that is not negative, such as 5",
        ),
        (
            r#"{"seats": -7777}"#.into(),
            "At `seats`: this is a number that does not fit, and takes a whole number",
        ),
        (
            r#"{"seats": 3.5}"#.into(),
            "At `seats`: this is a number that is too large, or has a fraction or an exponent, and takes a whole number",
        ),
        (
            format!(r#"{{"mode": "{secret}"}}"#),
            "At `mode`: this is no word for it; known is `fast`",
        ),
        (
            r#"{"mode": "fats"}"#.into(),
            "At `mode`: `fats` is no word for it; known is `fast`",
        ),
        (
            format!(r#"{{"{secret}": 1}}"#),
            ": this name is not known here; known is `token`, `seats`, `mode`",
        ),
        (
            r#"{"setas": 1}"#.into(),
            "At `setas`: this name is not known here; known is `token`, `seats`, `mode`",
        ),
        (
            r#"{"seats": 1, "seats": 2}"#.into(),
            "`seats` is there twice",
        ),
        (
            format!(r#""{secret}""#),
            "this is text, and takes an object with named fields",
        ),
    ];
    for (body, expected) in cases {
        let detail = detail::<Example>(&body);
        assert!(detail.contains(expected), "{body}: {detail}");
        assert!(
            !detail.contains(secret) && !detail.contains("7777"),
            "{body}: {detail}"
        );
    }
}

#[test]
fn a_list_is_no_object_at_any_depth() {
    #[derive(Debug, Deserialize)]
    struct Order {
        #[expect(dead_code, reason = "only whether it parses is looked at")]
        wish: Option<Example>,
        #[serde(default)]
        #[expect(dead_code, reason = "only whether it parses is looked at")]
        wishes: Vec<Example>,
        #[serde(default)]
        #[expect(dead_code, reason = "only whether it parses is looked at")]
        by_name: std::collections::BTreeMap<String, Example>,
        #[serde(default)]
        #[expect(dead_code, reason = "only whether it parses is looked at")]
        pairs: Vec<(u32, u32)>,
    }
    for (body, at) in [
        (r#"{"wish": ["a", 1, "fast"]}"#, "At `wish`: "),
        (r#"{"wishes": [{}, []]}"#, "At `wishes[1]`: "),
        (
            r#"{"by_name": {"ann": [null, null, null]}}"#,
            "At `by_name.ann`: ",
        ),
    ] {
        let detail = detail::<Order>(body);
        assert!(
            detail.contains(&format!(
                "{at}this is a list, and takes an object with named fields"
            )),
            "{body}: {detail}"
        );
        let value = serde_json::from_str(body).unwrap();
        let problem = of_value::<Order>(value, "order").unwrap_err();
        assert!(problem.detail().contains(at), "{}", problem.detail());
    }
    assert!(parse::<Order>(br#"{"wish": {"seats": 1}, "wishes": [], "pairs": [[1, 2]]}"#).is_ok());
}

#[test]
fn what_is_not_json_says_where() {
    for body in ["{", "{\"seats\": 1}}", "nul", "{'seats': 1}", "\u{feff}{}"] {
        assert!(detail::<Example>(body).contains("not valid JSON"), "{body}");
    }
    assert!(parse::<Example>(b"{\"token\": \"\xff\xfe\"}").is_err());
}

#[test]
fn deep_nesting_is_refused_and_not_a_crash() {
    let deep = "[".repeat(1_000_000);
    assert!(parse::<Value>(deep.as_bytes()).is_err());
    assert!(parse::<Example>(format!(r#"{{"seats": {deep}"#).as_bytes()).is_err());
    let unknown = format!(r#"{{"other": {deep}"#);
    assert!(parse::<Example>(unknown.as_bytes()).is_err());

    #[derive(Debug, Deserialize)]
    struct Lax {}
    // Fields that nobody wants are skipped without recursion.
    assert!(parse::<Lax>(unknown.as_bytes()).is_err());
}

#[tokio::test]
async fn paths_and_queries_are_refused_in_the_same_shape() {
    use axum::Router;
    use axum::routing::get;
    use tower::ServiceExt as _;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Page {
        #[expect(dead_code, reason = "only whether it parses is looked at")]
        limit: Option<u32>,
    }
    let router: Router = Router::new()
        .route(
            "/n/{n}",
            get(|Path(n): Path<u32>, Query(_): Query<Page>| async move { n.to_string() }),
        )
        .route(
            "/p/{pool}",
            get(|Path(pool): Path<crate::names::PoolName>| async move { pool.to_string() }),
        );
    for (path, status, expected) in [
        ("/n/7", 200, json!(7)),
        ("/n/7?limit=10", 200, json!(7)),
        (
            "/n/seven",
            400,
            json!(
                "The path is not valid: a part of it takes a whole number that is not negative, such as 5."
            ),
        ),
        (
            "/n/7?limit=ten",
            400,
            json!("The query is not valid: `limit`: this takes a whole number, such as 100."),
        ),
        (
            "/n/7?limti=10",
            400,
            json!(
                "The query is not valid: `limti`: this name is not known here; known is `limit`."
            ),
        ),
        (
            "/p/a%7Bb%7D",
            400,
            json!(
                "The path is not valid: a pool name has 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'."
            ),
        ),
        (
            "/p/%ff",
            400,
            json!("The path is not valid: `pool` is not UTF-8 after percent-decoding."),
        ),
    ] {
        let request = Request::get(path).body(HttpBody::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        let answer = if status == 200 {
            answer
        } else {
            answer["detail"].clone()
        };
        assert_eq!(answer, expected, "{path}");
    }
}
