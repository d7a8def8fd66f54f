//! `leasehold doctor oidc`: will people be able to log in, and as what.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::cli::{Exit, Failure, block_on, load};
use crate::config::Flags;
use crate::oidc::{Provider, check};

#[derive(Debug, clap::Args)]
pub(super) struct Oidc {
    #[command(flatten)]
    flags: Flags,
    /// File with the claims of somebody, as JSON, to see which role these give
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    /// Print a list of findings as JSON
    #[arg(long)]
    json: bool,
}

/// Exits with 1 if logins would fail.
pub(super) fn run(oidc: &Oidc) -> Result<Exit, Failure> {
    let settings = load(&oidc.flags)?.check()?;
    let provider = Provider::of(&settings).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "there is no single sign-on in these settings: set oidc_issuer, oidc_client_id, public_url and oidc_roles",
        )
    })?;
    let claims = oidc.claims.as_ref().map(|file| {
        let wrong = |wrong: String| {
            let sentence = format!(
                "{} {wrong}. Give the claims of an ID token as a JSON object",
                file.display()
            );
            Failure::new(Exit::Usage, sentence)
        };
        let text = std::fs::read_to_string(file)
            .map_err(|error| wrong(format!("cannot be read: {error}")))?;
        serde_json::from_str::<Map<String, Value>>(&text)
            .map_err(|error| wrong(format!("has no claims: {error}")))
    });
    let claims = claims.transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let findings = block_on(runtime, check(&settings, &provider, claims.as_ref()));
    super::report(&findings, oidc.json)
}
