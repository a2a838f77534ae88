//! A simple model of the contract: the expected verdict on a body, from its tree.

use koobridge::contract::{MAX_CHARACTERS, MAX_DEPTH, Reason};

use super::json::Tree;

/// Why a body is not a report.
#[derive(Debug, PartialEq, Eq)]
pub struct Breach {
    pub reason: Reason,
    /// The mandatory member at fault.
    pub member: Option<&'static str>,
    /// The `message_id`, if the body has exactly one and it is valid.
    pub message_id: Option<String>,
}

const MANDATORY: [&str; 4] = ["message_id", "sender", "user_number", "status"];
const STATUSES: [&str; 3] = ["delivered", "read", "failed"];

/// Checks whether a value is a report.
pub fn judge(value: &Tree) -> Result<(), Breach> {
    let breach = |reason, member, message_id: Option<&str>| Breach {
        reason,
        member,
        message_id: message_id.map(str::to_owned),
    };
    let Tree::Object(members) = value else {
        return Err(breach(Reason::NotAnObject, None, None));
    };
    let message_id = member(members, "message_id").ok();
    let is_sole = count(members, "message_id") == 1;
    let unique_message_id = message_id.filter(|_| is_sole);
    if value.depth() > MAX_DEPTH {
        return Err(breach(Reason::TooDeep, None, unique_message_id));
    }
    if members.iter().any(|(name, _)| count(members, name) > 1) {
        return Err(breach(Reason::DuplicateMember, None, unique_message_id));
    }
    for name in MANDATORY {
        member(members, name).map_err(|reason| breach(reason, Some(name), message_id))?;
    }
    if member(members, "status").is_ok_and(|status| STATUSES.contains(&status)) {
        Ok(())
    } else {
        Err(breach(Reason::UnknownStatus, Some("status"), message_id))
    }
}

fn count(members: &[(String, Tree)], name: &str) -> usize {
    members.iter().filter(|(other, _)| other == name).count()
}

fn member<'t>(members: &'t [(String, Tree)], name: &str) -> Result<&'t str, Reason> {
    let found = members.iter().find(|(other, _)| other == name);
    let (_, value) = found.ok_or(Reason::MemberMissing)?;
    let Tree::Text(text) = value else {
        return Err(Reason::MemberNotAString);
    };
    match text.chars().count() {
        0 => Err(Reason::MemberEmpty),
        length if length > MAX_CHARACTERS => Err(Reason::MemberTooLong),
        _ if text.chars().any(char::is_control) => Err(Reason::MemberControlCharacter),
        _ => Ok(text),
    }
}
