//! The requests of the load, and its connections.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use koobridge::contract::SOURCE_PREFIX;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind, RootCertStore};

/// The first channel. Channels are consecutive numbers of ten digits.
pub const FIRST_CHANNEL: u64 = 1_000_000_000;
pub const PASSWORD: &str = "password";

/// When a connection is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opened {
    /// Before the load. It stays open until the end.
    #[default]
    Before,
    /// For each report, with a full handshake if it is TLS.
    Each,
    /// For each report, with a resumed TLS session.
    EachResumed,
}

trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Bytes for S {}

pub struct Stream {
    bytes: Box<dyn Bytes>,
    pub is_resumed: bool,
}

impl Stream {
    /// Sends a request and reads the answer. Returns the first digit of its status.
    pub async fn ask(&mut self, request: &[u8], answer: &mut Vec<u8>) -> u8 {
        self.write(request).await;
        self.read_answer(answer).await
    }

    pub async fn write(&mut self, request: &[u8]) {
        let sent = self.bytes.write_all(request).await;
        sent.expect("the server reads");
    }

    /// Reads a whole answer. Returns the first digit of its status.
    pub async fn read_answer(&mut self, answer: &mut Vec<u8>) -> u8 {
        let stream = &mut self.bytes;
        answer.clear();
        let head = loop {
            let read = stream.read_buf(answer).await.expect("an answer");
            assert!(read > 0, "the server closed: {}", answer.escape_ascii());
            if let Some(at) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let length = length(&answer[..head]);
        while answer.len() < head + length {
            assert!(stream.read_buf(answer).await.expect("a body") > 0);
        }
        answer[b"HTTP/1.1 ".len()]
    }
}

/// The server that connections are opened to.
pub struct Server {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Server {
    pub fn new(address: SocketAddr, certificate: Option<&Path>, opened: Opened) -> Self {
        let tls = certificate.map(|certificate| connector(certificate, opened));
        Self { address, tls }
    }

    pub async fn open(&self) -> Stream {
        let stream = TcpStream::connect(self.address)
            .await
            .expect("the server listens");
        stream.set_nodelay(true).expect("no delay");
        let Some(tls) = &self.tls else {
            return Stream {
                bytes: Box::new(stream),
                is_resumed: false,
            };
        };
        let name = ServerName::from(self.address.ip());
        let stream = tls.connect(name, stream).await.expect("TLS");
        Stream {
            is_resumed: stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed),
            bytes: Box::new(stream),
        }
    }
}

fn connector(certificate: &Path, opened: Opened) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
    roots.add(certificate).expect("a certificate");
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    if opened != Opened::EachResumed {
        config.resumption = Resumption::disabled();
    }
    TlsConnector::from(Arc::new(config))
}

fn length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).expect("text");
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.map_or(0, |(_, value)| value.trim().parse().expect("a length"))
}

/// A request that is sent repeatedly, with a different message and channel each time.
pub struct Request {
    bytes: Vec<u8>,
    channel: usize,
    message: usize,
    channels: u64,
}

impl Request {
    /// Makes a request with a body of `size` bytes, for `channels` channels in turn.
    pub fn new(size: usize, channels: u64) -> Self {
        let message = "0".repeat(32);
        let fixed = format!(
            r#"{{"sender":"86173xxxx4526","user_number":"86187xxxx5632","message_id":"{message}","status":"read","note":""}}"#
        );
        let note = "x".repeat(size.saturating_sub(fixed.len()));
        let body = fixed.replace(r#""note":"""#, &format!(r#""note":"{note}""#));
        let bytes = format!(
            "POST {SOURCE_PREFIX}{FIRST_CHANNEL} HTTP/1.1\r\nHost: bench\r\nAuthorization: {PASSWORD}\r\n\
             Content-Type: application/json; charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Self {
            channel: bytes.find(&FIRST_CHANNEL.to_string()).expect("it is there"),
            message: bytes.find(&message).expect("it is there"),
            bytes: bytes.into_bytes(),
            channels,
        }
    }

    pub fn of(&mut self, number: u64) -> &[u8] {
        let channel = FIRST_CHANNEL + number % self.channels;
        // Scattered, so that sorting and hashing are not easier than with real ids.
        let message = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let mut at = &mut self.bytes[self.channel..];
        write!(at, "{channel:010}").expect("room");
        let mut at = &mut self.bytes[self.message..];
        write!(at, "{message:032x}").expect("room");
        &self.bytes
    }
}
