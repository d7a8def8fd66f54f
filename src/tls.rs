//! TLS: what a node shows and accepts, and what computes it.

mod server;

use secrecy::SecretSlice;

pub use self::server::{ServerCertificate, Unusable};

/// How the two ends of a connection with TLS know each other.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Certificate in PEM form that servers must be signed with; none for those of the machine.
    pub ca: Option<Vec<u8>>,
    /// What a server that asks for it is shown.
    pub client: Option<ClientCertificate>,
}

/// A certificate of this node, and its key, in PEM form.
#[derive(Clone)]
pub struct ClientCertificate {
    /// May be shown to anybody.
    pub certificate: Vec<u8>,
    /// May not.
    pub key: SecretSlice<u8>,
}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientCertificate")
    }
}

/// Chooses what TLS computes with, for the whole process; every HTTP client in it needs that before it is built. What
/// was chosen before stays.
pub fn choose_cryptography() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
