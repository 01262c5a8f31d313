//! Listening sockets: TCP and Unix.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use super::tls::Tls;

/// Connections that the machine keeps waiting while the accept loop is busy.
const BACKLOG: u32 = 1024;

/// Bytes of an answer that the machine may hold for a connection. It would grow that to megabytes: memory that nobody
/// counts, and a reader of a hundred kilobytes a second would seem to have stopped, since writing only goes on once a third is
/// gone.
const SEND_BUFFER: u32 = 256 * 1024;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerAddress {
    /// TCP; port 0 lets the machine choose.
    Tcp(SocketAddr),
    /// A Unix socket at this path, for its owner and group.
    Unix(PathBuf),
}

/// `http://127.0.0.1:8080` or `unix:/run/cedargate/gate.sock`, as [`crate::http::client::Client::new`] reads it.
impl fmt::Display for ListenerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "http://{address}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// One listener: its name in logs and metrics, and where it listens.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// `front`, `gate`, `ops`, …
    pub name: &'static str,
    /// Where it listens.
    pub address: ListenerAddress,
    /// TLS, where it speaks that; never on a Unix socket.
    pub tls: Option<Arc<Tls>>,
}

/// A listener that is bound and does not answer yet. Dropping it gives the address back.
#[derive(Debug)]
pub struct Bound {
    name: &'static str,
    address: ListenerAddress,
    socket: Socket,
    file: Option<SocketFile>,
    tls: Option<Arc<Tls>>,
}

impl Bound {
    /// Binds. Must be called within a Tokio runtime. A socket file that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// As the machine says (the address is taken, …), with the listener's name and address in front.
    pub fn bind(config: &ListenerConfig) -> io::Result<Self> {
        let bound = match &config.address {
            ListenerAddress::Tcp(address) => bind_tcp(*address),
            ListenerAddress::Unix(path) => bind_unix(path),
        };
        let (address, socket, file) = bound.map_err(|cause| {
            io::Error::new(cause.kind(), format!("cannot bind {} to {}: {cause}", config.name, config.address))
        })?;
        Ok(Self { name: config.name, address, socket, file, tls: config.tls.clone() })
    }

    /// Where it listens, with the port that the machine chose.
    pub const fn address(&self) -> &ListenerAddress {
        &self.address
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What a client is told: `https://…` where it speaks TLS, otherwise as the address shows itself.
    pub fn url(&self) -> String {
        match (&self.address, &self.tls) {
            (ListenerAddress::Tcp(address), Some(_)) => format!("https://{address}"),
            (ListenerAddress::Tcp(_), None) | (ListenerAddress::Unix(_), _) => self.address.to_string(),
        }
    }

    /// The socket, the guard that removes its file, and TLS.
    pub(super) fn into_parts(self) -> (Socket, Option<SocketFile>, Option<Arc<Tls>>) {
        (self.socket, self.file, self.tls)
    }
}

type Parts = (ListenerAddress, Socket, Option<SocketFile>);

fn bind_tcp(address: SocketAddr) -> io::Result<Parts> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Every connection inherits it.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    Ok((ListenerAddress::Tcp(listener.local_addr()?), Socket::Tcp(listener), None))
}

fn bind_unix(path: &Path) -> io::Result<Parts> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    let file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok((ListenerAddress::Unix(path.to_owned()), Socket::Unix(listener), Some(file)))
}

/// A process that was killed leaves its socket file behind. Only a socket is removed, and only if nobody answers.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(cause),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file in the way that is not a socket"))
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
            Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
            Err(cause) => Err(cause),
        },
    }
}

/// Removes the socket file at the end.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Socket {
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, peer)| Accepted::Tcp(stream, peer)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}
