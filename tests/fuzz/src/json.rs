//! Two JSON parsers that the bridge does not use: into a tree that keeps duplicate members, and into raw text that is
//! split at its commas.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value with the details that matter to the contract.
pub enum Tree {
    /// Null, a boolean or a number.
    Scalar,
    Text(String),
    Array(Vec<Tree>),
    /// Members in their order, duplicates included.
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// Returns 0 for a scalar or a text, 1 for a flat array or object.
    pub fn depth(&self) -> usize {
        let deepest = match self {
            Self::Scalar | Self::Text(_) => return 0,
            Self::Array(values) => values.iter().map(Self::depth).max(),
            Self::Object(members) => members.iter().map(|(_, value)| value.depth()).max(),
        };
        1 + deepest.unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Scalar)
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Tree, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = array.next_element()? {
            values.push(value);
        }
        Ok(Tree::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Tree, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = object.next_entry()? {
            members.push(member);
        }
        Ok(Tree::Object(members))
    }
}

/// Returns the raw text of each name and each value of a well-formed object.
pub fn raw_members(object: &str) -> Vec<(&str, &str)> {
    let inner = object.trim().strip_prefix('{');
    let inner = inner.and_then(|inner| inner.strip_suffix('}'));
    let inner = inner.expect("an object");
    if inner.trim().is_empty() {
        return Vec::new();
    }
    let members = split(inner, b',').into_iter();
    members
        .map(|member| match split(member, b':')[..] {
            [name, value] => (name, value),
            _ => panic!("not a member: {member}"),
        })
        .collect()
}

/// Splits JSON text at separators that are neither in a string nor in brackets.
fn split(text: &str, separator: u8) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    let (mut is_string, mut is_escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_string = !is_string,
            _ if is_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ if byte == separator && depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}
