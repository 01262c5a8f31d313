//! TLS of a listener: certificate, key, and whose client certificates are believed.
//!
//! rustls with aws-lc-rs; TLS 1.2 and 1.3; ALPN offers `h2` and `http/1.1`. What the files hold is checked whole
//! before it serves, at the start as at each renewal: new files that cannot serve leave the old ones in service.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::rustls;

use super::certificate;
use crate::http::ClientCertificate;

/// The longest file of certificates that is read.
const LONGEST_FILE: u64 = 1024 * 1024;

/// Where a listener's certificate and key are, and what it asks of its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain in PEM, the listener's own first.
    pub certificate: PathBuf,
    /// Its private key in PEM (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
    /// Whether clients show certificates; `None` asks for none.
    pub clients: Option<ClientAuthorities>,
}

/// Whose client certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthorities {
    /// The authorities' certificates in PEM. Only these: the machine's own are not asked.
    pub file: PathBuf,
    /// Whether a client without a certificate is turned away; otherwise it comes in without a name.
    pub required: bool,
}

/// Why the files cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// A file that cannot be read as PEM.
    #[error("{path} cannot be read: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// A file without any certificate.
    #[error("{0} holds no certificate; write PEM that begins with -----BEGIN CERTIFICATE-----")]
    Empty(PathBuf),
    /// Certificate and key do not belong together, or are of a kind that cannot be used.
    #[error("{certificate} and {key} cannot serve: {cause}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        cause: rustls::Error,
    },
    /// The authorities cannot be used.
    #[error("{path} cannot be used as authorities of clients: {cause}")]
    Authorities {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
}

/// What a listener shows and asks in its handshakes. The files can be read again while it serves.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    serving: RwLock<Loaded>,
}

#[derive(Clone, Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// Of all files together: tells whether anything changed.
    digest: blake3::Hash,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsFault`] names the file and what is wrong with it.
    pub fn load(files: TlsFiles) -> Result<Self, TlsFault> {
        let loaded = read(&files)?;
        Ok(Self { files, serving: RwLock::new(loaded) })
    }

    /// Reads the files again; new connections get what they hold now, open ones go on. `true` where anything changed.
    ///
    /// # Errors
    /// As [`Self::load`]; then what served before serves on.
    pub fn renew(&self) -> Result<bool, TlsFault> {
        let loaded = read(&self.files)?;
        let mut serving = self.serving.write().unwrap_or_else(PoisonError::into_inner);
        let changed = serving.digest != loaded.digest;
        if changed {
            *serving = loaded;
        }
        Ok(changed)
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.serving.read().unwrap_or_else(PoisonError::into_inner).config)
    }
}

/// The names in the certificate that a finished handshake verified.
pub(super) fn client_certificate(connection: &rustls::ServerConnection) -> Option<Arc<ClientCertificate>> {
    // rustls keeps a client's certificate only if the verifier accepted it.
    connection.peer_certificates()?.first().and_then(certificate::names).map(Arc::new)
}

/// The files' bytes: read once, so that what is checked is what serves.
struct Bytes {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Option<Vec<u8>>,
}

fn read(files: &TlsFiles) -> Result<Loaded, TlsFault> {
    let bytes = Bytes {
        certificate: contents(&files.certificate)?,
        key: contents(&files.key)?,
        authorities: files.clients.as_ref().map(|clients| contents(&clients.file)).transpose()?,
    };
    let mut digest = blake3::Hasher::new();
    for part in [Some(&bytes.certificate), Some(&bytes.key), bytes.authorities.as_ref()].into_iter().flatten() {
        digest.update(&(part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    Ok(Loaded { config: Arc::new(server_config(files, &bytes)?), digest: digest.finalize() })
}

fn server_config(files: &TlsFiles, bytes: &Bytes) -> Result<ServerConfig, TlsFault> {
    let chain = certificates(&files.certificate, &bytes.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes.key)
        .map_err(|cause| TlsFault::File { path: files.key.clone(), cause: cause.to_string() })?;
    let pair = |cause| TlsFault::Pair { certificate: files.certificate.clone(), key: files.key.clone(), cause };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(pair)?;
    let builder = match (&files.clients, &bytes.authorities) {
        (Some(clients), Some(pem)) => builder.with_client_cert_verifier(verifier(clients, pem)?),
        (Some(_), None) | (None, _) => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if files.clients.is_some() {
        // A session that goes on would bring its certificate along without its being verified again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn verifier(clients: &ClientAuthorities, pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsFault> {
    let unusable = |cause: String| TlsFault::Authorities { path: clients.file.clone(), cause };
    let mut roots = RootCertStore::empty();
    for authority in certificates(&clients.file, pem)? {
        roots.add(authority).map_err(|error| unusable(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if clients.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| unusable(error.to_string()))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|cause| TlsFault::File { path: path.to_owned(), cause: cause.to_string() })?;
    if all.is_empty() { Err(TlsFault::Empty(path.to_owned())) } else { Ok(all) }
}

fn contents(path: &Path) -> Result<Vec<u8>, TlsFault> {
    use std::io::Read as _;
    let fault = |cause: String| TlsFault::File { path: path.to_owned(), cause };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| fault(error.to_string()))?;
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| fault(error.to_string()))?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(fault(format!("it is larger than {LONGEST_FILE} bytes")));
    }
    Ok(bytes)
}
