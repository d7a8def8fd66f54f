//! `leasehold healthcheck`: does the node of these settings answer, for a container that has nothing else to ask with.
//!
//! Alive by default: whoever restarts what is unhealthy must not restart every node because Redis is away.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::Method;

use super::{Exit, Failure};
use crate::client::Client;
use crate::config::Flags;

#[derive(Debug, clap::Args)]
pub(super) struct Healthcheck {
    /// Ask whether the node wants requests (/readyz), not only whether it lives (/livez)
    #[arg(long)]
    ready: bool,
    /// Longest wait for the answer, in ms
    #[arg(long, value_name = "MS", default_value = "2000", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    within_ms: u64,
    #[command(flatten)]
    flags: Flags,
}

/// Prints what the node answered, which is JSON. Exits with 6 if it does not answer, or not well.
pub(super) fn run(healthcheck: &Healthcheck) -> Result<Exit, Failure> {
    // Only `listen` is needed of the settings: what else may be wrong with them is the node's to say.
    let settings = super::load(&healthcheck.flags)?;
    let listen = settings.listen();
    if listen.port() == 0 {
        return Err(Failure::new(
            Exit::Usage,
            "listen has port 0, so nobody knows where the node is: give it a port",
        ));
    }
    let path = if healthcheck.ready {
        "/readyz"
    } else {
        "/livez"
    };
    let node = format!("{}://{}", settings.scheme(), reachable(listen));
    let client = Client::of_this_machine(&node)?;
    let within = Duration::from_millis(healthcheck.within_ms);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answer = super::block_on(runtime, async {
        tokio::time::timeout(within, client.call(Method::GET, path, &[], None)).await
    });
    match answer {
        Ok(answer) => super::print(&format!("{}\n", answer?)),
        Err(_) => Err(Failure::new(
            Exit::Unavailable,
            format!("no answer from {listen} within {} ms", within.as_millis()),
        )),
    }
}

/// Where the node can be asked from its own machine: a listener on all addresses has none of its own.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_on_all_addresses_is_asked_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:7070", "127.0.0.1:7070"),
            ("[::]:7070", "[::1]:7070"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("127.0.0.1:1", "127.0.0.1:1"),
        ] {
            let listen = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), asked);
        }
    }
}
