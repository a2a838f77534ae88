//! Masks phone numbers, for people who only want to see that reports arrive.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::contract::{RecordRef, json};

/// Replaces a JSON number.
const HIDDEN: &str = "\"x\"";
/// The deepest JSON nesting that is shown.
const MAX_LEVELS: usize = 128;

/// Members that contain no phone number, in events, in their envelopes and in reports.
const PLAIN: [&str; 15] = [
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
];

/// Hides the middle of a phone number or user id: `8618xxxxxxx32`.
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

/// Returns the record with every possible phone number in its JSON masked. If the value is not JSON, only its length is
/// shown.
pub(super) fn record<'a>(record: &'a RecordRef<'_>) -> RecordRef<'a> {
    let value = record.value.as_deref().map(|value| {
        let json = serde_json::from_slice::<&RawValue>(value).ok();
        let masked = json.and_then(|json| masked(json.get(), true, MAX_LEVELS));
        let masked = masked.unwrap_or_else(|| format!("({} bytes, not shown)", value.len()));
        Cow::Owned(masked.into_bytes())
    });
    RecordRef {
        value,
        ..record.clone()
    }
}

/// Masks a JSON text; `None` if it nests deeper than `levels`.
///
/// Numbers and strings stay text, because an event can contain values that no Rust type can represent. `is_contract`
/// means that the contract defines the member names at this level, and not the sender.
fn masked(json: &str, is_contract: bool, levels: usize) -> Option<String> {
    let levels = levels.checked_sub(1)?;
    match json.as_bytes().first()? {
        b'{' => object(json, is_contract, levels),
        b'[' => {
            let values: Vec<&RawValue> = serde_json::from_str(json).ok()?;
            let values = values.iter();
            let values = values.map(|value| masked(value.get(), false, levels));
            Some(format!(
                "[{}]",
                values.collect::<Option<Vec<_>>>()?.join(",")
            ))
        }
        b'"' => Some(string(json)),
        b't' | b'f' | b'n' => Some(json.to_owned()),
        _ => Some(HIDDEN.to_owned()),
    }
}

fn object(json: &str, is_contract: bool, levels: usize) -> Option<String> {
    let members = json::members(json).ok()?;
    let members = members.iter().map(|member| {
        let is_plain = PLAIN.iter().any(|name| name.as_bytes() == &*member.name);
        let is_nested = member.raw_value.starts_with(['{', '[']);
        let value = if is_contract && is_plain && !is_nested {
            member.raw_value.to_owned()
        } else {
            masked(
                member.raw_value,
                is_contract && *member.name == *b"data",
                levels,
            )?
        };
        Some(format!("{}:{value}", member.raw_name))
    });
    Some(format!(
        "{{{}}}",
        members.collect::<Option<Vec<_>>>()?.join(",")
    ))
}

/// Masks a JSON string; hides all of it if it contains an unpaired surrogate.
fn string(json: &str) -> String {
    serde_json::from_str(json).map_or_else(
        |_| HIDDEN.to_owned(),
        |text: String| Value::String(number(&text)).to_string(),
    )
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
    fn an_event_keeps_the_members_that_contain_no_number() {
        assert_eq!(
            masked(
                r#"{"message_id":"86187123456","sender":"86173123456","status":"read","extra":{"status":"86187123456","n":[86187123456,true]}}"#
            ),
            r#"{"message_id":"86187123456","sender":"86xxxxxxx56","status":"read","extra":{"status":"86xxxxxxx56","n":["x",true]}}"#
        );
        assert_eq!(
            masked(r#"{"id":"i","data":{"recipient":"86187123456","channel_id":"c"}}"#),
            r#"{"id":"i","data":{"recipient":"86xxxxxxx56","channel_id":"c"}}"#
        );
    }

    #[test]
    fn every_value_of_extra_is_masked() {
        let value = |extra: &str| format!(r#"{{"status":"read","extra":{extra}}}"#);
        let digits = "7".repeat(5000);
        for (extra, expected) in [
            (format!("{digits} "), r#""x""#),
            (
                format!(r#"{{"a": -0.{digits}, "a" : 1e999999}}"#),
                r#"{"a":"x","a":"x"}"#,
            ),
            (r#"["\ud800", "\u0000"]"#.to_owned(), r#"["x",""]"#),
            (r#"{"\ud800":null}"#.to_owned(), r#"{"\ud800":null}"#),
        ] {
            assert_eq!(masked(&value(&extra)), value(expected));
        }
    }

    #[test]
    fn a_known_member_with_an_unexpected_type_is_masked() {
        for (name, value, expected) in [
            ("status", r#"["86187123456"]"#, r#"["86xxxxxxx56"]"#),
            ("id", r#"{"id":"86187123456"}"#, r#"{"id":"86xxxxxxx56"}"#),
            ("extra", r#""86187123456""#, r#""86xxxxxxx56""#),
            ("data", "86187123456", r#""x""#),
        ] {
            let masked = masked(&format!(r#"{{"{name}":{value}}}"#));
            assert_eq!(masked, format!(r#"{{"{name}":{expected}}}"#));
        }
    }

    #[test]
    fn a_value_that_is_not_json_or_too_deep_is_not_shown() {
        assert_eq!(masked("user_number=86187123456"), "(23 bytes, not shown)");
        let nested = |levels| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(masked(&nested(MAX_LEVELS)), nested(MAX_LEVELS));
        assert_eq!(masked(&nested(100_000)), "(200000 bytes, not shown)");
    }
}
