//! Phone numbers made unreadable, for people who only want to see that reports come.

use std::borrow::Cow;

use serde_json::Value;

use crate::contract::RecordRef;

/// Members that hold no number, in events, in their envelopes and in reports.
const PLAIN: [&str; 17] = [
    "event_id",
    "provider",
    "channel",
    "channel_id",
    "message_id",
    "status",
    "received_at",
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "subject",
    "dataschema",
    "datacontenttype",
    "extra",
    "data",
];

/// A number, or what stands for one, with its middle hidden: `86187xxxx5632`.
pub(super) fn number(text: &str) -> String {
    let characters: Vec<char> = text.chars().filter(|c| !c.is_control()).collect();
    // At least half of it is hidden.
    let (front, back) = match characters.len() {
        0..8 => (0, 0),
        8..12 => (2, 2),
        _ => (4, 2),
    };
    let hidden = characters.len() - front - back;
    let masked = |(at, c): (usize, &char)| {
        let is_hidden = (front..front + hidden).contains(&at);
        if is_hidden { 'x' } else { *c }
    };
    characters.iter().enumerate().map(masked).collect()
}

/// The record with every value masked that could be a number; a value that is no JSON is left out.
pub(super) fn record<'a>(record: &'a RecordRef<'_>) -> RecordRef<'a> {
    let value = record.value.as_deref().map(|value| {
        let masked = serde_json::from_slice(value).map(|value| object(value, true).to_string());
        let masked = masked.unwrap_or_else(|_| format!("({} bytes, not shown)", value.len()));
        Cow::Owned(masked.into_bytes())
    });
    RecordRef {
        value,
        ..record.clone()
    }
}

/// `knows`: the names of the members are the contract's here, not a sender's own.
fn object(value: Value, knows: bool) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| {
                let is_known = knows && PLAIN.contains(&name.as_str());
                let value = match value {
                    Value::Object(_) => object(value, is_known && name == "data"),
                    value if is_known => value,
                    value => object(value, false),
                };
                (name, value)
            });
            Value::Object(members.collect())
        }
        Value::Array(values) => values
            .into_iter()
            .map(|value| object(value, false))
            .collect(),
        Value::String(text) => Value::String(number(&text)),
        Value::Number(_) => Value::String("x".to_owned()),
        plain @ (Value::Bool(_) | Value::Null) => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(value: &str) -> String {
        let plain = RecordRef {
            value: Some(Cow::Borrowed(value.as_bytes())),
            ..RecordRef::default()
        };
        let masked = record(&plain).value.expect("a value").into_owned();
        String::from_utf8(masked).expect("text")
    }

    #[test]
    fn at_least_half_of_a_number_is_hidden() {
        for (plain, hidden) in [
            ("8618712345632", "8618xxxxxxx32"),
            ("BR.1502576394655843", "BR.1xxxxxxxxxxxxx43"),
            ("12345678", "12xxxx78"),
            ("1234567", "xxxxxxx"),
            ("", ""),
        ] {
            assert_eq!(number(plain), hidden);
        }
    }

    #[test]
    fn an_event_keeps_what_is_no_number() {
        assert_eq!(
            masked(
                r#"{"message_id":"86187123456","sender":"86173123456","status":"read","extra":{"status":"86187123456","n":[86187123456,true]}}"#
            ),
            r#"{"extra":{"n":["x",true],"status":"86xxxxxxx56"},"message_id":"86187123456","sender":"86xxxxxxx56","status":"read"}"#
        );
        assert_eq!(
            masked(r#"{"id":"i","data":{"recipient":"86187123456","channel_id":"c"}}"#),
            r#"{"data":{"channel_id":"c","recipient":"86xxxxxxx56"},"id":"i"}"#
        );
    }

    #[test]
    fn a_body_that_is_no_json_is_not_shown() {
        assert_eq!(masked("user_number=86187123456"), "(23 bytes, not shown)");
    }
}
