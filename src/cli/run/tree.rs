//! The processes that a command has started, and theirs: a start script in front of the real program is the usual case.
//!
//! On Linux we adopt what loses its parent below us, so that nothing leaves the tree, and reap it, as the first process of a container
//! has to. Elsewhere there is the command alone.

use std::collections::HashMap;
use std::fs;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

/// All processes below this one.
pub(super) struct Tree {
    own: i32,
    /// The command, which others wait for.
    command: Option<i32>,
}

/// A process as the kernel tells of it.
struct Process {
    parent: i32,
    is_zombie: bool,
}

impl Tree {
    /// Adopts from now on. Before the command starts.
    pub(super) fn new() -> Self {
        #[cfg(target_os = "linux")]
        {
            // Without it only what stays in the tree by itself is found.
            let _ = rustix::process::set_child_subreaper(Some(getpid()));
        }
        Self {
            own: getpid().as_raw_nonzero().get(),
            command: None,
        }
    }

    /// Notes which one is the command.
    pub(super) fn begins_with(&mut self, command: Option<u32>) {
        self.command = command.and_then(|pid| i32::try_from(pid).ok());
    }

    /// The living processes below this one.
    fn members(&self) -> Vec<Pid> {
        let all = processes();
        let (mut found, mut parents) = (Vec::new(), vec![self.own]);
        // Each is below one only, so this ends.
        while let Some(parent) = parents.pop() {
            for (pid, process) in all.iter().filter(|(_, process)| process.parent == parent) {
                parents.push(*pid);
                found.extend(Pid::from_raw(*pid).filter(|_| !process.is_zombie));
            }
        }
        found
    }

    /// Whether anything of it runs.
    pub(super) fn is_there(&self) -> bool {
        !self.members().is_empty()
    }

    /// Sends a signal to all of it.
    pub(super) fn tell(&self, signal: Signal) {
        let mut members = self.members();
        if members.is_empty() {
            members.extend(self.command.and_then(Pid::from_raw));
        }
        for pid in members {
            // It fails when that one has just ended, which is what was wanted.
            let _ = kill_process(pid, signal);
        }
    }

    /// Takes note of the ends of those that were adopted.
    pub(super) fn reap(&self) {
        for (pid, process) in processes() {
            let is_adopted = process.parent == self.own && Some(pid) != self.command;
            if is_adopted && process.is_zombie {
                let _ = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
            }
        }
    }
}

/// All processes, by their number; none where there is no `/proc`.
fn processes() -> HashMap<i32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let read = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name in brackets may hold anything, brackets too.
        let (_, behind) = stat.rsplit_once(')')?;
        let mut fields = behind.split_whitespace();
        let is_zombie = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        Some((pid, Process { parent, is_zombie }))
    });
    read.collect()
}

/// The signals that this program ignores since its start, as a mask; none where that is not known.
pub(super) fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
