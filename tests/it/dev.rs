//! `koobridge dev` publishes an event without Kafka and without configuration.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::bridge::{PATIENCE, eventually, koobridge};
use crate::support::lines::Lines;
use crate::support::records::read_all;

struct Dev {
    child: Child,
    out: Lines,
}

impl Dev {
    fn start() -> Self {
        let mut child = koobridge()
            .args([
                "dev",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("koobridge starts");
        let out = Lines::read(child.stdout.take().expect("a pipe"));
        Self { child, out }
    }

    /// Waits for a line with `part`, and returns it.
    fn wait_for(&self, part: &str) -> String {
        eventually(|| self.out.find(part).ok_or_else(|| self.out.all()))
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }
}

/// Runs a command line, and returns its output.
fn shell(command: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", command])
        .output()
        .expect("a shell and curl");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_printed_curl_makes_an_event_that_is_printed_too() {
    let mut dev = Dev::start();
    dev.wait_for("Events and rejected reports, ");
    let welcome = dev.out.all();
    let curl: String = welcome
        .lines()
        .skip_while(|line| !line.starts_with("curl"))
        .take(4)
        .collect::<Vec<_>>()
        .join("\n");
    let answer = shell(&curl);
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n"),
        "{answer}"
    );
    let event = dev.wait_for("\"event_id\":\"84620b2a-4736-5985-914a-42930cc3132d\"");
    assert!(event.starts_with("partition "), "{event}");

    let unknown = curl.replace("\"read\"", "\"seen\"");
    assert!(shell(&unknown).starts_with("HTTP/1.1 200 OK\r\n"));
    let rejected = dev.wait_for("\"status\":\"seen\"");
    assert!(
        rejected.starts_with("rejected (unknown-status), partition "),
        "{rejected}"
    );

    let bootstrap = welcome
        .lines()
        .find_map(|line| line.trim().strip_prefix("Kafka")?.split_whitespace().next())
        .expect("a bootstrap address");
    let records = read_all(bootstrap, "koomessage.reports");
    assert_eq!(records.len(), 1);
    assert_eq!(
        records[0].key.as_deref(),
        Some(&b"044852ee407b40ec88ea65adb73ff5c27"[..])
    );
    assert_eq!(records[0].headers.len(), 8);

    let started = Instant::now();
    kill_process(Pid::from_child(&dev.child), Signal::INT).expect("it runs");
    dev.wait_for("Reports accepted: 2, rejected: 0.");
    assert_eq!(dev.child.wait().expect("it ends").code(), Some(0));
    assert!(
        started.elapsed() < PATIENCE / 2,
        "it took {:?} to end",
        started.elapsed()
    );
}
