//! The layers that a setting can come from, laid over each other.
//!
//! Everything that is not the file is text here, and numbers are read from text at the very end. A secret of
//! digits only therefore stays what it is, wherever it was written.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _, Command, FromArgMatches};
use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use ipnet::{IpNet, Ipv4Net};
use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer};

use super::explain::{explain, unknown, without_source_lines};
use super::{RoleRules, Settings, WrongSetting};
use crate::names::{Invalid, PoolName};
use crate::pool::Policy;

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "leasehold.toml";

/// What names in the environment begin with.
const PREFIX: &str = "LEASEHOLD_";

/// Names in the environment that are no settings: they belong to the commands that talk to a server, and to what
/// `leasehold run` runs.
const CLIENT_NAMES: [&str; 5] = [
    "LEASEHOLD_FENCE",
    "LEASEHOLD_KEY",
    "LEASEHOLD_KEY_FILE",
    "LEASEHOLD_LEASE_ID",
    "LEASEHOLD_SERVER",
];

/// Where a value came from, named so that it can be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave one.
    Default,
    /// The settings file.
    File(PathBuf),
    /// A name in the environment.
    Environment(String),
    /// A flag.
    Flag(String),
    /// The file that a `…_file` setting names.
    SecretFile(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) | Self::SecretFile(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "{name} in the environment"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// The settings that were given on the command line, and only those.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    config: Option<PathBuf>,
    given: Vec<(String, Vec<String>)>,
}

/// The arguments are those of [`Settings`], and `--config`.
impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let config = clap::Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Settings file [default: leasehold.toml, if there is one]");
        Settings::augment_args(command.arg(config))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for name in names() {
            if matches.value_source(&name) != Some(ValueSource::CommandLine) {
                continue;
            }
            let values = matches.get_raw(&name).into_iter().flatten();
            let values = values
                .map(|value| value.to_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| clap::Error::new(clap::error::ErrorKind::InvalidUtf8))?;
            given.push((name, values));
        }
        Ok(Self {
            config: matches.get_one("config").cloned(),
            given,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What `--pool NAME=CAPACITY` says.
pub(super) fn pool_flag(text: &str) -> Result<BTreeMap<PoolName, Policy>, Invalid> {
    let right = || Invalid("give NAME=CAPACITY, such as demo=5".into());
    let (name, capacity) = text.split_once('=').ok_or_else(right)?;
    let policy = Policy::with_capacity(capacity.trim().parse().map_err(|_| right())?);
    policy.check()?;
    Ok(BTreeMap::from([(name.trim().parse()?, policy)]))
}

/// What `--trusted-proxy` says: an address, or a network. IPv4 in the spelling of IPv6 is IPv4, as addresses of peers are.
pub(super) fn network(text: &str) -> Result<IpNet, Invalid> {
    let text = text.trim();
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text
        .parse()
        .or_else(|_| address())
        .map_err(|_| Invalid("is not an address or a network such as 10.0.0.0/8".into()))?;
    let IpNet::V6(v6) = network else {
        return Ok(network);
    };
    let mapped = v6.addr().to_ipv4_mapped().filter(|_| v6.prefix_len() >= 96);
    Ok(match mapped {
        Some(v4) => IpNet::from(
            Ipv4Net::new(v4, v6.prefix_len() - 96).expect("what is left of 128 is at most 32"),
        ),
        None => network,
    })
}

/// Reads a list of addresses and networks.
pub(super) fn networks<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<IpNet>, D::Error> {
    let list = Vec::<String>::deserialize(list)?;
    let networks = list.iter().map(|text| network(text));
    networks.collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// Reads all layers into one, with the origin of each value: by setting, and by `pools.NAME`.
pub(super) fn read(
    flags: &Flags,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    directory: &Path,
) -> Result<(Settings, BTreeMap<String, Origin>), WrongSetting> {
    let (env, env_config) = environment(env)?;
    let mut layers = vec![defaults()];
    layers.extend(file(flags.config.clone().or(env_config), directory)?);
    layers.extend(env);
    layers.extend(command_line(flags)?);

    let mut origins = BTreeMap::new();
    let mut figment = Figment::new();
    for layer in layers {
        for (name, value) in &layer.values {
            origins.insert(name.clone(), layer.origin.clone());
            if let ("pools", Value::Dict(_, pools)) = (name.as_str(), value) {
                origins.extend(
                    pools
                        .keys()
                        .map(|pool| (format!("pools.{pool}"), layer.origin.clone())),
                );
            }
        }
        figment = figment.merge(layer);
    }
    let settings = figment
        .extract_lossy()
        .map_err(|error| explain(error, &origins))?;
    Ok((settings, origins))
}

/// Values from one origin.
struct Layer {
    origin: Origin,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

fn arguments() -> Command {
    Settings::augment_args(Command::new("settings"))
}

fn names() -> Vec<String> {
    arguments()
        .get_arguments()
        .map(|argument| argument.get_id().to_string())
        .collect()
}

/// The name of the flag, which is not always the name of the setting: `--pool`.
fn flag(name: &str) -> String {
    let command = arguments();
    let long = command
        .get_arguments()
        .find(|argument| argument.get_id() == name)
        .and_then(|flag| flag.get_long());
    format!("--{}", long.unwrap_or(name))
}

fn defaults() -> Layer {
    let mut values = Dict::new();
    for argument in arguments().get_arguments() {
        if let [value] = argument.get_default_values() {
            values.insert(
                argument.get_id().to_string(),
                value.to_string_lossy().into_owned().into(),
            );
        }
    }
    Layer {
        origin: Origin::Default,
        values,
    }
}

fn file(named: Option<PathBuf>, directory: &Path) -> Result<Option<Layer>, WrongSetting> {
    let is_named = named.is_some();
    let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let wrong = |wrong: String, right: &str| WrongSetting {
        setting: "the settings file".into(),
        origin: path.display().to_string(),
        wrong,
        right: right.into(),
    };
    let text = match std::fs::read_to_string(directory.join(&path)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_named => return Ok(None),
        Err(error) => {
            return Err(wrong(
                format!("cannot be read: {error}"),
                "name a TOML file that this program may read",
            ));
        }
    };
    match Toml::string(&text).data() {
        Ok(mut data) => {
            let mut values = data.remove(&Profile::Default).unwrap_or_default();
            values.values_mut().for_each(trim);
            refuse_unknown(&values, &path)?;
            Ok(Some(Layer {
                origin: Origin::File(path),
                values,
            }))
        }
        Err(error) => Err(wrong(
            format!(
                "is not TOML: {}",
                without_source_lines(&error.kind.to_string())
            ),
            "compare it with leasehold.example.toml",
        )),
    }
}

/// A value means the same wherever it is written, so blanks and line ends around it do not count.
fn trim(value: &mut Value) {
    match value {
        Value::String(_, text) => *text = super::without_edges(text).to_owned(),
        Value::Array(_, list) => list.iter_mut().for_each(trim),
        _ => {}
    }
}

/// Also caught when everything is put together, but here the file can be named.
fn refuse_unknown(values: &Dict, path: &Path) -> Result<(), WrongSetting> {
    let known = names();
    match values.keys().find(|name| !known.contains(name)) {
        Some(name) => Err(unknown(name, path.display().to_string(), &known.join(", "))),
        None => Ok(()),
    }
}

type Environment = (Vec<Layer>, Option<PathBuf>);

/// One layer for each name, so that each has its own origin; and what `LEASEHOLD_CONFIG` says.
fn environment(
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Environment, WrongSetting> {
    let known = names();
    let mut layers = Vec::new();
    let mut config = None;
    for (name, value) in env {
        let Some(name) = name.to_str() else { continue };
        let Some(setting) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if CLIENT_NAMES.contains(&name) || is_service_link(setting, &value) {
            continue;
        }
        let setting = setting.to_ascii_lowercase();
        let origin = Origin::Environment(name.to_owned());
        let wrong = |wrong: &str, right: &str| WrongSetting {
            setting: setting.clone(),
            origin: origin.to_string(),
            wrong: wrong.into(),
            right: right.into(),
        };
        if setting == "config" {
            config = Some(PathBuf::from(value));
            continue;
        }
        if !known.contains(&setting) || name.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let names = known
                .iter()
                .map(|name| format!("{PREFIX}{}", name.to_ascii_uppercase()));
            return Err(unknown(
                name,
                "the environment".into(),
                &names.collect::<Vec<_>>().join(", "),
            ));
        }
        let Some(text) = value.to_str() else {
            return Err(wrong("is not UTF-8", "give text"));
        };
        let text = super::without_edges(text);
        if text.is_empty() {
            // Half of all deployments pass on a variable that nobody set. An empty key must not mean no key.
            return Err(wrong(
                "is empty",
                "give a value, or remove it from the environment",
            ));
        }
        let value = match setting.as_str() {
            "pools" => pools(text).map_err(|invalid| {
                wrong(
                    &invalid.to_string(),
                    "give demo=5,crm=10 or {\"demo\": {\"capacity\": 5}} or {demo = {capacity = 5}}",
                )
            })?,
            "previous_secrets" | "trusted_proxies" => list(text).into(),
            "oidc_roles" => RoleRules::lines(text).into(),
            _ => text.into(),
        };
        layers.push(Layer {
            origin,
            values: Dict::from([(setting, value)]),
        });
    }
    Ok((layers, config))
}

/// A list in the environment: separated by commas, or as the settings file has it.
fn list(text: &str) -> Vec<String> {
    let in_brackets = text
        .starts_with('[')
        .then(|| serde_json::from_str(text).ok())
        .flatten();
    in_brackets.unwrap_or_else(|| text.split(',').map(|item| item.trim().to_owned()).collect())
}

/// Kubernetes tells every container about every service in its namespace. One that is called `leasehold` would
/// otherwise keep the program from starting: `LEASEHOLD_SERVICE_HOST`, `LEASEHOLD_PORT_7070_TCP`, and others.
fn is_service_link(name: &str, value: &OsString) -> bool {
    let is_address = || value.to_string_lossy().contains("://");
    let mut words = name.split('_');
    match (words.next(), words.next()) {
        (Some("SERVICE"), Some("HOST" | "PORT")) => true,
        (Some("PORT"), None) => is_address(),
        (Some("PORT"), Some(port)) => port.parse::<u16>().is_ok(),
        _ => false,
    }
}

fn command_line(flags: &Flags) -> Result<Vec<Layer>, WrongSetting> {
    let mut layers = Vec::new();
    for (name, values) in &flags.given {
        let origin = Origin::Flag(flag(name));
        let value = match name.as_str() {
            "pools" => pools(&values.join(",")).map_err(|invalid| WrongSetting {
                setting: name.clone(),
                origin: origin.to_string(),
                wrong: invalid.to_string(),
                right: "give --pool NAME=CAPACITY for each pool".into(),
            })?,
            "previous_secrets" | "trusted_proxies" | "oidc_roles" => values.clone().into(),
            _ => values
                .last()
                .map(|value| value.trim())
                .unwrap_or_default()
                .into(),
        };
        layers.push(Layer {
            origin,
            values: Dict::from([(name.clone(), value)]),
        });
    }
    Ok(layers)
}

/// Pools as text: `demo=5,crm=10`, or JSON, or inline TOML.
fn pools(text: &str) -> Result<Value, Invalid> {
    let text = text.trim();
    if !text.starts_with('{') {
        let mut pools = Dict::new();
        for entry in text.split(',') {
            for (name, policy) in pool_flag(entry)? {
                // Only what was said: the rest of the policy may be in the file.
                let capacity = Value::from(policy.capacity);
                let policy = Dict::from([("capacity".to_owned(), capacity)]);
                if pools.insert(name.to_string(), policy.into()).is_some() {
                    return Err(Invalid(format!("names the pool {name} twice")));
                }
            }
        }
        return Ok(pools.into());
    }
    if let Ok(json) = serde_json::from_str::<Dict>(text) {
        return Ok(json.into());
    }
    let toml = Toml::string(&format!("pools = {text}")).data();
    let pools = toml
        .ok()
        .and_then(|mut data| data.remove(&Profile::Default)?.remove("pools"));
    pools.ok_or_else(|| Invalid("is neither JSON nor inline TOML".into()))
}
