//! The ways to Kafka: TLS, TLS with a certificate of the client, and a password over TLS.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::authority::{Authority, borrowed};
use crate::support::bridge::{Bridge, configuration, flags, koobridge, run};
use crate::support::cluster;
use crate::support::http::{body, exchange, report};
use crate::support::logins::{COMMON_NAME, ClientFiles, FRESH, Security};
use crate::support::records::read_all;

const SECURITIES: [Security; 3] = [Security::Tls, Security::MutualTls, Security::SaslTls];

/// A configuration for the tools, and the settings that go with it.
struct Desk {
    _home: TempDir,
    file: PathBuf,
    settings: Vec<String>,
}

impl Desk {
    fn new(bootstrap: &str, topics: [&str; 2], files: &ClientFiles) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let [topic, rejected] = topics;
        let file = configuration(home.path(), bootstrap, topic, rejected);
        let settings = flags(&file, &borrowed(&files.settings()));
        Self {
            _home: home,
            file,
            settings,
        }
    }

    fn command(&self, words: &[&str]) -> Output {
        let mut command = koobridge();
        command.args(words).arg("--config").arg(&self.file);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        run(command.stdin(Stdio::null()))
    }

    fn succeeds(&self, words: &[&str]) -> String {
        let output = self.command(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// What `check` finds in these areas: level, area, text and remedy.
    fn check(&self, areas: &[&str]) -> Vec<[String; 4]> {
        let output = self.command(&["check", "--json"]);
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = found["findings"].as_array().expect("findings").iter();
        let found = findings.map(|finding| {
            let text = |name: &str| finding[name].as_str().expect("text").to_owned();
            ["level", "area", "what", "remedy"].map(text)
        });
        let found = found.filter(|[_, area, ..]| areas.contains(&&**area));
        found.collect()
    }
}

#[test]
fn a_bridge_delivers_and_the_tools_work_over_each_way() {
    let kafka = cluster::exclusive();
    for security in SECURITIES {
        let topics = ["events", "rejected"].map(|name| kafka.topic(name, 3));
        let [topic, rejected] = topics.each_ref().map(String::as_str);
        let (files, bootstrap) = (ClientFiles::new(security), kafka.bootstrap_for(security));
        let settings = files.settings();
        let bridge = Bridge::ready(&bootstrap, topic, rejected, &borrowed(&settings));
        let answers = [body("m1", "read"), body("m2", "played")]
            .map(|body| exchange(bridge.ingress, &report(&body)).status);
        assert_eq!(answers, [200, 200], "{security:?}");
        let count = |topic: &str| read_all(kafka.bootstrap(), topic).len();
        assert_eq!([count(topic), count(rejected)], [1, 1], "{security:?}");

        let desk = Desk::new(&bootstrap, [topic, rejected], &files);
        let found = desk.check(&["tls", "login", "brokers", "topics"]);
        assert!(
            found.iter().all(|[level, ..]| level == "ok"),
            "{security:?}: {found:?}"
        );
        let areas: Vec<&str> = found.iter().map(|[_, area, ..]| &**area).collect();
        assert!(areas.contains(&"tls"), "{security:?}: {found:?}");
        assert_eq!(
            areas.contains(&"login"),
            security == Security::SaslTls,
            "{found:?}"
        );
        desk.succeeds(&["topics"]);
        let tailed = desk.succeeds(&["tail", "--since", "beginning", "-n", "1", "--json"]);
        assert!(tailed.contains("m1"), "{security:?}: {tailed}");
        let target = kafka.topic("replayed", 3);
        let since = ["--since", "beginning", "--yes"];
        desk.succeeds(&[&["replay", "--to", &target], &since[..]].concat());
        assert_eq!(count(&target), 1, "{security:?}");
        // An unknown status stays where it is: the run has to read it, and to write nothing.
        desk.succeeds(&[&["redrive"], &since[..]].concat());
        assert_eq!(count(topic), 1, "{security:?}");
    }
}

#[test]
fn check_names_what_is_wrong_with_a_client_and_what_to_do() {
    let kafka = cluster::exclusive();
    let topics = ["events", "rejected"].map(|name| kafka.topic(name, 3));
    let [topic, rejected] = topics.each_ref().map(String::as_str);
    let stranger = Authority::named("stranger");
    let foreign = || stranger.issue_for(COMMON_NAME, FRESH);
    let check = |listener: Security, security: Security, change: &dyn Fn(&ClientFiles)| {
        let files = ClientFiles::new(security);
        change(&files);
        let desk = Desk::new(&kafka.bootstrap_for(listener), [topic, rejected], &files);
        desk.check(&["configuration", "tls", "login"])
    };
    let mutual =
        |change: &dyn Fn(&ClientFiles)| check(Security::MutualTls, Security::MutualTls, change);
    for (found, level, area, words) in [
        (
            mutual(&|files| files.renew_certificate(Duration::from_hours(13 * 24))),
            "warn",
            "tls",
            "the client certificate is valid for 12 more days",
        ),
        (
            mutual(&|files| files.renew_certificate(Duration::ZERO)),
            "fail",
            "tls",
            "the client certificate expired at ",
        ),
        (
            mutual(&|files| files.write("client.key", &foreign()[1])),
            "fail",
            "configuration",
            "ssl.key.location",
        ),
        (
            mutual(&|files| files.write("ca.crt", "none")),
            "fail",
            "configuration",
            "ssl.ca.location",
        ),
        (
            mutual(&|files| files.write("ca.crt", &stranger.read("ca.crt"))),
            "fail",
            "tls",
            "verification of the broker's certificate failed; check ssl.ca.location",
        ),
        (
            mutual(&|files| {
                let [certificate, key] = foreign();
                files.write("client.crt", &certificate);
                files.write("client.key", &key);
            }),
            "fail",
            "tls",
            "a client certificate whose CA is in its truststore",
        ),
        (
            check(Security::MutualTls, Security::Tls, &|_| ()),
            "fail",
            "tls",
            "set ssl.certificate.location and ssl.key.location",
        ),
        (
            check(Security::SaslTls, Security::SaslTls, &|files| {
                files.write("password", "wrong");
            }),
            "fail",
            "login",
            "authentication with Kafka failed",
        ),
    ] {
        let mut amiss = found.iter().filter(|[level, ..]| level != "ok");
        let Some([of_level, of_area, what, remedy]) = amiss.next() else {
            panic!("nothing is amiss, not {words:?}: {found:#?}");
        };
        assert_eq!((&**of_level, &**of_area), (level, area), "{found:#?}");
        assert!(what.contains(words), "{words:?}: {found:#?}");
        assert!(!remedy.is_empty(), "{found:#?}");
        assert_eq!(amiss.next(), None, "{found:#?}");
    }
}
