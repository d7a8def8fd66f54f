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
