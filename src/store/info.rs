//! What a Redis server says about itself in INFO.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;

use super::error::Error;

/// The fields of INFO.
#[derive(Debug, Default)]
pub(super) struct Info(HashMap<String, String>);

impl Info {
    /// Asks a server.
    pub(super) async fn read(server: &mut MultiplexedConnection) -> Result<Self, Error> {
        let text: String = redis::cmd("INFO").query_async(server).await?;
        Ok(Self::parse(&text))
    }

    /// What another command says in the same form.
    pub(super) async fn ask(
        server: &mut MultiplexedConnection,
        command: &[&str],
    ) -> Result<Self, Error> {
        let text: String = redis::cmd(command[0])
            .arg(&command[1..])
            .query_async(server)
            .await?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Self(
            fields
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
        )
    }

    /// Names and values one after the other.
    pub(super) fn of_pairs(pairs: &[String]) -> Self {
        let pairs = pairs.chunks_exact(2);
        Self(
            pairs
                .map(|pair| (pair[0].clone(), pair[1].clone()))
                .collect(),
        )
    }

    /// Host and port of the replicas of a master that have all but its last writes.
    pub(super) fn replicas(&self) -> Vec<(String, u16)> {
        let online = self.lines_of_replicas();
        online
            .filter(|line| field(line, "state") == Some("online"))
            .filter_map(|line| {
                Some((
                    field(line, "ip")?.to_owned(),
                    field(line, "port")?.parse().ok()?,
                ))
            })
            .collect()
    }

    /// The longest time since a replica has said how far it is, in seconds.
    pub(super) fn lag_seconds(&self) -> Option<u64> {
        self.lines_of_replicas()
            .filter_map(|line| field(line, "lag")?.parse().ok())
            .max()
    }

    /// `ip=127.0.0.1,port=6380,state=online,offset=42,lag=0`
    fn lines_of_replicas(&self) -> impl Iterator<Item = &str> {
        let count = self.number("connected_slaves");
        (0..count).map(|number| self.text(&format!("slave{number}")))
    }

    /// A field; empty if the server does not have it.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A field that is a number; 0 if the server does not have it.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// Major and minor version of the Redis that the server is, or is compatible with.
    pub(super) fn version(&self) -> (u32, u32) {
        let mut numbers = self
            .text("redis_version")
            .split('.')
            .map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }
}

/// A part of a line such as `state=online,offset=42`.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split(',')
        .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let info =
            Info::parse("# Server\r\nredis_version:7.0.15\r\nslave0:ip=127.0.0.1,port=1\r\n");
        assert_eq!(info.version(), (7, 0));
        assert_eq!(info.text("slave0"), "ip=127.0.0.1,port=1");
    }
}
