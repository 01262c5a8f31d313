//! Who may ask, in which dialect, and what the gateway's word is worth.
//!
//! A credential is what a gateway must show: each kind of proof that it lists, all of them together. Everything here
//! rests on the connection and on headers that must occur once; nothing is read from a client's query. Where no
//! credential is configured the gate is open to whoever can connect, which settings allow on loopback and Unix
//! sockets alone.

use std::net::{IpAddr, SocketAddr};

use super::original::{self, HeaderFault};
use crate::domain::Channel;
use crate::http::header::{HeaderMap, HeaderName};
use crate::http::{Peer, Refusal, Request};
use crate::token::SharedToken;

/// The header in which a gateway shows its token where `Authorization` belongs to the caller.
pub const TOKEN_HEADER: &str = "cedargate-gate-token";

/// Who may ask the gate (`gate`).
#[derive(Clone, Debug, Default)]
pub struct GateConfig {
    /// `gate.credentials` and `gate.credential_file`; none: whoever can connect may ask.
    pub credentials: Vec<Credential>,
    /// `gate.channel`, `gate.caller`, `gate.explain`: what holds while the gate is open, and what credentials begin with.
    pub manner: Manner,
    /// `gate.strip_headers`: headers of the client, beside `Cedargate-*`, that no service behind the gate may see.
    pub strip_headers: Vec<HeaderName>,
}

/// How the questions of one gateway are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manner {
    /// `channel`: where the people behind this gateway come in.
    pub channel: Channel,
    /// `caller`: what says whom a question is about; the first that the request has.
    pub caller: Vec<CallerSource>,
    /// `explain`: whether it may ask for the conditions behind a decision.
    pub explain: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self { channel: Channel::Api, caller: vec![CallerSource::Authorization], explain: false }
    }
}

/// What says whom a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerSource {
    /// `authorization`: the caller's `Authorization` header, verified here.
    Authorization,
    /// `header:NAME`: a username or login that the gateway has established and writes itself.
    Header(HeaderName),
    /// `principal`: the client certificate that Envoy verified (`source.principal`).
    Principal,
    /// `jwt-metadata`: the claims that Envoy's jwt_authn filter verified.
    JwtMetadata,
    /// `consumer`: the consumer that Kong or APISIX authenticated, by the name under which it is known there.
    Consumer,
}

impl CallerSource {
    /// Reads the word of the settings.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "authorization" => Some(Self::Authorization),
            "principal" => Some(Self::Principal),
            "jwt-metadata" => Some(Self::JwtMetadata),
            "consumer" => Some(Self::Consumer),
            _ => word.strip_prefix("header:")?.trim().parse().ok().map(Self::Header),
        }
    }
}

/// A way of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `/v1/authorize` and its neighbours.
    Native,
    /// `/access/v1/*`.
    AuthZen,
    /// `/v1/data/cedargate/authz`.
    Opa,
    /// `envoy.service.auth.v3.Authorization/Check`.
    EnvoyGrpc,
    /// `/envoy/*`.
    EnvoyHttp,
    /// `/forward-auth`.
    ForwardAuth,
    /// `/auth-request`.
    AuthRequest,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Native,
        Self::AuthZen,
        Self::Opa,
        Self::EnvoyGrpc,
        Self::EnvoyHttp,
        Self::ForwardAuth,
        Self::AuthRequest,
    ];

    /// The word in settings and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::AuthZen => "authzen",
            Self::Opa => "opa",
            Self::EnvoyGrpc => "envoy-grpc",
            Self::EnvoyHttp => "envoy-http",
            Self::ForwardAuth => "forward-auth",
            Self::AuthRequest => "auth-request",
        }
    }

    /// Reads [`Self::name`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == word)
    }

    /// Whether `Authorization` is the gateway's own; in the others it is the caller's.
    const fn authorization_is_the_gateways(self) -> bool {
        match self {
            Self::Native | Self::AuthZen | Self::Opa => true,
            Self::EnvoyGrpc | Self::EnvoyHttp | Self::ForwardAuth | Self::AuthRequest => false,
        }
    }
}

/// What one gateway must show, and what it may do then. Every proof that is given must hold.
#[derive(Clone, Debug)]
pub struct Credential {
    /// `name`: for the log.
    pub name: String,
    /// `token_file`: any one of these tokens; empty: none is asked for.
    pub tokens: Vec<SharedToken>,
    /// `certificate`: a name in the client certificate: a URI or DNS name of it, or its whole subject.
    pub certificate: Option<String>,
    /// `socket_user`: the user id of the process at the other end of the Unix socket.
    pub socket_user: Option<u32>,
    /// `addresses`: networks that it asks from; empty: from anywhere.
    pub addresses: Vec<Network>,
    /// `dialects`: what it may speak; empty: all.
    pub dialects: Vec<Dialect>,
    /// How its questions are read.
    pub manner: Manner,
}

impl Credential {
    /// Whether anything has to be shown at all.
    pub const fn proves_something(&self) -> bool {
        !self.tokens.is_empty()
            || self.certificate.is_some()
            || self.socket_user.is_some()
            || !self.addresses.is_empty()
    }

    fn holds(&self, dialect: Dialect, token: Option<&str>, peer: &Peer) -> bool {
        // Every token is compared, so that the time tells nothing of which one came close.
        let token_holds = |shown: &str| self.tokens.iter().fold(false, |met, known| known.matches(shown) || met);
        let certificate_holds = |name: &String| {
            peer.certificate.as_ref().is_some_and(|shown| {
                shown.uris.contains(name) || shown.dns_names.contains(name) || shown.subject == *name
            })
        };
        self.proves_something()
            && (self.dialects.is_empty() || self.dialects.contains(&dialect))
            && (self.tokens.is_empty() || token.is_some_and(token_holds))
            && self.certificate.as_ref().is_none_or(certificate_holds)
            && self.socket_user.is_none_or(|user| peer.process.is_some_and(|process| process.user == user))
            && (self.addresses.is_empty() || peer.address.is_some_and(|from| self.listed(from)))
    }

    fn listed(&self, from: SocketAddr) -> bool {
        self.addresses.iter().any(|network| network.contains(from.ip()))
    }
}

/// The credential that a request meets, or the open gate's manner.
///
/// # Errors
/// 401 where no credential holds.
pub(super) fn admit<'a>(config: &'a GateConfig, dialect: Dialect, request: &Request) -> Result<&'a Manner, Refusal> {
    if config.credentials.is_empty() {
        return Ok(&config.manner);
    }
    let token = shown_token(dialect, &request.headers).map_err(|fault| Refusal::unauthenticated(fault.to_string()))?;
    let met = config.credentials.iter().find(|credential| credential.holds(dialect, token, &request.peer));
    if let Some(credential) = met {
        return Ok(&credential.manner);
    }
    tracing::debug!(dialect = dialect.name(), peer = ?request.peer.address, "a gateway was not admitted");
    let place = if dialect.authorization_is_the_gateways() {
        "`Authorization: Bearer` or `Cedargate-Gate-Token`"
    } else {
        "`Cedargate-Gate-Token`"
    };
    let message = format!("no credential of this gate holds; a gateway shows its token in {place}");
    Err(Refusal::unauthenticated(message))
}

/// The gateway's own token, from the one header that may hold it.
fn shown_token(dialect: Dialect, headers: &HeaderMap) -> Result<Option<&str>, HeaderFault> {
    if let Some(token) = original::once(headers, TOKEN_HEADER)? {
        return Ok(Some(token));
    }
    if !dialect.authorization_is_the_gateways() {
        return Ok(None);
    }
    let Some(authorization) = original::once(headers, "authorization")? else { return Ok(None) };
    let bearer = authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    Ok(bearer.map(|(_, token)| token.trim()))
}

/// A network in CIDR notation (RFC 4632): `10.0.0.0/8`, `fd00::/8`; a lone address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: u128,
    mask: u128,
    is_ipv4: bool,
}

impl Network {
    /// Reads it; bits beyond the prefix must be zero, since they are usually a slip.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address.parse().ok()?, Some(length.parse::<u32>().ok()?)),
            None => (text.parse::<IpAddr>().ok()?, None),
        };
        let (base, is_ipv4) = bits(address);
        let whole = if is_ipv4 { 32 } else { 128 };
        let length = length.unwrap_or(whole);
        if length > whole {
            return None;
        }
        let kept = 128 - whole + length;
        let mask = if kept == 0 { 0 } else { u128::MAX << (128 - kept) };
        (base & mask == base).then_some(Self { base, mask, is_ipv4 })
    }

    /// Whether the address lies in it. IPv4 addresses in IPv6 form count as what they are.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (bits, is_ipv4) = bits(address.to_canonical());
        is_ipv4 == self.is_ipv4 && bits & self.mask == self.base
    }
}

fn bits(address: IpAddr) -> (u128, bool) {
    match address {
        // Both families on 128 bits: the upper bits of IPv4 are the same for all.
        IpAddr::V4(address) => (u128::from(u32::from(address)), true),
        IpAddr::V6(address) => (u128::from(address), false),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::http::header::HeaderValue;
    use crate::http::{ClientCertificate, Method, PeerProcess};

    fn credential() -> Credential {
        Credential {
            name: "edge".into(),
            tokens: Vec::new(),
            certificate: None,
            socket_user: None,
            addresses: Vec::new(),
            dialects: Vec::new(),
            manner: Manner { channel: Channel::Dashboard, ..Manner::default() },
        }
    }

    fn admits(credential: Credential, dialect: Dialect, headers: &[(&'static str, &'static str)], peer: Peer) -> bool {
        let config = GateConfig { credentials: vec![credential], ..GateConfig::default() };
        let mut request = Request::new(Method::GET, "/");
        for (name, value) in headers {
            request.headers.append(*name, HeaderValue::from_static(value));
        }
        request.peer = Arc::new(peer);
        match admit(&config, dialect, &request) {
            Ok(manner) => manner.channel == Channel::Dashboard,
            Err(refusal) => {
                assert_eq!(refusal.status, 401);
                false
            }
        }
    }

    fn from(address: &str) -> Peer {
        Peer { address: Some(address.parse().unwrap()), ..Peer::default() }
    }

    #[test]
    fn a_token_counts_in_its_own_header_and_once() {
        let with_token = || Credential { tokens: vec![SharedToken::new("t1"), SharedToken::new("t2")], ..credential() };
        let own = [("cedargate-gate-token", "t2")];
        for dialect in Dialect::ALL {
            assert!(admits(with_token(), dialect, &own, Peer::default()), "{dialect:?}");
            assert!(!admits(with_token(), dialect, &[], Peer::default()), "{dialect:?}");
            let twice = [own[0], own[0]];
            assert!(!admits(with_token(), dialect, &twice, Peer::default()), "{dialect:?}");
        }
        let bearer = [("authorization", "Bearer t1")];
        assert!(admits(with_token(), Dialect::Native, &bearer, Peer::default()));
        // There it is the caller's, and a caller who knows the gateway's token is still not the gateway.
        assert!(!admits(with_token(), Dialect::ForwardAuth, &bearer, Peer::default()));
        assert!(!admits(with_token(), Dialect::EnvoyGrpc, &bearer, Peer::default()));
    }

    #[test]
    fn every_listed_proof_must_hold() {
        let strict = || Credential {
            tokens: vec![SharedToken::new("t1")],
            addresses: vec![Network::parse("10.0.0.0/8").unwrap()],
            dialects: vec![Dialect::ForwardAuth],
            ..credential()
        };
        let token = [("cedargate-gate-token", "t1")];
        assert!(admits(strict(), Dialect::ForwardAuth, &token, from("10.1.2.3:5")));
        assert!(admits(strict(), Dialect::ForwardAuth, &token, from("[::ffff:10.1.2.3]:5")));
        assert!(!admits(strict(), Dialect::ForwardAuth, &token, from("11.1.2.3:5")));
        assert!(!admits(strict(), Dialect::ForwardAuth, &[], from("10.1.2.3:5")));
        assert!(!admits(strict(), Dialect::EnvoyHttp, &token, from("10.1.2.3:5")));
        assert!(!admits(credential(), Dialect::Native, &token, from("10.1.2.3:5")), "nothing proves nothing");
    }

    #[test]
    fn certificates_and_socket_peers_are_told_by_the_connection() {
        let named = || Credential { certificate: Some("spiffe://example.com/edge".into()), ..credential() };
        let showing = |uri: &str| Peer {
            certificate: Some(Arc::new(ClientCertificate { uris: vec![uri.into()], ..ClientCertificate::default() })),
            ..Peer::default()
        };
        assert!(admits(named(), Dialect::EnvoyGrpc, &[], showing("spiffe://example.com/edge")));
        assert!(!admits(named(), Dialect::EnvoyGrpc, &[], showing("spiffe://example.com/edge2")));
        assert!(!admits(named(), Dialect::EnvoyGrpc, &[], Peer::default()));

        let local = || Credential { socket_user: Some(33), ..credential() };
        let user = |user| Peer { process: Some(PeerProcess { user, group: 33, id: None }), ..Peer::default() };
        assert!(admits(local(), Dialect::AuthRequest, &[], user(33)));
        assert!(!admits(local(), Dialect::AuthRequest, &[], user(0)));
        assert!(!admits(local(), Dialect::AuthRequest, &[], from("127.0.0.1:1")));
    }

    #[test]
    fn networks_are_read_exactly() {
        let contains = |network: &str, address: &str| {
            Network::parse(network).expect(network).contains(address.parse().expect(address))
        };
        assert!(contains("0.0.0.0/0", "203.0.113.9") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("192.0.2.0/25", "192.0.2.127") && !contains("192.0.2.0/25", "192.0.2.128"));
        assert!(contains("::1", "::1") && !contains("::1", "::2"));
        assert!(contains("fd00::/8", "fdff::1") && !contains("fd00::/8", "fe00::1"));
        for wrong in ["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "10/8", "::/129", "localhost"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn words_of_the_settings() {
        assert_eq!(CallerSource::parse("header:X-User"), Some(CallerSource::Header(HeaderName::from_static("x-user"))));
        assert_eq!(CallerSource::parse("header:"), None);
        assert_eq!(CallerSource::parse("cookie"), None);
        assert!(Dialect::ALL.iter().all(|dialect| Dialect::parse(dialect.name()) == Some(*dialect)));
    }
}
