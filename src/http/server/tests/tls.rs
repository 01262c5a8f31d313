//! TLS with certificates made here: who comes in, what handlers learn, how certificates are renewed.

use std::path::Path;

use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsConnector, rustls};

use super::*;
use crate::clock::{Clock, HandClock, Sources};
use crate::domain::Timestamp;

struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    /// Certificate and key, both in PEM.
    fn issue(&self, names: &[SanType], shape: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        shape(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn spiffe(name: &str) -> SanType {
    SanType::URI(format!("spiffe://example.com/{name}").try_into().unwrap())
}

/// The files of a listener in a folder of the test's own.
struct Files {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new() };
        files.write_server_certificate("one.example.com");
        std::fs::write(files.at("clients.pem"), &files.authority.1).unwrap();
        files
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn write_server_certificate(&self, name: &str) {
        let (certificate, key) = self.authority.issue(&[dns(name)], |_| ());
        std::fs::write(self.at("server.pem"), certificate).unwrap();
        std::fs::write(self.at("server.key"), key).unwrap();
    }

    fn tls(&self, required: Option<bool>) -> TlsFiles {
        let clients = required.map(|required| ClientAuthorities { file: self.at("clients.pem"), required });
        TlsFiles { certificate: self.at("server.pem"), key: self.at("server.key"), clients }
    }

    fn start(&self, required: Option<bool>, limits: Limits) -> (Running, Arc<Tls>) {
        self.start_with(required, limits, Sources::system())
    }

    fn start_with(&self, required: Option<bool>, limits: Limits, sources: Sources) -> (Running, Arc<Tls>) {
        let tls = Arc::new(Tls::load(self.tls(required)).unwrap());
        let router = Router::new().route(
            Method::GET,
            "/who",
            now(|request| respond(StatusCode::OK, "text/plain", format!("{:?}", request.peer.certificate))),
        );
        let address = ListenerAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        let config = ListenerConfig { name: "test", address, tls: Some(Arc::clone(&tls)) };
        let running = Running::start_with(&config, router, limits, sources);
        (running, tls)
    }

    /// A connection by a client that believes our authority and shows a certificate where it has one.
    async fn connect(
        &self,
        server: &Running,
        name: &str,
        protocol: &str,
        shown: Option<&(String, String)>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let config = Arc::new(self.client(protocol, shown));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(config).connect(name, server.connect().await).await
    }

    fn client(&self, protocol: &str, shown: Option<&(String, String)>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.1.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
            }
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        config
    }

    /// What `/who` answers over HTTP/1.1; `None` where no answer comes.
    async fn who(&self, server: &Running, shown: Option<&(String, String)>) -> Option<String> {
        let mut stream = self.connect(server, "one.example.com", "http/1.1", shown).await.ok()?;
        // With TLS 1.3 the client learns only now that its certificate was refused.
        stream.write_all(b"GET /who HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.ok()?;
        let text = String::from_utf8(bytes).unwrap();
        text.starts_with("HTTP/1.1 200").then(|| text.rsplit("\r\n\r\n").next().unwrap().to_owned())
    }
}

#[tokio::test]
async fn http_1_and_2_by_alpn_with_the_clients_names() {
    let files = Files::new();
    let shown = files.authority.issue(&[spiffe("gateway"), dns("gateway.example.com")], |_| ());
    let (server, _) = files.start(Some(true), Limits::default());
    let first = files.who(&server, Some(&shown)).await.unwrap();
    assert!(first.contains("spiffe://example.com/gateway") && first.contains("gateway.example.com"), "{first}");

    let stream = files.connect(&server, "one.example.com", "h2", Some(&shown)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get("https://one.example.com/who").body(Full::new(Bytes::new())).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), first.as_bytes());
}

#[tokio::test]
async fn only_certificates_of_the_named_authorities_are_believed() {
    let files = Files::new();
    let good = files.authority.issue(&[spiffe("gateway")], |_| ());
    let foreign = Authority::new().issue(&[spiffe("gateway")], |_| ());
    let expired = files.authority.issue(&[spiffe("gateway")], |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let (required, _) = files.start(Some(true), Limits::default());
    let (optional, _) = files.start(Some(false), Limits::default());
    let (unasked, _) = files.start(None, Limits::default());
    for server in [&required, &optional] {
        assert!(files.who(server, Some(&good)).await.unwrap().contains("spiffe"));
        assert_eq!(files.who(server, Some(&foreign)).await, None, "another authority's");
        assert_eq!(files.who(server, Some(&expired)).await, None, "expired");
    }
    assert_eq!(files.who(&required, None).await, None);
    assert_eq!(files.who(&optional, None).await.as_deref(), Some("None"));
    assert_eq!(files.who(&unasked, Some(&good)).await.as_deref(), Some("None"), "nobody asked for a certificate");
    // The alert is out before it is counted.
    while !required.counts("cedargate_http_connections_cut_total{listener=\"test\",reason=\"handshake\"} 3") {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_certificate_that_ends_ends_its_connection() {
    let files = Files::new();
    let end = rcgen::date_time_ymd(2200, 1, 1);
    let last = Timestamp(end.unix_timestamp() * 1000 + 999);
    let shown = files.authority.issue(&[spiffe("gateway")], |params| params.not_after = end);
    let at = |now: i64| {
        let clock = Arc::new(HandClock::new(Timestamp(last.0 + now)));
        let sources = Sources { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Sources::system() };
        (files.start_with(Some(true), Limits::default(), sources).0, clock)
    };
    let ask = b"GET /who HTTP/1.1\r\nhost: x\r\n\r\n";
    let (server, clock) = at(-3_600_000);
    let mut stream = files.connect(&server, "one.example.com", "http/1.1", Some(&shown)).await.unwrap();
    // To the last millisecond, on one connection.
    for (moves, status) in [(0, "200"), (3_600_000, "200"), (1, "401")] {
        clock.advance(moves);
        stream.write_all(ask).await.unwrap();
        let mut answer = vec![0; 2048];
        let length = stream.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(format!("HTTP/1.1 {status} ").as_bytes()));
    }
    // A connection that asks nothing is told to end, so that the gateway opens another with its next certificate.
    let (server, _) = at(-100);
    let stream = files.connect(&server, "one.example.com", "h2", Some(&shown)).await.unwrap();
    let (_sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    connection.await.unwrap();
}

#[tokio::test]
async fn sessions_go_on_only_where_no_client_certificate_is_asked_for() {
    let files = Files::new();
    let shown = files.authority.issue(&[spiffe("gateway")], |_| ());
    for (required, resumes) in [(None, true), (Some(false), false), (Some(true), false)] {
        let (server, _) = files.start(required, Limits::default());
        let config = Arc::new(files.client("http/1.1", required.map(|_| &shown)));
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let name = ServerName::try_from("one.example.com").unwrap();
            let mut stream =
                TlsConnector::from(Arc::clone(&config)).connect(name, server.connect().await).await.unwrap();
            stream.write_all(b"GET /who HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            // Tickets come after the handshake.
            stream.read_to_end(&mut Vec::new()).await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed));
        }
        assert_eq!(kinds, [false, resumes], "{required:?}");
    }
}

#[tokio::test]
async fn plain_http_and_silence_get_no_answer_and_are_cut() {
    let files = Files::new();
    let (server, _) = files.start(None, short());
    let mut plain = server.connect().await;
    plain.write_all(b"GET /who HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _reset = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    let mut silent = server.connect().await;
    assert_eq!(silent.read(&mut [0; 64]).await.unwrap_or(0), 0, "cut by the header deadline, without a word of HTTP");
    // After the handshake the same deadline runs on.
    let mut shaken = files.connect(&server, "one.example.com", "http/1.1", None).await.unwrap();
    shaken.write_all(b"GET /who HTT").await.unwrap();
    let mut answer = Vec::new();
    let _reset = shaken.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{answer:?}");
}

#[tokio::test]
async fn renewed_certificates_serve_and_broken_ones_do_not() {
    let files = Files::new();
    let (server, tls) = files.start(None, Limits::default());
    let mut open = files.connect(&server, "one.example.com", "http/1.1", None).await.unwrap();
    assert!(!tls.renew().unwrap(), "nothing changed");
    files.write_server_certificate("two.example.com");
    assert!(tls.renew().unwrap());
    assert!(files.connect(&server, "one.example.com", "http/1.1", None).await.is_err());
    assert!(files.connect(&server, "two.example.com", "http/1.1", None).await.is_ok());

    let (_, other_key) = files.authority.issue(&[dns("three.example.com")], |_| ());
    std::fs::write(files.at("server.key"), other_key).unwrap();
    let fault = tls.renew().unwrap_err();
    assert!(matches!(fault, TlsFault::Pair { .. }), "{fault}");
    assert!(files.connect(&server, "two.example.com", "http/1.1", None).await.is_ok(), "the last good one serves on");
    // Who was connected before never noticed.
    open.write_all(b"GET /who HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _end = open.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn files_that_cannot_serve_are_named_with_their_fault() {
    let files = Files::new();
    let fault = |shape: &dyn Fn(&mut TlsFiles)| {
        let mut tls = files.tls(Some(true));
        shape(&mut tls);
        Tls::load(tls).unwrap_err().to_string()
    };
    let nothing = files.at("empty.pem");
    std::fs::write(&nothing, "no certificate").unwrap();
    let missing = Path::new("/nowhere/server.pem");
    assert!(fault(&|tls| tls.certificate = missing.into()).starts_with("/nowhere/server.pem cannot be read"));
    assert!(fault(&|tls| tls.certificate = nothing.clone()).contains("empty.pem holds no certificate"));
    assert!(fault(&|tls| tls.key = nothing.clone()).contains("empty.pem cannot be read"));
    assert!(fault(&|tls| tls.key = files.at("server.pem")).contains("server.pem cannot be read"));
    let clients = ClientAuthorities { file: nothing.clone(), required: true };
    assert!(fault(&|tls| tls.clients = Some(clients.clone())).contains("holds no certificate"));
}

#[tokio::test]
async fn our_client_believes_the_named_authorities_alone_and_asks_no_other_address() {
    let files = Files::new();
    files.write_server_certificate("localhost");
    let (server, _) = files.start(None, Limits::default());
    let ListenerAddress::Tcp(address) = &server.address else { panic!("TCP") };
    let url = format!("https://localhost:{}", address.port());
    let get = |authorities: &'static str, admits: fn(std::net::IpAddr) -> bool| {
        let client = Client::reaching(&url, Some(&files.at(authorities)), admits);
        async move { client?.get("/who").await.map(|reply| reply.status) }
    };
    let here: fn(std::net::IpAddr) -> bool = |address| address.is_loopback();
    assert_eq!(get("clients.pem", here).await.unwrap(), StatusCode::OK);
    assert!(get("clients.pem", |_| false).await.unwrap_err().to_string().contains("no address that may be asked"));
    std::fs::write(files.at("other.pem"), &Authority::new().1).unwrap();
    assert!(get("other.pem", here).await.unwrap_err().to_string().contains("invalid peer certificate"));
    std::fs::write(files.at("empty.pem"), "").unwrap();
    assert!(get("empty.pem", here).await.unwrap_err().to_string().contains("holds no certificate"));
    // The certificate is of another name.
    let numbered = format!("https://127.0.0.1:{}", address.port());
    let client = Client::reaching(&numbered, Some(&files.at("clients.pem")), here).unwrap();
    assert!(client.get("/who").await.is_err());
}
