//! `koobridge dev` publishes an event without Kafka and without configuration.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::bridge::{PATIENCE, koobridge};
use crate::support::records::read_all;

struct Dev {
    child: Child,
    out: BufReader<ChildStdout>,
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
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, out }
    }

    /// Reads lines until `accept` returns `true`; returns the text.
    fn read_until(&mut self, mut accept: impl FnMut(&str) -> bool) -> String {
        let mut text = String::new();
        let started = Instant::now();
        loop {
            let mut line = String::new();
            let length = self.out.read_line(&mut line).expect("its output");
            assert!(
                length > 0 && started.elapsed() < PATIENCE,
                "ended or stuck after:\n{text}"
            );
            text.push_str(&line);
            if accept(line.trim_end()) {
                return text;
            }
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }
}

#[test]
fn the_printed_curl_makes_an_event_that_is_printed_too() {
    let mut dev = Dev::start();
    let welcome = dev.read_until(|line| line.starts_with("Events,"));
    let curl: String = welcome
        .lines()
        .skip_while(|line| !line.starts_with("curl"))
        .take(4)
        .collect::<Vec<_>>()
        .join("\n");
    let output = Command::new("sh")
        .args(["-c", &curl])
        .output()
        .expect("a shell and curl");
    let answer = String::from_utf8(output.stdout).expect("text");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n"),
        "{answer}"
    );

    let event = dev.read_until(|line| line.starts_with("partition"));
    let id = "\"event_id\":\"84620b2a-4736-5985-914a-42930cc3132d\"";
    assert!(event.contains(id), "{event}");

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
    let last = dev.read_until(|line| line.starts_with("Reports accepted"));
    assert!(
        last.ends_with("Reports accepted: 1, rejected: 0.\n"),
        "{last}"
    );
    assert_eq!(dev.child.wait().expect("it ends").code(), Some(0));
    assert!(
        started.elapsed() < PATIENCE / 2,
        "it took {:?} to end",
        started.elapsed()
    );
}
