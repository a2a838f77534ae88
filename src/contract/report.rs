//! The status report from KooMessage, validated by the interface document's table 3.

use std::borrow::Cow;

use super::channel::ChannelId;
use super::event::{Event, EventFormat};
use super::fault::{Fault, Reason};
use super::json::{self, JsonError, Member};
use super::received::Arrival;

/// The longest mandatory member, in Unicode scalar values. The interface document specifies no limit; its identifiers
/// have 33 characters.
pub const MAX_CHARACTERS: usize = 256;

/// The deepest nesting of a body; the report object itself counts as one level.
pub const MAX_DEPTH: usize = 64;

/// The status of a message, as in the interface document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Delivered,
    Read,
    Failed,
}

impl Status {
    pub const ALL: [Self; 3] = [Self::Delivered, Self::Read, Self::Failed];

    /// Returns the status as in reports and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// A valid report. It borrows from the body.
#[derive(Debug)]
pub struct Report<'a> {
    pub(super) channel: &'a ChannelId,
    pub(super) arrival: &'a Arrival,
    pub(super) message_id: Cow<'a, str>,
    pub(super) sender: Cow<'a, str>,
    pub(super) user_number: Cow<'a, str>,
    pub(super) status: Status,
    /// The members that are not part of the contract: the raw text of each name and value.
    pub(super) extra: Vec<(&'a str, &'a str)>,
}

impl<'a> Report<'a> {
    /// Only [`super::Received::validate`] calls this.
    pub(super) fn parse(
        channel: &'a ChannelId,
        arrival: &'a Arrival,
        body: &'a [u8],
    ) -> Result<Self, Fault> {
        let text = str::from_utf8(body).map_err(|_| Fault::of_body(Reason::InvalidUtf8))?;
        let members = json::members(text).map_err(|no| match no {
            JsonError::NotJson => Fault::of_body(Reason::NotJson),
            JsonError::NotAnObject => Fault::of_body(Reason::NotAnObject),
        })?;
        if members
            .iter()
            .any(|member| json::is_as_deep_as(MAX_DEPTH, member.raw_value))
        {
            return Err(
                Fault::of_body(Reason::TooDeep).with_message_id(unique_message_id(&members))
            );
        }
        if let Some(name) = json::duplicate(&members) {
            return Err(duplicate_member(&members, name));
        }
        Self::of_members(channel, arrival, &members)
    }

    fn of_members(
        channel: &'a ChannelId,
        arrival: &'a Arrival,
        members: &[Member<'a>],
    ) -> Result<Self, Fault> {
        let message_id = string(members, "message_id")?;
        let keyed = |fault: Fault| fault.with_message_id(Some(message_id.clone().into_owned()));
        let sender = string(members, "sender").map_err(keyed)?;
        let user_number = string(members, "user_number").map_err(keyed)?;
        let status = string(members, "status").map_err(keyed)?;
        let status = Status::parse(&status)
            .ok_or_else(|| keyed(Fault::of_member(Reason::UnknownStatus, "status")))?;
        let extra = members
            .iter()
            .filter(|member| !CONTRACT_MEMBERS.contains(&&*member.name))
            .map(|member| (member.raw_name, member.raw_value))
            .collect();
        Ok(Self {
            channel,
            arrival,
            message_id,
            sender,
            user_number,
            status,
            extra,
        })
    }

    /// Returns the report's status.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Turns the report into an event.
    #[must_use]
    pub fn normalise(self, format: EventFormat) -> Event {
        Event::new(&self, format)
    }
}

const CONTRACT_MEMBERS: [&[u8]; 4] = [b"message_id", b"sender", b"user_number", b"status"];

fn duplicate_member(members: &[Member<'_>], name: &[u8]) -> Fault {
    Fault {
        member: printable_name(name).map(Cow::Owned),
        message_id: unique_message_id(members),
        ..Fault::of_body(Reason::DuplicateMember)
    }
}

/// Returns the key of a rejected record: the `message_id`, unless it occurs twice.
fn unique_message_id(members: &[Member<'_>]) -> Option<String> {
    let is_it = |member: &&Member<'_>| *member.name == *b"message_id";
    if members.iter().filter(is_it).count() > 1 {
        return None;
    }
    string(members, "message_id").ok().map(Cow::into_owned)
}

/// Returns a member's name if it looks like a name. Anything else may be a misplaced value, for example a phone number,
/// and values are never repeated.
fn printable_name(name: &[u8]) -> Option<String> {
    let name = str::from_utf8(name).ok()?;
    let mut characters = name.chars();
    let starts_validly = characters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let continues_validly =
        characters.all(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '-' | '.'));
    (starts_validly && continues_validly && name.len() <= 64).then(|| name.to_owned())
}

fn string<'a>(members: &[Member<'a>], name: &'static str) -> Result<Cow<'a, str>, Fault> {
    let fault = |reason| Err(Fault::of_member(reason, name));
    let Some(member) = members
        .iter()
        .find(|member| *member.name == *name.as_bytes())
    else {
        return fault(Reason::MemberMissing);
    };
    if !member.raw_value.starts_with('"') {
        return fault(Reason::MemberNotAString);
    }
    let Some(value) = json::decode(member.raw_value) else {
        return fault(Reason::MemberLoneSurrogate);
    };
    match breach(&value) {
        Some(reason) => fault(reason),
        None => Ok(value),
    }
}

fn breach(value: &str) -> Option<Reason> {
    if value.is_empty() {
        Some(Reason::MemberEmpty)
    // A text has at most as many characters as bytes.
    } else if value.len() > MAX_CHARACTERS && value.chars().nth(MAX_CHARACTERS).is_some() {
        Some(Reason::MemberTooLong)
    } else if has_control(value) {
        Some(Reason::MemberControlCharacter)
    } else {
        None
    }
}

fn has_control(value: &str) -> bool {
    // Most values are ASCII, which needs no decoding. Checking all bytes is faster than stopping at the first.
    let is_plain = |plain, byte| plain & matches!(byte, b' '..=b'~');
    !value.bytes().fold(true, is_plain) && value.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
