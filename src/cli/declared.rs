//! The file that `leasehold apply` reads and `leasehold export` writes: pools, keys and webhooks, without secrets.
//!
//! YAML, of which JSON is a part. Strict: a field that is not known is an error with its line and column.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Exit, Failure};
use crate::access_key::{Origin, Role};
use crate::names::{PoolName, Tenant};
use crate::pool::Policy;
use crate::webhook::{AlertPattern, Group, WebhookFormat};

/// The only version of the format.
const VERSION: u32 = 1;
/// What a directory is searched for.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// What files declare.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Declared {
    version: u32,
    /// Each is whole: what is left out has its default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) pools: BTreeMap<PoolName, Policy>,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) keys: BTreeMap<String, DeclaredKey>,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) webhooks: BTreeMap<String, DeclaredWebhook>,
    /// Which fields that are set for a time the file writes down for a pool.
    #[serde(skip)]
    pub(super) written: BTreeMap<PoolName, WrittenStates>,
}

/// Which of the fields of a policy that are set for a time stand in a file, be it with null. What is not written stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct WrittenStates {
    #[serde(deserialize_with = "is_written")]
    pub(super) maintenance: bool,
    #[serde(deserialize_with = "is_written")]
    pub(super) schedule: bool,
}

/// `true` for any value.
fn is_written<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

/// The same file, read for what it writes: a policy does not know null from nothing.
#[derive(Deserialize)]
struct WrittenPools {
    #[serde(default)]
    pools: BTreeMap<PoolName, WrittenStates>,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeclaredKey {
    pub(super) role: Role,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) pools: Vec<PoolName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tenants: Vec<Tenant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<Tenant>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) origins: Vec<Origin>,
    /// Those that are left out stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<DeclaredLimits>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<DateTime<Utc>>,
}

/// How often a client key may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DeclaredLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    per_minute: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_address_per_minute: Option<u32>,
}

/// A webhook, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeclaredWebhook {
    pub(super) url: String,
    pub(super) events: Vec<AlertPattern>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) pools: Vec<PoolName>,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub(super) enabled: bool,
    /// What the address of mail says by itself need not be written.
    #[serde(default, skip_serializing_if = "WebhookFormat::is_standard")]
    pub(super) format: WebhookFormat,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<Group>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) remind_after_ms: Option<u64>,
}

const fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_true(value: &bool) -> bool {
    *value
}

impl Declared {
    /// Nothing.
    pub(super) const fn nothing() -> Self {
        Self {
            version: VERSION,
            pools: BTreeMap::new(),
            keys: BTreeMap::new(),
            webhooks: BTreeMap::new(),
            written: BTreeMap::new(),
        }
    }

    /// What these files declare together: `-` is stdin, a directory stands for the files in it.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut all = Self::nothing();
        for path in paths {
            if path.as_os_str() == "-" {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text)?;
                all.add(Self::parse("stdin", &text)?, "stdin")?;
                continue;
            }
            for path in files(path)? {
                let name = path.display().to_string();
                let text =
                    std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
                all.add(Self::parse(&name, &text)?, &name)?;
            }
        }
        Ok(all)
    }

    /// One file.
    fn parse(name: &str, text: &str) -> Result<Self, Failure> {
        let wrong = |sentence: String| Failure::new(Exit::Usage, format!("{name}: {sentence}"));
        let options = || serde_saphyr::options! { with_snippet: false };
        let mut declared: Self = serde_saphyr::from_str_with_options(text, options())
            .map_err(|error| wrong(with_place(&error)))?;
        if declared.version != VERSION {
            return Err(wrong(format!(
                "version {} is not one that this program knows; write version: {VERSION}",
                declared.version
            )));
        }
        for (pool, policy) in &declared.pools {
            pool.check()
                .and_then(|()| policy.check())
                .map_err(|invalid| wrong(format!("the pool {pool} is not valid: {invalid}")))?;
        }
        let WrittenPools { pools } = serde_saphyr::from_str_with_options(text, options())
            .map_err(|error| wrong(with_place(&error)))?;
        declared.written = pools;
        Ok(declared)
    }

    /// Adds what another file declares. Two files that declare the same thing contradict each other, now or later.
    fn add(&mut self, other: Self, name: &str) -> Result<(), Failure> {
        let twice = |kind: &str, what: &str| {
            Failure::new(
                Exit::Usage,
                format!("{name}: the {kind} {what} is declared in another file, too"),
            )
        };
        for (pool, policy) in other.pools {
            if self.pools.insert(pool.clone(), policy).is_some() {
                return Err(twice("pool", pool.as_str()));
            }
        }
        for (key, declared) in other.keys {
            if self.keys.insert(key.clone(), declared).is_some() {
                return Err(twice("key", &key));
            }
        }
        for (webhook, declared) in other.webhooks {
            if self.webhooks.insert(webhook.clone(), declared).is_some() {
                return Err(twice("webhook", &webhook));
            }
        }
        self.written.extend(other.written);
        Ok(())
    }

    /// As a file.
    pub(super) fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).expect("strings and numbers have a YAML form")
    }
}

/// What is wrong, and where.
fn with_place(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    match error.location() {
        Some(place) if !text.contains("line ") => {
            format!("line {}, column {}: {text}", place.line(), place.column())
        }
        _ => text,
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Usage,
        format!("{} cannot be read: {error}", path.display()),
    )
}

/// The files that a path stands for.
fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|error| unreadable(path, &error))?.path();
        let ending = file.extension().and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| ENDINGS.contains(&ending)) && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "{} has no file that ends with {}",
                path.display(),
                ENDINGS.join(", ")
            ),
        ));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_named_with_its_place() {
        let text = "version: 1\npools:\n  crm:\n    capacity: 5\n    capcity: 6\n";
        let Failure { sentence, .. } = Declared::parse("pools.yaml", text).unwrap_err();
        assert!(sentence.starts_with("pools.yaml: "), "{sentence}");
        assert!(
            sentence.contains("line 5") && sentence.contains("capcity"),
            "{sentence}"
        );
        let Failure { sentence, .. } = Declared::parse("x", "version: 2\n").unwrap_err();
        assert!(sentence.contains("version 2"), "{sentence}");
        let invalid = "version: 1\npools: {crm: {capacity: 5, ttl_ms: 1}}\n";
        let Failure { sentence, .. } = Declared::parse("x", invalid).unwrap_err();
        assert!(sentence.contains("the pool crm"), "{sentence}");
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let text = "version: 1\npools:\n  crm: {capacity: 5, outage_grace_ms: null, maintenance: {message: Back at nine, retry_after_ms: 60000}}\n  on: {capacity: 1}\nkeys:\n  crm widget:\n    role: client\n    pools: [crm]\n    origins: [https://crm.example]\n    limits: {burst: 7}\nwebhooks:\n  \"desk: on\": {url: https://hooks.example.com/x, events: ['*'], enabled: false}\n";
        let declared = Declared::parse("x", text).unwrap();
        let written = |pool: &str| declared.written[&pool.parse::<PoolName>().unwrap()];
        assert!(written("crm").maintenance && !written("crm").schedule);
        assert_eq!(written("on"), WrittenStates::default());
        let again = Declared::parse("x", &declared.to_yaml()).unwrap();
        assert_eq!(again.pools, declared.pools);
        assert_eq!(again.keys, declared.keys);
        assert_eq!(again.webhooks, declared.webhooks);
        assert_eq!(again.to_yaml(), declared.to_yaml());
    }
}
