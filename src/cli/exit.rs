//! How a command ended, as scripts and people see it.

use std::borrow::Cow;
use std::fmt;
use std::io;

use serde_json::json;

use crate::config::WrongSetting;
use crate::stderr;

/// How a command ended, as scripts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Ok = 0,
    /// It failed.
    Error = 1,
    /// It was asked in a way that cannot work: a flag, or a setting.
    Usage = 2,
    /// No seat was given.
    Denied = 3,
    /// There is no such pool, lease or key.
    NotFound = 4,
    /// The key may not do this.
    NotAllowed = 5,
    /// The server, or its Redis, could not be reached.
    Unavailable = 6,
    /// A dry run found something to do.
    Changes = 10,
}

impl Exit {
    /// The word for programs, where nobody has a better one.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "failed",
            Self::Usage => "wrong_usage",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::NotAllowed => "not_allowed",
            Self::Unavailable => "unavailable",
            Self::Changes => "changes",
        }
    }
}

/// Why a command ended without doing what was asked: a sentence for the person at the terminal, and a word for programs.
#[derive(Debug)]
pub struct Failure {
    pub(super) exit: Exit,
    pub(super) code: Cow<'static, str>,
    pub(super) sentence: String,
    /// When to ask again, ms, if the server said so.
    pub(super) retry_after_ms: Option<u64>,
}

impl Failure {
    /// A failure with this exit code, told in a sentence that ends with what to do next.
    pub fn new(exit: Exit, sentence: impl fmt::Display) -> Self {
        Self {
            exit,
            code: exit.code().into(),
            sentence: sentence.to_string(),
            retry_after_ms: None,
        }
    }

    /// The same with a stable word of its own.
    pub(super) fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = code.into();
        self
    }

    /// On stderr, as a sentence or as one line of JSON.
    pub(super) fn tell(&self, json: bool) {
        if json {
            let mut told =
                json!({"code": self.code, "message": self.sentence, "exit": self.exit as u8});
            if let Some(ms) = self.retry_after_ms {
                told["retry_after_ms"] = json!(ms);
            }
            // JSON has its own escapes.
            stderr::say(format!("{told}\n"));
        } else {
            stderr::say_line(format_args!("leasehold: {self}"));
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

impl From<WrongSetting> for Failure {
    fn from(wrong: WrongSetting) -> Self {
        Self::new(Exit::Usage, wrong).with_code("wrong_setting")
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Error, error)
    }
}
