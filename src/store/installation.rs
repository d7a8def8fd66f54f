//! Which installation a Redis holds: an id that its first node makes and all nodes remember.
//!
//! An address can come to lead to the Redis of somebody else: a wrong record of a name, a mixed-up restore. What nodes put back after
//! a loss would go there, access keys among it, so this is looked at before. Two installations that share an address, a database and a
//! prefix from the start have one id; their secrets tell them apart.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Store;
use super::error::Error;
use super::keys::INSTALLATION;

/// What a node knows of its installation.
#[derive(Debug, Default)]
pub(super) struct Installation {
    id: OnceLock<String>,
    is_another: AtomicBool,
}

impl Store {
    /// Looks which installation Redis holds, and puts the id back where it is lost. The first look is what is remembered.
    pub(super) async fn look_at_installation(&self) -> Result<(), Error> {
        let remembered = self.0.installation.id.get();
        let mut connection = self.0.connections.get().await?;
        let mut get = redis::cmd("GET");
        get.arg(INSTALLATION);
        let mut id: Option<String> = get.query_async(&mut *connection).await?;
        if id.is_none() {
            let own = remembered.cloned().unwrap_or_else(new_id);
            let mut set = redis::cmd("SET");
            set.arg(INSTALLATION).arg(own).arg("NX");
            let _: Option<String> = set.query_async(&mut *connection).await?;
            id = get.query_async(&mut *connection).await?;
        }
        let id = id.ok_or_else(|| Error::not_sent("Redis loses its data as fast as it gets it"))?;
        let remembered = self.0.installation.id.get_or_init(|| id.clone());
        let is_another = *remembered != id;
        let was = self
            .0
            .installation
            .is_another
            .swap(is_another, Ordering::AcqRel);
        if is_another && !was {
            tracing::error!(
                "Redis holds another installation ({id}) than at the start of this node ({remembered}): see where redis_url leads; if it \
                 is right, start this node again"
            );
        } else if was && !is_another {
            tracing::info!("Redis holds our installation again ({id})");
        }
        Ok(())
    }

    /// The id of this installation.
    pub fn installation(&self) -> &str {
        self.0.installation.id.get().map_or("", String::as_str)
    }

    /// Whether Redis holds another installation than when this node began.
    pub fn is_at_another_installation(&self) -> bool {
        self.0.installation.is_another.load(Ordering::Acquire)
    }
}

fn new_id() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 9]>())
}
