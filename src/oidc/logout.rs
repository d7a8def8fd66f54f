//! Ends of sessions: at the provider when somebody logs out here (RP-Initiated Logout 1.0), and here when somebody is logged out there
//! (Back-Channel Logout 1.0).

use form_urlencoded::Serializer;
use serde_json::Value;

use super::fetch::check_address;
use super::login::with_query;
use super::{Error, LEEWAY_S, Provider};

/// The member of a log-out token that makes it one.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How old a log-out token may be, in seconds. It is sent at once; what is older was kept by somebody.
const MAX_AGE_S: i64 = 10 * 60;

/// What ended at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedAtProvider {
    /// Whose session; none if only the session is named.
    pub subject: Option<String>,
    /// Which session; none means all of the person's.
    pub session: Option<String>,
    /// Names this message, which is taken once.
    pub id: String,
}

impl Provider {
    /// The address at the provider where the session ends; none if it has none.
    pub async fn end_session_url(&self, id_token: Option<&str>) -> Result<Option<String>, Error> {
        let discovery = self.discovery().await?;
        let Some(address) = &discovery.end_session_endpoint else {
            return Ok(None);
        };
        check_address(address)?;
        let mut query = Serializer::new(String::new());
        if let Some(id_token) = id_token {
            query.append_pair("id_token_hint", id_token);
        }
        query.append_pair("client_id", &self.client_id).append_pair(
            "post_logout_redirect_uri",
            &format!("{}/admin/login", self.public_url),
        );
        Ok(Some(with_query(address, &query.finish())))
    }

    /// What a log-out token says, if the provider has signed it for this installation a moment ago.
    pub async fn ended(&self, token: &str, now_s: i64) -> Result<EndedAtProvider, Error> {
        let claims = self.verify(token, now_s).await?;
        let wrong = |why: &str| Err(Error::Untrusted(format!("the log-out token {why}")));
        let is_event = claims
            .get("events")
            .and_then(|events| events.get(EVENT))
            .is_some_and(Value::is_object);
        if !is_event {
            return wrong("is none: it has no such event");
        }
        // With one it is an ID token that somebody passes off.
        if claims.contains_key("nonce") {
            return wrong("has a nonce");
        }
        let made = claims
            .get("iat")
            .and_then(Value::as_f64)
            .unwrap_or_default() as i64;
        if made + MAX_AGE_S + LEEWAY_S < now_s {
            return wrong("is old");
        }
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let (subject, session) = (text("sub"), text("sid"));
        if subject.is_none() && session.is_none() {
            return wrong("names neither a person nor a session");
        }
        let Some(id) = text("jti") else {
            return wrong("has no jti");
        };
        Ok(EndedAtProvider {
            subject,
            session,
            id,
        })
    }
}
