//! Secrets that are kept in files, as orchestrators mount them and systemd hands them over.
//!
//! Deliberately absent: a choice between a value and a file. Two sources of one secret mean that somebody
//! believes in the wrong one, so both together are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::{Loaded, Origin, Settings, WrongSetting};

/// Settings that are secrets or have one in them: a wrong value is not repeated in an error, and a file with them is nobody else's.
pub(super) const SECRETS: [&str; 8] = [
    "secret",
    "previous_secrets",
    "admin_key",
    "redis_url",
    "webhook_proxy",
    "oidc_client_secret",
    "proxy_secret",
    "smtp_url",
];

/// Where systemd puts the credentials of a service.
pub(super) const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Takes what systemd handed over for what nobody set: the credential `leasehold_admin_key` for `admin_key`, and so on. The
/// names are those that `LoadCredential=leasehold:DIRECTORY` makes of a directory of secrets.
pub(super) fn find_credentials(
    settings: &mut Settings,
    origins: &mut BTreeMap<String, Origin>,
    credentials: &Path,
) {
    let is_unset = |secret: &Option<SecretString>| secret.is_none();
    for (name, is_unset, file) in [
        (
            "redis_url",
            is_unset(&settings.redis_url),
            &mut settings.redis_url_file,
        ),
        (
            "secret",
            is_unset(&settings.secret),
            &mut settings.secret_file,
        ),
        (
            "previous_secrets",
            settings.previous_secrets.is_empty(),
            &mut settings.previous_secrets_file,
        ),
        (
            "admin_key",
            is_unset(&settings.admin_key),
            &mut settings.admin_key_file,
        ),
        (
            "oidc_client_secret",
            is_unset(&settings.oidc_client_secret),
            &mut settings.oidc_client_secret_file,
        ),
        (
            "proxy_secret",
            is_unset(&settings.proxy_secret),
            &mut settings.proxy_secret_file,
        ),
        (
            "smtp_url",
            is_unset(&settings.smtp_url),
            &mut settings.smtp_url_file,
        ),
    ] {
        let credential = credentials.join(format!("leasehold_{name}"));
        if is_unset && file.is_none() && credential.exists() {
            *file = Some(credential);
            let origin = Origin::Environment(CREDENTIALS.to_owned());
            origins.insert(format!("{name}_file"), origin);
        }
    }
    // Files that systemd read as root, which the user of the node could not.
    for (name, file) in [
        ("tls_cert_file", &mut settings.tls_cert_file),
        ("tls_key_file", &mut settings.tls_key_file),
        ("signing_key_file", &mut settings.signing_key_file),
    ] {
        let credential = credentials.join(format!("leasehold_{name}"));
        if file.is_none() && credential.exists() {
            *file = Some(credential);
            let origin = Origin::Environment(CREDENTIALS.to_owned());
            origins.insert(name.to_owned(), origin);
        }
    }
}

/// Reads every `…_file` into the setting that it stands for.
pub(super) fn read_files(
    settings: &mut Settings,
    origins: &mut BTreeMap<String, Origin>,
) -> Result<(), WrongSetting> {
    for (name, value, file) in [
        (
            "redis_url",
            &mut settings.redis_url,
            &settings.redis_url_file,
        ),
        ("secret", &mut settings.secret, &settings.secret_file),
        (
            "admin_key",
            &mut settings.admin_key,
            &settings.admin_key_file,
        ),
        (
            "oidc_client_secret",
            &mut settings.oidc_client_secret,
            &settings.oidc_client_secret_file,
        ),
        (
            "proxy_secret",
            &mut settings.proxy_secret,
            &settings.proxy_secret_file,
        ),
        ("smtp_url", &mut settings.smtp_url, &settings.smtp_url_file),
    ] {
        if let Some(path) = file {
            refuse_both(name, value.is_some(), origins)?;
            *value = Some(SecretString::from(read(name, path, origins)?));
            inherit_origin(name, path, origins);
        }
    }
    if let Some(path) = &settings.previous_secrets_file {
        let name = "previous_secrets";
        refuse_both(name, !settings.previous_secrets.is_empty(), origins)?;
        settings.previous_secrets = read(name, path, origins)?
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(SecretString::from)
            .collect();
        inherit_origin(name, path, origins);
    }
    Ok(())
}

fn refuse_both(
    name: &str,
    is_set: bool,
    origins: &BTreeMap<String, Origin>,
) -> Result<(), WrongSetting> {
    if !is_set {
        return Ok(());
    }
    let file = format!("{name}_file");
    Err(WrongSetting {
        setting: format!("{name} and {file}"),
        origin: format!("{} and {}", origins[name], origins[&file]),
        wrong: "are both set".into(),
        right: "keep one of them".into(),
    })
}

/// The text of the file without the line ends and blanks around it, which editors and `echo` leave.
fn read(
    name: &str,
    path: &Path,
    origins: &BTreeMap<String, Origin>,
) -> Result<String, WrongSetting> {
    let file = format!("{name}_file");
    let wrong = |wrong: String, right: &str| WrongSetting {
        origin: origins[&file].to_string(),
        setting: file.clone(),
        wrong,
        right: right.to_owned(),
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        wrong(
            format!("names {}, which cannot be read: {error}", path.display()),
            "name a UTF-8 file that this program may read",
        )
    })?;
    let text = super::without_edges(&text);
    if text.is_empty() {
        return Err(wrong(
            format!("names {}, which is empty", path.display()),
            "put the secret into it",
        ));
    }
    Ok(text.to_owned())
}

fn inherit_origin(name: &str, path: &Path, origins: &mut BTreeMap<String, Origin>) {
    origins.insert(name.to_owned(), Origin::SecretFile(path.to_owned()));
}

impl Loaded {
    /// Settings files with a secret in them that every user of this machine can read. Not files that hold a secret only: containers get
    /// those with such rights, and have no other users.
    pub fn secrets_that_others_read(&self) -> BTreeSet<PathBuf> {
        let files = SECRETS
            .iter()
            .filter_map(|name| match self.origins.get(*name)? {
                Origin::File(path) => Some(path.clone()),
                _ => None,
            });
        files
            .filter(|path| {
                path.metadata()
                    .is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
            })
            .collect()
    }
}
