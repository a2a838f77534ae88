use super::*;

fn id(text: &str) -> ChannelId {
    ChannelId::parse(text).expect("a channel id")
}

fn password(text: &str) -> Password {
    Password::parse(text.as_bytes()).expect("a password")
}

fn channels() -> Channels {
    let mut channels = Channels::default();
    channels.insert(id("one"), password("s3cret, with spaces"), None);
    channels.insert(id("two"), password("old"), Some(password("new")));
    channels
}

#[test]
fn a_channels_password_is_accepted() {
    let sender = channels().authenticate("one", Some(b"s3cret, with spaces"), at(1));
    assert_eq!(sender.expect("authenticated").channel().as_str(), "one");
}

#[test]
fn both_passwords_of_a_rotation_are_accepted() {
    assert!(
        channels()
            .authenticate("two", Some(b"old"), at(1))
            .is_some()
    );
    assert!(
        channels()
            .authenticate("two", Some(b"new"), at(1))
            .is_some()
    );
}

#[test]
fn a_wrong_password_or_channel_is_refused() {
    let channels = channels();
    for (channel, password) in [
        ("one", Some(&b"s3cret, with space"[..])),
        ("one", Some(b"s3cret, with spaces ")),
        ("one", Some(b"old")),
        ("one", Some(b"")),
        ("one", None),
        ("two", Some(b"s3cret, with spaces")),
        ("three", Some(b"old")),
        ("three", None),
        ("three", Some(b"")),
    ] {
        assert!(
            channels.authenticate(channel, password, at(1)).is_none(),
            "{channel} {password:?}"
        );
    }
}

fn with(password: Password) -> Channels {
    let mut channels = Channels::default();
    channels.insert(ChannelId::parse("c").expect("an id"), password, None);
    channels
}

/// The digest of a missing password is that of an empty one.
#[test]
fn a_missing_password_is_not_an_empty_password() {
    let channels = with(Password(digest(b"")));
    assert!(channels.authenticate("c", Some(b""), at(1)).is_some());
    assert!(channels.authenticate("c", None, at(1)).is_none());
}

/// A comparison of a part of the digest would accept these.
#[test]
fn every_byte_of_a_digest_is_compared() {
    for index in 0..32 {
        let mut near = digest(b"secret");
        near[index] ^= 1;
        let sender = with(Password(near)).authenticate("c", Some(b"secret"), at(1));
        assert!(sender.is_none(), "byte {index}");
    }
}

#[test]
fn each_channel_has_a_unique_index() {
    let mut channels = channels();
    let of = |channels: &Channels| ["one", "two", "three"].map(|channel| channels.index(channel));
    assert_eq!(of(&channels), [Some(0), Some(1), None]);
    let sender = channels.authenticate("two", Some(b"new"), at(1));
    assert_eq!(sender.map(|sender| sender.index()), Some(1));
    channels.insert(id("one"), password("other"), None);
    assert_eq!(of(&channels), [Some(0), Some(1), None]);
    let mut indices: Vec<_> = channels.indices().map(|(id, index)| (index, id)).collect();
    indices.sort_unstable();
    assert_eq!(indices, [(0, &id("one")), (1, &id("two"))]);
}

#[test]
fn a_password_is_never_printed() {
    assert!(!format!("{:?}", channels()).contains("s3cret"));
}

#[test]
fn a_password_must_fit_into_a_header() {
    for line in [&b" a"[..], b"a ", b"\ta", b"a\t"] {
        assert_eq!(
            Password::parse(line).unwrap_err(),
            InvalidPassword::SurroundingSpace
        );
    }
    for line in [&b"a\x00b"[..], b"a\rb", b"a\x7fb"] {
        assert_eq!(
            Password::parse(line).unwrap_err(),
            InvalidPassword::ControlCharacter
        );
    }
    for line in [&b"a b"[..], b"a\tb", b"#", b"caf\xc3\xa9", b"\xff"] {
        assert!(Password::parse(line).is_ok());
    }
}

#[test]
fn a_channel_id_has_1_to_64_valid_characters() {
    for good in ["a", "A-Z_09", &"x".repeat(64)] {
        assert!(ChannelId::parse(good).is_ok(), "{good}");
    }
    for bad in ["", "a/b", "a.b", "a b", "é", "%41", &"x".repeat(65)] {
        assert_eq!(ChannelId::parse(bad), Err(InvalidChannelId), "{bad}");
    }
}

/// Returns the time of each channel's last report, in seconds since 1970.
fn last_reports(channels: &Channels) -> Vec<(&str, Option<i64>)> {
    let mut reports: Vec<_> = channels
        .last_reports()
        .map(|(channel, at)| (channel.as_str(), at.map(Timestamp::as_second)))
        .collect();
    reports.sort_unstable();
    reports
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

#[test]
fn only_an_authenticated_report_sets_the_last_report() {
    let channels = channels();
    assert!(
        channels
            .authenticate("one", Some(b"wrong"), at(1))
            .is_none()
    );
    assert!(
        channels
            .authenticate("three", Some(b"old"), at(1))
            .is_none()
    );
    assert_eq!(last_reports(&channels), [("one", None), ("two", None)]);
    let sender = channels.authenticate("two", Some(b"new"), at(2));
    assert_eq!(sender.expect("authenticated").channel().as_str(), "two");
    assert_eq!(last_reports(&channels), [("one", None), ("two", Some(2))]);
}

/// The replaced set may still authenticate requests.
#[test]
fn a_new_set_shares_the_last_reports_with_the_old_one() {
    let old = channels();
    let _sender = old.authenticate("two", Some(b"old"), at(1));
    let mut new = channels();
    new.insert(
        ChannelId::parse("three").expect("an id"),
        Password::parse(b"p").expect("a password"),
        None,
    );
    new.share_last_reports(&old);
    let all = |two| [("one", None), ("three", None), ("two", Some(two))];
    assert_eq!(last_reports(&new), all(1));
    let _sender = old.authenticate("two", Some(b"old"), at(2));
    assert_eq!(last_reports(&new), all(2));
}
