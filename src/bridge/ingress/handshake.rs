//! Counts failed TLS handshakes by reason, and logs them at a limited rate with the network of the peer.

use std::io::{self, ErrorKind};
use std::net::IpAddr;

use tokio_rustls::rustls::{AlertDescription as Alert, Error, InvalidMessage};
use tracing::{debug, warn};

use super::access;
use crate::bridge::metrics::{HandshakeFailure, Metrics};
use crate::telemetry::Throttle;

/// One throttle for each reason, so that junk on the port does not hide a sender whose certificate is refused.
static LINES: [Throttle; HandshakeFailure::ALL.len()] =
    [const { Throttle::new() }; HandshakeFailure::ALL.len()];

const NOT_TLS: &str = "the client may send plain HTTP, or a proxy sends a PROXY protocol header: only TLS is accepted here";

/// Counts a failed handshake and logs it.
pub(super) fn failed(error: &io::Error, peer: IpAddr, metrics: &Metrics) {
    let failure = classify(error);
    metrics.handshake_failed(failure);
    let (reason, network) = (failure.name(), access::network(peer.to_canonical()));
    // Load balancers check a port by opening and closing a connection.
    if failure == HandshakeFailure::Closed {
        debug!(reason, %network, %error, "a TLS handshake failed");
    } else if let Some(failures) = LINES[failure as usize].count() {
        let hint = (failure == HandshakeFailure::NotTls).then_some(NOT_TLS);
        warn!(reason, %network, %error, failures, hint, "TLS handshakes failed");
    }
}

fn classify(error: &io::Error) -> HandshakeFailure {
    let inner = error.get_ref();
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref()) {
        return classify_tls(error);
    }
    match error.kind() {
        ErrorKind::TimedOut => HandshakeFailure::Timeout,
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::NotConnected
        | ErrorKind::BrokenPipe => HandshakeFailure::Closed,
        _ => HandshakeFailure::Other,
    }
}

fn classify_tls(error: &Error) -> HandshakeFailure {
    match error {
        // These are errors in a record header, which only other protocols cause.
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload,
        ) => HandshakeFailure::NotTls,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => HandshakeFailure::Protocol,
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => {
            HandshakeFailure::ClientCertificate
        }
        Error::AlertReceived(alert) => classify_alert(*alert),
        _ => HandshakeFailure::Other,
    }
}

/// Maps the alerts of RFC 8446 about certificates and about missing common parameters.
fn classify_alert(alert: Alert) -> HandshakeFailure {
    match alert {
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::UnrecognisedName
        | Alert::BadCertificateStatusResponse
        // A client sends this when an authority of the same name has another key.
        | Alert::DecryptError => HandshakeFailure::CertificateRefused,
        Alert::ProtocolVersion
        | Alert::HandshakeFailure
        | Alert::InsufficientSecurity
        | Alert::InappropriateFallback
        | Alert::NoApplicationProtocol => HandshakeFailure::Protocol,
        Alert::CloseNotify | Alert::UserCanceled => HandshakeFailure::Closed,
        _ => HandshakeFailure::Other,
    }
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::{CertificateError, PeerMisbehaved};

    use super::*;

    #[test]
    fn a_reset_is_a_close_and_a_breach_of_the_protocol_is_other() {
        for (kind, expected) in [
            (ErrorKind::ConnectionReset, HandshakeFailure::Closed),
            (ErrorKind::BrokenPipe, HandshakeFailure::Closed),
            (ErrorKind::TimedOut, HandshakeFailure::Timeout),
            (ErrorKind::OutOfMemory, HandshakeFailure::Other),
        ] {
            assert_eq!(classify(&kind.into()), expected, "{kind}");
        }
        for (error, expected) in [
            (
                Error::AlertReceived(Alert::CloseNotify),
                HandshakeFailure::Closed,
            ),
            (
                Error::AlertReceived(Alert::ProtocolVersion),
                HandshakeFailure::Protocol,
            ),
            (
                Error::AlertReceived(Alert::InternalError),
                HandshakeFailure::Other,
            ),
            (
                Error::InvalidMessage(InvalidMessage::MissingKeyExchange),
                HandshakeFailure::Other,
            ),
            (
                CertificateError::Revoked.into(),
                HandshakeFailure::ClientCertificate,
            ),
            (
                PeerMisbehaved::MissingKeyShare.into(),
                HandshakeFailure::Other,
            ),
        ] {
            let sent = io::Error::new(ErrorKind::InvalidData, error);
            assert_eq!(classify(&sent), expected, "{sent}");
        }
    }
}
