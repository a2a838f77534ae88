//! A recorded period of a bridge: Kafka comes and goes, the bridge is killed and stopped, and reports come all the
//! time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rustix::process::Signal;
use tempfile::TempDir;

use super::file_system::{FileSystem, Rules, Survivors};
use super::recording::{Recorder, Recording};
use super::senders::{Senders, Sent};
use crate::suite::random::Random;
use crate::suite::rig::lasting;
use crate::support::bridge::{Bridge, eventually};
use crate::support::ports::free_addresses;
use crate::support::records::{read_each, unused_name};

const PARTITIONS: i32 = 6;

/// The reports that Kafka has, each with the length of the recording when Kafka was last seen without it.
type Delivered = BTreeMap<String, u64>;

/// A recording, and the reports of its period.
pub struct History {
    pub recording: Recording,
    pub topic: String,
    pub sent: Sent,
    /// Reports that were in the spool when the recording began.
    inherited: BTreeSet<String>,
    /// Reports that were sent before the recording began.
    earlier: BTreeSet<String>,
    delivered: Delivered,
}

impl History {
    /// Returns the reports that must be in the spool after a power cut at this length of the recording.
    pub fn promised(&self, cut: u64) -> BTreeSet<&str> {
        let answered = self.sent.iter();
        let answered = answered.filter(|(_, at)| at.is_some_and(|at| at <= cut));
        let answered = answered.map(|(message, _)| message);
        let promised = answered.chain(&self.inherited).map(String::as_str);
        promised
            .filter(|message| !self.is_delivered(message, cut))
            .collect()
    }

    /// Returns whether Kafka may have had the report at that time: until the next change, which may come much later.
    fn is_delivered(&self, message: &str, cut: u64) -> bool {
        let absent = self.delivered.get(message);
        absent.is_some_and(|at| *at <= cut)
            || self.earlier.contains(message) && !self.inherited.contains(message)
    }

    /// Returns whether the report was sent.
    pub fn is_known(&self, message: &str) -> bool {
        self.sent.contains_key(message) || self.earlier.contains(message)
    }

    /// Records a history.
    pub fn of(random: &mut Random) -> Self {
        let mut stage = Stage::new();
        // The bridge does not know the topic yet.
        stage.wait_for_promises(random.below(60) + 20);
        stage.kafka.broker_up(1).expect("a broker");
        for round in 0..lasting(4, 6) {
            if round % 2 == 1 {
                stage.kafka_takes_everything();
            }
            stage.kafka_takes_some(random);
            stage.wait_for_promises(random.below(200) + 100);
            stage.bridge_ends(random);
        }
        let history = stage.end();
        let (reports, bytes) = (history.sent.len(), history.recording.length());
        println!("{reports} reports, {bytes} bytes recorded");
        history
    }

    /// Records a start without Kafka, on a spool that has the reports `inherited`, and some new reports.
    pub fn of_a_start(
        directory: &Path,
        topic: &str,
        inherited: BTreeSet<String>,
        earlier: BTreeSet<String>,
    ) -> Self {
        let recorder = Recorder::of(directory);
        let mut bridge = start(&recorder, directory, "127.0.0.1:1", topic);
        let senders = Senders::start(bridge.ingress, recorder.records(), "later-");
        wait_for(&senders, 10, &bridge);
        recorder.kill(&mut bridge);
        let sent = senders.stop();
        assert_complete(&recorder);
        Self {
            recording: recorder.recorded(),
            topic: topic.to_owned(),
            sent,
            inherited,
            earlier,
            delivered: Delivered::new(),
        }
    }
}

/// The processes and threads of a history.
struct Stage {
    delivered: Delivered,
    /// The length of the recording when Kafka was last read.
    looked: u64,
    topic: String,
    kafka: MockCluster<'static, DefaultProducerContext>,
    senders: Senders,
    bridge: Bridge,
    recorder: Recorder,
    _directory: TempDir,
}

impl Stage {
    /// Starts a bridge before its Kafka.
    fn new() -> Self {
        let directory = memory();
        fs::create_dir(directory.path().join("spool")).expect("a directory");
        let recorder = Recorder::of(directory.path());
        let kafka = MockCluster::new(1).expect("a mock cluster");
        let topic = unused_name("power");
        for name in [&topic, "rejected"] {
            kafka.create_topic(name, PARTITIONS, 1).expect("a topic");
        }
        kafka.broker_down(1).expect("a broker");
        let bootstrap = kafka.bootstrap_servers();
        let bridge = start(&recorder, directory.path(), &bootstrap, &topic);
        let senders = Senders::start(bridge.ingress, recorder.records(), "m-");
        Self {
            delivered: Delivered::new(),
            looked: 0,
            topic,
            kafka,
            senders,
            bridge,
            recorder,
            _directory: directory,
        }
    }

    fn wait_for_promises(&self, count: u64) {
        let count = usize::try_from(count).expect("a few");
        wait_for(&self.senders, self.senders.promised() + count, &self.bridge);
    }

    /// Makes a few requests of the producers succeed, and the others fail.
    fn kafka_takes_some(&mut self, random: &mut Random) {
        let [success, failure] = [
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        ];
        let mut answers = vec![failure; 100_000];
        let few = random.pick(&[1, 3, 10]);
        answers[..few].fill(success);
        let before = self.poll_kafka();
        self.kafka.clear_request_errors(RDKafkaApiKey::Produce);
        self.kafka.request_errors(RDKafkaApiKey::Produce, &answers);
        eventually(|| match self.poll_kafka() {
            taken if taken > before => Ok(()),
            _ => Err(format!("Kafka took nothing:\n{}", self.bridge.logged())),
        });
    }

    fn kafka_takes_everything(&mut self) {
        self.kafka.clear_request_errors(RDKafkaApiKey::Produce);
        eventually(|| {
            self.poll_kafka();
            match self.bridge.metric("koobridge_spool_reports") {
                0 => Ok(()),
                left => Err(format!("{left} reports in the spool")),
            }
        });
    }

    /// Notes the records that Kafka has, and returns how many it has had: the mock cluster drops the oldest records.
    fn poll_kafka(&mut self) -> usize {
        let recorded = fs::metadata(self.recorder.records()).expect("a file").len();
        let keys = read_each(&self.kafka.bootstrap_servers(), &self.topic, |record| {
            record.key
        });
        for key in keys {
            let message = String::from_utf8(key.expect("a key")).expect("text");
            self.delivered.entry(message).or_insert(self.looked);
        }
        self.looked = recorded;
        self.delivered.len()
    }

    fn bridge_ends(&mut self, random: &mut Random) {
        if random.chance(50) {
            self.recorder.kill(&mut self.bridge);
        } else {
            self.bridge.signal(Signal::TERM);
            let code = self.bridge.wait_for_exit().code();
            assert!(matches!(code, Some(0 | 3)), "{code:?}");
        }
        assert_complete(&self.recorder);
        self.bridge.restart();
    }

    fn end(mut self) -> History {
        self.recorder.kill(&mut self.bridge);
        self.poll_kafka();
        let sent = self.senders.stop();
        assert_complete(&self.recorder);
        History {
            recording: self.recorder.recorded(),
            topic: self.topic,
            sent,
            inherited: BTreeSet::new(),
            earlier: BTreeSet::new(),
            delivered: self.delivered,
        }
    }
}

/// Starts a bridge that uses its spool early, with small files, so that several come and go.
fn start(recorder: &Recorder, directory: &Path, bootstrap: &str, topic: &str) -> Bridge {
    let ([listen], spool) = (free_addresses(), directory.join("spool"));
    let settings = [
        ("ingress.listen", &*listen),
        ("spool.directory", spool.to_str().expect("a path of text")),
        ("spool.after", "100ms"),
        ("spool.disk_limit", "16MiB"),
        ("spool.free_space", "0"),
        ("kafka.flush_timeout", "1s"),
    ];
    Bridge::start_in(
        &recorder.environment(),
        bootstrap,
        topic,
        "rejected",
        &settings,
    )
}

/// Waits until this many reports were answered 200.
fn wait_for(senders: &Senders, enough: usize, bridge: &Bridge) {
    eventually(|| match senders.promised() {
        promised if promised >= enough => Ok(()),
        promised => Err(format!(
            "{promised} of {enough} answers:\n{}",
            bridge.logged()
        )),
    });
}

/// Asserts that the recording is complete: replayed, it gives the contents of the directory.
fn assert_complete(recorder: &Recorder) {
    let recording = recorder.recorded();
    let mut system = FileSystem::new(&recording.base, Rules::Journaled);
    recording.steps().iter().for_each(|step| system.apply(step));
    let mut expected = recorder.content();
    expected.retain(|path, _| !path.ends_with("-shm"));
    let replayed = system.image(Survivors::All, &mut Random::of(0));
    let different = |path: &&String| replayed.get(*path) != expected.get(*path);
    let paths: BTreeSet<_> = replayed
        .keys()
        .chain(expected.keys())
        .filter(different)
        .collect();
    assert!(paths.is_empty(), "the recorder missed changes of {paths:?}");
}

/// Returns a temporary directory in memory, if there is such a file system.
pub fn memory() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    let place = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    tempfile::tempdir_in(place).expect("a temporary directory")
}
