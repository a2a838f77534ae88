use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn written(line: &Line) -> String {
    let mut text = Vec::new();
    line.write(&mut text).expect("writing to memory");
    String::from_utf8(text).expect("text")
}

/// Returns the only line of a text.
fn read(text: &str) -> Line {
    let mut read = lines(text.as_bytes());
    let line = read.next().expect("a line").expect("a record");
    assert!(read.next().is_none());
    line
}

fn with_headers(headers: &[(&'static str, Option<&'static [u8]>)]) -> RecordRef<'static> {
    let headers = headers.iter();
    let borrowed = headers.map(|&(name, value)| (Cow::Borrowed(name), value.map(Cow::Borrowed)));
    RecordRef {
        headers: borrowed.collect(),
        ..RecordRef::default()
    }
}

/// Returns the `headers` of a record's line.
fn headers_of(record: &RecordRef<'_>) -> String {
    let text = written(&Line::of(record));
    let (_, behind) = text.split_once(",\"headers\":").expect("headers");
    let (headers, _) = behind.split_once(",\"value\":").expect("a value");
    headers.to_owned()
}

#[test]
fn headers_of_different_names_are_an_object_in_their_order() {
    let record = with_headers(&[
        ("z", Some(b"")),
        ("a", None),
        ("", Some(b"caf\xe9")),
        ("hex", Some(b"hex")),
    ]);
    let expected = r#"{"z":"","a":null,"":{"hex":"636166e9"},"hex":"hex"}"#;
    assert_eq!(headers_of(&record), expected);
    assert_eq!(read(&written(&Line::of(&record))).record(), record);
}

#[test]
fn headers_with_a_repeated_name_are_pairs_in_their_order() {
    let record = with_headers(&[
        ("z", Some(b"first")),
        ("a", None),
        ("z", Some(b"\x00\xfe")),
        ("z", None),
    ]);
    let expected = r#"[["z","first"],["a",null],["z",{"hex":"00fe"}],["z",null]]"#;
    assert_eq!(headers_of(&record), expected);
    assert_eq!(read(&written(&Line::of(&record))).record(), record);
}

#[test]
fn a_timestamp_that_rfc_3339_cannot_hold_is_kept_in_milliseconds() {
    for (timestamp, expected) in [
        (1_795_000_000_123, "\"2026-11-18T11:06:40.123Z\""),
        (253_402_300_800_000, "253402300800000"),
        (i64::MAX, "9223372036854775807"),
    ] {
        let record = RecordRef {
            timestamp: Some(timestamp),
            ..RecordRef::default()
        };
        let text = written(&Line::of(&record));
        assert!(
            text.contains(&format!("\"timestamp\":{expected},")),
            "{text}"
        );
        assert_eq!(read(&text).record(), record);
    }
}

#[test]
fn text_is_written_as_text() {
    let mut record = RecordRef {
        value: Some(Cow::Borrowed(b"{}")),
        ..RecordRef::default()
    };
    record.add_header("ce_id", "x".to_owned());
    let line = Line {
        topic: Some("t".to_owned()),
        offset: Some(7),
        ..Line::of(&record)
    };
    assert_eq!(
        written(&line),
        "{\"topic\":\"t\",\"partition\":null,\"offset\":7,\"timestamp\":null,\"key\":null,\
         \"headers\":{\"ce_id\":\"x\"},\"value\":\"{}\"}\n"
    );
}

#[test]
fn an_invalid_line_is_an_error_with_its_number() {
    let text = "{\"value\":\"a\"}\n\n{\"value\":7}\n{\"value_hex\":\"0g\"}\n";
    let read: Vec<_> = lines(text.as_bytes()).collect();
    assert!(read[0].is_ok());
    for (at, number) in [(1, "line 3: not a record"), (2, "line 4: not a record")] {
        let why = read[at].as_ref().expect_err("not a line");
        assert!(why.starts_with(number), "{why}");
    }
    assert_eq!(read.len(), 3);
}

#[test]
fn members_of_a_wrong_form_are_errors() {
    for member in [
        r#""partition":-1"#,
        r#""partition":4294967296"#,
        r#""partition":0.0"#,
        r#""offset":-1"#,
        r#""offset":18446744073709551616"#,
        r#""offset":"7""#,
        r#""timestamp":9223372036854775808"#,
        r#""timestamp":"-009999-01-01""#,
        r#""timestamp":"soon""#,
        r#""masked":"yes""#,
        r#""key":["k"]"#,
        r#""key":"a","key":"b""#,
        r#""key":"\ud800""#,
        r#""value_hex":"abc""#,
        r#""headers":"a""#,
        r#""headers":{"a":1}"#,
        r#""headers":{"a":["1","2"]}"#,
        r#""headers":{"a":{"hex":"0"}}"#,
        r#""headers":[["a"]]"#,
        r#""headers":[["a","1","2"]]"#,
        r#""headers":[[null,"1"]]"#,
        r#""headers":["a","1"]"#,
    ] {
        let text = format!("{{{member}}}");
        let read: Vec<_> = lines(text.as_bytes()).collect();
        assert!(matches!(&read[..], [Err(_)]), "{member}: {read:?}");
    }
}

#[test]
fn a_deeply_nested_line_is_an_error_or_ignored_without_a_crash() {
    let deep = |open: &str, close: &str| open.repeat(200_000) + &close.repeat(200_000);
    for nested in [deep("[", "]"), deep("{\"a\":", "}"), "[".repeat(200_000)] {
        for member in ["headers", "key", "timestamp"] {
            let text = format!("{{\"{member}\":{nested}}}");
            assert!(lines(text.as_bytes()).all(|line| line.is_err()));
        }
    }
    let unknown = format!("{{\"x\":{}}}", deep("[", "]"));
    assert_eq!(read(&unknown), Line::default());
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    let text = any::<String>().prop_map(String::into_bytes);
    option::of(prop_oneof![text, vec(any::<u8>(), 0..9)])
}

fn records() -> impl Strategy<Value = RecordRef<'static>> {
    let name = prop_oneof!["[ab]?", any::<String>()];
    let headers = vec((name, bytes()), 0..6);
    let parts = (bytes(), headers, bytes(), option::of(any::<i64>()));
    parts.prop_map(|(key, headers, value, timestamp)| {
        let owned =
            |(name, value): (String, Option<Vec<u8>>)| (Cow::Owned(name), value.map(Cow::Owned));
        RecordRef {
            key: key.map(Cow::Owned),
            headers: headers.into_iter().map(owned).collect(),
            value: value.map(Cow::Owned),
            timestamp,
        }
    })
}

proptest! {
    #[test]
    fn any_record_is_read_as_it_was_written(record in records()) {
        let text = written(&Line::of(&record));
        prop_assert_eq!(text.lines().count(), 1);
        let line = read(&text);
        prop_assert_eq!(line.record(), record);
    }

    #[test]
    fn the_reader_does_not_panic_on_any_bytes(
        noise in vec(any::<u8>(), 0..99),
        record in records(),
        at in any::<prop::sample::Index>(),
    ) {
        let mut damaged = written(&Line::of(&record)).into_bytes();
        let at = at.index(damaged.len());
        damaged.splice(at..at, noise.iter().copied());
        for bytes in [&noise, &damaged] {
            for line in lines(&bytes[..]).flatten() {
                let _record = line.record();
            }
        }
    }
}
