//! A server that takes mail on this machine, or refuses it, and keeps what came.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::wait_until;

/// A mail that came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mail {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    /// User and password of the connection.
    pub(crate) login: String,
    /// Headers and text, as they came.
    pub(crate) text: String,
}

impl Mail {
    /// A header that is in one line.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut lines = self.text.lines().take_while(|line| !line.is_empty());
        let found = lines.find_map(|line| line.strip_prefix(&format!("{name}: ")));
        found.unwrap_or_else(|| panic!("no {name} in {}", self.text))
    }

    /// The text below the headers, on lines as long as they were written.
    pub(crate) fn body(&self) -> String {
        let (_, body) = self.text.split_once("\r\n\r\n").expect("a body");
        body.replace("=\r\n", "")
            .replace("=3D", "=")
            .replace("\r\n", "\n")
    }
}

#[derive(Debug, Default)]
struct Shared {
    mails: Mutex<Vec<Mail>>,
    /// What is said to the next recipients in place of yes.
    refusal: Mutex<Option<&'static str>>,
}

/// A mail server without TLS; it ends with its value.
pub(crate) struct MailServer {
    shared: Arc<Shared>,
    port: u16,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl MailServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared::default());
        let server = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let shared = Arc::clone(&shared);
                    // It ends when the other side does.
                    tokio::spawn(async move { speak(stream, &shared).await });
                }
            }
        });
        Self {
            shared,
            port,
            server,
        }
    }

    /// For `smtp_url`.
    pub(crate) fn url(&self, userinfo: &str) -> String {
        format!("smtp://{userinfo}127.0.0.1:{}?tls=off", self.port)
    }

    /// Refuses all recipients with these words, or no longer.
    pub(crate) fn refuse(&self, with: Option<&'static str>) {
        *self.shared.refusal.lock().expect("no panic while held") = with;
    }

    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.shared
            .mails
            .lock()
            .expect("no panic while held")
            .clone()
    }

    /// Waits until this many have come.
    #[track_caller]
    pub(crate) fn got(&self, count: usize) -> impl Future<Output = Vec<Mail>> {
        let asked_at = std::panic::Location::caller();
        async move {
            let what = format!("{asked_at}: {count} mails come");
            wait_until(&what, Duration::from_secs(40), async || {
                self.mails().len() >= count
            })
            .await;
            self.mails()
        }
    }
}

async fn speak(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 mail.example ready\r\n").await?;
    let (mut login, mut mail) = (String::new(), Mail::default());
    while let Some(line) = lines.next_line().await? {
        let (verb, rest) = line.split_once([' ', ':']).unwrap_or((&line, ""));
        let address = || {
            let (_, address) = rest.split_once('<').unwrap_or_default();
            let (address, _) = address.split_once('>').unwrap_or_default();
            address.to_owned()
        };
        let answer = match verb.to_ascii_uppercase().as_str() {
            "EHLO" => "250-mail.example\r\n250-AUTH PLAIN\r\n250 8BITMIME".to_owned(),
            "AUTH" => {
                let said = rest.trim_start_matches("PLAIN ");
                let said = STANDARD.decode(said).unwrap_or_default();
                login = String::from_utf8_lossy(&said)
                    .replace('\0', " ")
                    .trim()
                    .to_owned();
                "235 welcome".to_owned()
            }
            "MAIL" => {
                mail = Mail {
                    from: address(),
                    login: login.clone(),
                    ..Mail::default()
                };
                "250 go on".to_owned()
            }
            "RCPT" => {
                let refusal = *shared.refusal.lock().expect("no panic while held");
                mail.to.push(address());
                refusal.unwrap_or("250 go on").to_owned()
            }
            "DATA" => {
                writer.write_all(b"354 go on\r\n").await?;
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        break;
                    }
                    mail.text.push_str(line.strip_prefix('.').unwrap_or(&line));
                    mail.text.push_str("\r\n");
                }
                let mut mails = shared.mails.lock().expect("no panic while held");
                mails.push(mail.clone());
                format!("250 queued as {}", mails.len())
            }
            "QUIT" => "221 bye".to_owned(),
            _ => "250 yes".to_owned(),
        };
        writer.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}
