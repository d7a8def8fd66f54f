//! The address of this server as the browser of a reader knows it, for texts that are copied: commands, programs, and the wallboard's link.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header::HOST;
use axum::http::request::Parts;

use crate::config::BasePath;

/// Names of this machine. Pages come over plain HTTP from these only; everywhere else there is TLS in front.
const NEAR: [&str; 3] = ["localhost", "127.", "[::1]"];

/// Scheme, host, and the path in front of all others, without a `/` at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Here(pub(super) String);

impl Here {
    /// A form of a page with `no-referrer` has no origin, so the name is that of the request.
    fn of(host: Option<&str>, base: &BasePath) -> Self {
        let path = base.as_str();
        let Some(host) = host else {
            return Self(format!("https://seats.example{path}"));
        };
        let is_near = NEAR.iter().any(|name| host.starts_with(name));
        let scheme = if is_near { "http" } else { "https" };
        Self(format!("{scheme}://{host}{path}"))
    }
}

impl<S: Sync> FromRequestParts<S> for Here {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let none = BasePath::default();
        Ok(Self::of(
            host,
            parts.extensions.get::<BasePath>().unwrap_or(&none),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_path_in_front_of_all_others() {
        for (host, path, address) in [
            (Some("127.0.0.1:7070"), "", "http://127.0.0.1:7070"),
            (Some("crm.example"), "/seats/", "https://crm.example/seats"),
            (None, "/seats", "https://seats.example/seats"),
        ] {
            assert_eq!(Here::of(host, &BasePath::of(path)).0, address);
        }
    }
}
