//! The stream of a connection: TCP, or TLS over it.
//!
//! Both can be looked into without taking anything, which is how a parked connection notices its next request. TCP has that from the
//! kernel. With TLS a few bytes are taken out and kept for whoever reads next.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What an accepted connection is read from and written to.
#[derive(Debug)]
pub(super) enum Stream {
    /// As the kernel gives it.
    Tcp(TcpStream),
    /// After a handshake. In a box, because it is ten times as large.
    Tls(Box<Tls>),
}

#[derive(Debug)]
pub(super) struct Tls {
    stream: TlsStream<TcpStream>,
    /// What was taken out by a look.
    looked_at: BytesMut,
}

impl Stream {
    pub(super) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(Tls {
            stream,
            looked_at: BytesMut::new(),
        }))
    }

    /// Fills `buf` with what would be read next, and leaves it there. Returns how much that is: nothing at the end of the stream.
    pub(super) fn poll_peek(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let tls = match self {
            Self::Tcp(stream) => return stream.poll_peek(cx, buf),
            Self::Tls(tls) => tls,
        };
        let wanted = buf.remaining();
        if tls.looked_at.len() < wanted {
            let mut more = [0; 16];
            let most = more.len().min(wanted - tls.looked_at.len());
            let mut read = ReadBuf::new(&mut more[..most]);
            match Pin::new(&mut tls.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) => tls.looked_at.extend_from_slice(read.filled()),
                _ if !tls.looked_at.is_empty() => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        let seen = tls.looked_at.len().min(wanted);
        buf.put_slice(&tls.looked_at[..seen]);
        Poll::Ready(Ok(seen))
    }

    /// Writes a short answer as far as there is room for it, without waiting for any.
    pub(super) fn write_now(&mut self, bytes: &[u8]) {
        match self {
            Self::Tcp(stream) => drop(stream.try_write(bytes)),
            Self::Tls(tls) => {
                let written = async {
                    tls.stream.write_all(bytes).await?;
                    tls.stream.flush().await
                };
                drop(written.now_or_never());
            }
        }
    }

    /// Has the kernel throw away what the client did not take, when the stream is dropped.
    pub(super) fn forget_unsent(&self) {
        let _ = match self {
            Self::Tcp(stream) => stream.set_zero_linger(),
            Self::Tls(tls) => tls.stream.get_ref().0.set_zero_linger(),
        };
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(tls) if tls.looked_at.is_empty() => {
                Pin::new(&mut tls.stream).poll_read(cx, buf)
            }
            Self::Tls(tls) => {
                let length = tls.looked_at.len().min(buf.remaining());
                buf.put_slice(&tls.looked_at[..length]);
                tls.looked_at.advance(length);
                if tls.looked_at.is_empty() {
                    // A silent connection keeps no buffer.
                    tls.looked_at = BytesMut::new();
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(tls) => tls.stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_shutdown(cx),
        }
    }
}
