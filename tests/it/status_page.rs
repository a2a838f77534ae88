//! The status page in a browser.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use rdkafka::metadata::MetadataTopic;
use rustix::process::Signal;
use serde_json::Value;

use crate::suite::rig::pause;
use crate::support::bridge::{BUSY, Bridge, CHANNEL, PASSWORD, eventually};
use crate::support::browser::{Browser, View};
use crate::support::clock::Clock;
use crate::support::cluster::{self, BROKERS, Exclusive};
use crate::support::http::{body, exchange, report};
use crate::support::records::{until, unused_name};

/// The time within which a change must be visible.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_mins(1);

const SERVING_FROM_SPOOL: &str = "Serving from the spool: Kafka does not answer";

/// Records each state that the page shows with its time, and each resource that the content security policy blocks.
const RECORD_STATES: &str = "
    window.states = [];
    new MutationObserver(() => states.push([document.querySelector('#state').textContent, Date.now()]))
        .observe(document.querySelector('#headline'), {subtree: true, childList: true});
    window.blocked = [];
    new ReportingObserver(reports => blocked.push(...reports.map(it => it.body.effectiveDirective)),
        {types: ['csp-violation'], buffered: true}).observe();
    window.is_the_same_page = true;";

fn open(bridge: &Bridge, view: View) -> Browser {
    let browser = Browser::open(&format!("http://{}/", bridge.admin), view);
    if !view.is_without_scripts {
        browser.run(RECORD_STATES);
        browser.wait_for("#seen", "Live");
    }
    browser
}

fn send(bridge: &Bridge, body: &[u8]) -> u16 {
    exchange(bridge.ingress, &report(body)).status
}

/// Returns the two counts in a row: of the last 15 minutes, and since the start.
fn row(bridge: &Bridge, name: &str) -> [String; 2] {
    let page = bridge.probe("/status").text();
    let (_, row) = page
        .split_once(&format!("<dt>{name}</dt>"))
        .unwrap_or_else(|| panic!("no row {name} in:\n{page}"));
    let mut cells = row.split(['<', '>']);
    [(); 2].map(|()| {
        let cell = cells.find(|it| it.starts_with("dd"));
        cell.and_then(|_| cells.next()).expect("a cell").to_owned()
    })
}

#[test]
fn the_page_updates_without_a_reload_and_has_no_personal_data() {
    let kafka = cluster::shared();
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 3, &[]);
    let browser = open(&bridge, View::default());
    browser.wait_for("#state", "Serving");
    browser.wait_for("#empty", "No report has arrived yet.");
    browser.wait_for("#channels", "1 channel has sent no report since the start.");
    browser.wait_for("#kafka", "3 partitions, 3 replicas, min.insync.replicas 2");
    for (sent, expected) in [
        (&body("m-secret-1", "delivered")[..], 200),
        (&body("m-secret-1", "read"), 200),
        (&body("m-secret-2", "read"), 200),
        (&body("m-secret-3", "seen"), 200),
        (br#"{"message_id":"m-secret-4"}"#, 400),
    ] {
        assert_eq!(send(&bridge, sent), expected);
    }
    for (series, total) in [
        ("delivered", "1"),
        ("read", "2"),
        ("failed", "0"),
        ("unknown", "1"),
        ("rejected", "1"),
    ] {
        browser.wait_for(&format!("tr.{series} td:last-child"), total);
    }
    browser.wait_for("#channels", CHANNEL);
    browser.wait_for("#rejected", "member-missing");
    browser.wait_for("#answers", "Accepted");
    browser.wait_for("#kafka", &topic);
    assert_eq!(row(&bridge, "Accepted, in Kafka"), ["4", "4"]);
    assert_eq!(row(&bridge, "Rejected"), ["1", "1"]);
    assert_eq!(row(&bridge, "unknown-status"), ["1", "1"]);
    // When the passwords are reloaded, the page keeps the state of the other channels.
    let another = bridge.directory().join("channels").join("another");
    fs::write(another, "password\n").expect("a channel");
    browser.wait_for("#channels", "1 channel has sent no report since the start.");
    assert!(browser.text("#channels").contains(CHANNEL));
    // While a bridge is young, the axes are as long as its uptime.
    let shape = "return document.querySelector('path.read')?.getAttribute('d') ?? ''";
    eventually(|| match browser.run(shape) {
        Value::String(path) if path.starts_with('M') => Ok(()),
        other => Err(format!("no shape: {other}")),
    });
    assert!(!browser.text(".times").contains("15m"));
    browser.wait_for("p.strip", "p99 answer time:");
    assert_eq!(browser.run("return window.is_the_same_page"), true);
    let seen = browser
        .run("return document.documentElement.outerHTML")
        .to_string();
    let sources = ["/", "/status", "/status.js"].map(|path| bridge.probe(path).text());
    for text in sources.iter().chain([&seen]) {
        for secret in ["m-secret", "86173", "86187", PASSWORD] {
            assert!(!text.contains(secret), "{secret} is in:\n{text}");
        }
    }
}

#[test]
fn the_content_security_policy_blocks_inline_scripts() {
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &[]);
    let browser = open(&bridge, View::default());
    browser.wait_for("#state", "Not ready");
    assert_eq!(browser.run("return blocked"), Value::Array(Vec::new()));
    assert_eq!(
        browser.run("return getComputedStyle(document.querySelector('.brand')).display"),
        "flex"
    );
    browser.run(
        "const script = document.createElement('script');
         script.textContent = 'window.has_run = true';
         document.body.append(script);",
    );
    eventually(|| match browser.run("return blocked") {
        Value::Array(blocked) if blocked == ["script-src-elem"] => Ok(()),
        other => Err(format!("{other} is blocked")),
    });
    assert_eq!(browser.run("return window.has_run ?? null"), Value::Null);
}

/// Returns the time from `moment` until the page first showed `state`.
fn time_until_shown(browser: &Browser, moment: SystemTime, state: &str) -> Duration {
    let moment = moment
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("a time");
    let since = u64::try_from(moment.as_millis()).expect("a time");
    let shown = until(PATIENCE, || {
        let states = browser.run("return states");
        let mut states = states.as_array().expect("a list").iter();
        let first = states.find(|shown| shown[0] == state);
        first
            .map(|shown| shown[1].as_u64().expect("a time"))
            .ok_or_else(|| format!("not {state:?} but {:?}", browser.text("#state")))
    });
    let shown = shown.unwrap_or_else(|wrong| panic!("{wrong}"));
    browser.run("states.length = 0");
    Duration::from_millis(shown.saturating_sub(since))
}

/// Waits until a new client sees a leader of each partition, and returns the time.
fn wait_until_led(kafka: &Exclusive, topic: &str) -> SystemTime {
    let led = until(PATIENCE, || {
        let metadata = kafka.metadata(Some(topic))?;
        let mut partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        let is_led = metadata.brokers().len() == BROKERS && partitions.all(|p| p.leader() >= 0);
        is_led
            .then(SystemTime::now)
            .ok_or_else(|| "no leader".to_owned())
    });
    led.unwrap_or_else(|why| panic!("{topic}: {why}"))
}

#[test]
fn an_outage_and_its_end_are_shown_within_two_seconds() {
    let mut kafka = cluster::exclusive();
    let spool = tempfile::tempdir().expect("a temporary directory");
    let spool = spool.path().join("spool").display().to_string();
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 3, &[("spool.directory", &spool)]);
    let browser = open(&bridge, View::default());
    assert_eq!(browser.text("#state"), "Serving");
    let mut took = Vec::new();
    for round in 0..4 {
        // The rounds begin at different quarters of the second between two refreshes of the page.
        pause(round * Duration::from_millis(250));
        kafka.freeze_all();
        took.push((
            "frozen",
            time_until_shown(&browser, SystemTime::now(), SERVING_FROM_SPOOL),
        ));
        assert_eq!(send(&bridge, &body(&format!("m{round}"), "read")), 200);
        browser.wait_for("#notes", "No broker has answered since");
        browser.wait_for("#kafka", "no answer");
        kafka.thaw_all();
        let moment = wait_until_led(&kafka, &topic);
        took.push(("thawed", time_until_shown(&browser, moment, "Serving")));
    }
    for broker in 0..BROKERS {
        kafka.kill(broker);
    }
    took.push((
        "killed",
        time_until_shown(&browser, SystemTime::now(), SERVING_FROM_SPOOL),
    ));
    browser.wait_for("#notes", "No broker has answered since");
    assert!(!browser.text("#notes").contains("bootstrap.servers"));
    // With a spool, an outage is a warning everywhere, not an error.
    let severities = "return [document.querySelector('h1').className,
        ...document.querySelectorAll('#notes li, #kafka dl > div')]
        .map(it => it.className ?? it).filter(it => it === 'critical').length";
    assert_eq!(browser.run(severities), 0);
    assert!(browser.text("h1").contains("1 warning"));
    browser.wait_for(".key", "Kafka could not accept every record");
    browser.wait_for(".key", "kept in the spool");
    browser.wait_for("#bridge", "ready, because of the spool");
    browser.screenshot("status-away");
    kafka.start_all([0, 1, 2]);
    let moment = wait_until_led(&kafka, &topic);
    took.push(("started", time_until_shown(&browser, moment, "Serving")));
    println!("{took:?}");
    // A busy machine delays some rounds, but not all.
    for kind in ["frozen", "thawed"] {
        let rounds = took.iter().filter(|(what, _)| *what == kind);
        let fastest = rounds.map(|(_, took)| *took).min();
        assert!(fastest <= Some(SHOWN_WITHIN), "{kind}: {took:?}");
    }
    for (what, took) in &took {
        assert!(*took <= SHOWN_WITHIN + BUSY, "{what}: {took:?}");
    }
    assert_eq!(browser.run("return blocked"), Value::Array(Vec::new()));
    assert_eq!(browser.run("return window.is_the_same_page"), true);
}

#[test]
fn a_spool_older_than_the_retention_is_shown_logged_and_exposed() {
    let kafka = cluster::exclusive();
    let spool = tempfile::tempdir().expect("a temporary directory");
    let spool = spool.path().join("spool").display().to_string();
    let day = [("min.insync.replicas", "2"), ("retention.ms", "86400000")];
    let topic = kafka.topic_with("short", 3, 3, &day);
    let rejected = kafka.topic("short-rejected", 3);
    let clock = Clock::new();
    let settings = [("spool.directory", &*spool), ("spool.after", "200ms")];
    let bootstrap = kafka.bootstrap();
    let environment = clock.environment();
    let bridge = Bridge::start_in(&environment, bootstrap, &topic, &rejected, &settings);
    let limit = format!("koobridge_topic_age_limit_seconds{{topic=\"{topic}\"}} 86400.0");
    eventually(|| match bridge.probe("/metrics").text() {
        text if text.contains(&limit) => Ok(()),
        text => Err(text),
    });
    kafka.freeze_all();
    let browser = open(&bridge, View::default());
    // Waits until the bridge knows how fast the spool grows.
    let full_in = eventually(|| {
        assert_eq!(send(&bridge, &body("m1", "read")), 200);
        let spool = bridge.probe("/readyz").json()["spool"].clone();
        spool["full_in_seconds"].as_u64().ok_or(spool.to_string())
    });
    assert!(full_in > 60, "{full_in}");
    browser.wait_for("#spool", "At the rate of the last two minutes.");
    assert!(!bridge.logged().contains("The oldest report in the spool"));
    clock.set(2 * 24 * 60 * 60);
    let said = format!(
        "The oldest report in the spool has waited for 2 days, and {topic} keeps reports only for 24 hours"
    );
    let line = bridge.wait_for_log(&said);
    assert!(
        line.contains("Raise retention.ms of the topic before the spool delivers the reports.")
    );
    browser.wait_for("#notes", &said);
    browser.screenshot("status-late");
    let age = bridge.probe("/readyz").json()["spool"]["oldest_age_seconds"].clone();
    assert!(age.as_u64() >= Some(2 * 24 * 60 * 60), "{age}");
    assert_eq!(
        bridge
            .logged()
            .matches("The oldest report in the spool")
            .count(),
        1
    );
}

#[test]
fn a_missing_topic_and_a_stop_are_shown() {
    let kafka = cluster::shared();
    let rejected = kafka.topic("status-rejected", 1);
    let settings = [("ingress.drain_delay", "1m")];
    let bridge = Bridge::start(
        kafka.bootstrap(),
        &unused_name("none"),
        &rejected,
        &settings,
    );
    let browser = open(&bridge, View::default());
    browser.wait_for("#state", "Kafka can't accept every report");
    browser.wait_for(
        "#notes",
        "the topic does not exist; create it with `koobridge topics --apply`",
    );
    browser.wait_for("#kafka", "does not exist");
    browser.screenshot("status-topic-missing");
    bridge.signal(Signal::TERM);
    browser.wait_for("#state", "Draining, still accepting reports");
    browser.wait_for("#notes", "koobridge is stopping.");
}

#[test]
fn a_page_without_its_bridge_says_so_until_it_is_back() {
    let admin = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let admin = admin.expect("a free port").to_string();
    let settings = [("admin.listen", &*admin)];
    let mut bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
    let browser = open(&bridge, View::default());
    assert_eq!(browser.text("#lost"), "");
    bridge.sigkill();
    browser.wait_for(
        "#lost",
        "This page has lost the connection to the bridge: last update ",
    );
    let lost = browser.text("#lost");
    let time = lost.rsplit(' ').nth(1).expect("a word");
    assert!(
        lost.ends_with(" UTC") && time.split(':').count() == 3,
        "{lost}"
    );
    bridge.restart();
    browser.wait_for("#seen", "Live");
    assert_eq!(browser.text("#lost"), "");
    assert_eq!(browser.run("return window.is_the_same_page"), true);
}

#[test]
fn without_scripts_the_page_reloads_by_itself() {
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &[]);
    let view = View {
        is_without_scripts: true,
        ..View::default()
    };
    let browser = open(&bridge, view);
    browser.wait_for("#state", "Not ready: Kafka does not answer");
    assert!(browser.text("#notes").contains("Kafka can't be reached"));
    assert!(browser.text("#kafka").contains("no answer"));
    let seen = browser.text("#seen");
    assert!(seen.starts_with("As of "), "{seen}");
    eventually(|| match browser.text("#seen") {
        later if later != seen && later.starts_with("As of ") => Ok(()),
        later => Err(later),
    });
}

#[test]
fn refused_requests_and_wrong_passwords_are_shown_with_a_remedy() {
    let kafka = cluster::shared();
    let (bridge, _, _) = Bridge::with_topics(&kafka, 1, &[("ingress.body_limit", "1KiB")]);
    let browser = open(&bridge, View::default());
    browser.wait_for("#refused", "No request has been refused since the start.");
    let sound = String::from_utf8(report(&body("m", "read"))).expect("text");
    let wrong = sound.replace(PASSWORD, "another");
    let unknown = sound.replace(CHANNEL, "202100000000000000");
    let elsewhere = sound.replace("/social/", "/elsewhere/");
    for (request, expected) in [(wrong, 401), (unknown, 401), (elsewhere, 404)] {
        let answer = exchange(bridge.ingress, request.as_bytes());
        assert_eq!(answer.status, expected);
    }
    assert_eq!(send(&bridge, &[b' '; 2000]), 413);
    browser.wait_for(
        "#notes",
        "1 wrong password in the last minute, answered 401: ",
    );
    browser.wait_for("#notes", "for channels that are not configured");
    // When Kafka is slow for a moment, the page shows that more severe state first.
    eventually(|| {
        let heading = "const h = document.querySelector('h1'); return [h.className, h.textContent]";
        let shown = browser.run(heading).to_string();
        let is_it = shown.contains("\"warning\"") && shown.contains("2 warnings");
        if is_it { Ok(()) } else { Err(shown) }
    });
    for (name, count) in [
        ("401: wrong password or unknown channel", "2"),
        ("404: unknown path", "1"),
        ("413: larger than ingress.body_limit", "1"),
    ] {
        assert_eq!(row(&bridge, name), [count, count]);
    }
}

#[test]
fn on_a_phone_a_healthy_page_is_short_and_opened_sections_stay_open() {
    let kafka = cluster::shared();
    let spool = tempfile::tempdir().expect("a temporary directory");
    let spool = spool.path().join("spool").display().to_string();
    let (bridge, _, _) = Bridge::with_topics(&kafka, 3, &[("spool.directory", &spool)]);
    assert_eq!(send(&bridge, &body("m", "read")), 200);
    let view = View {
        phone: Some(390),
        ..View::default()
    };
    let browser = open(&bridge, view);
    browser.wait_for("p.strip", "p99 answer time:");
    let height = browser.run("return document.documentElement.scrollHeight");
    assert!(height.as_u64() < Some(1200), "{height} pixels");
    assert!(!browser.text("#spool").contains("Disk"));
    browser.run("document.querySelector('#spool summary').click()");
    browser.wait_for("#spool", "Disk");
    let before = browser.text("#seen");
    eventually(|| match browser.text("#seen") {
        later if later != before => Ok(()),
        later => Err(later),
    });
    assert!(browser.text("#spool").contains("Disk"));
    browser.screenshot("status-phone-healthy");
}

#[test]
fn on_a_phone_nothing_exceeds_the_screen_and_dark_mode_is_dark() {
    // The longest topic name that Kafka allows, and a word without a place for a line break.
    let long = "x".repeat(248);
    let bridge = Bridge::start("127.0.0.1:1", &long, &format!("{long}2"), &[]);
    let brightness = |browser: &Browser| {
        let color = browser.run("return getComputedStyle(document.body).backgroundColor");
        let color = color.as_str().expect("a color").to_owned();
        let red = color.trim_start_matches("rgb(").split(',').next();
        red.and_then(|red| red.parse::<u8>().ok()).expect("a color")
    };
    for is_dark in [false, true] {
        let view = View {
            is_dark,
            phone: Some(390),
            ..View::default()
        };
        let browser = open(&bridge, view);
        browser.wait_for("#state", "Not ready");
        browser.wait_for("#notes", "Kafka can't be reached");
        let widths = browser.run("return [innerWidth, document.documentElement.scrollWidth]");
        assert_eq!(widths, serde_json::json!([390, 390]));
        let brightness = brightness(&browser);
        assert_eq!(brightness < 64, is_dark, "{brightness}");
        browser.screenshot(if is_dark {
            "status-phone-dark"
        } else {
            "status-phone"
        });
    }
}
