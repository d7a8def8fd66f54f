//! What a person reads who has just started a node: where it is, what it has, and what to try.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::node::Node;
use crate::config::Settings;
use crate::names::PoolName;
use crate::pool::{Policy, seats};
use crate::stderr;
use crate::ui;

impl Node {
    /// What a person wants to know who has just started it.
    pub(super) async fn introduction(&self, settings: &Settings) -> String {
        let address = format!("{}://{}", settings.scheme(), self.address);
        let admin = format!("{address}/admin");
        // A login that can be used once, for a person only: nothing that could be used belongs into a log.
        let login = match &settings.admin_key {
            Some(key) if stderr::is_terminal() => {
                ui::login_code(&self.store, &self.tokens, key).await.ok()
            }
            _ => None,
        };
        let admin = match login {
            Some(code) => format!("{admin}/login?code={code}  (logs in once, within 10 minutes)"),
            None => admin,
        };
        let mode = if settings.is_open() {
            "open: no key is asked for, and only this machine can ask (set admin_key to change that)"
        } else {
            "keys: operators need the admin key"
        };
        let mut pools = Vec::new();
        for (name, policy) in &settings.pools {
            pools.push(self.pool(name, policy).await);
        }
        let pools = if pools.is_empty() {
            "none in the settings".to_owned()
        } else {
            pools.join(", ")
        };
        let mut text = format!(
            "\n  Leasehold {version}\n\n  address  {address}\n  admin    {admin}\n  mode     {mode}\n  \
             store    {store}\n  pools    {pools}\n\n",
            version = env!("CARGO_PKG_VERSION"),
            store = self.store_is,
        );
        // With TLS the address would have to be a name of the certificate, and that is not known here.
        if settings.is_open() && self.certificate.is_none() {
            text.push_str(&try_it(self.address, settings.pools.keys().next()));
        }
        text
    }
    /// A pool of the settings, with the seats that it really has.
    async fn pool(&self, name: &PoolName, policy: &Policy) -> String {
        let wanted = seats(policy.capacity.into());
        match self.store.status(name).await {
            Ok(Some(pool)) if pool.policy.capacity != policy.capacity => format!(
                "{name} ({} as it was there already; the settings say {wanted})",
                seats(pool.capacity)
            ),
            Ok(Some(pool)) => format!("{name} ({})", seats(pool.capacity)),
            _ => format!("{name} ({wanted})"),
        }
    }
}

/// Lines for a shell: take a seat, keep it, see who has one.
fn try_it(address: SocketAddr, pool: Option<&PoolName>) -> String {
    const JSON: &str = "-H 'content-type: application/json'";
    const CURL: &str = r"curl -s -w '\n'";
    let base = format!("http://{address}/v1");
    let name = pool.map_or("demo", PoolName::as_str);
    let mut text = String::from("  Try it in another terminal:\n\n");
    let mut line = |line: String| writeln!(text, "{line}\n").expect("a String takes everything");
    if pool.is_none() {
        line(format!(
            "{CURL} -X PUT {base}/pools/{name} {JSON} -d '{{\"capacity\":5}}'"
        ));
    }
    line(format!(
        "GRANT=$({CURL} {base}/pools/{name}/leases {JSON} -d '{{\"holder\":\"agent-7\"}}'); echo \"$GRANT\"; \
         TOKEN=$(echo \"$GRANT\" | sed -n 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/p')"
    ));
    line(format!(
        "{CURL} {base}/leases/renew {JSON} -d \"{{\\\"token\\\":\\\"$TOKEN\\\"}}\""
    ));
    line(format!("{CURL} {base}/pools/{name}/leases"));
    text
}

#[cfg(test)]
mod tests;
