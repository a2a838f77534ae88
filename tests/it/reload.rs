//! Changes of passwords and of the configuration while the bridge serves, valid and invalid ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::suite::rig::{lasting, pause};
use crate::support::bridge::{BUSY, Bridge, CHANNEL, eventually};
use crate::support::cluster;
use crate::support::http::{Connection, body, exchange, post, request};

/// The time until a change must be in force.
const SOON: Duration = Duration::from_secs(2);

fn with_password(password: &str) -> Vec<u8> {
    let changes = [("Authorization", Some(password))];
    request(&post(), &changes, &body("m1", "read"))
}

fn status(bridge: &Bridge, password: &str) -> u16 {
    exchange(bridge.ingress, &with_password(password)).status
}

/// Replaces a file atomically.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_file_name(".new");
    fs::write(&new, text).expect("a file");
    fs::rename(new, path).expect("a file");
}

/// Waits until a password gets the expected answer; fails if that takes longer than a change may take.
fn wait_for(bridge: &Bridge, password: &str, expected: u16) {
    let begun = Instant::now();
    eventually(|| match status(bridge, password) {
        status if status == expected => Ok(()),
        status => Err(format!("{password} is answered {status}, not {expected}")),
    });
    let took = begun.elapsed();
    assert!(
        took < SOON + BUSY,
        "{password} gets {expected} only after {took:?}"
    );
}

/// 500 reports a second, with a swap of the passwords about every second.
#[test]
fn password_rotation_under_load_gives_no_wrong_answer() {
    const SENDERS: u32 = 7;
    const EACH: Duration = Duration::from_millis(10);
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 3, &[]);
    let file = bridge.directory().join("channels").join(CHANNEL);
    let password = |round: usize| format!("password {round}");
    replace(&file, &format!("{}\n{}", password(0), password(1)));
    wait_for(&bridge, &password(1), 200);
    let answers = AtomicU64::new(0);
    let (begun, swaps) = (Instant::now(), lasting(12, 60));
    for round in 1..=swaps {
        // Valid before the change and after it.
        let kept = with_password(&password(round));
        let done = AtomicBool::new(false);
        let send = || {
            let mut connection = Connection::open(bridge.ingress);
            let mut next = Instant::now();
            while !done.load(Ordering::Relaxed) {
                connection.send(&kept);
                assert_eq!(connection.answer().status, 200);
                answers.fetch_add(1, Ordering::Relaxed);
                next += EACH;
                pause(next.saturating_duration_since(Instant::now()));
            }
        };
        thread::scope(|scope| {
            let _end = StopsOnDrop(&done);
            for _ in 0..SENDERS {
                scope.spawn(send);
            }
            let passwords = format!("{}\n{}", password(round), password(round + 1));
            replace(&file, &passwords);
            wait_for(&bridge, &password(round + 1), 200);
            wait_for(&bridge, &password(round - 1), 401);
        });
    }
    let (answers, seconds) = (answers.into_inner(), begun.elapsed().as_secs());
    println!("{answers} answers in {seconds} s, {swaps} swaps");
}

/// Stops the senders when it is dropped, even when the test panics.
pub struct StopsOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopsOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_mounted_secret_is_replaced_atomically() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[]);
    let channels = bridge.directory().join("channels");
    let version = |number: usize| {
        let directory = channels.join(format!("..{number}"));
        fs::create_dir(&directory).expect("a directory");
        fs::write(directory.join(CHANNEL), format!("version {number}")).expect("a channel");
        symlink(format!("..{number}"), channels.join("..data_tmp")).expect("a link");
        fs::rename(channels.join("..data_tmp"), channels.join("..data")).expect("a swap");
    };
    version(1);
    fs::remove_file(channels.join(CHANNEL)).expect("the channel of before");
    symlink(format!("..data/{CHANNEL}"), channels.join(CHANNEL)).expect("a link");
    wait_for(&bridge, "version 1", 200);
    version(2);
    wait_for(&bridge, "version 2", 200);
    assert_eq!(status(&bridge, "version 1"), 401);
}

#[test]
fn an_invalid_change_is_reported_and_not_applied() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[]);
    let channels = bridge.directory().join("channels");
    replace(&channels.join(CHANNEL), "good");
    wait_for(&bridge, "good", 200);
    replace(&channels.join("no channel"), "s3cret");
    let problem = eventually(|| bridge.stale("channels").ok_or("not noticed".to_owned()));
    assert!(
        problem.contains("its name is not a channel id"),
        "{problem}"
    );
    assert_eq!(status(&bridge, "good"), 200);
    let series =
        |result: &str| format!("koobridge_reloads_total{{part=\"channels\",result=\"{result}\"}}");
    assert_eq!(bridge.metric(&series("failed")), 1);
    assert_eq!(bridge.metric("koobridge_stale{part=\"channels\"}"), 1);

    bridge.signal(Signal::HUP);
    bridge.wait_for_metric(&series("failed"), 2);
    fs::remove_file(channels.join("no channel")).expect("a file");
    bridge.wait_for_metric("koobridge_stale{part=\"channels\"}", 0);
    assert_eq!(bridge.stale("channels"), None);
    assert!(!bridge.logged().contains("s3cret"), "{}", bridge.logged());
}

/// With each of these changes, the bridge would answer every report 401 or 503, or panic.
#[test]
fn a_change_that_would_refuse_every_report_is_not_applied() {
    let spool = tempfile::tempdir().expect("a directory");
    let settings = [("spool.directory", spool.path().to_str().expect("text"))];
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
    let wait_for = |part: &str, problem: &str| {
        eventually(|| match bridge.stale(part) {
            Some(stale) if stale.contains(problem) => Ok(()),
            stale => Err(format!("{problem:?} is not in {stale:?}")),
        });
    };
    let file = bridge.directory().join("koobridge.toml");
    let text = fs::read_to_string(&file).expect("a configuration");
    for (line, problem) in [
        ("deadline = \"3s\"", "must be longer than 3.5s"),
        ("idle_timeout = \"9223372036854775807s\"", "is too long"),
        ("trusted_proxies = [\"0.0.0.0/0\"]", "is too wide"),
    ] {
        let change = format!("[ingress]\n{line}\n");
        replace(&file, &text.replace("[ingress]\n", &change));
        wait_for("configuration", problem);
    }
    replace(&file, &format!("{text}linger.ms = 1000\n"));
    wait_for("configuration", "every report would go to the spool");
    let channel = bridge.directory().join("channels").join(CHANNEL);
    replace(&channel, "\u{feff}s3cret\n");
    wait_for(
        "channels",
        "the password on line 1 begins with a byte order mark",
    );
    assert!(!bridge.logged().contains("s3cret"), "{}", bridge.logged());
}

#[test]
fn live_keys_are_applied_and_other_keys_are_logged() {
    let kafka = cluster::shared();
    let (bridge, topic, _) = Bridge::with_topics(&kafka, 1, &[]);
    let file = bridge.directory().join("koobridge.toml");
    let text = fs::read_to_string(&file).expect("a configuration");
    let with = |lines: &str| text.replace("[ingress]\n", &format!("[ingress]\n{lines}\n"));
    // `None` if the connection is closed, because its network is not allowed.
    let status = || {
        let mut connection = Connection::open(bridge.ingress);
        connection.send(&request(&post(), &[], &body("m1", "read")));
        (!connection.is_closed()).then(|| connection.answer().status)
    };
    let wait_for = |expected: Option<u16>| {
        eventually(|| match status() {
            status if status == expected => Ok(()),
            status => Err(format!("{status:?}, not {expected:?}")),
        });
    };

    replace(&file, &with("success_status = 202"));
    wait_for(Some(202));
    replace(&file, &with("allow = [\"192.0.2.0/24\"]"));
    wait_for(None);
    replace(&file, &with("allow = [\"192.0.2.1/24\"]"));
    let problem = eventually(|| {
        bridge
            .stale("configuration")
            .ok_or("not noticed".to_owned())
    });
    assert!(
        problem.contains("the network is \"192.0.2.0/24\""),
        "{problem}"
    );
    assert_eq!(status(), None);
    replace(&file, &with("workers = 1").replace(&topic, "another"));
    wait_for(Some(200));
    let line = bridge.wait_for_log("after a restart");
    assert!(line.contains("ingress.workers, kafka.topic"), "{line}");
    assert_eq!(bridge.stale("configuration"), None);
}
