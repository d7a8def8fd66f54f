//! Scripts in a cluster go straight to the master that most of the nodes name.
//!
//! The library believes whichever node it asks about the slots. A master that was frozen while a replica took its place
//! names itself when it wakes up, until the others have told it, and whatever it acknowledges meanwhile is lost when it
//! becomes a replica. So the library carries only what is of no bucket; a script is sent to the master that the nodes
//! agree on, and to one that fell silent only after they were asked again. A script is sent once: whether it is worth a
//! second try is for the caller to say.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};

use super::cluster::{Address, Cluster};
use crate::store::error::Trouble;
use crate::store::{script, slot};

/// How often a call follows a redirection, or waits for a slot that is on its way.
const REDIRECTIONS: usize = 3;
/// How long it waits for that slot, each time.
const ON_ITS_WAY: Duration = Duration::from_millis(30);

/// One at a time makes a connection, the others wait for it.
type MasterSlot = Arc<tokio::sync::Mutex<Option<MultiplexedConnection>>>;

/// A connection to all masters.
#[derive(Clone)]
pub(in crate::store) struct Routed {
    library: ClusterConnection,
    cluster: Arc<Cluster>,
    masters: Arc<Mutex<HashMap<Address, MasterSlot>>>,
}

impl Routed {
    pub(super) fn new(library: ClusterConnection, cluster: Arc<Cluster>) -> Self {
        Self {
            library,
            cluster,
            masters: Arc::default(),
        }
    }

    /// Runs one command: a script at its master, anything else wherever the library finds right.
    pub(in crate::store) async fn query(&mut self, command: &Cmd) -> RedisResult<Value> {
        match script::first_key(command) {
            Some(key) => self.send(slot::slot(key), command).await,
            None => self.library.req_packed_command(command).await,
        }
    }

    pub(in crate::store) async fn queries(
        &mut self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        self.library
            .req_packed_commands(pipeline, offset, count)
            .await
    }

    pub(in crate::store) fn get_db(&self) -> i64 {
        self.library.get_db()
    }

    /// Runs a command on the connection over which the scripts of this key go.
    pub(in crate::store) async fn query_at(
        &mut self,
        key: &[u8],
        command: &Cmd,
    ) -> RedisResult<Value> {
        self.send(slot::slot(key), command).await
    }

    async fn send(&self, slot: u16, command: &Cmd) -> RedisResult<Value> {
        let (mut master, mut asking) = (self.cluster.master_of(slot)?, false);
        let mut tries = 0;
        loop {
            let error = match self.send_to(&master, command, asking).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            tries += 1;
            if tries > REDIRECTIONS {
                return Err(error);
            }
            let target = error
                .redirect_node()
                .and_then(|(address, _)| address.rsplit_once(':'))
                .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
            match (error.kind(), target) {
                (
                    ErrorKind::Server(kind @ (ServerErrorKind::Moved | ServerErrorKind::Ask)),
                    Some((host, port)),
                ) => {
                    asking = kind == ServerErrorKind::Ask;
                    if !asking {
                        self.cluster.refresh_soon();
                    }
                    // A node that does not know its own address leaves it out.
                    let host = if host.is_empty() { master.0 } else { host };
                    master = (host, port);
                }
                (ErrorKind::Server(ServerErrorKind::TryAgain), _) => {
                    tokio::time::sleep(ON_ITS_WAY).await;
                }
                _ => return Err(error),
            }
        }
    }

    async fn send_to(&self, master: &Address, command: &Cmd, asking: bool) -> RedisResult<Value> {
        let mut connection = match self.connection(master).await {
            Ok(connection) => connection,
            Err(error) => {
                self.failed(master, &error);
                return Err(error);
            }
        };
        let answer = if asking {
            // Next to each other, whoever else uses the connection.
            let mut both = redis::pipe();
            both.cmd("ASKING").add_command(command.clone());
            let answers = connection.req_packed_commands(&both, 0, 2).await;
            answers.map(|mut answers| answers.pop().unwrap_or(Value::Nil))
        } else {
            connection.req_packed_command(command).await
        };
        let answer = answer.and_then(Value::extract_error);
        match answer {
            // It fell silent meanwhile: this may be the answer of one that has been replaced.
            Ok(_) if self.cluster.is_suspect(master) => Err(outcome_unknown()),
            Ok(value) => Ok(value),
            Err(error) => {
                // Also where its name leads to another server by now.
                let elsewhere = matches!(
                    Trouble::of(&error),
                    Trouble::Replica | Trouble::MasterDown | Trouble::Loading | Trouble::Auth
                );
                if error.is_unrecoverable_error() || error.is_timeout() || elsewhere {
                    let mut masters = self.masters.lock().expect("no panic while held");
                    masters.remove(master);
                    drop(masters);
                    self.failed(master, &error);
                }
                Err(error)
            }
        }
    }

    fn failed(&self, master: &Address, error: &RedisError) {
        if error.is_timeout() {
            self.cluster.suspect(master);
        } else {
            self.cluster.refresh_soon();
        }
    }

    async fn connection(&self, master: &Address) -> RedisResult<MultiplexedConnection> {
        let place = {
            let mut masters = self.masters.lock().expect("no panic while held");
            Arc::clone(masters.entry(master.clone()).or_default())
        };
        let mut place = place.lock().await;
        if let Some(connection) = &*place {
            return Ok(connection.clone());
        }
        // Those who waited while one tried in vain do not try one after the other.
        if self.cluster.is_suspect(master) {
            return Err(outcome_unknown());
        }
        let connection = self.cluster.connect_to_master(master).await?;
        *place = Some(connection.clone());
        Ok(connection)
    }
}

/// What is said of a master that fell silent, until the others were asked.
pub(super) fn outcome_unknown() -> RedisError {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "this master of the cluster fell silent, and another one may have taken its place",
    )
    .into()
}
