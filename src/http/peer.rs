//! Who connected, as the connection itself proves it.
//!
//! Nothing here comes from a header: the machine says the address and the process behind a Unix socket, and a
//! certificate is told of only after the TLS handshake has verified it against the listener's authorities.

use std::net::SocketAddr;
use std::sync::Arc;

/// The other side of a connection. Everything is absent for a request that came over none (tests of handlers).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Address and port; `None` over a Unix socket.
    pub address: Option<SocketAddr>,
    /// The process that connected over a Unix socket; `None` over TCP.
    pub process: Option<PeerProcess>,
    /// The client certificate, where the listener asks for one and the client showed one that holds.
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// The process behind a Unix socket at the moment it connected (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProcess {
    /// The effective user id.
    pub user: u32,
    /// The effective group id.
    pub group: u32,
    /// The process id, where the machine tells it. Ids are used again: never a proof of anything.
    pub id: Option<i32>,
}

/// The names in a verified client certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// `subjectAltName` of type URI, as they stand there, such as `spiffe://example.com/gateway`.
    pub uris: Vec<String>,
    /// `subjectAltName` of type DNS.
    pub dns_names: Vec<String>,
    /// The subject as RFC 4514 writes it, such as `CN=gateway,O=Example`; empty where there is none or
    /// where it holds what cannot be written.
    pub subject: String,
    /// The last moment of its validity, in milliseconds since 1970. A request that comes later is refused.
    pub not_after: i64,
}
