//! Commands whose standard output or standard error cannot be written: they exit with a code that says so, never by a
//! panic.

use std::fs::{self, File};
use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rdkafka::mocking::MockCluster;
use rustix::io::ioctl_fionbio;

use crate::support::bridge::{Bridge, configuration, eventually, koobridge, run, wrapped};
use crate::support::http::{body, exchange, report};

/// The message about an output on a full disk.
const NO_SPACE: &str =
    "koobridge: can't write to standard output: No space left on device (os error 28)\n";

/// Returns a file on a full disk.
pub fn full_disk() -> Stdio {
    let device = File::options().write(true).open("/dev/full");
    device.expect("Linux has this device").into()
}

/// Returns a pipe whose reader is closed.
pub fn unread() -> Stdio {
    let (_, writer) = pipe().expect("a pipe");
    writer.into()
}

/// Returns a full pipe and its reader.
pub fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, writer) = pipe().expect("a pipe");
    fill(&writer);
    (reader, writer.into())
}

fn fill(mut writer: &PipeWriter) {
    ioctl_fionbio(writer, true).expect("a pipe");
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    ioctl_fionbio(writer, false).expect("a pipe");
}

/// Waits until a command ends, and returns its exit code, or `None` if it was aborted.
fn code(command: &Command, mut child: Child) -> Option<i32> {
    let ended = eventually(|| {
        let ended = child.try_wait().expect("a child");
        ended.ok_or_else(|| format!("{command:?} runs on"))
    });
    ended.code()
}

/// Runs a command with `out` as its standard output; returns its exit code and its standard error.
fn run_with_stdout(out: Stdio, mut command: Command) -> (Option<i32>, String) {
    let command = command.stdout(out).stderr(Stdio::piped());
    let mut child = command.spawn().expect("koobridge starts");
    let mut errors = child.stderr.take().expect("a pipe");
    let code = code(command, child);
    let mut said = String::new();
    errors.read_to_string(&mut said).expect("text");
    (code, said)
}

/// Runs a command with `err` as its standard error, and returns its exit code.
fn run_with_stderr(err: Stdio, mut command: Command) -> Option<i32> {
    let command = command.stdout(Stdio::null()).stderr(err);
    let child = command.spawn().expect("koobridge starts");
    code(command, child)
}

/// Asserts the exit of a command when its output cannot be written.
fn assert_ends(args: &[&str], undisturbed: i32) {
    let command = |mut command: Command| {
        command.args(args);
        command
    };
    let failed = (Some(1), NO_SPACE.to_owned());
    assert_eq!(
        run_with_stdout(full_disk(), command(koobridge())),
        failed,
        "{args:?}"
    );
    let read_enough = (Some(0), String::new());
    assert_eq!(
        run_with_stdout(unread(), command(koobridge())),
        read_enough,
        "{args:?}"
    );
    let closed = command(wrapped(&["sh", "-c", r#"exec "$0" "$@" >&-"#]));
    let (code, _) = run_with_stdout(Stdio::null(), closed);
    assert_eq!(code, Some(undisturbed), "{args:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Fills a spool with reports that are larger than an output buffer.
fn spool(directory: &Path) {
    let settings = [
        ("spool.directory", text(directory)),
        ("spool.after", "50ms"),
    ];
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
    let mut large = body("m1", "read");
    large.truncate(large.len() - 1);
    large.extend(format!(r#","more":"{}"}}"#, "x".repeat(20_000)).into_bytes());
    for _ in 0..2 {
        assert_eq!(exchange(bridge.ingress, &report(&large)).status, 200);
    }
}

#[test]
fn a_command_ends_quietly_if_its_output_is_closed_and_fails_on_a_full_disk() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let config = configuration(home.path(), "127.0.0.1:1", "events", "rejected");
    let [lines, directory] = ["lines", "spool"].map(|name| home.path().join(name));
    spool(&directory);
    let mut export = koobridge();
    export
        .args(["spool", "export", "--directory"])
        .arg(&directory);
    fs::write(&lines, run(&mut export).stdout).expect("a file");
    let broker = MockCluster::new(1).expect("a mock cluster");
    let servers = format!(
        "kafka.properties.bootstrap.servers={}",
        broker.bootstrap_servers()
    );
    let (config, lines, spool) = (text(&config), text(&lines), text(&directory));
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &[]);
    let live = format!("{}/livez", bridge.admin);
    for (args, undisturbed) in [
        (&["serve", "--print-config", "--config", config][..], 0),
        (&["check", "--config", config], 2),
        (&["check", "--json", "--config", config], 2),
        (&["topics", "--set", &servers], 0),
        (&["tail", "--file", lines], 0),
        (
            &["replay", "--config", config, "--file", lines, "--to", "-"],
            0,
        ),
        (&["spool", "export", "--directory", spool], 0),
        (&["spool", "status", "--directory", spool], 0),
        (&["completions", "bash"], 0),
        (&["health", &live], 0),
    ] {
        assert_ends(args, undisturbed);
    }
}

#[test]
fn unread_help_causes_no_panic() {
    for args in [&["--help"][..], &["--version"], &["serve", "--help"]] {
        for out in [full_disk(), unread()] {
            let mut command = koobridge();
            command.args(args);
            assert_eq!(
                run_with_stdout(out, command),
                (Some(0), String::new()),
                "{args:?}"
            );
        }
    }
}

#[test]
fn a_failing_start_exits_with_2_even_if_its_message_is_lost() {
    let (_reader, full_pipe) = full_pipe();
    let (_another, full_pipe_of_dev) = self::full_pipe();
    let wrong = ["serve", "--config", "/nowhere"];
    let wrong_dev = ["dev", "--set", "kafka.topic=?"];
    for (args, err) in [
        (&wrong[..], full_disk()),
        (&wrong, unread()),
        (&wrong, full_pipe),
        (&wrong_dev, full_disk()),
        (&wrong_dev, unread()),
        (&wrong_dev, full_pipe_of_dev),
        (&["--nonsense"], full_disk()),
        (&["--nonsense"], unread()),
    ] {
        let mut command = koobridge();
        command.args(args);
        assert_eq!(run_with_stderr(err, command), Some(2), "{args:?}");
    }
    let mut closed = wrapped(&["sh", "-c", r#"exec "$0" "$@" 2>&-"#]);
    closed.args(wrong);
    assert_eq!(run_with_stderr(Stdio::null(), closed), Some(2));
}
