//! The ends of commands, on the embedded broker.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Command, Stdio};

use koobridge::kafka::EmbeddedBroker;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::desk::{Running, event, exit_code, stderr};
use super::unattended::summary;
use crate::support::bridge::{koobridge, run};
use crate::support::cluster::PATIENCE;
use crate::support::records::until;

/// A broker with one topic, and a directory for archives.
struct SmallBroker {
    broker: EmbeddedBroker,
    directory: TempDir,
}

impl SmallBroker {
    fn new() -> Self {
        let broker = EmbeddedBroker::start().expect("a broker");
        broker.create_topic("target", 1).expect("a topic");
        let directory = tempfile::tempdir().expect("a directory");
        Self { broker, directory }
    }

    /// A replay of a file with this content.
    fn replay(&self, content: &str, arguments: &[&str]) -> Command {
        let file = self.directory.path().join("archive.jsonl");
        fs::write(&file, content).expect("it can be written");
        replay(
            &self.broker.bootstrap_servers(),
            &file.display().to_string(),
            arguments,
        )
    }
}

fn replay(bootstrap: &str, file: &str, arguments: &[&str]) -> Command {
    let mut command = koobridge();
    command
        .args(["replay", "--bootstrap", bootstrap, "--file", file])
        .args(arguments)
        .stdin(Stdio::null());
    command
}

/// An event as a line of an archive.
fn line_of_event() -> String {
    let event = event(0);
    let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8(bytes).expect("text"));
    let headers = event.headers.into_iter();
    let headers: BTreeMap<_, _> = headers.map(|(name, value)| (name, text(value))).collect();
    let line = json!({ "key": text(event.key), "headers": headers, "value": text(event.value) });
    format!("{line}\n")
}

/// Returns whether the process has a handler for SIGTERM.
pub(super) fn handles_signals(process: u32) -> Result<(), String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.expect("a mask").trim(), 16).expect("a mask");
    let has_handler = caught >> (Signal::TERM.as_raw() - 1) & 1 == 1;
    has_handler.then_some(()).ok_or(status)
}

/// Returns the last error on standard error, in the form of the summary.
fn last_error(stderr: &str) -> Value {
    let (_, error) = stderr
        .rsplit_once("koobridge: ")
        .unwrap_or_else(|| panic!("{stderr}"));
    error.trim_end().into()
}

#[test]
fn each_command_that_fails_has_one_summary_with_its_error() {
    let small = SmallBroker::new();
    let valid_report = line_of_event();
    for (content, arguments, expected) in [
        (
            &*valid_report,
            &["--to", "nosuch", "--yes", "--json"][..],
            1,
        ),
        (&*valid_report, &["--to", "target", "--json"], 2),
        ("{\"key\":7}\n", &["--to", "target", "--yes", "--json"], 1),
    ] {
        let output = run(&mut small.replay(content, arguments));
        assert_eq!(exit_code(&output), expected, "{}", stderr(&output));
        let summary = summary(&output.stdout);
        assert_eq!(summary["outcome"], "failed");
        assert_eq!(summary["error"], last_error(&stderr(&output)));
    }
    let nowhere = ["--since", "beginning", "--to", "t", "--yes", "--json"];
    let output = run(koobridge()
        .args(["replay", "--bootstrap", "127.0.0.1:1"])
        .args(nowhere));
    assert_eq!(exit_code(&output), 1, "{}", stderr(&output));
    assert_eq!(
        summary(&output.stdout)["error"],
        last_error(&stderr(&output))
    );
}

#[test]
fn a_summary_that_cannot_be_printed_comes_after_the_line_of_the_run() {
    let small = SmallBroker::new();
    let mut command = small.replay("", &["--to", "target", "--yes", "--json"]);
    let full = File::create("/dev/full").expect("a device");
    let mut child = command
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .expect("koobridge starts");
    until(PATIENCE, || {
        child.try_wait().expect("a child").ok_or("still running")
    })
    .expect("it ends");
    let output = child.wait_with_output().expect("its output");
    let stderr = stderr(&output);
    assert_eq!(exit_code(&output), 1, "{stderr}");
    let archive = small.directory.path().join("archive.jsonl");
    let expected = format!(
        ": 0 records (0 B) to target\n{} has no records\nkoobridge: the run has finished, but its summary \
         could not be printed: can't write to standard output: No space left on device (os error 28)\n",
        archive.display()
    );
    assert!(stderr.ends_with(&expected), "{stderr}");
}

#[test]
fn a_signal_in_a_preview_or_between_lines_has_a_message() {
    let small = SmallBroker::new();
    let bootstrap = small.broker.bootstrap_servers();
    let path = small.directory.path().join("pipe");
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("mkfifo").success());
    for (arguments, words) in [
        (
            &["--to", "target", "--json"][..],
            "stopped before anything was published",
        ),
        (
            &["--to", "-", "--dry-run"],
            "stopped before anything was printed",
        ),
        (
            &["--to", "-"],
            "stopped before the end: the lines are incomplete; the same command prints all of them again",
        ),
    ] {
        // The other end stays open, so that the command waits for the next line.
        let mut pipe = File::options();
        let mut pipe = pipe.read(true).write(true).open(&path).expect("a pipe");
        let mut running =
            Running::start(replay(&bootstrap, &path.display().to_string(), arguments));
        pipe.write_all(line_of_event().as_bytes()).expect("room");
        until(PATIENCE, || handles_signals(running.child.id())).expect("a handler");
        running.signal(Signal::TERM);
        let ended = running.ended();
        let stderr = running.stderr.wait_for_end();
        assert_eq!(ended, 3, "{stderr}");
        assert!(stderr.ends_with(words), "{stderr}");
        if arguments.contains(&"--json") {
            let summary = summary(running.printed().as_bytes());
            assert_eq!(summary["outcome"], "stopped");
        }
    }
}
