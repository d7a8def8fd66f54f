//! A name that leads all nodes to the master of two, and that can be led to the other one while the old one goes on answering.
//!
//! It is a name in a file that only the nodes see. Connections that there are stay where they are, as with a virtual address, a
//! Kubernetes Service or a managed Redis.

use crate::harness::{Launch, NAME, Names, Server, free_port};

/// Maximum pause of writes while the master moves, in ms. It is lifted sooner.
const PAUSE: &str = "5000";

/// The servers and the name.
pub(crate) struct Address {
    pub(crate) servers: Vec<Server>,
    names: Names,
    /// The place of the one to which the name leads.
    pub(crate) master: usize,
}

impl Address {
    /// Starts both; an error says why this machine has no such names.
    pub(crate) async fn start() -> Result<Self, String> {
        let names = Names::new()?;
        // Behind one name they have one port.
        let port = free_port();
        let servers = vec![
            Server::at("127.0.0.2", port).await,
            Server::at("127.0.0.3", port).await,
        ];
        let mut address = Self {
            servers,
            names,
            master: 0,
        };
        address.names.lead_to(&[address.servers[0].ip()]);
        address.follow(1).await;
        Ok(address)
    }

    /// How a node starts that knows the name and no address.
    pub(crate) fn launch(&self) -> Launch {
        let port = self.servers[0].port;
        Launch::on(&format!("redis://{NAME}:{port}")).knowing(&self.names)
    }

    fn other(&self) -> usize {
        1 - self.master
    }

    /// The name leads to the other one.
    pub(crate) fn move_name(&mut self) {
        self.master = self.other();
        self.names.lead_to(&[self.servers[self.master].ip()]);
    }

    /// Makes the other one a master.
    pub(crate) async fn promote_other(&self) {
        let other = &self.servers[self.other()];
        let () = other.query(&["REPLICAOF", "NO", "ONE"]).await;
    }

    /// The two change their roles, and nothing that was acknowledged is lost by it. The name still leads to the old one.
    pub(crate) async fn swap_roles(&self) {
        let (old, new) = (&self.servers[self.master], &self.servers[self.other()]);
        let () = old.query(&["CLIENT", "PAUSE", PAUSE, "WRITE"]).await;
        old.copied_to(1).await;
        self.promote_other().await;
        let () = old
            .query(&["REPLICAOF", &new.ip().to_string(), &new.port.to_string()])
            .await;
        let () = old.query(&["CLIENT", "UNPAUSE"]).await;
    }

    /// The one to which the name does not lead is a replica of the other, also if it was gone, and has all that that one has.
    pub(crate) async fn mend(&mut self) {
        self.follow(self.other()).await;
    }

    async fn follow(&mut self, replica: usize) {
        let master = &self.servers[1 - replica];
        let (host, port) = (master.ip().to_string(), master.port.to_string());
        let server = &mut self.servers[replica];
        if server.runs() {
            let () = server.query(&["REPLICAOF", &host, &port]).await;
        } else {
            // Not a master for a moment.
            server.set("--replicaof", &format!("{host} {port}"));
            server.restart();
            server.answers().await;
        }
        self.servers[1 - replica].copied_to(1).await;
    }
}
