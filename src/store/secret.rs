//! The secret that signs tokens, where no setting gives one.

use secrecy::{ExposeSecret as _, SecretString};

use super::error::Error;
use super::{Store, keys};

impl Store {
    /// The secret kept in the store, for nodes of one machine that have none in their settings. The first node
    /// offers `random`; all nodes get the same.
    pub async fn secret(&self, random: &SecretString) -> Result<SecretString, Error> {
        let mut connection = self.0.connections.get().await?;
        let _: Option<String> = redis::cmd("SET")
            .arg(keys::SECRET)
            .arg(random.expose_secret())
            .arg("NX")
            .query_async(&mut *connection)
            .await?;
        let secret: String = redis::cmd("GET")
            .arg(keys::SECRET)
            .query_async(&mut *connection)
            .await?;
        let secret = SecretString::from(secret);
        *self.0.secret.write().expect("no panic while held") = Some(secret.clone());
        Ok(secret)
    }

    /// Puts the secret back if Redis lost it: a node that starts later would make another one, and take no token of ours.
    pub(super) async fn put_back_secret(&self) -> Result<(), Error> {
        let secret = self.0.secret.read().expect("no panic while held").clone();
        let Some(secret) = secret else {
            return Ok(());
        };
        let mut connection = self.0.connections.get().await?;
        let kept: bool = redis::cmd("EXISTS")
            .arg(keys::SECRET)
            .query_async(&mut *connection)
            .await?;
        if !kept {
            let put: Option<String> = redis::cmd("SET")
                .arg(keys::SECRET)
                .arg(secret.expose_secret())
                .arg("NX")
                .query_async(&mut *connection)
                .await?;
            if put.is_some() {
                tracing::warn!("Redis lost the secret that signs tokens; put it back");
            }
        }
        Ok(())
    }
}
