//! Writes and reads the headers of rejected records. Any producer may have written a record that is read.

use super::record::{Header, RecordRef};

/// The headers of a rejected record, without the trace context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedFields<'a> {
    pub stage: Stage,
    pub reason: &'a str,
    pub channel_id: &'a str,
    pub received_at: &'a str,
    pub member: Option<&'a str>,
    /// The value of the request header that `reason` names.
    pub header_value: Option<&'a str>,
}

/// The stage that rejected a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The report breaks the contract; the record's value is the report's body.
    Contract,
    /// Kafka rejected the event; the record's value is the event.
    Kafka,
}

impl Stage {
    /// Returns the value of the header `stage`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contract => "contract",
            Self::Kafka => "kafka",
        }
    }
}

impl<'a> RejectedFields<'a> {
    /// Returns the headers for the record.
    pub(super) fn to_headers(&self) -> Vec<Header> {
        let mandatory = [
            ("stage", Some(self.stage.as_str())),
            ("reason", Some(self.reason)),
            ("channel_id", Some(self.channel_id)),
            ("received_at", Some(self.received_at)),
        ];
        let optional = [("member", self.member), ("header_value", self.header_value)];
        let all = mandatory.into_iter().chain(optional);
        all.filter_map(|(name, value)| Some((name.into(), value?.to_owned().into())))
            .collect()
    }

    /// Reads a rejected record; returns `None` for any other record.
    #[must_use]
    pub fn of(record: &'a RecordRef<'_>) -> Option<Self> {
        let stage = record.header("stage")?;
        let stages = [Stage::Contract, Stage::Kafka];
        record.value.as_ref()?;
        Some(Self {
            stage: stages.into_iter().find(|known| known.as_str() == stage)?,
            reason: record.header("reason")?,
            channel_id: record.header("channel_id")?,
            received_at: record.header("received_at")?,
            member: record.header("member"),
            header_value: record.header("header_value"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{EventFields, Reason, received::from_a_sender};

    const BODY: &[u8] = br#"{"message_id":"m","sender":"s","user_number":"u","status":"read"}"#;

    #[test]
    fn a_rejected_record_is_read_back() {
        let received = from_a_sender(b"{}", None);
        let fault = received.validate().expect_err("no report");
        let record: RecordRef<'_> = received.reject(fault).into_parts().1.into();
        let fields = RejectedFields::of(&record).expect("a rejected record");
        assert_eq!(
            (fields.stage, fields.reason),
            (Stage::Contract, "member-missing")
        );
        assert_eq!(
            (fields.channel_id, fields.member),
            ("c1", Some("message_id"))
        );
        assert_eq!(fields.header_value, None);
        assert_eq!(EventFields::of(&record), None);

        let received = from_a_sender(BODY, None);
        let fault = received.unsupported(Reason::ContentEncoding, "gzip".to_owned());
        let record: RecordRef<'_> = received.reject(fault).into_parts().1.into();
        let fields = RejectedFields::of(&record).expect("a rejected record");
        assert_eq!(
            (fields.stage, fields.reason),
            (Stage::Contract, "content-encoding")
        );
        assert_eq!((fields.member, fields.header_value), (None, Some("gzip")));
    }
}
