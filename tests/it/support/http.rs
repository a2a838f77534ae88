//! A plain HTTP/1.1 client that sends bytes unchanged, valid or not.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::support::bridge::{CHANNEL, PASSWORD};

/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// The names are in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Returns the code and the member of a problem document.
    pub fn problem(&self) -> (String, Option<String>) {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        let kind = problem["type"].as_str().expect("a type");
        let code = kind
            .strip_prefix("urn:koobridge:problem:")
            .expect("one of the bridge's types");
        (
            code.to_owned(),
            problem["member"].as_str().map(str::to_owned),
        )
    }
}

/// A byte stream: TCP, or TLS over TCP.
pub trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// One connection to the bridge.
pub struct Connection {
    socket: TcpStream,
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        Self::over(address, |socket| Box::new(socket))
    }

    /// Opens a connection with a stream that `wrap` makes of its socket.
    pub fn over(address: SocketAddr, wrap: impl FnOnce(TcpStream) -> Box<dyn Stream>) -> Self {
        Self::on(
            TcpStream::connect(address).expect("the bridge listens"),
            wrap,
        )
    }

    /// Takes a socket, of which `wrap` makes a stream.
    pub fn on(socket: TcpStream, wrap: impl FnOnce(TcpStream) -> Box<dyn Stream>) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_nodelay(true).expect("no delay");
        Self {
            stream: wrap(socket.try_clone().expect("a socket")),
            socket,
            unread: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the bridge reads");
    }

    /// Shuts down the sending direction.
    pub fn half_close(&self) {
        self.socket
            .shutdown(Shutdown::Write)
            .expect("an open connection");
    }

    /// Reads the next answer. An interim one (100) has no body.
    pub fn answer(&mut self) -> Response {
        let mut response = self.head();
        let length = response
            .header("content-length")
            .map_or(0, |text| text.parse().expect("a length"));
        while self.unread.len() < length {
            assert!(self.read_some(), "closed in the middle of a body");
        }
        response.body = self.unread.drain(..length).collect();
        response
    }

    /// Reads the head of the next answer, which is the whole answer to HEAD.
    pub fn head(&mut self) -> Response {
        let head_end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            assert!(
                self.read_some(),
                "closed without an answer: {:?}",
                self.unread
            );
        };
        let head = String::from_utf8(self.unread.drain(..head_end).collect()).expect("a text head");
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().expect("a status line");
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok());
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").expect("a header"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Response {
            status: status.expect("a status code"),
            headers,
            body: Vec::new(),
        }
    }

    /// Returns `true` if the bridge closes the connection without another byte.
    pub fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && !self.read_some()
    }

    /// Reads available bytes; returns `false` when the stream has ended.
    fn read_some(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(count) => {
                self.unread.extend_from_slice(&buffer[..count]);
                count > 0
            }
            // Over TLS the bridge sends close_notify only after an answer.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
                ) =>
            {
                false
            }
            Err(error) => panic!("no answer: {error}"),
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// Sends one request on a new connection and returns its answer.
pub fn exchange(address: SocketAddr, request: &[u8]) -> Response {
    let mut connection = Connection::open(address);
    connection.send(request);
    connection.answer()
}

/// Returns a valid request with this body.
pub fn report(body: &[u8]) -> Vec<u8> {
    request(&post(), &[], body)
}

/// Returns the path of a channel's reports.
pub fn path(channel: &str) -> String {
    format!("/social/on/whatsapp/koomessage/report/{channel}")
}

/// Returns the request line of a report on the tests' channel.
pub fn post() -> String {
    format!("POST {} HTTP/1.1", path(CHANNEL))
}

/// Returns a request with the usual headers. `changes` replace headers by name; `None` removes one.
pub fn request(line: &str, changes: &[(&str, Option<&str>)], body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let usual = [
        ("Host", "bridge:18446"),
        ("Authorization", PASSWORD),
        ("Content-Type", "application/json; charset=UTF-8"),
        ("Content-Length", &length),
    ];
    let kept = usual
        .into_iter()
        .filter(|(name, _)| {
            !changes
                .iter()
                .any(|(changed, _)| changed.eq_ignore_ascii_case(name))
        })
        .map(|(name, value)| (name, Some(value)));
    let mut text = format!("{line}\r\n");
    for (name, value) in kept.chain(changes.iter().copied()) {
        if let Some(value) = value {
            write!(text, "{name}: {value}\r\n").expect("writing to memory can't fail");
        }
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

/// Returns a valid body.
pub fn body(message_id: &str, status: &str) -> Vec<u8> {
    format!(
        r#"{{"sender":"86173xxxx4526","user_number":"86187xxxx5632","message_id":"{message_id}","status":"{status}"}}"#
    )
    .into_bytes()
}
