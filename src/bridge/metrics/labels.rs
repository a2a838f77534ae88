//! The labels of the metrics. Each has few values, which are known when the program is built, or configured.

use prometheus_client::encoding::EncodeLabelSet;

/// The answer to the sender of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportAnswer {
    /// 2xx: Kafka has acknowledged it.
    Accepted,
    /// 2xx: it is in the spool, and not yet in Kafka.
    Spooled,
    /// 400 or 415: it breaks the contract, and is on the rejected topic.
    Rejected,
    /// 503 at once: too much is in flight, there is no topic, or neither Kafka nor the spool accepts it.
    Shed,
    /// 503 at the deadline: it is not promised, but may still arrive.
    Deadline,
}

/// The outcome of an admitted report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportFate {
    /// Kafka acknowledged it, and its sender got a success.
    Delivered,
    /// Kafka acknowledged it after its sender had got a 503.
    DeliveredLate,
    /// It was given up, and its sender got a 503 or had hung up.
    Failed,
    /// Kafka acknowledged it after its sender had hung up.
    SenderGone,
}

impl ReportAnswer {
    pub const ALL: [Self; 5] = [
        Self::Accepted,
        Self::Spooled,
        Self::Rejected,
        Self::Shed,
        Self::Deadline,
    ];

    /// Returns the name that labels and logs use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Spooled => "spooled",
            Self::Rejected => "rejected",
            Self::Shed => "shed",
            Self::Deadline => "deadline",
        }
    }
}

impl ReportFate {
    pub(super) const ALL: [Self; 4] = [
        Self::Delivered,
        Self::DeliveredLate,
        Self::Failed,
        Self::SenderGone,
    ];

    /// Returns the name that labels use.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::DeliveredLate => "delivered_late",
            Self::Failed => "failed",
            Self::SenderGone => "sender_gone",
        }
    }
}

/// Why a TLS handshake on the ingress failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// The peer sent something other than TLS.
    NotTls,
    /// The peer shares no version, cipher suite, group or application protocol with the bridge.
    Protocol,
    /// The peer has no certificate, or one that the bridge does not accept.
    ClientCertificate,
    /// The peer does not accept the bridge's certificate.
    CertificateRefused,
    /// The peer closed or reset the connection.
    Closed,
    /// The handshake took longer than `ingress.head_timeout`.
    Timeout,
    Other,
}

impl HandshakeFailure {
    pub const ALL: [Self; 7] = [
        Self::NotTls,
        Self::Protocol,
        Self::ClientCertificate,
        Self::CertificateRefused,
        Self::Closed,
        Self::Timeout,
        Self::Other,
    ];

    /// Returns the name that labels and logs use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::Protocol => "protocol",
            Self::ClientCertificate => "client_certificate",
            Self::CertificateRefused => "certificate_refused",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Other => "other",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BuildLabel {
    pub(super) version: &'static str,
    pub(super) librdkafka: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PartLabel {
    pub(super) part: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReloadLabel {
    pub(super) part: &'static str,
    pub(super) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PropertyLabel {
    pub(super) property: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TopicLabel {
    pub(super) topic: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counters are arrays in the order of `ALL`.
    #[test]
    fn every_value_has_the_index_of_its_counter() {
        let answers = ReportAnswer::ALL.map(|answer| answer as usize);
        assert_eq!(answers, [0, 1, 2, 3, 4]);
        assert_eq!(ReportFate::ALL.map(|fate| fate as usize), [0, 1, 2, 3]);
        let failures = HandshakeFailure::ALL.map(|failure| failure as usize);
        assert_eq!(failures, [0, 1, 2, 3, 4, 5, 6]);
    }
}
