//! One attempt as mail, over SMTP. The server is one that the settings name, so no rule about addresses is for it; whom it may
//! carry mail to is for the server to say.

use std::fmt;

use lettre::address::Envelope;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{AsyncSmtpTransport, Error};
use lettre::{Address, AsyncTransport as _, Tokio1Executor};
use secrecy::ExposeSecret as _;

use super::post::{Answer, KEPT, TOTAL, in_one_line};
use super::{format, message};
use crate::client::innermost;
use crate::config::{Settings, SmtpTls, SmtpUrl};
use crate::store::Delivery;
use crate::tls::choose_cryptography;
use crate::webhook::Webhook;

/// The server that takes mail, and whom it is from.
#[derive(Debug, Clone)]
pub struct MailServer {
    server: SmtpUrl,
    from: Mailbox,
}

impl fmt::Display for MailServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

/// Says that no person wrote it, so that nobody's holiday answers (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

impl MailServer {
    /// That of the settings, if there is one.
    pub fn of(settings: &Settings) -> Option<Self> {
        let (server, from) = settings.mail()?;
        Some(Self { server, from })
    }

    /// What speaks to the server. Each mail has a connection of its own.
    fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, Error> {
        choose_cryptography();
        let SmtpUrl {
            host,
            port,
            tls,
            credentials,
        } = &self.server;
        let tls = match tls {
            SmtpTls::Implicit => Tls::Wrapper(TlsParameters::new(host.clone())?),
            SmtpTls::Required => Tls::Required(TlsParameters::new(host.clone())?),
            SmtpTls::Off => Tls::None,
        };
        let name = rustix::system::uname();
        let name = name.nodename().to_string_lossy().into_owned();
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.clone())
            .port(*port)
            .tls(tls)
            .hello_name(ClientId::Domain(name))
            .timeout(Some(TOTAL));
        if let Some((user, password)) = credentials {
            let password = password.expose_secret().to_owned();
            transport = transport.credentials(Credentials::new(user.clone(), password));
        }
        Ok(transport.build())
    }

    /// Whether the server would take mail: it is reached, and takes the password. No mail is sent.
    pub async fn check(&self) -> Result<(), String> {
        let transport = self.transport().map_err(|error| in_words(&error))?;
        let tried = tokio::time::timeout(TOTAL, transport.test_connection());
        match tried.await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err("the mail server does not answer as one".to_owned()),
            Ok(Err(error)) => Err(in_words(&error)),
            Err(_) => Err("the mail server did not answer in time".to_owned()),
        }
    }

    /// One attempt, to all addresses at once. `id` stays the same over all attempts.
    pub(super) async fn send(
        &self,
        webhook: &Webhook,
        to: Vec<Address>,
        deliveries: &[&Delivery],
        id: &str,
        pages: &str,
    ) -> Result<Answer, String> {
        let mail = self.compose(webhook, &to, deliveries, id, pages)?;
        let envelope = Envelope::new(Some(self.from.email.clone()), to)
            .map_err(|error| format!("the mail cannot be addressed: {error}"))?;
        let transport = self.transport().map_err(|error| in_words(&error))?;
        let sent = tokio::time::timeout(TOTAL, transport.send_raw(&envelope, &mail));
        match sent.await {
            Ok(Ok(response)) => {
                let lines: Vec<&str> = response.message().collect();
                let reply: String = lines.join(" ").chars().take(KEPT).collect();
                Ok(Answer {
                    status: response.code().into(),
                    retry_after: None,
                    reply: in_one_line(&reply),
                    complaint: None,
                })
            }
            Ok(Err(error)) => match error.status() {
                Some(code) => Ok(Answer {
                    status: code.into(),
                    retry_after: None,
                    reply: in_one_line(&innermost(&error).chars().take(KEPT).collect::<String>()),
                    complaint: Some("the mail server did not take it"),
                }),
                None => Err(in_words(&error)),
            },
            Err(_) => Err("the mail server did not answer in time".to_owned()),
        }
    }

    fn compose(
        &self,
        webhook: &Webhook,
        to: &[Address],
        deliveries: &[&Delivery],
        id: &str,
        pages: &str,
    ) -> Result<Vec<u8>, String> {
        let (subject, text) = format::mail(webhook, deliveries, pages);
        let domain = self.from.email.domain();
        let mut mail = Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .message_id(Some(format!("<{id}@{domain}>")))
            .header(ContentType::TEXT_PLAIN)
            .header(AutoSubmitted);
        for address in to {
            mail = mail.to(Mailbox::new(None, address.clone()));
        }
        // What begins and what ends has the same root, so that they are one thread.
        if let [alone] = deliveries
            && let Some(alert) = format::alert(alone)
        {
            let root = message::digest(&format!("{} {alert}", webhook.id));
            let root = format!("<{root}@{domain}>");
            mail = mail.in_reply_to(root.clone()).references(root);
        }
        mail.body(text)
            .map(|mail| mail.formatted())
            .map_err(|error| format!("the mail cannot be written: {error}"))
    }
}

/// What went wrong before the server said anything about the mail. Never what was sent.
fn in_words(error: &Error) -> String {
    if error.is_timeout() {
        return "the mail server did not answer in time".to_owned();
    }
    if let Some(code) = error.status() {
        return format!("the mail server answered {code}: {}", innermost(error));
    }
    if error.is_client() {
        return format!(
            "the mail server does not offer what smtp_url asks for: {}",
            innermost(error)
        );
    }
    format!("the mail server cannot be reached: {}", innermost(error))
}
