//! Tokens of the provider, and what they say of a person.

use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::signature::{Header, verified};
use super::{Error, LEEWAY_S, Provider};
use crate::names::shown;

/// Maximum length of a subject (OpenID Connect Core 1.0, section 2), in bytes.
const MAX_SUBJECT: usize = 255;
/// Maximum length of a name, in characters.
const MAX_NAME: usize = 100;
/// Maximum groups per person.
const MAX_GROUPS: usize = 2_000;

/// What a provider says of somebody who has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Names the person at its issuer, for ever.
    pub subject: String,
    /// For people; may change, and two may have the same.
    pub name: String,
    /// The groups.
    pub groups: Groups,
    /// The session at the provider.
    pub session: Option<String>,
}

/// What a provider says of somebody's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// These.
    Named(Vec<String>),
    /// None: the claim is not there.
    Missing,
    /// They are more than fit into a token, so it has none of them, as at Entra with more than 200.
    TooMany,
}

/// A claim, by its name or by a path such as `realm_access.roles`.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(name) {
        return Some(found);
    }
    let mut steps = name.split('.');
    let mut found = claims.get(steps.next()?)?;
    for step in steps {
        found = found.get(step)?;
    }
    Some(found)
}

/// What claims say of groups.
pub fn groups_in(claims: &Map<String, Value>, name: &str) -> Groups {
    let words = |text: &str| vec![text.to_owned()];
    match claim(claims, name) {
        Some(Value::Array(list)) => {
            let groups = list.iter().filter_map(Value::as_str).take(MAX_GROUPS);
            Groups::Named(groups.map(str::to_owned).collect())
        }
        Some(Value::String(text)) => Groups::Named(words(text)),
        _ => {
            let elsewhere = claims.get("_claim_names").and_then(|names| names.get(name));
            let has_groups = claims
                .get("hasgroups")
                .is_some_and(|has| *has == true || *has == "true");
            if elsewhere.is_some() || has_groups {
                Groups::TooMany
            } else {
                Groups::Missing
            }
        }
    }
}

/// Text of a provider, so that it can be shown.
pub(super) fn printable(text: &str) -> String {
    shown(text.trim()).chars().take(MAX_NAME).collect()
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let text = claim(claims, name)?.as_str()?;
    (!text.trim().is_empty()).then_some(text)
}

/// Seconds since the epoch, which some write with a fraction.
fn instant(claims: &Map<String, Value>, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

/// Whether both are the same, in a time that does not tell how much of them is.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

impl Provider {
    /// The claims of a token that the provider has signed for this installation. Times are seconds of Redis's clock.
    pub(super) async fn verify(
        &self,
        token: &str,
        now_s: i64,
    ) -> Result<Map<String, Value>, Error> {
        let header = Header::of(token)?;
        let keys = self.keys(false).await?;
        // A provider may also have another key under a name that is known.
        let claims = match verified(token, &header, &keys) {
            Some(claims) => Some(claims),
            None => verified(token, &header, &*self.keys(true).await?),
        };
        let claims = claims.ok_or_else(|| {
            Error::Untrusted("no key of the provider has signed the token".to_owned())
        })?;
        self.check_claims(&claims, now_s)?;
        Ok(claims)
    }

    fn check_claims(&self, claims: &Map<String, Value>, now_s: i64) -> Result<(), Error> {
        let wrong = |why: String| Err(Error::Untrusted(why));
        if claims.get("iss").and_then(Value::as_str) != Some(self.issuer()) {
            return wrong("the token is of another issuer".to_owned());
        }
        let own = |audience: &Value| audience.as_str() == Some(&self.client_id);
        let (is_ours, has_others) = match claims.get("aud") {
            Some(Value::Array(list)) => (list.iter().any(own), list.len() > 1),
            Some(audience) => (own(audience), false),
            None => (false, false),
        };
        if !is_ours {
            return wrong("the token is for another client".to_owned());
        }
        match claims.get("azp") {
            Some(azp) if !own(azp) => {
                return wrong("the token was made for another client (azp)".to_owned());
            }
            None if has_others => {
                return wrong(
                    "the token is for several clients and does not say for which it was made (azp)"
                        .to_owned(),
                );
            }
            _ => {}
        }
        let clocks =
            "; the clocks of the provider and of Redis may be apart, see leasehold doctor oidc";
        match instant(claims, "exp") {
            Some(end) if now_s < end.saturating_add(LEEWAY_S) => {}
            Some(end) => return wrong(format!("the token ended {} s ago{clocks}", now_s - end)),
            None => return wrong("the token has no end".to_owned()),
        }
        for name in ["iat", "nbf"] {
            if let Some(begin) = instant(claims, name)
                && now_s.saturating_add(LEEWAY_S) < begin
            {
                return wrong(format!("the token begins in {} s{clocks}", begin - now_s));
            }
        }
        if instant(claims, "iat").is_none() {
            return wrong("the token has no time at which it was made (iat)".to_owned());
        }
        let subject = claims.get("sub").and_then(Value::as_str);
        if subject.is_some_and(|subject| subject.is_empty() || subject.len() > MAX_SUBJECT) {
            return wrong("the token names nobody".to_owned());
        }
        Ok(())
    }

    /// What the claims of an ID token say, and those of the provider's userinfo where it was asked.
    pub(super) fn read(
        &self,
        claims: &Map<String, Value>,
        more: &Map<String, Value>,
    ) -> Result<Claims, Error> {
        let subject = claims.get("sub").and_then(Value::as_str);
        let subject =
            subject.ok_or_else(|| Error::Untrusted("the token names nobody".to_owned()))?;
        let groups = match groups_in(claims, &self.groups_claim) {
            Groups::Missing => groups_in(more, &self.groups_claim),
            groups => groups,
        };
        let names = [&*self.user_claim, "preferred_username", "name"];
        let name = names.iter().find_map(|name| {
            let from = |claims| {
                let text = text(claims, name)?;
                // Anybody can write somebody else's address where nobody checks it.
                let is_checked =
                    *name != "email" || claims.get("email_verified").is_none_or(|is| *is != false);
                is_checked.then_some(text)
            };
            from(claims).or_else(|| from(more))
        });
        Ok(Claims {
            subject: subject.to_owned(),
            name: printable(name.unwrap_or(subject)),
            groups,
            session: text(claims, "sid").map(str::to_owned),
        })
    }

    /// Whether the token does not say all that is wanted, so that it is worth asking for more.
    pub(super) fn lacks(&self, claims: &Map<String, Value>) -> bool {
        groups_in(claims, &self.groups_claim) == Groups::Missing
            || text(claims, &self.user_claim).is_none()
    }
}

#[cfg(test)]
#[allow(
    clippy::needless_pass_by_value,
    reason = "a call reads better with what it makes"
)]
mod tests {
    use serde_json::json;

    use super::*;

    fn groups(claims: Value, name: &str) -> Groups {
        groups_in(claims.as_object().unwrap(), name)
    }

    #[test]
    fn groups_are_a_claim_a_path_or_too_many() {
        let named = |names: &[&str]| Groups::Named(names.iter().map(|&name| name.into()).collect());
        assert_eq!(
            groups(json!({"groups": ["a", 1, "b"]}), "groups"),
            named(&["a", "b"])
        );
        assert_eq!(groups(json!({"groups": "a"}), "groups"), named(&["a"]));
        assert_eq!(groups(json!({"groups": []}), "groups"), named(&[]));
        let nested = json!({"realm_access": {"roles": ["x"]}, "https://a.example/roles": ["y"]});
        assert_eq!(groups(nested.clone(), "realm_access.roles"), named(&["x"]));
        assert_eq!(
            groups(nested.clone(), "https://a.example/roles"),
            named(&["y"])
        );
        assert_eq!(groups(nested, "groups"), Groups::Missing);
        let entra = json!({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "x"}}});
        assert_eq!(groups(entra.clone(), "groups"), Groups::TooMany);
        assert_eq!(groups(entra, "roles"), Groups::Missing);
        assert_eq!(
            groups(json!({"hasgroups": true}), "groups"),
            Groups::TooMany
        );
    }
}
