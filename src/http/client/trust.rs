//! Whom the client believes over TLS: the machine's authorities, or those of one file and no others.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, rustls};

use super::ClientError;

/// A connector that believes the authorities in this PEM file, or the machine's where there is none
/// (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as for most programs).
pub(super) fn connector(authorities: Option<&Path>) -> Result<TlsConnector, ClientError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            let fault = |cause: String| ClientError::Authorities(format!("{} {cause}", path.display()));
            let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            for authority in all.map_err(|cause| fault(format!("cannot be read: {cause}")))? {
                roots.add(authority).map_err(|cause| fault(format!("holds what is no authority: {cause}")))?;
            }
            if roots.is_empty() {
                return Err(fault("holds no certificate".into()));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let cause = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
                return Err(ClientError::Authorities(format!("this machine has none{cause}")));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| ClientError::Authorities(cause.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
