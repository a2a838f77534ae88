//! A complete body from an authenticated sender, with its arrival.

use std::cell::RefCell;

use jiff::Timestamp;

use super::channel::ChannelId;
use super::fault::{Fault, Reason};
use super::rejected::Rejected;
use super::report::{MAX_CHARACTERS, Report};
use super::trace::TraceContext;

const MICROS: i64 = 1_000_000;

thread_local! {
    /// A cache of the current second and its text: most reports arrive in the same second as the one before.
    static SECOND: RefCell<(Option<i64>, String)> = const { RefCell::new((None, String::new())) };
}

/// The time when a report's head was complete, and the report's trace.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The arrival time; events carry it in microseconds, record timestamps in milliseconds.
    pub at: Timestamp,
    /// The W3C trace context of the request, if it has a valid one.
    pub trace: Option<TraceContext>,
}

impl Arrival {
    /// Returns the id of the report's trace.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.trace.as_ref().map(TraceContext::id)
    }

    /// Returns the time in RFC 3339, in UTC, with exactly six decimals, as in `received_at` and `ce_time`.
    #[must_use]
    pub fn time(&self) -> String {
        let micros = self.at.as_microsecond();
        let second = micros.div_euclid(MICROS);
        SECOND.with_borrow_mut(|(known, text)| {
            if *known != Some(second) {
                let start = Timestamp::from_second(second).expect("a second of a known time");
                (*known, *text) = (Some(second), format!("{start:.0}"));
            }
            let mut time = String::with_capacity(text.len() + ".000000".len());
            time.push_str(text.trim_end_matches('Z'));
            time.push('.');
            let fraction = u32::try_from(micros.rem_euclid(MICROS)).unwrap_or_default();
            for unit in [100_000, 10_000, 1000, 100, 10, 1] {
                time.extend(char::from_digit(fraction / unit % 10, 10));
            }
            time.push('Z');
            time
        })
    }
}

/// The complete, unvalidated body from an authenticated sender.
#[derive(Debug)]
pub struct Received {
    channel: ChannelId,
    arrival: Arrival,
    body: Vec<u8>,
}

impl Received {
    /// Only [`super::Authenticated::sent`] calls this, and [`super::redrive`] for reports that were authenticated when
    /// they arrived.
    pub(super) fn new(channel: ChannelId, arrival: Arrival, body: Vec<u8>) -> Self {
        Self {
            channel,
            arrival,
            body,
        }
    }

    /// Validates the body.
    ///
    /// # Errors
    /// The first breach of the contract. The caller then calls [`Received::reject`].
    pub fn validate(&self) -> Result<Report<'_>, Fault> {
        Report::parse(&self.channel, &self.arrival, &self.body)
    }

    /// Returns the fault of a request with an unsupported Content-Type or Content-Encoding. The fault has the first 256
    /// characters of the header's `value`.
    #[must_use]
    pub fn unsupported(&self, reason: Reason, value: String) -> Fault {
        let message_id = match self.validate() {
            Ok(report) => Some(report.message_id.into_owned()),
            Err(fault) => fault.message_id,
        };
        let value: String = value.chars().take(MAX_CHARACTERS).collect();
        Fault {
            header_value: Some(value).filter(|value| !value.is_empty()),
            ..Fault::of_body(reason).with_message_id(message_id)
        }
    }

    /// Creates the record for the rejected topic, with the complete body.
    #[must_use]
    pub fn reject(self, fault: Fault) -> Rejected {
        Rejected::new(self.channel, self.arrival, self.body, fault)
    }
}

/// Returns a body that the sender of channel `c1` sent at 2026-11-18T11:06:40.000456Z.
#[cfg(test)]
pub(super) fn from_a_sender(body: &[u8], trace: Option<TraceContext>) -> Received {
    use super::{Channels, Password};
    let mut channels = Channels::default();
    let channel = ChannelId::parse("c1").expect("a channel id");
    channels.insert(channel, Password::parse(b"p").expect("a password"), None);
    let sender = channels
        .authenticate("c1", Some(b"p"), Timestamp::UNIX_EPOCH)
        .expect("authenticated");
    let at = Timestamp::from_microsecond(1_795_000_000_000_456).expect("a time");
    sender.sent(Arrival { at, trace }, body.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &[u8] = br#"{"message_id":"m1","sender":"s","user_number":"u","status":"read"}"#;

    #[test]
    fn a_header_fault_has_a_valid_message_id_of_the_body() {
        for (body, message_id) in [
            (SOUND, Some("m1")),
            (br#"{"message_id":"m2","status":"new"}"#, Some("m2")),
            (br#"{"message_id":""}"#, None),
            (b"message_id=m3", None),
            (b"\x1f\x8b\x08", None),
        ] {
            let fault =
                from_a_sender(body, None).unsupported(Reason::ContentType, "text/plain".to_owned());
            let expected = Fault {
                reason: Reason::ContentType,
                member: None,
                message_id: message_id.map(str::to_owned),
                header_value: Some("text/plain".to_owned()),
            };
            assert_eq!(fault, expected);
        }
    }

    #[test]
    fn a_header_fault_has_the_first_characters_of_the_header() {
        let value = |value: String| {
            let received = from_a_sender(SOUND, None);
            let fault = received.unsupported(Reason::ContentEncoding, value);
            fault.header_value
        };
        assert_eq!(value(String::new()), None);
        assert_eq!(value("gzip".to_owned()), Some("gzip".to_owned()));
        for character in ["x", "é", "😀"] {
            let [whole, cut] = [257, 256].map(|count| character.repeat(count));
            assert_eq!(value(cut.clone()), Some(cut.clone()));
            assert_eq!(value(whole), Some(cut));
        }
    }
}
