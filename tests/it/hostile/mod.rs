//! Senders that are broken or mean harm: what the bridge does about each, what they cost it, and that
//! the normal senders beside them notice nothing. The same for broken surroundings: a log that takes nothing, no more
//! files or threads, no IPv4.

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

use crate::suite::evidence::{Evidence, Landed};
use crate::support::records::{Kafka, read_all};

/// Longer than any connection here lasts.
const PATIENCE: Duration = Duration::from_secs(45);
/// A busy machine alone is no reason for a 503.
const PATIENT: (&str, &str) = ("ingress.deadline", "30s");

/// The message's id and its status.
type Report = (String, String);

/// For thousands of connections on one thread: as many as the system allows.
fn runtime() -> Runtime {
    raise_open_files();
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("the system can start a runtime")
}

/// Allows this process as many open files as the system does.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("a soft limit can be raised");
}

/// What comes until the bridge closes: a reset is an end too.
async fn read_to_close(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    while stream
        .read_buf(&mut bytes)
        .await
        .is_ok_and(|count| count > 0)
    {}
    bytes
}

/// The status codes of the answers.
fn codes(answers: &[u8]) -> Vec<u16> {
    let answers = str::from_utf8(answers).expect("text");
    let code = |answer: &str| answer[..3].parse().expect("a status code");
    answers.split("HTTP/1.1 ").skip(1).map(code).collect()
}

/// The topic holds these reports, each once, and nothing else; and there is no rejected one.
pub fn assert_kept(kafka: &Kafka, [topic, rejected]: [&str; 2], mut expected: Vec<Report>) {
    let events = Evidence::gather(kafka.bootstrap(), [topic, rejected], None).events;
    let report = |landed: Landed| (landed.message_id, landed.status);
    let mut kept: Vec<Report> = events.into_iter().map(report).collect();
    kept.sort_unstable();
    expected.sort_unstable();
    assert_eq!(kept, expected);
    assert_eq!(read_all(kafka.bootstrap(), rejected), []);
}
