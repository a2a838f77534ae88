//! Faults of authenticated requests: the reason's code, the wrong member or header, and a sentence for the sender.

use std::borrow::Cow;

/// The reason why an authenticated, complete request is not a valid report. The codes are part of the contract: problem
/// documents, the `reason` header of rejected records, and metrics contain them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The Content-Type is not the one of the contract.
    ContentType,
    /// The body has a Content-Encoding, for example a compression.
    ContentEncoding,
    InvalidUtf8,
    NotJson,
    TooDeep,
    NotAnObject,
    DuplicateMember,
    MemberMissing,
    MemberNotAString,
    MemberLoneSurrogate,
    MemberEmpty,
    MemberTooLong,
    MemberControlCharacter,
    /// The report is valid, except that this version does not know its status.
    UnknownStatus,
}

impl Reason {
    pub const ALL: [Self; 14] = [
        Self::ContentType,
        Self::ContentEncoding,
        Self::InvalidUtf8,
        Self::NotJson,
        Self::TooDeep,
        Self::NotAnObject,
        Self::DuplicateMember,
        Self::MemberMissing,
        Self::MemberNotAString,
        Self::MemberLoneSurrogate,
        Self::MemberEmpty,
        Self::MemberTooLong,
        Self::MemberControlCharacter,
        Self::UnknownStatus,
    ];

    /// Returns the code, as in `urn:koobridge:problem:CODE`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::ContentType => "content-type",
            Self::ContentEncoding => "content-encoding",
            Self::InvalidUtf8 => "invalid-utf8",
            Self::NotJson => "not-json",
            Self::TooDeep => "too-deep",
            Self::NotAnObject => "not-an-object",
            Self::DuplicateMember => "duplicate-member",
            Self::MemberMissing => "member-missing",
            Self::MemberNotAString => "member-not-a-string",
            Self::MemberLoneSurrogate => "member-lone-surrogate",
            Self::MemberEmpty => "member-empty",
            Self::MemberTooLong => "member-too-long",
            Self::MemberControlCharacter => "member-control-character",
            Self::UnknownStatus => "unknown-status",
        }
    }

    /// Returns a sentence for the operators of the sender.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Self::ContentType => {
                "The Content-Type must be application/json, with charset UTF-8 or none."
            }
            Self::ContentEncoding => "The only Content-Encoding that is accepted is identity.",
            Self::InvalidUtf8 => "The body is not valid UTF-8.",
            Self::NotJson => "The body is not valid JSON.",
            Self::TooDeep => "The body is nested deeper than 64 levels.",
            Self::NotAnObject => "The body is not a JSON object.",
            Self::DuplicateMember => "A member of the report occurs more than once.",
            Self::MemberMissing => "A mandatory member is missing.",
            Self::MemberNotAString => "A mandatory member is not a string.",
            Self::MemberLoneSurrogate => "A mandatory member contains an unpaired surrogate.",
            Self::MemberEmpty => "A mandatory member is empty.",
            Self::MemberTooLong => "A mandatory member is longer than 256 characters.",
            Self::MemberControlCharacter => "A mandatory member contains a control character.",
            Self::UnknownStatus => "The status is unknown to this version.",
        }
    }
}

/// A breach of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub reason: Reason,
    /// The name of the wrong member, if there is one; never its value.
    pub member: Option<Cow<'static, str>>,
    /// The `message_id`, if the body contains a valid one: the key of the rejected record.
    pub message_id: Option<String>,
    /// The value of the request header that [`Reason::ContentType`] or [`Reason::ContentEncoding`] names, if
    /// the request had it.
    pub header_value: Option<String>,
}

impl Fault {
    pub(super) fn of_body(reason: Reason) -> Self {
        Self {
            reason,
            member: None,
            message_id: None,
            header_value: None,
        }
    }

    pub(super) fn of_member(reason: Reason, member: &'static str) -> Self {
        Self {
            reason,
            member: Some(member.into()),
            message_id: None,
            header_value: None,
        }
    }

    pub(super) fn with_message_id(self, message_id: Option<String>) -> Self {
        Self { message_id, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::contract::{MAX_CHARACTERS, MAX_DEPTH};

    #[test]
    fn each_reason_has_a_unique_code_and_sentence() {
        let codes: HashSet<_> = Reason::ALL.map(Reason::code).into();
        let details: HashSet<_> = Reason::ALL.map(Reason::detail).into();
        assert_eq!([codes.len(), details.len()], [Reason::ALL.len(); 2]);
        for detail in details {
            assert!(detail.starts_with(char::is_uppercase) && detail.ends_with('.'));
        }
    }

    #[test]
    fn the_sentences_name_the_limits_in_force() {
        let has = |reason: Reason, limit: usize| reason.detail().contains(&format!(" {limit} "));
        assert!(has(Reason::TooDeep, MAX_DEPTH));
        assert!(has(Reason::MemberTooLong, MAX_CHARACTERS));
    }
}
