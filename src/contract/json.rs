//! Parses the top level of a JSON object into raw text, so that unknown members stay unchanged.
//!
//! `serde_json` checks the grammar of the whole text. Names are only decoded to compare them.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// One member of an object: the raw text of its name, with quotes, and of its value.
pub(crate) struct Member<'a> {
    pub(crate) raw_name: &'a str,
    pub(crate) raw_value: &'a str,
    /// The decoded name, in which a lone surrogate is three bytes of generalised UTF-8.
    pub(crate) name: Cow<'a, [u8]>,
}

/// The reason why a text is not a JSON object.
pub(crate) enum JsonError {
    NotJson,
    NotAnObject,
}

/// Returns the members of the JSON object `text` in their order, including duplicates.
pub(crate) fn members(text: &str) -> Result<Vec<Member<'_>>, JsonError> {
    match serde_json::from_str::<RawMembers<'_>>(text) {
        Ok(RawMembers(members)) => Ok(members),
        Err(_) if serde_json::from_str::<&RawValue>(text).is_ok() => Err(JsonError::NotAnObject),
        Err(_) => Err(JsonError::NotJson),
    }
}

/// Up to this number of names are compared in pairs.
const FEW: usize = 16;

/// Returns a name that occurs more than once, if there is one.
pub(super) fn duplicate<'m>(members: &'m [Member<'_>]) -> Option<&'m [u8]> {
    if members.len() <= FEW {
        let is_repeated = |at: usize, name: &[u8]| members[..at].iter().any(|m| *m.name == *name);
        let mut all = members.iter().enumerate();
        return all.find_map(|(at, m)| is_repeated(at, &m.name).then_some(&*m.name));
    }
    // A body can have thousands of members: sorting them is faster than comparing each pair.
    let mut names: Vec<&[u8]> = members.iter().map(|member| &*member.name).collect();
    names.sort_unstable();
    names
        .windows(2)
        .find(|pair| pair[0] == pair[1])
        .map(|pair| pair[0])
}

/// Returns whether a well-formed JSON value nests `limit` deep or deeper.
pub(super) fn is_as_deep_as(limit: usize, raw_value: &str) -> bool {
    // Each level needs two brackets, and a scalar starts with none.
    let can_be = raw_value.len() >= 2 * limit && raw_value.starts_with(['{', '[']);
    can_be && depth(raw_value) >= limit
}

/// Returns how deep a well-formed JSON value nests: 0 for a scalar, 1 for a flat array or object.
fn depth(raw_value: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = raw_value.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    deepest
}

fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => _ = bytes.next(),
            _ => {}
        }
    }
}

/// Decodes a JSON string; borrows it if it has no escapes. Returns `None` if it contains a lone surrogate, which a Rust
/// string can't represent.
pub(super) fn decode(raw_string: &str) -> Option<Cow<'_, str>> {
    if has_escape(raw_string) {
        serde_json::from_str(raw_string).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(unquoted(raw_string)))
    }
}

/// Returns whether a JSON string contains an escape.
fn has_escape(raw_string: &str) -> bool {
    // For a short text, checking all bytes is faster than stopping at the first escape.
    let is_escape = |found, byte| found || byte == b'\\';
    raw_string.bytes().fold(false, is_escape)
}

fn unquoted(raw_string: &str) -> &str {
    &raw_string[1..raw_string.len() - 1]
}

struct RawMembers<'a>(Vec<Member<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for RawMembers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = RawMembers<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(8);
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            members.push(Member {
                raw_name: name.get(),
                raw_value: value.get(),
                name: decode_name(name.get()),
            });
        }
        Ok(RawMembers(members))
    }
}

fn decode_name(raw_name: &str) -> Cow<'_, [u8]> {
    if !has_escape(raw_name) {
        return Cow::Borrowed(unquoted(raw_name).as_bytes());
    }
    let Bytes(name) = serde_json::from_str(raw_name).expect("the grammar was checked");
    Cow::Owned(name)
}

/// A JSON string as bytes: `serde_json` accepts lone surrogates only in bytes.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes(bytes.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<Vec<u8>> {
        let members = members(text).unwrap_or_else(|_| panic!("{text} is an object"));
        members
            .into_iter()
            .map(|member| member.name.into_owned())
            .collect()
    }

    #[test]
    fn names_and_values_keep_their_text() {
        let text = "{ \"a\\u0062\" : 1e400 ,\"c\":{ \"d\" : [ 0.10 ] }}";
        let members = members(text).unwrap_or_else(|_| panic!("an object"));
        let raw: Vec<_> = members.iter().map(|m| (m.raw_name, m.raw_value)).collect();
        assert_eq!(
            raw,
            [("\"a\\u0062\"", "1e400"), ("\"c\"", "{ \"d\" : [ 0.10 ] }")]
        );
    }

    #[test]
    fn names_are_compared_as_decoded() {
        let members = members(r#"{"ab":1,"a\u0062":2}"#).unwrap_or_else(|_| panic!("an object"));
        assert_eq!(duplicate(&members), Some(&b"ab"[..]));
    }

    #[test]
    fn a_repeated_name_is_found_among_few_and_among_many_members() {
        for count in [1, 2, FEW - 1, FEW, FEW + 1, 100] {
            let sound: Vec<_> = (0..count).map(|at| format!(r#""n{at}":1,"#)).collect();
            let sound = sound.concat();
            for name in [
                "n0".to_owned(),
                format!("n{}", count - 1),
                "other".to_owned(),
            ] {
                let text = format!(r#"{{{sound}"{name}":2}}"#);
                let members = members(&text).unwrap_or_else(|_| panic!("an object"));
                let repeated = (name != "other").then_some(name.as_bytes());
                assert_eq!(duplicate(&members), repeated, "{text}");
            }
        }
    }

    #[test]
    fn a_lone_surrogate_in_a_name_is_accepted() {
        assert_eq!(
            names(r#"{"\ud800":1,"\udc00":2}"#),
            [b"\xed\xa0\x80", b"\xed\xb0\x80"]
        );
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        for (value, expected) in [
            ("1", 0),
            (r#""[[\"[[""#, 0),
            ("[]", 1),
            (r#"{"a":[1,{"]":2}]}"#, 3),
            (r#"["\\",[]]"#, 2),
            // Siblings do not add to the depth.
            (r#"[[],{},[],{"a":{}}]"#, 3),
        ] {
            assert_eq!(depth(value), expected, "{value}");
            for limit in 1..=4 {
                assert_eq!(is_as_deep_as(limit, value), limit <= expected, "{value}");
            }
        }
    }
}
