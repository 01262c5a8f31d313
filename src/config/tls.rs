//! `front.tls`, `gate.tls`, `ops.tls`: the files of a listener that speaks TLS, read once to see that they can serve.

use super::reader::Reader;
use crate::http::server::{ClientAuthorities, Tls, TlsFiles};

/// The TLS of the listener of this name; `None` where it speaks plain HTTP.
pub(super) fn tls(reader: &mut Reader, name: &str) -> Option<TlsFiles> {
    let key = |setting: &str| format!("{name}.tls.{setting}");
    let certificate = reader.optional_path(&key("certificate"));
    let private_key = reader.optional_path(&key("key"));
    let authorities = reader.optional_path(&key("client_authorities"));
    let words = [("required", true), ("optional", false)];
    let required = reader.choice(&key("client_certificates"), true, &words);
    let (certificate, private_key) = match (certificate, private_key) {
        (Some(certificate), Some(private_key)) => (certificate, private_key),
        (None, None) if authorities.is_none() => return None,
        (None, None) => {
            reader.fault(
                &key("client_authorities"),
                "asks clients for certificates over plain HTTP; set certificate and key as well",
            );
            return None;
        }
        (Some(_), None) => {
            reader.fault(&key("certificate"), format!("has no key; set {}", key("key")));
            return None;
        }
        (None, Some(_)) => {
            reader.fault(&key("key"), format!("has no certificate; set {}", key("certificate")));
            return None;
        }
    };
    let clients = authorities.map(|file| ClientAuthorities { file, required });
    let files = TlsFiles { certificate, key: private_key, clients };
    if let Err(fault) = Tls::load(files.clone()) {
        reader.fault(&key("certificate"), format!("cannot be used: {fault}"));
    }
    Some(files)
}
