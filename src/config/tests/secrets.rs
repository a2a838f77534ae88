//! Values from a `from_file`, and secrets, which are never shown.

use std::path::Path;

use super::*;
use crate::config::properties::is_secret;

const SECRET: &str = "hunter2";

fn from_file(key: &str, content: &[u8]) -> Case {
    let case = Case::minimal(&format!("{key} = {{ from_file = \"secret\" }}\n"));
    fs::write(case.directory.path().join("secret"), content).expect("a file");
    case
}

#[test]
fn one_final_line_end_is_not_part_of_a_secret() {
    for (content, value) in [
        ("a", "a"),
        ("a\n", "a"),
        ("a\r\n", "a"),
        ("a\n\n", "a\n"),
        (" a \n", " a "),
        ("a\nb\n", "a\nb"),
        ("é", "é"),
    ] {
        let case = from_file("sasl.password", content.as_bytes());
        let found = case.property("sasl.password");
        assert_eq!(found.as_deref(), Some(value), "{content:?}");
    }
}

#[test]
fn a_secrets_path_is_absolute_or_relative_to_the_configuration() {
    let elsewhere = tempfile::tempdir().expect("a directory");
    let path = elsewhere.path().join("secret");
    fs::write(&path, "whole").expect("a file");
    let whole = format!("sasl.password.from_file = {path:?}\n");
    let case = Case::minimal(&whole);
    assert_eq!(case.property("sasl.password").as_deref(), Some("whole"));
    let case = Case::minimal("sasl.password = { from_file = \"sub/../sub/s\" }\n");
    fs::create_dir(case.directory.path().join("sub")).expect("a directory");
    fs::write(case.directory.path().join("sub/s"), "beside").expect("a file");
    assert_eq!(case.property("sasl.password").as_deref(), Some("beside"));
}

#[test]
fn any_value_can_come_from_a_file() {
    let text = "[kafka]\ntopic = { from_file = \"secret\" }\n";
    let case = Case::minimal(text);
    assert_eq!(
        case.errors(),
        [
            "k.toml:6: kafka.topic: its from_file secret can't be read: \
          No such file or directory (os error 2)"
        ]
    );
    fs::write(case.directory.path().join("secret"), "t\n").expect("a file");
    assert_eq!(case.config().kafka.topic, "t");
    fs::write(case.directory.path().join("secret"), b"\xff").expect("a file");
    assert_eq!(
        case.errors(),
        [
            "k.toml:6: kafka.topic: its from_file secret can't be read: \
          it is not UTF-8 text; save it as UTF-8"
        ]
    );
}

#[test]
fn from_file_allows_no_other_member() {
    let text = "[kafka]\ntopic = { from_file = \"secret\", other = 1 }\n";
    let expected = "k.toml:6: kafka.topic: is a table; write a string, a number, true or false";
    assert_eq!(Case::minimal(text).errors(), [expected]);
}

/// The properties that librdkafka 2.12.1 keeps out of its logs (`_RK_SENSITIVE` in `rdkafka_conf.c`), except paths and
/// the user's name.
#[test]
fn librdkafkas_secrets_are_hidden_from_every_source() {
    for name in [
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.private.key.pem",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
    ] {
        let key = format!("kafka.properties.{name}");
        let variable = format!("KOOBRIDGE_{}", key.replace('.', "_").to_uppercase());
        for case in [
            Case::minimal(&format!("{name} = \"{SECRET}\"\n")),
            Case::minimal("").variable(&variable, SECRET),
            Case::minimal("").flag(&key, SECRET),
        ] {
            let printed = case.print();
            assert!(printed.contains("= \"(redacted)\"  # "), "{printed}");
            assert!(!printed.contains(SECRET), "{printed}");
            // If librdkafka is built without the property, the configuration is invalid.
            let shown = match case.check() {
                Ok(config) => format!("{config:?} {:?}", config.kafka.properties),
                Err(errors) => errors.to_string(),
            };
            assert!(!shown.contains(SECRET), "{shown}");
        }
    }
}

#[test]
fn a_value_from_a_file_is_never_printed() {
    let case = from_file("[kafka]\ntopic", SECRET.as_bytes());
    assert_eq!(case.config().kafka.topic, SECRET);
    let printed = case.print();
    assert!(printed.contains("topic = \"(redacted)\"  # "), "{printed}");
    assert!(!printed.contains(SECRET), "{printed}");
}

#[test]
fn debug_hides_a_property_from_a_file() {
    let config = from_file("sasl.username", SECRET.as_bytes()).config();
    let shown = format!("{config:?}");
    assert!(!shown.contains(SECRET), "{shown}");
}

#[test]
fn an_error_does_not_repeat_a_value_from_a_file() {
    let mut shown = Vec::new();
    for key in [
        "[admin]\nlisten",
        "[kafka]\ntopic",
        "[log]\nlevel",
        "acks",
        "security.protocol",
        "socket.timeout.ms",
    ] {
        let errors = from_file(key, b"hunter2 \n").errors();
        assert_eq!(errors.len(), 1, "{errors:?}");
        if errors[0].contains(SECRET) {
            shown.push(key);
        }
    }
    assert_eq!(shown, [""; 0]);
}

#[test]
fn the_byte_order_mark_of_a_file_is_not_part_of_its_value() {
    let marked = from_file("sasl.password", b"\xef\xbb\xbfhunter2\r\n");
    assert_eq!(marked.property("sasl.password").as_deref(), Some(SECRET));
    let mut case = Case::minimal("[kafka]\ntopic = \"t\"\n");
    let file = case.sources.file.take().expect("a file");
    let text = fs::read_to_string(&file).expect("a file");
    fs::write(&file, format!("\u{feff}{text}")).expect("a file");
    case.sources.file = Some(file);
    assert_eq!(case.config().kafka.topic, "t");
}

#[test]
fn an_empty_from_file_is_an_error() {
    for content in [&b""[..], b"\n", b"\xef\xbb\xbf\r\n"] {
        let errors = from_file("sasl.password", content).errors();
        let key = "k.toml:5: kafka.properties.sasl.password";
        let expected = format!("{key}: its from_file secret is empty; write the value in it");
        assert_eq!(errors, [expected]);
    }
}

#[test]
fn an_invisible_character_is_an_error_in_every_source() {
    let problem = "ends with a no-break space (U+00A0), which is invisible; remove it";
    let key = "kafka.properties.sasl.password";
    let value = format!("{SECRET}\u{a0}");
    let variable = "KOOBRIDGE_KAFKA_PROPERTIES_SASL_PASSWORD";
    for (case, place) in [
        (from_file("sasl.password", value.as_bytes()), "k.toml:5"),
        (
            Case::minimal(&format!("sasl.password = \"{value}\"\n")),
            "k.toml:5",
        ),
        (Case::minimal("").variable(variable, &value), variable),
        (Case::minimal("").flag(key, &value), "flag"),
    ] {
        assert_eq!(case.errors(), [format!("{place}: {key}: {problem}")]);
    }
}

#[test]
fn a_utf_16_file_has_its_own_error() {
    let problem = "can't be read: it is UTF-16 text; save it as UTF-8";
    let secret = from_file("sasl.password", b"\xff\xfeh\0u\0");
    assert_eq!(
        secret.errors(),
        [format!(
            "k.toml:5: kafka.properties.sasl.password: its from_file secret {problem}"
        )]
    );
    let case = Case::of("");
    let file = case.sources.file.clone().expect("a file");
    fs::write(file, b"\xff\xfe[\0l\0").expect("a file");
    let errors = case.errors();
    assert_eq!(
        errors[0],
        format!("k.toml: {problem}; name another file with --config")
    );
}

/// The value of a misspelt name may be a password.
#[test]
fn the_value_of_an_unknown_property_is_hidden() {
    for name in [
        "sasl.pasword",
        "sasl.passwd",
        "sasl.psswrd",
        "sasl.pw",
        "SASL.PASSWORD",
        "sasl.jaas.config",
        "ssl.kye.pem",
        "ssl.truststore.password",
        "basic.auth.credentials",
        "api.token",
        "nothing.like.it",
    ] {
        let key = format!("kafka.properties.{name}");
        for case in [
            Case::minimal(&format!("{name} = \"{SECRET}\"\n")),
            Case::minimal("").flag(&key, SECRET),
        ] {
            let printed = case.print();
            assert!(printed.contains(&format!("\n{name} = \"(")), "{printed}");
            let shown = printed + &case.errors().concat();
            assert!(!shown.contains(SECRET), "{shown}");
        }
    }
}

#[test]
fn a_refused_secret_is_hidden_in_the_error() {
    let refuse: PropertyCheck = |_, value| match value {
        SECRET => Err(format!("Invalid value \"{value}\"")),
        _ => Ok(value.to_owned()),
    };
    let case = Case::minimal("").flag("kafka.properties.sasl.password", SECRET);
    let errors = Config::check(&Settings::gather(&case.sources), refuse).expect_err("an error");
    let expected =
        "kafka.properties.sasl.password: librdkafka refuses it: Invalid value \"(redacted)\"";
    assert!(errors.to_string().ends_with(expected), "{errors}");
}

#[test]
fn values_that_are_not_secret_are_shown() {
    for (name, value) in [
        ("ssl.key.location", "/key.pem"),
        ("ssl.keystore.location", "/keystore"),
        ("ssl.ca.location", "/ca.pem"),
        ("sasl.username", "koobridge"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.oauthbearer.token.endpoint.url", "https://id.example"),
        ("sasl.oauthbearer.client.id", "koobridge"),
        ("socket.keepalive.enable", "true"),
        ("linger.ms", "5"),
    ] {
        assert!(!is_secret(name), "{name}");
        let case = Case::minimal("").flag(&format!("kafka.properties.{name}"), value);
        if check_property(name, value).is_ok() {
            let printed = case.print();
            assert!(
                printed.contains(&format!("\n{name} = {value:?}")),
                "{printed}"
            );
        }
    }
}

#[test]
fn kafkas_files_can_be_read_again_without_a_restart() {
    let case = Case::minimal(
        "sasl.password = { from_file = \"secret\" }\nssl.ca.location = \"/ca.crt\"\nssl.key.password = \"inline\"\n",
    );
    let secret = case.directory.path().join("secret");
    fs::write(&secret, "old\n").expect("a file");
    let started = Settings::gather(&case.sources);
    let files: Vec<_> = started.kafka_files().collect();
    assert_eq!(files, [secret.as_path(), Path::new("/ca.crt")]);
    fs::write(&secret, "new\n").expect("a file");
    let password = |settings: &Settings| {
        let config = Config::check(settings, check_property).expect("it is sound");
        config.kafka.property("sasl.password").map(str::to_owned)
    };
    assert_eq!(password(&started).as_deref(), Some("old"));
    let again = started.with_kafka_files();
    assert_eq!(password(&again).as_deref(), Some("new"));
    let gathered = Settings::gather(&case.sources);
    assert_eq!(gathered.changed_for_restart(&started), [] as [&str; 0]);
    fs::write(&secret, "").expect("a file");
    let errors = Config::check(&started.with_kafka_files(), check_property);
    let errors = errors.expect_err("an empty password").to_string();
    assert!(
        errors.contains("is empty; write the value in it"),
        "{errors}"
    );
}
