//! What a node shows to those who connect to it with TLS: a certificate and a key from two files, read again when they change.
//!
//! Certificates are renewed every few weeks by somebody else (certbot, cert-manager, a colleague), and a restart for it would be one
//! more thing to forget. A pair that cannot be used is reported and not taken: the one before it stays. Deliberately absent:
//! certificates of clients, and more than one name. Both belong to a proxy.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How often the files are looked at. A look is two calls of `stat`.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a pair of files cannot be shown to anybody.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// One of them is not there, not for this user, or has nothing of the kind in it.
    #[error("{file} cannot be used: {why}", file = .file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// They are of different pairs, or of a kind that TLS has no use for.
    #[error("the certificate and the key do not go together: {0}")]
    Pair(rustls::Error),
}

/// A certificate and its key, as TLS shows them, and where they come from. Clones show the same.
#[derive(Clone)]
pub struct ServerCertificate {
    files: Arc<[PathBuf; 2]>,
    /// What told the files that were read at first from others.
    first: [Option<Mark>; 2],
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerCertificate")
            .field(&self.files)
            .finish()
    }
}

/// What the next handshake shows.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&shown))
    }
}

impl ServerCertificate {
    /// Reads a certificate with its chain, and its key, both in PEM form; one file may hold both.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, Unusable> {
        let files = Arc::new([certificate.to_owned(), key.to_owned()]);
        // Before they are read, so that a change meanwhile is one.
        let first = marks(&files);
        let shown = Arc::new(Shown(RwLock::new(Arc::new(pair(&files)?))));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Unusable::Pair)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A client that connects anew for each heartbeat saves half of the work.
        config.ticketer = ring::Ticketer::new().map_err(Unusable::Pair)?;
        Ok(Self {
            files,
            first,
            config: Arc::new(config),
            shown,
        })
    }

    /// What a listener needs.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Takes what is in the files whenever that has changed, for as long as it is polled.
    ///
    /// Only what has stayed the same from one look to the next is read: whoever renews a certificate writes two files, one after the other.
    pub(crate) async fn follow_files(self) -> std::convert::Infallible {
        let mut taken = self.first.clone();
        let mut before = taken.clone();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            let now = marks(&self.files);
            let is_settled = now == before;
            before.clone_from(&now);
            if !is_settled || now == taken {
                continue;
            }
            taken = now;
            let [certificate, key] = self.files.each_ref().map(|file| file.display());
            match pair(&self.files) {
                Ok(pair) => {
                    let mut shown = self.shown.0.write().unwrap_or_else(PoisonError::into_inner);
                    *shown = Arc::new(pair);
                    tracing::info!(
                        "new connections are shown the certificate that is in {certificate} now"
                    );
                }
                Err(unusable) => tracing::error!(
                    "{certificate} and {key} have changed and cannot be used, so connections are still shown the certificate \
                     from before: {unusable}"
                ),
            }
        }
    }
}

/// What tells one version of the files from another, without reading them.
fn marks(files: &[PathBuf; 2]) -> [Option<Mark>; 2] {
    files.each_ref().map(|file| {
        let file = std::fs::metadata(file).ok()?;
        Some(Mark {
            inode: (file.dev(), file.ino()),
            size: file.size(),
            changed: (file.mtime(), file.mtime_nsec()),
        })
    })
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    inode: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

/// What is in the files now, if it can be shown.
fn pair([certificate, key]: &[PathBuf; 2]) -> Result<CertifiedKey, Unusable> {
    let unusable = |file: &Path, why: &dyn fmt::Display| Unusable::File {
        file: file.to_owned(),
        why: why.to_string(),
    };
    let read = |file: &Path| std::fs::read(file).map_err(|error: io::Error| unusable(file, &error));
    let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(certificate, &error))?;
    if chain.is_empty() {
        return Err(unusable(
            certificate,
            &"there is no certificate in PEM form in it",
        ));
    }
    // Not the error's own words: they could quote the file.
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|_| unusable(key, &"there is no private key in PEM form in it"))?;
    CertifiedKey::from_der(chain, secret, &ring::default_provider()).map_err(Unusable::Pair)
}
