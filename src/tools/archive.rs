//! Records as JSON lines. `replay`, `tail` and `spool export` print them, and `replay` reads them.
//!
//! A line contains a complete record. Bytes that are not UTF-8 are written as hexadecimal digits under a separate
//! name.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::io::{self, BufRead};

use jiff::Timestamp;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::replay::Position;
use crate::contract::{HeaderRef, RecordRef};

/// A record and its position.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The record's topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// `null` if the record has no partition yet.
    #[serde(default)]
    pub partition: Option<u32>,
    /// Its offset, if it was read from the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Its number in its lane, if it was read from a spool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// `due`, `quarantined` or `set aside`, if it was read from a spool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Cow<'static, str>>,
    /// Whether phone numbers were masked, so that the record differs from the one on the topic.
    #[serde(default, skip_serializing_if = "is_false")]
    pub masked: bool,
    #[serde(default)]
    timestamp: Option<Time>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_hex: Option<Hex>,
    #[serde(default)]
    headers: Headers,
    #[serde(default)]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_hex: Option<Hex>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Line {
    /// Returns the line of a record, without its position.
    #[must_use]
    pub fn of(record: &RecordRef<'_>) -> Self {
        let (key, key_hex) = text_or_hex(record.key.as_deref());
        let (value, value_hex) = text_or_hex(record.value.as_deref());
        Self {
            timestamp: record.timestamp.map(Time::of),
            key,
            key_hex,
            headers: Headers::of(record),
            value,
            value_hex,
            ..Self::default()
        }
    }

    /// Sets the record's position.
    #[must_use]
    pub fn at(mut self, position: Option<Position<'_>>) -> Self {
        self.topic = position.map(|position| position.topic.to_owned());
        self.partition = position.map(|position| position.partition);
        self.offset = position.map(|position| position.offset);
        self
    }

    /// Returns the record of the line.
    #[must_use]
    pub fn record(&self) -> RecordRef<'_> {
        let bytes = |text: &'_ Option<String>, hex: &'_ Option<Hex>| -> Option<Vec<u8>> {
            let hex = hex.as_ref().map(|hex| hex.0.clone());
            hex.or_else(|| text.clone().map(String::into_bytes))
        };
        RecordRef {
            key: bytes(&self.key, &self.key_hex).map(Cow::Owned),
            headers: self.headers.all(),
            value: bytes(&self.value, &self.value_hex).map(Cow::Owned),
            timestamp: self.timestamp.map(Time::as_millisecond),
        }
    }

    /// Writes the line and a newline.
    ///
    /// # Errors
    /// If writing to `out` fails.
    pub fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }
}

fn text_or_hex(bytes: Option<&[u8]>) -> (Option<String>, Option<Hex>) {
    match bytes.map(str::from_utf8) {
        None => (None, None),
        Some(Ok(text)) => (Some(text.to_owned()), None),
        Some(Err(_)) => (None, bytes.map(|bytes| Hex(bytes.to_vec()))),
    }
}

/// Reads lines, and skips empty ones.
///
/// # Errors
/// For each line that can't be parsed. The message has its number; the first is 1.
pub fn lines(input: impl BufRead) -> impl Iterator<Item = Result<Line, String>> {
    let numbered = input.lines().enumerate();
    let read = numbered.map(|(at, line)| -> Result<Option<Line>, String> {
        let line = line.map_err(|error| format!("line {}: {error}", at + 1))?;
        if line.trim().is_empty() {
            return Ok(None);
        }
        let line = serde_json::from_str(&line);
        line.map(Some).map_err(|error| {
            format!(
                "line {}: not a record as koobridge writes it: {error} (columns count within this line)",
                at + 1
            )
        })
    });
    read.filter_map(Result::transpose)
}

/// A record's timestamp: in RFC 3339, or in milliseconds since 1970 if the year has more than four digits, for
/// example if a producer wrote microseconds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Time {
    Written(Timestamp),
    Milliseconds(i64),
}

impl Time {
    fn of(milliseconds: i64) -> Self {
        Timestamp::from_millisecond(milliseconds)
            .map_or(Self::Milliseconds(milliseconds), Self::Written)
    }

    fn as_millisecond(self) -> i64 {
        match self {
            Self::Written(time) => time.as_millisecond(),
            Self::Milliseconds(milliseconds) => milliseconds,
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hex(Vec<u8>);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |digit: u8| char::from_digit(digit.into(), 16).expect("four bits");
        let digits: String = self
            .0
            .iter()
            .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
            .collect();
        serializer.serialize_str(&digits)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let byte = |pair: &[u8; 2]| {
            let digits = str::from_utf8(pair).ok()?;
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_hex
                .then(|| u8::from_str_radix(digits, 16).ok())
                .flatten()
        };
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        let bytes = bytes.filter(|_| rest.is_empty());
        bytes
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("expected pairs of hexadecimal digits"))
    }
}

/// Header names and values, in their order.
///
/// Written as an object if each name occurs once, otherwise as an array of pairs: most programs would lose values of
/// an object with a repeated name. Both forms can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Headers(Vec<(String, HeaderValue)>);

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum HeaderValue {
    Text(String),
    Bytes { hex: Hex },
    Null(()),
}

impl HeaderValue {
    fn of(value: Option<&[u8]>) -> Self {
        match text_or_hex(value) {
            (Some(text), _) => Self::Text(text),
            (_, Some(hex)) => Self::Bytes { hex },
            _ => Self::Null(()),
        }
    }

    fn bytes(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text.as_bytes())),
            Self::Bytes { hex } => Some(Cow::Borrowed(&hex.0)),
            Self::Null(()) => None,
        }
    }
}

impl Headers {
    fn of(record: &RecordRef<'_>) -> Self {
        let headers = record.headers.iter();
        let owned = headers.map(|(name, value)| {
            let value = HeaderValue::of(value.as_deref());
            (name.to_string(), value)
        });
        Self(owned.collect())
    }

    fn all(&self) -> Vec<HeaderRef<'_>> {
        let headers = self.0.iter();
        headers
            .map(|(name, value)| (Cow::Borrowed(name.as_str()), value.bytes()))
            .collect()
    }

    fn has_repeated_name(&self) -> bool {
        let mut names = HashSet::new();
        !self.0.iter().all(|(name, _)| names.insert(name))
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.has_repeated_name() {
            return serializer.collect_seq(&self.0);
        }
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of headers or an array of their names and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = Vec::new();
                while let Some(header) = map.next_entry()? {
                    headers.push(header);
                }
                Ok(Headers(headers))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Headers, A::Error> {
                let mut headers = Vec::new();
                while let Some(header) = pairs.next_element()? {
                    headers.push(header);
                }
                Ok(Headers(headers))
            }
        }
        deserializer.deserialize_any(InOrder)
    }
}

#[cfg(test)]
mod tests;
