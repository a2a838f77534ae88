//! Broken or malicious senders: the bridge's response to each, its cost, and undisturbed normal senders beside them.
//! Also broken surroundings: a log that accepts nothing, no more files or threads, no IPv4.

mod admin;
mod broken;
mod crowd;
mod files;
mod flood;
mod foreign;
mod handshakes;
mod log;
mod loopback;
mod normal;
mod output;
mod queues;
mod slow;
mod states;
mod threads;
mod unread;

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::runtime::{Builder, Runtime};

use crate::suite::evidence::{Evidence, LocatedReport};
use crate::support::records::{Kafka, read_all};

/// Longer than any connection here lasts.
const PATIENCE: Duration = Duration::from_secs(45);
/// So long that a busy machine alone causes no 503.
const LONG_DEADLINE: (&str, &str) = ("ingress.deadline", "30s");

/// The message's id and its status.
type Report = (String, String);

/// Returns a single-threaded runtime, and raises the limit on open files for thousands of connections.
fn runtime() -> Runtime {
    raise_open_files();
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("the system can start a runtime")
}

/// Raises this process' limit on open files to the system's maximum.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("a soft limit can be raised");
}

/// Reads until the bridge closes or resets the connection.
async fn read_to_close(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    while stream
        .read_buf(&mut bytes)
        .await
        .is_ok_and(|count| count > 0)
    {}
    bytes
}

/// Returns the status codes of the answers.
fn codes(answers: &[u8]) -> Vec<u16> {
    let answers = str::from_utf8(answers).expect("text");
    let code = |answer: &str| answer[..3].parse().expect("a status code");
    answers.split("HTTP/1.1 ").skip(1).map(code).collect()
}

/// Asserts that the topic has exactly these reports, each once, and that the rejected topic is empty.
pub fn assert_kept(kafka: &Kafka, [topic, rejected]: [&str; 2], mut expected: Vec<Report>) {
    let events = Evidence::gather(kafka.bootstrap(), [topic, rejected], None).events;
    let report = |landed: LocatedReport| (landed.message_id, landed.status);
    let mut kept: Vec<Report> = events.into_iter().map(report).collect();
    kept.sort_unstable();
    expected.sort_unstable();
    assert_eq!(kept, expected);
    assert_eq!(read_all(kafka.bootstrap(), rejected), []);
}
