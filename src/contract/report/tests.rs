use std::borrow::Cow;

use super::*;
use crate::contract::received::{Received, from_a_sender};

fn received(body: &[u8]) -> Received {
    from_a_sender(body, None)
}

fn fault(body: &[u8]) -> Fault {
    received(body)
        .validate()
        .expect_err(&body.escape_ascii().to_string())
}

fn with_status(status: &str) -> String {
    format!(r#"{{"message_id":"m","sender":"s","user_number":"u","status":{status}}}"#)
}

/// Returns a valid report with another member.
fn with(member: &str) -> String {
    format!(r#"{{"message_id":"m","sender":"s","user_number":"u","status":"read",{member}}}"#)
}

fn member_fault(reason: Reason, member: &'static str) -> Fault {
    Fault {
        reason,
        member: Some(Cow::Borrowed(member)),
        message_id: Some("m".to_owned()),
        header_value: None,
    }
}

#[test]
fn the_sample_of_the_interface_document_is_valid() {
    let body = br#"{
        "sender": "86173xxxx4526",
        "user_number": "86187xxxx5632",
        "message_id": "044852ee407b40ec88ea65adb73ff5c27",
        "status": "read"
    }"#;
    let received = received(body);
    let report = received.validate().expect("a report");
    assert_eq!(report.message_id, "044852ee407b40ec88ea65adb73ff5c27");
    assert_eq!(report.sender, "86173xxxx4526");
    assert_eq!(report.user_number, "86187xxxx5632");
    assert_eq!(report.status(), Status::Read);
    assert_eq!(report.extra, []);
}

#[test]
fn each_known_status_is_valid() {
    for (text, status) in [
        ("delivered", Status::Delivered),
        ("read", Status::Read),
        ("failed", Status::Failed),
    ] {
        let received = received(with_status(&format!("{text:?}")).as_bytes());
        assert_eq!(received.validate().expect("a report").status(), status);
    }
}

#[test]
fn a_status_must_match_exactly() {
    for status in [r#""Read""#, r#""read ""#, r#""deleted""#] {
        let expected = member_fault(Reason::UnknownStatus, "status");
        assert_eq!(fault(with_status(status).as_bytes()), expected, "{status}");
    }
}

#[test]
fn a_body_that_is_not_an_object_names_no_member() {
    for (body, reason) in [
        (&b""[..], Reason::NotJson),
        (b"{", Reason::NotJson),
        (b"{}{}", Reason::NotJson),
        (b"{\"a\":01}", Reason::NotJson),
        (b"{'a':1}", Reason::NotJson),
        (b"{\"a\":1,}", Reason::NotJson),
        (b"\xef\xbb\xbf{}", Reason::NotJson),
        (b"{\"a\":\"\n\"}", Reason::NotJson),
        (b"[{}]", Reason::NotAnObject),
        (b"\"text\"", Reason::NotAnObject),
        (b"1e400", Reason::NotAnObject),
        (b"{\"a\":\"\xff\"}", Reason::InvalidUtf8),
        (b"\xed\xa0\x80", Reason::InvalidUtf8),
    ] {
        assert_eq!(
            fault(body),
            Fault::of_body(reason),
            "{}",
            body.escape_ascii()
        );
    }
}

#[test]
fn each_mandatory_member_is_required() {
    for (missing, key) in [
        ("message_id", None),
        ("sender", Some("m")),
        ("status", Some("m")),
    ] {
        let body = with(r#""x":1"#).replace(missing, "another");
        let expected = Fault::of_member(Reason::MemberMissing, missing);
        assert_eq!(
            fault(body.as_bytes()),
            expected.with_message_id(key.map(str::to_owned))
        );
    }
}

#[test]
fn a_mandatory_member_must_be_a_string() {
    for value in ["null", "1", "true", "[]", "{}", r#"["read"]"#] {
        let expected = member_fault(Reason::MemberNotAString, "status");
        assert_eq!(fault(with_status(value).as_bytes()), expected, "{value}");
    }
}

#[test]
fn length_counts_unicode_scalar_values() {
    for character in ["x", "é", "😀", "\\u00e9", "\\ud83d\\ude00"] {
        let longest = with("\"x\":1").replace("\"s\"", &format!("\"{}\"", character.repeat(256)));
        assert!(
            received(longest.as_bytes()).validate().is_ok(),
            "{character}"
        );
        let beyond = with("\"x\":1").replace("\"s\"", &format!("\"{}\"", character.repeat(257)));
        let expected = member_fault(Reason::MemberTooLong, "sender");
        assert_eq!(fault(beyond.as_bytes()), expected, "{character}");
    }
    let expected = member_fault(Reason::MemberEmpty, "status");
    assert_eq!(fault(with_status("\"\"").as_bytes()), expected);
}

#[test]
fn control_characters_are_refused_raw_and_escaped() {
    let expected = member_fault(Reason::MemberControlCharacter, "status");
    for code in (0..0x20).chain(0x7f..0xa0) {
        let escaped = with_status(&format!("\"re\\u{code:04x}ad\""));
        assert_eq!(fault(escaped.as_bytes()), expected, "{code:x}");
    }
    // JSON itself allows no raw character below U+0020.
    for code in 0x7f_u8..0xa0 {
        let raw = with_status(&format!("\"re{}ad\"", char::from(code)));
        assert_eq!(fault(raw.as_bytes()), expected, "{code:x}");
    }
    assert!(
        received(with("\"x\":\"\\u0000\"").as_bytes())
            .validate()
            .is_ok()
    );
}

#[test]
fn escapes_are_decoded() {
    let body = with("\"x\":1").replace("\"s\"", r#""\/\u00e9\ud83d\ude00\"\\""#);
    assert_eq!(
        received(body.as_bytes())
            .validate()
            .expect("a report")
            .sender,
        "/é😀\"\\"
    );
    let escaped_name = with("\"x\":1").replace("\"sender\"", r#""\u0073ender""#);
    let received = received(escaped_name.as_bytes());
    let report = received.validate().expect("a report");
    assert_eq!(
        (report.sender.as_ref(), &report.extra[..]),
        ("s", &[("\"x\"", "1")][..])
    );
}

#[test]
fn a_lone_surrogate_is_refused_only_in_mandatory_members() {
    for value in [r#""\ud800""#, r#""\udc00x""#, r#""\ud800\ud800""#] {
        let expected = member_fault(Reason::MemberLoneSurrogate, "status");
        assert_eq!(fault(with_status(value).as_bytes()), expected, "{value}");
    }
    for member in [
        r#""x":"\ud800""#,
        r#""\ud800":1"#,
        r#""\ud800":1,"\udc00":1"#,
    ] {
        assert!(
            received(with(member).as_bytes()).validate().is_ok(),
            "{member}"
        );
    }
}

#[test]
fn a_duplicate_member_is_refused_in_every_notation() {
    for (member, name, key) in [
        (r#""status":"read""#, Some("status"), Some("m")),
        (r#""st\u0061tus":"failed""#, Some("status"), Some("m")),
        (r#""message_id":"m""#, Some("message_id"), None),
        (r#""x":1,"y":2,"\u0078":1"#, Some("x"), Some("m")),
        (r#""_a.B-c":1,"_a.B-c":1"#, Some("_a.B-c"), Some("m")),
        // A name that may be a misplaced value is not repeated.
        (r#""86173":1,"86173":1"#, None, Some("m")),
        (r#""8x":1,"8x":1"#, None, Some("m")),
        (r#""x8":1,"x8":1"#, None, Some("m")),
        (r#""\ud800":1,"\ud800":1"#, None, Some("m")),
    ] {
        let expected = Fault {
            reason: Reason::DuplicateMember,
            member: name.map(Cow::Borrowed),
            message_id: key.map(str::to_owned),
            header_value: None,
        };
        assert_eq!(fault(with(member).as_bytes()), expected, "{member}");
    }
    let nested = with(r#""x":{"a":1,"a":2}"#);
    assert!(
        received(nested.as_bytes()).validate().is_ok(),
        "only the top level counts"
    );
}

#[test]
fn the_nesting_limit_is_64_levels() {
    let nested = |levels: usize| format!("\"x\":{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(
        received(with(&nested(MAX_DEPTH - 1)).as_bytes())
            .validate()
            .is_ok()
    );
    let expected = Fault::of_body(Reason::TooDeep).with_message_id(Some("m".to_owned()));
    assert_eq!(fault(with(&nested(MAX_DEPTH)).as_bytes()), expected);
    assert_eq!(fault(with(&nested(30_000)).as_bytes()), expected);
}

#[test]
fn unknown_members_are_kept_unchanged() {
    let body = with(r#""n": 1e400, "m":0.10 ,"k":12345678901234567890,"\u0061":{ "b" : [1,  2] }"#);
    let received = received(body.as_bytes());
    assert_eq!(
        received.validate().expect("a report").extra,
        [
            ("\"n\"", "1e400"),
            ("\"m\"", "0.10"),
            ("\"k\"", "12345678901234567890"),
            ("\"\\u0061\"", "{ \"b\" : [1,  2] }"),
        ]
    );
}

#[test]
fn each_breach_of_each_mandatory_member_has_its_reason_and_key() {
    let long = format!("\"{}\"", "x".repeat(257));
    for member in ["message_id", "sender", "user_number", "status"] {
        for (value, reason) in [
            ("1", Reason::MemberNotAString),
            (r#""\ud800""#, Reason::MemberLoneSurrogate),
            (r#""""#, Reason::MemberEmpty),
            (&long, Reason::MemberTooLong),
            (r#""\u0007""#, Reason::MemberControlCharacter),
        ] {
            let body = ["message_id", "sender", "user_number", "status"].map(|name| {
                let value = match name {
                    _ if name == member => value,
                    "message_id" => "\"m\"",
                    _ => "\"read\"",
                };
                format!("\"{name}\":{value}")
            });
            let key = (member != "message_id").then(|| "m".to_owned());
            let expected = Fault::of_member(reason, member).with_message_id(key);
            let body = format!("{{{}}}", body.join(","));
            assert_eq!(fault(body.as_bytes()), expected, "{body}");
        }
    }
    let body = with(r#""x":1"#).replace("user_number", "userNumber");
    let expected = member_fault(Reason::MemberMissing, "user_number");
    assert_eq!(fault(body.as_bytes()), expected);
}

#[test]
fn invalid_utf8_is_refused_everywhere() {
    for bytes in [
        &b"\xff"[..],
        b"\xc3",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf5\x80\x80\x80",
    ] {
        for (before, after) in [
            (&b"\"x\":\""[..], &b"\"}"[..]),
            (b"\"", b"\":1}"),
            (b"\"x\":[{\"y\":\"", b"\"}]}"),
            (b"\"x\":1}", b""),
        ] {
            let sound = br#"{"message_id":"m","sender":"s","user_number":"u","status":"read","#;
            let body = [sound, before, bytes, after].concat();
            let expected = Fault::of_body(Reason::InvalidUtf8);
            assert_eq!(fault(&body), expected, "{}", body.escape_ascii());
        }
    }
}

#[test]
fn only_white_space_may_surround_the_object() {
    let sound = with_status("\"read\"");
    let white = format!(" \t\r\n{sound} \t\r\n");
    assert!(received(white.as_bytes()).validate().is_ok());
    for (before, after) in [
        ("\u{feff}", ""),
        ("\0", ""),
        ("", "\0"),
        ("", "x"),
        ("", ","),
        ("", "}"),
        ("", "//"),
        ("", "\u{a0}"),
        ("", &sound),
    ] {
        let body = format!("{before}{sound}{after}");
        let expected = Fault::of_body(Reason::NotJson);
        assert_eq!(fault(body.as_bytes()), expected, "{body:?}");
    }
}

#[test]
fn depth_ignores_brackets_in_strings() {
    let nested = |arrays: usize, objects: usize| {
        let open = "[".repeat(arrays) + &"{\"[\":".repeat(objects);
        let close = "}".repeat(objects) + &"]".repeat(arrays);
        with(&format!("\"{{\":{open}\"[[[\\\"[\"{close}"))
    };
    // The report itself is one level.
    for (arrays, objects) in [(63, 0), (0, 63), (31, 32)] {
        let body = nested(arrays, objects);
        assert!(received(body.as_bytes()).validate().is_ok(), "{body}");
        let body = nested(arrays, objects + 1);
        assert_eq!(fault(body.as_bytes()).reason, Reason::TooDeep, "{body}");
    }
}

#[test]
fn a_too_deep_body_is_keyed_by_its_message_id() {
    let deep = format!("\"x\":{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    let key = Some("m".to_owned());
    let expected = Fault::of_body(Reason::TooDeep).with_message_id(key);
    assert_eq!(fault(with(&deep).as_bytes()), expected);
}

#[test]
fn a_body_with_two_message_ids_has_no_key() {
    let body = with(r#""message_id":"n","a":1,"a":2"#);
    let fault = fault(body.as_bytes());
    assert_eq!(
        (fault.reason, fault.message_id),
        (Reason::DuplicateMember, None)
    );
}

#[test]
fn an_escaped_surrogate_pair_equals_the_character() {
    let body = with("\"x😀\":1,\"x\\uD83D\\uDE00\":2");
    assert_eq!(fault(body.as_bytes()).reason, Reason::DuplicateMember);
    let apart = with("\"x\\ud83d\":1,\"\\ude00\":2,\"x\\ude00\\ud83d\":3");
    assert!(received(apart.as_bytes()).validate().is_ok());
}

proptest::proptest! {
    /// Both the plain and the escaped notation of a text are read.
    #[test]
    fn plain_and_escaped_texts_are_read_alike(
        sender in "\\PC{1,256}",
        extra in "\\PC{0,40}",
    ) {
        let units = sender.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
        let escaped = units.collect::<Vec<_>>().concat();
        let extra = serde_json::to_string(&extra).expect("writing to memory can't fail");
        let plain = serde_json::to_string(&sender).expect("writing to memory can't fail");
        for written in [plain, format!("\"{escaped}\"")] {
            let body = with(&format!("\"x\":{extra}")).replacen("\"s\"", &written, 1);
            let received = received(body.as_bytes());
            let report = received.validate().expect("a report");
            proptest::prop_assert_eq!(&*report.sender, &*sender);
            proptest::prop_assert_eq!(&report.extra[..], &[("\"x\"", &*extra)][..]);
        }
    }
}
