//! `leasehold session`: who is logged in to the admin pages.

use serde_json::json;

use super::remote::Remote;
use super::{Exit, Failure};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Session {
    /// List who is logged in to the admin pages
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// End a session, on all nodes within a second
    End {
        /// Id of the session, as `leasehold session list` prints it
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// End all sessions
        #[arg(long, conflicts_with = "id")]
        all: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

pub(super) fn run(command: &Session) -> Result<Exit, Failure> {
    match command {
        Session::List { remote } => {
            let sessions = remote.list("/v1/sessions", usize::MAX)?;
            let columns = ["id", "who", "address", "since", "last_seen_at"];
            remote.show(&sessions, &columns, "nobody is logged in")
        }
        Session::End {
            id: None, remote, ..
        } => {
            remote.delete("/v1/sessions")?;
            remote.done("all sessions have ended", &json!({"status": "ended"}))
        }
        Session::End {
            id: Some(id),
            remote,
            ..
        } => {
            let path =
                percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
            remote.delete(&format!("/v1/sessions/{path}"))?;
            remote.done(
                &format!("the session {id} has ended"),
                &json!({"id": id, "status": "ended"}),
            )
        }
    }
}
