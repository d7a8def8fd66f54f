//! A terminal that nobody sits at: a command runs on it as it would for a person, and the test reads and types.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// How long a command may take to show something, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command on a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    /// Our end.
    typed: File,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// Runs a command on a terminal of 100 columns and 24 rows.
    pub(crate) fn run(mut command: Command) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).expect("ours");
        unlockpt(&ours).expect("ours");
        let size = Winsize {
            ws_row: 24,
            ws_col: 100,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&ours, size).expect("a size");
        let path = ptsname(&ours, Vec::new()).expect("a name");
        let path = path.to_str().expect("plain").to_owned();
        let theirs = || {
            let opened = OpenOptions::new().read(true).write(true).open(&path);
            OwnedFd::from(opened.expect("the other end"))
        };
        let child = command
            .stdin(theirs())
            .stdout(theirs())
            .stderr(theirs())
            .spawn()
            .expect("it runs");
        // Only the child has the other end now, so reading ends with it.
        drop(command);

        let shown = Arc::new(Mutex::new(Vec::new()));
        let mut reader = File::from(ours.try_clone().expect("a copy"));
        let into = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                into.lock()
                    .expect("no panic")
                    .extend_from_slice(&buffer[..n]);
            }
        });
        Self {
            child,
            typed: File::from(ours),
            shown,
            reader,
        }
    }

    /// Everything that was written to it up to now, with the sequences that move the cursor.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("no panic")).into_owned()
    }

    /// Waits until this was written to it.
    pub(crate) async fn shows(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text().contains(text) {
            assert!(
                Instant::now() < deadline,
                "{text:?} is not shown: {:?}",
                self.text()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Types on it.
    pub(crate) fn types(&mut self, text: &str) {
        self.typed
            .write_all(text.as_bytes())
            .expect("it takes what is typed");
    }

    /// Sends the command a signal.
    pub(crate) fn signal(&self, name: &str) {
        super::signal(self.child.id(), name);
    }

    /// Waits until the command has ended; how it did, and all that was shown.
    pub(crate) async fn ended(&mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "it goes on: {:?}", self.text());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        // What is still on its way.
        while !self.reader.is_finished() {
            assert!(
                Instant::now() < deadline,
                "somebody else writes: {:?}",
                self.text()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (status, self.text())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
