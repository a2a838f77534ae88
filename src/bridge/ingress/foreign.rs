//! Recognizes protocols that reach the port because a sender or a proxy is configured wrongly.

use std::net::IpAddr;

use tracing::warn;

use super::access;
use crate::telemetry::Throttle;

/// A protocol that the ingress does not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForeignProtocol {
    /// The header of the PROXY protocol, version 1 or 2.
    Proxy,
    /// The start of a TLS handshake.
    Tls,
    /// HTTP/2 without TLS.
    Http2,
}

/// The first bytes of each protocol.
const STARTS: [(&[u8], ForeignProtocol); 4] = [
    (b"PROXY ", ForeignProtocol::Proxy),
    (b"\r\n\r\n\0\r\nQUIT\n", ForeignProtocol::Proxy),
    (b"\x16\x03", ForeignProtocol::Tls),
    (b"PRI * HTTP/2", ForeignProtocol::Http2),
];

/// One throttle for each protocol.
static NOTED: [Throttle; 3] = [const { Throttle::new() }; 3];

impl ForeignProtocol {
    /// Returns the protocol of a connection whose first bytes are `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let known = STARTS.iter().find(|(start, _)| bytes.starts_with(start));
        known.map(|(_, foreign)| *foreign)
    }

    /// Logs the setting to change, at a limited rate.
    pub(super) fn note(self, peer: IpAddr) {
        if let Some(times) = NOTED[self as usize].count() {
            let network = access::network(peer.to_canonical()).to_string();
            warn!(network, times, "{}", self.hint());
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Proxy => {
                "a proxy sends a PROXY protocol header, which koobridge does not read: turn the header off in the proxy \
                 (nginx: proxy_protocol off; haproxy: no send-proxy on the server line) and let it add x-forwarded-for"
            }
            Self::Tls => {
                "a client speaks TLS, but this listener speaks plain HTTP: set ingress.tls.certificate and \
                 ingress.tls.key, or let the client send plain HTTP"
            }
            Self::Http2 => "a client speaks HTTP/2 without TLS: let it send HTTP/1.1",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_protocol() {
        for (bytes, expected) in [
            (
                &b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"[..],
                Some(ForeignProtocol::Proxy),
            ),
            (b"PROXY UNKNOWN\r\n", Some(ForeignProtocol::Proxy)),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11",
                Some(ForeignProtocol::Proxy),
            ),
            (b"\x16\x03\x01\x02\x00", Some(ForeignProtocol::Tls)),
            (
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                Some(ForeignProtocol::Http2),
            ),
            (b"POST /social/ HTTP/1.1\r\n", None),
            (b"PROXYING", None),
            (b"", None),
        ] {
            assert_eq!(ForeignProtocol::of(bytes), expected);
        }
    }
}
