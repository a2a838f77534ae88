//! The id of the events' schema in a schema registry, for a record's header.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use uuid::Uuid;

use super::record::Header;

/// The header from which Confluent's clients read the id.
pub const SCHEMA_ID_HEADER: &str = "__value_schema_id";

/// The largest number that a registry assigns.
pub const LARGEST_SCHEMA_NUMBER: u32 = i32::MAX as u32;

/// The id of a schema in a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaId {
    /// A number, unique within one registry.
    Number(u32),
    /// A GUID, the same in every registry that contains the schema.
    Guid(Uuid),
}

/// The error for a text that is neither a GUID nor a number that a registry can assign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("neither a GUID nor a number from 1 to {LARGEST_SCHEMA_NUMBER}")]
pub struct InvalidSchemaId;

impl SchemaId {
    /// Returns the header for a record whose value has this schema. As Confluent's clients expect, it is a byte for the
    /// kind of the id, followed by the id in network order.
    pub(super) fn to_header(self) -> Header {
        let value = match self {
            Self::Number(number) => [&[0], &number.to_be_bytes()[..]].concat(),
            Self::Guid(guid) => [&[1], &guid.as_bytes()[..]].concat(),
        };
        (SCHEMA_ID_HEADER.into(), value.into())
    }
}

impl FromStr for SchemaId {
    type Err = InvalidSchemaId;

    fn from_str(text: &str) -> Result<Self, InvalidSchemaId> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let id = if is_number {
            let number = text.parse().ok();
            let number = number.filter(|number| (1..=LARGEST_SCHEMA_NUMBER).contains(number));
            number.map(Self::Number)
        } else {
            let guid = text.parse::<uuid::fmt::Hyphenated>().ok();
            guid.map(|guid| Self::Guid(guid.into_uuid()))
        };
        id.ok_or(InvalidSchemaId)
    }
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Guid(guid) => guid.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "89791762-2336-4186-9674-299b90a802e2";

    fn header(id: &str) -> Vec<u8> {
        let (name, value) = id.parse::<SchemaId>().expect("an id").to_header();
        assert_eq!(name, "__value_schema_id");
        value.as_bytes().to_vec()
    }

    #[test]
    fn a_number_is_a_zero_and_four_bytes_in_network_order() {
        assert_eq!(header("1"), [0, 0, 0, 0, 1]);
        assert_eq!(header("16909060"), [0, 1, 2, 3, 4]);
        assert_eq!(header("2147483647"), [0, 0x7f, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn a_guid_is_a_one_and_its_sixteen_bytes_in_network_order() {
        let bytes = [
            1, 0x89, 0x79, 0x17, 0x62, 0x23, 0x36, 0x41, 0x86, 0x96, 0x74, 0x29, 0x9b, 0x90, 0xa8,
            0x02, 0xe2,
        ];
        assert_eq!(header(GUID), bytes);
        assert_eq!(header(&GUID.to_uppercase()), bytes);
    }

    #[test]
    fn an_id_is_displayed_as_it_was_parsed() {
        for text in ["1", "2147483647", GUID] {
            assert_eq!(
                text.parse::<SchemaId>().map(|id| id.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "",
            "0",
            "-1",
            "+1",
            "1.0",
            "2147483648",
            "99999999999999999999",
            "89791762233641869674299b90a802e2",
            "{89791762-2336-4186-9674-299b90a802e2}",
            "89791762-2336-4186-9674-299b90a802e",
            "reports-value",
        ] {
            assert_eq!(text.parse::<SchemaId>(), Err(InvalidSchemaId), "{text}");
        }
    }
}
