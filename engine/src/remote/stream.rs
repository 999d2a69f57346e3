// SPDX-License-Identifier: Apache-2.0
//! A connection between two who know each other: TLS, or plain where both ends are on one machine.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::pki_types::ServerName;
use socket2::TcpKeepalive;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::key::Key;
use super::{neighbour, tls};

/// Until both know who the other is.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Whose machine does not answer for so long is gone.
const GONE: Duration = Duration::from_secs(60);

/// An open connection.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::TlsStream<TcpStream>>),
}

/// How to open connections.
#[derive(Clone)]
pub enum Security {
    /// On this machine only.
    Plain,
    /// With this key.
    Key { client: Arc<rustls::ClientConfig>, server: Arc<rustls::ServerConfig> },
}

impl Security {
    /// By a key, or without.
    ///
    /// # Errors
    /// The key cannot be used.
    pub fn by(key: Option<&Key>) -> Result<Self> {
        match key {
            None => Ok(Self::Plain),
            Some(key) => Ok(Self::Key { client: tls::client(key)?.into(), server: tls::server(key)?.into() }),
        }
    }

    /// Without a key, nothing leaves this machine.
    fn allows(&self, address: IpAddr) -> Result<()> {
        match self {
            Self::Plain if !address.is_loopback() => {
                bail!(
                    "{address} is another machine, and there is no key: ggforce worker --new-key FILE makes one"
                )
            }
            _ => Ok(()),
        }
    }

    /// Nor does anything come from other users of this machine. Asked by the one who is called alone: his own end has
    /// no owner that a table would tell before he has taken it.
    fn allows_caller(&self, stream: &TcpStream) -> Result<()> {
        let (here, peer) = (stream.local_addr()?, stream.peer_addr()?);
        self.allows(peer.ip())?;
        if matches!(self, Self::Plain) && neighbour::is_ours(here, peer) == Some(false) {
            bail!("{peer} is another user's, and there is no key: ggforce worker --new-key FILE makes one");
        }
        Ok(())
    }

    /// May one listen there?
    ///
    /// # Errors
    /// It takes a key.
    pub fn may_listen(&self, address: SocketAddr) -> Result<()> {
        self.allows(address.ip())
    }

    /// Calls somebody.
    ///
    /// # Errors
    /// Nobody is there.
    pub async fn call(address: &str) -> Result<TcpStream> {
        let connected = tokio::time::timeout(HANDSHAKE, TcpStream::connect(address)).await;
        connected.context("no connection: it does not answer")?.context("no connection")
    }

    /// Finds out whether a worker host was called.
    ///
    /// # Errors
    /// It does not hold the key.
    pub async fn connect(&self, stream: TcpStream) -> Result<Stream> {
        self.allows(stream.peer_addr()?.ip())?;
        prepare(&stream)?;
        match self {
            Self::Plain => Ok(Stream::Plain(stream)),
            Self::Key { client, .. } => {
                // Whom one talks to is known by the key, not by a name.
                let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
                let stream = TlsConnector::from(Arc::clone(client)).connect(name, stream).await;
                Ok(Stream::Tls(Box::new(stream.context("not a worker with the same key")?.into())))
            }
        }
    }

    /// Answers a caller.
    ///
    /// # Errors
    /// They do not hold the key.
    pub async fn accept(&self, stream: TcpStream) -> Result<Stream> {
        let accepting = async {
            self.allows_caller(&stream)?;
            prepare(&stream)?;
            match self {
                Self::Plain => Ok(Stream::Plain(stream)),
                Self::Key { server, .. } => {
                    let stream = TlsAcceptor::from(Arc::clone(server)).accept(stream).await;
                    Ok(Stream::Tls(Box::new(stream.context("refused: not a holder of the key")?.into())))
                }
            }
        };
        tokio::time::timeout(HANDSHAKE, accepting).await.context("it does not say who it is")?
    }
}

/// Small messages go at once. Who has gone without a word, as when a network fails, is noticed also while there is nothing to say.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(GONE / 2).with_interval(GONE / 6))?;
    socket.set_tcp_user_timeout(Some(GONE))
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
