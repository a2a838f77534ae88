//! A system that has no more threads for the bridge: a start that fails says which thread is missing.

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
/// The first of the users of whom no process runs: the system counts the threads of a user. Each limit, and each test
/// program, has its own.
const USERS: u32 = 20_000;

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().expect("a child can be killed");
        self.0.wait().expect("a killed child ends");
    }
}

/// How a start came out.
#[derive(Debug)]
enum Start {
    /// It listened, answered, and stopped by SIGTERM.
    Served(ExitStatus, String),
    Failed(ExitStatus, String),
}

#[test]
fn a_bridge_that_cannot_start_a_thread_says_which_and_ends() {
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
    // The allocator has threads of its own, and starts them when it likes: the limits between may do or not.
    let is_served = |start: &&Start| matches!(start, Start::Served(..));
    assert_eq!(starts.iter().take(10).filter(is_served).count(), 0);
    assert!(starts.last().is_some_and(|last| is_served(&last)));
}

/// The message says what could not be started, and why.
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

/// Puts the program and its configuration where every user can read them.
fn prepare(directory: &Path, bootstrap: &str) -> PathBuf {
    let program = directory.join("koobridge");
    fs::copy(env!("CARGO_BIN_EXE_koobridge"), &program).expect("room for the program");
    configuration(directory, bootstrap, "events", "rejected");
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("its owner");
    program
}

/// Starts a bridge as a user who may have `limit` threads.
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
    let mut child = Killed(child);
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

/// Has every kind of thread do something, also the one of the stop.
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
    // For the topics' settings another client of Kafka is started.
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
