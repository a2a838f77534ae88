//! Connections that end in every way at every stage of a request. When they have ended, the bridge holds nothing of
//! them, and has kept each whole report once and no partial one.

use std::fs;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::queues::Queues;
use super::{LONG_DEADLINE, PATIENCE, Report, assert_kept, codes, read_to_close, runtime};
use crate::support::bridge::{Bridge, eventually};
use crate::support::cluster::{self, Exclusive};
use crate::support::http::{body, exchange, post, report, request};

/// The last thing that a sender has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connected,
    PartOfHead,
    /// The whole head of a report.
    Head,
    PartOfBody,
    /// One report, which is answered, and a part of the next head.
    NextHead,
    /// A report and more requests; the sender does not read the answers.
    Answers,
    /// A whole report, which Kafka has not acknowledged.
    Unanswered,
}

const STAGES: [Stage; 7] = [
    Stage::Connected,
    Stage::PartOfHead,
    Stage::Head,
    Stage::PartOfBody,
    Stage::NextHead,
    Stage::Answers,
    Stage::Unanswered,
];

/// The way in which the connection ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The sender shuts down its sending side and goes on reading.
    HalfClose,
    Reset,
    Close,
}

const ENDS: [End; 3] = [End::HalfClose, End::Reset, End::Close];
/// Connections for each stage and each way to end.
const EACH: usize = 10;
/// Requests without a password, sent after a report: their answers exceed the sender's receive buffer.
const UNREAD: usize = 100;
/// With these limits, the bridge itself ends no connection during the test.
const SETTINGS: [(&str, &str); 3] = [
    LONG_DEADLINE,
    ("ingress.head_timeout", "20s"),
    ("ingress.body_timeout", "20s"),
];

#[test]
fn a_connection_may_end_at_any_stage_and_in_any_way() {
    let kafka = cluster::exclusive();
    let (bridge, topic, rejected) = Bridge::with_topics(&kafka, 1, &SETTINGS);
    // During the first round the bridge opens files and threads that it keeps.
    let mut kept = end_at_every_stage(&kafka, &bridge, "first");
    let before = files_and_threads(&bridge);
    kept.extend(end_at_every_stage(&kafka, &bridge, "second"));
    eventually(|| {
        let after = files_and_threads(&bridge);
        let is_back = after
            .iter()
            .zip(before)
            .all(|(after, before)| *after <= before);
        is_back
            .then_some(())
            .ok_or_else(|| format!("files and threads were {before:?}, are {after:?}"))
    });
    let last = exchange(bridge.ingress, &report(&body("last", "read")));
    assert_eq!(last.status, 200);
    kept.push(("last".to_owned(), "read".to_owned()));
    kafka.wait_until_healthy();
    assert_kept(&kafka, [&topic, &rejected], kept);
}

/// Returns the number of the bridge's open files and threads.
fn files_and_threads(bridge: &Bridge) -> [usize; 2] {
    ["fd", "task"].map(|what| {
        let entries = fs::read_dir(format!("/proc/{}/{what}", bridge.pid()));
        entries.expect("a running process").count()
    })
}

/// Returns the reports that were sent whole.
fn end_at_every_stage(kafka: &Exclusive, bridge: &Bridge, round: &str) -> Vec<Report> {
    let stages = STAGES.iter();
    let reports = stages.flat_map(|stage| end_at(*stage, kafka, bridge, round));
    reports.collect()
}

/// Brings connections to a stage, ends them in every way, and returns the reports that were sent whole.
fn end_at(stage: Stage, kafka: &Exclusive, bridge: &Bridge, round: &str) -> Vec<Report> {
    if stage == Stage::Unanswered {
        kafka.freeze_all();
    }
    let runtime = runtime();
    let (senders, reports) = runtime.block_on(reach_all(stage, bridge, round));
    wait_until_reached(stage, bridge);
    let half_closed = runtime.block_on(end_all(senders));
    // The bridge must answer only when it has seen each end.
    eventually(|| match Queues::of(bridge).len() {
        0 => Ok(()),
        open => Err(format!("{stage:?}: {open} connections have not ended")),
    });
    if stage == Stage::Unanswered {
        kafka.thaw_all();
    }
    runtime.block_on(assert_answers(stage, half_closed));
    bridge.wait_for_metric("koobridge_connections", 0);
    bridge.wait_for_metric("koobridge_reports_in_flight", 0);
    if stage.sends_whole_report() {
        reports
    } else {
        Vec::new()
    }
}

type Senders = Vec<(End, TcpStream)>;

/// Opens the connections and brings them to the stage; returns them with their reports.
async fn reach_all(stage: Stage, bridge: &Bridge, round: &str) -> (Senders, Vec<Report>) {
    let (mut senders, mut reports) = (Vec::new(), Vec::new());
    for end in ENDS {
        for number in 0..EACH {
            let id = format!("{round}-{stage:?}-{end:?}-{number}");
            let sender = timeout(PATIENCE, stage.reach(bridge, &id)).await;
            senders.push((end, sender.expect("the bridge answers")));
            reports.push((id, "read".to_owned()));
        }
    }
    (senders, reports)
}

/// Ends every connection, and returns those that can still receive answers.
async fn end_all(senders: Senders) -> Vec<TcpStream> {
    let mut half_closed = Vec::new();
    for (end, mut sender) in senders {
        match end {
            End::HalfClose => {
                sender.shutdown().await.expect("an open connection");
                half_closed.push(sender);
            }
            End::Reset => sender.set_zero_linger().expect("an open connection"),
            End::Close => {}
        }
    }
    half_closed
}

/// Waits until the bridge has read all requests.
fn wait_until_reached(stage: Stage, bridge: &Bridge) {
    let count = ENDS.len() * EACH;
    bridge.wait_for_metric("koobridge_connections", count as u64);
    if stage == Stage::Unanswered {
        bridge.wait_for_metric("koobridge_reports_in_flight", count as u64);
    }
    eventually(|| {
        let queues = Queues::of(bridge);
        let is_there = |queues: &Queues| {
            queues.unread == 0 && (queues.unsent > 0) == (stage == Stage::Answers)
        };
        let are_there = queues.len() == count && queues.iter().all(is_there);
        are_there
            .then_some(())
            .ok_or_else(|| format!("{stage:?}: {queues:?}"))
    });
}

/// Asserts the answers to senders that have shut down their sending side only.
async fn assert_answers(stage: Stage, half_closed: Vec<TcpStream>) {
    assert_eq!(half_closed.len(), EACH);
    for mut sender in half_closed {
        let answers = timeout(PATIENCE, read_to_close(&mut sender)).await;
        let answers = answers.expect("the bridge closes");
        assert_eq!(codes(&answers), stage.answers(), "{stage:?}");
    }
}

impl Stage {
    /// Returns `true` if a whole report is sent.
    fn sends_whole_report(self) -> bool {
        matches!(self, Self::NextHead | Self::Answers | Self::Unanswered)
    }

    /// Returns the answers that a sender receives when it shuts down its sending side now.
    fn answers(self) -> Vec<u16> {
        match self {
            Self::Connected | Self::PartOfHead | Self::NextHead => vec![],
            Self::Head | Self::PartOfBody => vec![400],
            Self::Answers => [vec![200], vec![401; UNREAD]].concat(),
            Self::Unanswered => vec![200],
        }
    }

    fn bytes(self, id: &str) -> Vec<u8> {
        let body = body(id, "read");
        let mut whole = report(&body);
        let head = whole.len() - body.len();
        match self {
            Self::Connected => whole.clear(),
            Self::PartOfHead => whole.truncate(head / 2),
            Self::Head => whole.truncate(head),
            Self::PartOfBody => whole.truncate(head + body.len() / 2),
            Self::NextHead => whole.extend_from_within(..head / 2),
            Self::Answers => {
                let refused = request(&post(), &[("Authorization", None)], b"");
                whole.extend(refused.repeat(UNREAD));
            }
            Self::Unanswered => {}
        }
        whole
    }

    /// Opens a connection and sends the requests of this stage.
    async fn reach(self, bridge: &Bridge, id: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let mut sender = socket
            .connect(bridge.ingress)
            .await
            .expect("the bridge listens");
        sender
            .write_all(&self.bytes(id))
            .await
            .expect("the bridge reads");
        if self == Self::NextHead {
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                sender.read_buf(&mut answer).await.expect("an answer");
            }
            assert_eq!(codes(&answer), [200]);
        }
        sender
    }
}
