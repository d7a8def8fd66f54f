//! Names of servers as one node knows them: files of its own over `/etc/hosts` and `/etc/resolv.conf`, in a mount namespace.
//!
//! What a name leads to can change while the node runs, and the name server can be one that never answers.

use std::fmt::Write as _;
use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

/// The name that leads to a server.
pub(crate) const NAME: &str = "redis.test";

/// Where the name server listens. No other address, so that nothing leaves this machine.
const SERVER: &str = "127.0.0.77";

/// What names mean to the nodes that are started with it.
#[derive(Clone)]
pub(crate) struct Names {
    directory: Arc<TempDir>,
    is_root: bool,
    /// Holds the port of the name server. Nobody reads what it is asked.
    _silent: Option<Arc<UdpSocket>>,
}

impl Names {
    /// An error says why there can be none on this machine.
    pub(crate) fn new() -> Result<Self, String> {
        let directory = TempDir::with_prefix("leasehold-names-").expect("a temporary directory");
        std::fs::write(directory.path().join("hosts"), "127.0.0.1 localhost\n").expect("ours");
        // Without any name server the one of this machine would be asked.
        std::fs::write(
            directory.path().join("resolv.conf"),
            format!("nameserver {SERVER}\n"),
        )
        .expect("ours");
        let mut names = Self {
            directory: Arc::new(directory),
            is_root: true,
            _silent: None,
        };
        let mut said = String::new();
        for is_root in [true, false] {
            names.is_root = is_root;
            let output = names.around("true").output();
            match output {
                Ok(output) if output.status.success() => return Ok(names),
                Ok(output) => said = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                Err(error) => said = error.to_string(),
            }
        }
        Err(format!(
            "unshare (util-linux) cannot make a mount namespace: {said}"
        ))
    }

    /// The same with a name server that takes questions and never answers. That needs a port below 1024.
    pub(crate) fn with_a_silent_name_server() -> Result<Self, String> {
        let socket = UdpSocket::bind((SERVER, 53))
            .map_err(|error| format!("port 53 of {SERVER} cannot be had: {error}"))?;
        Ok(Self {
            _silent: Some(Arc::new(socket)),
            ..Self::new()?
        })
    }

    /// From now on [`NAME`] leads to these, in this order.
    pub(crate) fn lead_to(&self, addresses: &[IpAddr]) {
        let mut text = String::from("127.0.0.1 localhost\n");
        for address in addresses {
            writeln!(text, "{address} {NAME}").expect("a string takes any text");
        }
        // In place, because the mount is of this very file. Whoever reads it half written does not find the name, and asks again.
        std::fs::write(self.file("hosts"), text).expect("ours");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command that becomes this program, which knows these names.
    pub(crate) fn around(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("unshare");
        if !self.is_root {
            command.args(["--user", "--map-root-user"]);
        }
        let script = "mount --bind \"$0/hosts\" /etc/hosts && mount --bind \"$0/resolv.conf\" /etc/resolv.conf && exec \"$@\"";
        command
            .args(["--mount", "sh", "-c", script])
            .arg(self.directory.path())
            .arg(program);
        command
    }
}
