//! The system refuses new threads: a failed start names the thread that is missing.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::thread;

use rdkafka::mocking::MockCluster;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::bridge::{configuration, eventually};
use crate::support::http::exchange;
use crate::support::lines::Lines;

/// More threads than a bridge with two workers and one broker has.
const ENOUGH: u32 = 44;
/// The first of the unused user ids: the system counts threads per user. Each limit uses another id, and so does each
/// test program.
const USERS: u32 = 20_000;

/// A process that is killed when dropped.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill().expect("a child can be killed");
        self.0.wait().expect("a killed child ends");
    }
}

/// The result of a start.
#[derive(Debug)]
enum Start {
    /// The bridge listened, answered, and stopped by SIGTERM.
    Served(ExitStatus, String),
    Failed(ExitStatus, String),
}

#[test]
fn a_bridge_that_cannot_start_a_thread_names_it_and_exits() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let kafka = MockCluster::new(1).expect("a mock cluster");
    for topic in ["events", "rejected"] {
        kafka.create_topic(topic, 1, 1).expect("a topic");
    }
    let program = prepare(directory.path(), &kafka.bootstrap_servers());
    let starts: Vec<Start> = thread::scope(|scope| {
        let starts = (1..=ENOUGH).map(|limit| {
            let (program, directory) = (&program, directory.path());
            scope.spawn(move || start(limit, program, directory))
        });
        let starts: Vec<_> = starts.collect();
        let starts = starts.into_iter();
        starts
            .map(|start| start.join().expect("a start that ends"))
            .collect()
    });
    for (start, limit) in starts.iter().zip(1..) {
        match start {
            Start::Served(end, said) => {
                assert_eq!(end.code(), Some(0), "{limit} threads: {said}");
            }
            Start::Failed(end, said) => {
                assert_eq!(end.code(), Some(1), "{limit} threads: {said}");
                assert_named(said);
            }
        }
    }
    // The allocator starts its own threads at any time, so the limits in between may suffice or not.
    let is_served = |start: &&Start| matches!(start, Start::Served(..));
    assert_eq!(starts.iter().take(10).filter(is_served).count(), 0);
    assert!(starts.last().is_some_and(|last| is_served(&last)));
}

/// Asserts that the message names the thread that could not be started, and the reason.
fn assert_named(said: &str) {
    const MISSING: [&str; 7] = [
        "can't start the log thread",
        "the system can't start the threads of a Kafka client",
        "can't start the thread kafka-health",
        "can't start the thread deliver-",
        "can't start the admin listener",
        "can't start the thread that watches files for changes",
        "can't start the worker threads",
    ];
    let message = said.lines().find(|line| line.starts_with("koobridge: "));
    let message = message.unwrap_or_else(|| panic!("no message in:\n{said}"));
    assert!(
        MISSING.iter().any(|part| message.contains(part)),
        "{message}"
    );
    assert!(
        message.contains("Resource temporarily unavailable"),
        "{message}"
    );
    assert!(!said.contains("panicked"), "{said}");
}

/// Copies the program and its configuration to a directory that every user can read.
fn prepare(directory: &Path, bootstrap: &str) -> PathBuf {
    let program = directory.join("koobridge");
    fs::copy(env!("CARGO_BIN_EXE_koobridge"), &program).expect("room for the program");
    configuration(directory, bootstrap, "events", "rejected");
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("its owner");
    program
}

/// Starts a bridge as a user with a limit of `limit` threads.
fn start(limit: u32, program: &Path, directory: &Path) -> Start {
    let user = (USERS + process::id() % 1000 * ENOUGH + limit).to_string();
    let child = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .args(["prlimit", &format!("--nproc={limit}:{limit}")])
        .arg(program)
        .args(["serve", "--set", "ingress.workers=2", "--config"])
        .arg(directory.join("koobridge.toml"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv starts");
    let mut child = KillOnDrop(child);
    let child = &mut child.0;
    let lines = Lines::read(child.stderr.take().expect("a pipe"));
    let started = eventually(|| {
        if let Some(end) = child.try_wait().expect("a child") {
            return Ok(Err(end));
        }
        lines
            .find("\"listening\"")
            .map(Ok)
            .ok_or_else(|| lines.all())
    });
    match started {
        Ok(listening) => {
            let end = serve_and_stop(child, &lines, &listening);
            Start::Served(end, lines.wait_for_end())
        }
        Err(end) => Start::Failed(end, lines.wait_for_end()),
    }
}

/// Makes every kind of thread do something, and then stops the bridge.
fn serve_and_stop(child: &mut Child, lines: &Lines, listening: &str) -> ExitStatus {
    let listening: Value = serde_json::from_str(listening).expect("a JSON line");
    let address = |name: &str| -> SocketAddr {
        let text = listening[name].as_str().expect("an address in the log");
        text.parse().expect("an address")
    };
    for (name, path, status) in [
        ("admin", "/metrics", 200),
        ("admin", "/livez", 200),
        ("ingress", "/", 404),
    ] {
        let address = address(name);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        let answer = exchange(address, request.as_bytes());
        assert_eq!(answer.status, status, "{name} {path}");
    }
    // Another Kafka client is started to read the topics' settings.
    eventually(|| {
        let asked = lines.find("the topic's settings");
        asked.ok_or_else(|| lines.all())
    });
    kill_process(Pid::from_child(child), Signal::TERM).expect("it runs");
    eventually(|| {
        child
            .try_wait()
            .expect("a child")
            .ok_or("still running".to_owned())
    })
}
