//! The measured server, which runs in a separate process until it is dropped.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use koobridge::kafka::EmbeddedBroker;
use tempfile::TempDir;

use crate::client::{FIRST_CHANNEL, PASSWORD};
use crate::figures::as_f64;
use crate::load::{Load, Sample, measure};
use crate::servers::{self, Work};
use crate::support::bridge::Bridge;
use crate::support::proc;
use crate::support::records::Kafka;

/// Makes bridges comparable between machines.
pub const ONE_WORKER: [(&str, &str); 1] = [("ingress.workers", "1")];
const PARTITIONS: u16 = 6;
const TOPICS: [&str; 2] = ["events", "rejected"];

/// An embedded broker in this process, with the topics of its bridges.
pub struct Embedded(EmbeddedBroker);

impl Embedded {
    pub fn start() -> Self {
        let broker = EmbeddedBroker::start().expect("an embedded broker");
        for topic in TOPICS {
            broker.create_topic(topic, PARTITIONS).expect("a topic");
        }
        Self(broker)
    }

    pub fn bridge(&self, channels: u64, settings: &[(&str, &str)]) -> Subject {
        let bootstrap = self.0.bootstrap_servers();
        Subject::bridge_with_channels(channels, &bootstrap, TOPICS, settings)
    }
}

pub enum Subject {
    Server(Process),
    Bridge {
        bridge: Box<Bridge>,
        /// Kept, because the bridge polls these files.
        _channels: TempDir,
    },
}

/// A process that is killed when this is dropped.
pub struct Process {
    pub child: Child,
    pub address: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }
}

impl Subject {
    /// Starts this program as one of the servers that are not a bridge.
    pub fn server(work: Work) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([servers::FLAG, work.name()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().parse().expect("an address");
        Self::Server(Process { child, address })
    }

    /// Starts `koobridge serve` with the channels of the load, and waits until it is ready.
    pub fn bridge(
        bootstrap: &str,
        [topic, rejected]: [&str; 2],
        settings: &[(&str, &str)],
    ) -> Self {
        Self::bridge_with_channels(1, bootstrap, [topic, rejected], settings)
    }

    /// The same as [`Subject::bridge`], with new topics.
    pub fn bridge_on(kafka: &Kafka, partitions: i32, settings: &[(&str, &str)]) -> Self {
        let [events, rejected] = ["events", "rejected"].map(|topic| kafka.topic(topic, partitions));
        Self::bridge(kafka.bootstrap(), [&events, &rejected], settings)
    }

    fn bridge_with_channels(
        channels: u64,
        bootstrap: &str,
        [topic, rejected]: [&str; 2],
        settings: &[(&str, &str)],
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        write_channels(directory.path(), channels);
        let path = directory.path().display().to_string();
        let own = [("ingress.channels", path.as_str())];
        let settings: Vec<_> = own.iter().chain(settings).copied().collect();
        Self::Bridge {
            bridge: Box::new(Bridge::ready(bootstrap, topic, rejected, &settings)),
            _channels: directory,
        }
    }

    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Server(process) => process.address,
            Self::Bridge { bridge, .. } => bridge.ingress,
        }
    }

    pub fn pid(&self) -> u32 {
        match self {
            Self::Server(process) => process.child.id(),
            Self::Bridge { bridge, .. } => bridge.pid(),
        }
    }

    /// Returns the value of one of the bridge's metrics.
    pub fn metric(&self, series: &str) -> u64 {
        match self {
            Self::Server(_) => panic!("only a bridge has metrics"),
            Self::Bridge { bridge, .. } => bridge.metric(series),
        }
    }

    pub fn measure(&self, load: &Load) -> Sample {
        measure(load, self.address(), self.pid())
    }

    /// Returns its resident memory.
    pub fn memory(&self) -> Memory {
        let mebibytes = |name| as_f64(proc::status(self.pid(), name)) / 1024.0;
        Memory {
            resident: mebibytes("VmRSS"),
            private: mebibytes("RssAnon"),
        }
    }
}

/// Memory in MiB.
pub struct Memory {
    pub resident: f64,
    /// The part that is not mapped from files.
    pub private: f64,
}

fn write_channels(directory: &Path, count: u64) {
    for number in FIRST_CHANNEL..FIRST_CHANNEL + count {
        let written = fs::write(directory.join(number.to_string()), format!("{PASSWORD}\n"));
        written.expect("a channel");
    }
}
