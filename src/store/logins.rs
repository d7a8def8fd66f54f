//! Logins to the admin pages. Only hashes of what browsers keep are stored.

use std::time::Duration;

use super::Store;
use super::error::Error;
use super::keys::{login, login_code};

/// How long a login lives without a page.
pub const LOGIN: Duration = Duration::from_secs(30 * 60);
/// How long a code can be used.
pub const CODE: Duration = Duration::from_secs(10 * 60);

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("minutes")
}

impl Store {
    /// Keeps a login of `caller`, an id of a key.
    pub async fn begin_login(&self, fingerprint: &str, caller: &str) -> Result<(), Error> {
        self.keep(&login(fingerprint), caller, LOGIN).await
    }

    /// Who is logged in with this, for another while.
    pub async fn login(&self, fingerprint: &str) -> Result<Option<String>, Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::cmd("GETEX")
            .arg(login(fingerprint))
            .arg("PX")
            .arg(ms(LOGIN))
            .query_async(&mut *connection)
            .await?)
    }

    /// Ends a login on all nodes at once.
    pub async fn end_login(&self, fingerprint: &str) -> Result<(), Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::cmd("DEL")
            .arg(login(fingerprint))
            .exec_async(&mut *connection)
            .await?)
    }

    /// Keeps a login that can be used once.
    pub async fn offer_login(&self, fingerprint: &str, caller: &str) -> Result<(), Error> {
        self.keep(&login_code(fingerprint), caller, CODE).await
    }

    /// Uses a login that was offered; `None` if it was used before, or never was.
    pub async fn take_login(&self, fingerprint: &str) -> Result<Option<String>, Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::cmd("GETDEL")
            .arg(login_code(fingerprint))
            .query_async(&mut *connection)
            .await?)
    }

    async fn keep(&self, key: &str, value: &str, life: Duration) -> Result<(), Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::cmd("SET")
            .arg(key)
            .arg(value)
            .arg("PX")
            .arg(ms(life))
            .exec_async(&mut *connection)
            .await?)
    }
}
