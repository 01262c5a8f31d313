//! The real binary over TLS: its settings, who comes in, and certificates renewed while it serves.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio_rustls::rustls;

use crate::support::{TestServer, read_reply};

/// An authority, and files signed by it.
struct Files {
    folder: tempfile::TempDir,
    authority: Issuer<'static, KeyPair>,
}

impl Files {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("authority.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let files = Self { folder, authority: Issuer::new(params, key) };
        files.issue("server", "localhost");
        files.issue("client", "gateway.example.com");
        files
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, file: &str, name: &str) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        std::fs::write(self.at(&format!("{file}.pem")), params.signed_by(&key, &self.authority).unwrap().pem())
            .unwrap();
        std::fs::write(self.at(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    fn client(&self, shown: bool) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.at("authority.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(if shown {
            let chain = vec![CertificateDer::from_pem_file(self.at("client.pem")).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(self.at("client.key")).unwrap()).unwrap()
        } else {
            builder.with_no_client_auth()
        })
    }

    /// The status of `POST /v1/authorize`; `None` where no TLS comes about.
    fn ask(&self, gate: &str, name: &str, shown: bool) -> Option<u16> {
        let socket = TcpStream::connect(gate).unwrap();
        let connection = ClientConnection::new(self.client(shown), ServerName::try_from(name.to_owned()).unwrap());
        let mut stream = StreamOwned::new(connection.unwrap(), socket);
        let body = r#"{"subject": {"user": "nobody"}, "action": "signIn"}"#;
        let length = body.len();
        write!(stream, "POST /v1/authorize HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}").ok()?;
        read_reply(&mut BufReader::new(stream), "POST").ok().map(|reply| reply.status)
    }
}

/// Where the gate is, without its scheme.
fn gate(server: &TestServer) -> (String, String) {
    let addresses = std::fs::read_to_string(server.data().join("addresses.json")).unwrap();
    let addresses: serde_json::Value = serde_json::from_str(&addresses).unwrap();
    let (scheme, address) = addresses["gate"].as_str().unwrap().split_once("://").unwrap();
    (scheme.to_owned(), address.to_owned())
}

#[test]
fn a_gate_over_tls_that_knows_its_clients_and_renews_its_certificate() {
    let files = Files::new();
    let path = |name: &str| files.at(name).display().to_string();
    let (certificate, key, authority) = (path("server.pem"), path("server.key"), path("authority.pem"));
    let environment = [
        ("CEDARGATE_GATE__TLS__CERTIFICATE", certificate.as_str()),
        ("CEDARGATE_GATE__TLS__KEY", key.as_str()),
        ("CEDARGATE_GATE__TLS__CLIENT_AUTHORITIES", authority.as_str()),
    ];
    let server = TestServer::start_with(&files.at("data"), &environment);
    let (scheme, address) = gate(&server);
    assert_eq!(scheme, "https");
    assert_eq!(files.ask(&address, "localhost", true), Some(200));
    assert_eq!(files.ask(&address, "localhost", false), None, "a certificate is asked for");

    // A broken renewal changes nothing but the health, a whole one serves, both without a restart.
    std::fs::write(files.at("server.key"), "broken").unwrap();
    let mut operator = server.doors().operator();
    let mut until = |told: bool| loop {
        hang_up(&server);
        if operator.get("/readyz?verbose").expect(&[200]).text().contains("serves on") == told {
            return;
        }
    };
    until(true);
    assert_eq!(files.ask(&address, "localhost", true), Some(200));
    files.issue("server", "renewed.example.com");
    until(false);
    assert_eq!(files.ask(&address, "renewed.example.com", true), Some(200));
    assert_eq!(files.ask(&address, "localhost", true), None);
}

fn hang_up(server: &TestServer) {
    let addresses = std::fs::read_to_string(server.data().join("addresses.json")).unwrap();
    let addresses: serde_json::Value = serde_json::from_str(&addresses).unwrap();
    let pid = addresses["pid"].to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
}

fn check(folder: &Path, settings: &str) -> (Option<i32>, String) {
    let file = folder.join("cedargate.toml");
    std::fs::write(&file, settings).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cedargate"));
    let output = command.args(["config", "check", "--config"]).arg(&file).current_dir(folder).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn settings_that_could_not_serve_are_told_at_the_start() {
    let files = Files::new();
    let folder = files.folder.path();
    let pair = "certificate = \"server.pem\"\nkey = \"server.key\"\n";
    let sound = format!(
        "[front.tls]\n{pair}[gate.tls]\n{pair}client_authorities = \"authority.pem\"\nclient_certificates = \"optional\"\n"
    );
    assert_eq!(check(folder, &sound).0, Some(0));
    for (settings, told) in [
        ("certificate = \"server.pem\"", "front.tls.key"),
        ("key = \"server.key\"", "front.tls.certificate"),
        ("certificate = \"nowhere.pem\"\nkey = \"server.key\"", "nowhere.pem cannot be read"),
        ("certificate = \"server.pem\"\nkey = \"client.key\"", "cannot serve"),
        ("certificate = \"server.key\"\nkey = \"server.key\"", "holds no certificate"),
        ("client_authorities = \"authority.pem\"", "plain HTTP"),
        (&format!("{pair}client_certificates = \"maybe\""), "required, optional"),
    ] {
        let (code, text) = check(folder, &format!("[front.tls]\n{settings}\n"));
        assert!(code == Some(3) && text.contains(told), "{settings}: {code:?}: {text}");
    }
}
