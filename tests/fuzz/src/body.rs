//! A body of an authenticated sender must become an event or a rejected record with the body's contents.

use std::sync::LazyLock;

use jiff::Timestamp;
use koobridge::contract::{
    Arrival, ChannelId, Channels, EventFields, EventMode, Fault, Password, Reason, Received,
    RecordRef, RejectedFields, Stage, StillRejected, event_id, redrive,
};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::json::{Tree, raw_members};
use super::model::{self, Breach};

const CHANNEL: &str = "202105102694809992";
const PASSWORD: &[u8] = b"s3cret, with spaces";
const CONTRACT_MEMBERS: [&str; 4] = ["message_id", "sender", "user_number", "status"];

static CHANNELS: LazyLock<Channels> = LazyLock::new(|| {
    let mut channels = Channels::default();
    let channel = ChannelId::parse(CHANNEL).expect("a channel id");
    let password = Password::parse(PASSWORD).expect("a password");
    channels.insert(channel, password, None);
    channels
});

/// Validates a body and checks its records.
pub fn check(body: &[u8]) {
    let received = received(body);
    let fault = received.validate().err();
    check_verdict(body, fault.as_ref());
    match fault {
        None => check_events(body, &received),
        Some(fault) => check_rejected(body, received, &fault),
    }
}

fn received(body: &[u8]) -> Received {
    let sender = CHANNELS.authenticate(CHANNEL, Some(PASSWORD), Timestamp::UNIX_EPOCH);
    let at = Timestamp::from_microsecond(1_795_000_000_000_456).expect("a time");
    let arrival = Arrival { at, trace: None };
    sender
        .expect("the right password")
        .sent(arrival, body.to_vec())
}

/// Checks that the contract and the model agree on a body, if a tree can represent it.
fn check_verdict(body: &[u8], fault: Option<&Fault>) {
    let reason = fault.map(|fault| fault.reason);
    if str::from_utf8(body).is_err() {
        return assert_eq!(reason, Some(Reason::InvalidUtf8));
    }
    if serde_json::from_slice::<&RawValue>(body).is_err() {
        return assert_eq!(reason, Some(Reason::NotJson));
    }
    // A tree can't represent a lone surrogate, a number out of range or more than 128 levels, although they are
    // well-formed.
    let Ok(tree) = serde_json::from_slice::<Tree>(body) else {
        return;
    };
    match (fault, model::judge(&tree)) {
        (None, Ok(())) => {}
        (Some(fault), Err(breach)) => check_fault(fault, &breach),
        (fault, verdict) => panic!("{fault:?}, and by the model {verdict:?}"),
    }
}

fn check_fault(fault: &Fault, breach: &Breach) {
    assert_eq!(
        (fault.reason, &fault.message_id),
        (breach.reason, &breach.message_id)
    );
    match &fault.member {
        // The contract may not know the duplicate member, but only such names are reported.
        Some(member) if fault.reason == Reason::DuplicateMember => {
            let is_named = |c: char| c.is_ascii_alphabetic() || "_-.".contains(c);
            assert!(member.chars().all(is_named), "{member}");
        }
        member => assert_eq!(member.as_deref(), breach.member),
    }
}

fn check_events(body: &[u8], received: &Received) {
    let [binary, structured] =
        [EventMode::Binary, EventMode::Structured].map(|mode| event(received, mode));
    let fields = EventFields::of(&binary).expect("an event");
    assert_eq!(EventFields::of(&structured).as_ref(), Some(&fields));
    assert_eq!(binary.text_key(), Some(&*fields.message_id));
    assert_eq!(structured.key, binary.key);
    let id = event_id(CHANNEL, &fields.message_id, &fields.status).to_string();
    assert_eq!(fields.event_id, id);
    assert_eq!(binary.header("ce_id"), Some(&*id));
    check_text(body, &binary, &structured);
    check_repeat(&fields);
}

fn event(received: &Received, mode: EventMode) -> RecordRef<'static> {
    let report = received.validate().expect("it was a report before");
    report.normalise(mode.into()).into_record().into()
}

/// Checks that the structured event contains the binary one, and that both keep unknown members unchanged.
fn check_text(body: &[u8], binary: &RecordRef<'_>, structured: &RecordRef<'_>) {
    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        extra: &'a RawValue,
    }
    let value = structured.value.as_deref().expect("a value");
    let document: Document<'_> = serde_json::from_slice(value).expect("a document");
    assert_eq!(
        Some(document.data.get().as_bytes()),
        binary.value.as_deref()
    );
    let data: Data<'_> = serde_json::from_str(document.data.get()).expect("an event");
    let body = str::from_utf8(body).expect("a report is text");
    let mut unknown = raw_members(body);
    unknown.retain(|(name, _)| !is_in_contract(name));
    assert_eq!(raw_members(data.extra.get()), unknown);
}

fn is_in_contract(raw_name: &str) -> bool {
    let name: Option<String> = serde_json::from_str(raw_name).ok();
    name.is_some_and(|name| CONTRACT_MEMBERS.contains(&&*name))
}

/// Checks that a repeat of the report in another form has the same id.
fn check_repeat(fields: &EventFields<'_>) {
    let repeat = json!({
        "status": fields.status, "another": 1, "user_number": fields.recipient,
        "sender": fields.sender, "message_id": fields.message_id,
    });
    let event = event(&received(repeat.to_string().as_bytes()), EventMode::Binary);
    assert_eq!(EventFields::of(&event).as_ref(), Some(fields));
}

fn check_rejected(body: &[u8], received: Received, fault: &Fault) {
    let (_, record) = received.reject(fault.clone()).into_parts();
    assert_eq!(record.value, body);
    assert_eq!(record.key, fault.message_id);
    let record = RecordRef::from(record);
    let fields = RejectedFields::of(&record).expect("a rejected record");
    let code = fault.reason.code();
    assert_eq!(
        (
            fields.stage,
            fields.reason,
            fields.channel_id,
            fields.member
        ),
        (Stage::Contract, code, CHANNEL, fault.member.as_deref())
    );
    let redriven = redrive(&record, EventMode::Binary.into());
    assert_eq!(redriven, Err(StillRejected::Invalid(code)));
}
