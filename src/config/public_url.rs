//! The address under which callers reach an installation.

use axum::http::Uri;

/// Refuses what is no address of ours, in a sentence that goes on from the name of the setting.
pub(super) fn check(text: &str) -> Result<(), &'static str> {
    let uri: Uri = text.parse().map_err(|_| "is not an address")?;
    let host = uri.host().unwrap_or_default();
    let is_near = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_near => {}
        Some("http") => return Err("is not encrypted"),
        _ => return Err("is not an address that begins with https://"),
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err("has a user in it");
    }
    if uri.query().is_some() || text.contains('#') {
        return Err("has a query or a fragment");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_encrypted_or_near() {
        for good in [
            "https://seats.example",
            "https://a.example/seats/",
            "http://127.0.0.1:7070",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "seats.example",
            "http://seats.example",
            "ftp://a",
            "https://u:p@a.example",
            "https://a.example/?x",
            "https://a.example/#x",
            "",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
