//! The fixture of every scenario: a Kafka cluster, a bridge with or without a spool, a load, and the checks at the end.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::checker::{Checker, Tolerated};
use super::evidence::Evidence;
use super::load::{Load, Plan, SentReport};
use super::row::Row;
use crate::support::bridge::Bridge;
use crate::support::cluster::{self, Exclusive};
use crate::support::ports::free_addresses;
use crate::support::records::until;

/// How long the bridge may take after a fault until every report has a result.
pub const SETTLED: Duration = Duration::from_secs(150);
/// How long a load runs before a fault and after it, so that both sides of the fault are seen.
const CALM: Duration = Duration::from_secs(1);

/// The differences between scenarios.
#[derive(Default)]
pub struct Setup<'a> {
    pub spool: bool,
    /// The spool's directory, if it is not one that is deleted with the test.
    pub spool_at: Option<PathBuf>,
    /// The brokers' addresses, if not those of the plain listener.
    pub bootstrap: Option<String>,
    /// Topics, if they differ from those of production.
    pub topic: Option<String>,
    pub rejected: Option<String>,
    pub settings: &'a [(&'a str, &'a str)],
    /// The bridge's deadline, if it is not the default.
    pub deadline: Option<Duration>,
    pub environment: &'a [(&'static str, OsString)],
    pub plan: Plan,
}

/// The order of the fields is the order in which they are dropped: no bridge uses a Kafka that is being repaired.
pub struct Rig {
    fault: String,
    deadline: Option<Duration>,
    load: Option<Load>,
    cause_ended: Option<Instant>,
    pub bridge: Bridge,
    pub topic: String,
    pub rejected: String,
    pub spool: Option<PathBuf>,
    _temporary: TempDir,
    pub kafka: Exclusive,
}

impl Rig {
    /// Starts the usual bridge under the usual load, which has run for a while.
    pub fn new(fault: &str, spool: bool) -> Self {
        let setup = Setup {
            spool,
            ..Setup::default()
        };
        Self::with(fault, cluster::exclusive(), setup)
    }

    pub fn with(fault: &str, kafka: Exclusive, setup: Setup<'_>) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let given = [setup.topic.clone(), setup.rejected.clone()];
        let [topic, rejected] = given.map(|topic| topic.unwrap_or_else(|| kafka.topic("fault", 6)));
        let spool = setup.spool.then(|| {
            setup
                .spool_at
                .clone()
                .unwrap_or(temporary.path().join("spool"))
        });
        let mut rig = Self {
            fault: fault.to_owned(),
            deadline: setup.deadline,
            load: None,
            cause_ended: None,
            bridge: start_bridge(&kafka, [&topic, &rejected], spool.as_deref(), &setup),
            topic,
            rejected,
            spool,
            _temporary: temporary,
            kafka,
        };
        assert_eq!(rig.reports_spooled(), 0, "a new spool is empty");
        rig.load = Some(Load::start(rig.bridge.ingress, setup.plan));
        rig.run_without_fault();
        rig
    }

    /// Starts another load after the last one was stopped.
    pub fn load(&mut self, plan: Plan) {
        assert!(self.load.is_none(), "one load at a time");
        self.load = Some(Load::start(self.bridge.ingress, plan));
    }

    /// Lets the load run without a fault.
    pub fn run_without_fault(&mut self) {
        pause(CALM);
        self.assert_same_process();
    }

    pub fn assert_same_process(&mut self) {
        assert!(self.bridge.is_running(), "{}", self.bridge.logged());
    }

    /// Notes that the fault has ended.
    pub fn cause_ends(&mut self) {
        self.cause_ended = Some(Instant::now());
    }

    pub fn reports(&self) -> Vec<SentReport> {
        self.load.as_ref().expect("the load runs").reports()
    }

    /// Lets the load run at another rate.
    pub fn set_rate(&self, rate: u32) {
        self.load.as_ref().expect("the load runs").set_rate(rate);
    }

    /// Lets the load run until none of its reports waits for Kafka.
    pub fn wait_until_spool_is_empty(&self, within: Duration) {
        let emptied = until(within, || match self.reports_spooled() {
            0 => Ok(()),
            spooled => Err(format!("{spooled} spooled")),
        });
        emptied.unwrap_or_else(|why| panic!("{why}\n{}", self.bridge.logged()));
    }

    /// Returns the number of reports in the spool that are due.
    fn reports_spooled(&self) -> u64 {
        if self.spool.is_none() {
            return 0;
        }
        let text = self.bridge.probe("/metrics").text();
        let gauge = |name: &str| -> u64 {
            let value = text.lines().find_map(|line| line.strip_prefix(name));
            let value = value.expect("a bridge with a spool says how much is in it");
            value.parse().expect("a whole number")
        };
        gauge("koobridge_spool_reports ").saturating_sub(gauge("koobridge_spool_quarantined "))
    }

    /// Waits until every report has a result.
    pub fn wait_until_settled(&self) {
        let settled = until(SETTLED, || {
            let in_flight = self.bridge.metric("koobridge_reports_in_flight");
            match (in_flight, self.reports_spooled()) {
                (0, 0) => Ok(()),
                (in_flight, spooled) => Err(format!("{in_flight} in flight, {spooled} spooled")),
            }
        });
        settled.unwrap_or_else(|why| panic!("{why}\n{}", self.bridge.logged()));
    }

    /// Reads both topics and the spool. Kafka must be healthy.
    pub fn gather(&self) -> Evidence {
        self.kafka.wait_until_healthy();
        let topics = [&*self.topic, &*self.rejected];
        Evidence::gather(self.kafka.bootstrap(), topics, self.spool.as_deref())
    }

    /// Stops the load.
    pub fn stop(&mut self) -> Vec<SentReport> {
        self.load.take().expect("the load runs").stop()
    }

    /// Ends the scenario: after a while without a fault the load stops, and all promises are checked.
    pub fn check(&mut self, tolerated: Tolerated) -> Vec<SentReport> {
        self.run_without_fault();
        let reports = self.stop();
        self.wait_until_settled();
        self.assert_same_process();
        let evidence = self.gather();
        let tolerated = Tolerated {
            refusals: tolerated.refusals || self.spool.is_none(),
            deadline: self.deadline.unwrap_or(tolerated.deadline),
            ..tolerated
        };
        let checker = Checker::new(&reports, tolerated, &evidence);
        let row = Row {
            fault: &self.fault,
            spool: self.spool.is_some(),
            reports: &reports,
            cause_ended: self.cause_ended.expect("a scenario says when it is over"),
            repeats: checker.repeats(),
        };
        row.print();
        checker.check();
        reports
    }
}

/// Starts a bridge and waits until it is ready. Its address stays reserved while it is down.
fn start_bridge(
    kafka: &Exclusive,
    [topic, rejected]: [&str; 2],
    spool: Option<&Path>,
    setup: &Setup<'_>,
) -> Bridge {
    let bootstrap = setup.bootstrap.as_deref().unwrap_or(kafka.bootstrap());
    let ([listen], spool) = (free_addresses(), spool.map(|at| at.display().to_string()));
    let mut settings = vec![("ingress.listen", &*listen)];
    settings.extend(spool.iter().map(|at| ("spool.directory", &**at)));
    settings.extend(setup.settings);
    let deadline = setup.deadline.map(|time| format!("{}s", time.as_secs()));
    settings.extend(deadline.iter().map(|time| ("ingress.deadline", &**time)));
    let bridge = Bridge::start_in(setup.environment, bootstrap, topic, rejected, &settings);
    bridge.wait_until_ready();
    bridge
}

/// Waits for the length of a fault: the length is the claim, so there is no condition to wait for.
pub fn pause(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

/// Returns the length of a fault: long enough to show its effect, or longer in `script/faults --long`.
pub fn lasting<T>(short: T, long: T) -> T {
    if cluster::is_long() { long } else { short }
}

/// The deadline of a bridge in the short form, if the default is too short for Kafka on a busy machine. The long form keeps
/// the default.
pub fn deadline(seconds: u64) -> Option<Duration> {
    (!cluster::is_long()).then_some(Duration::from_secs(seconds))
}

pub fn seconds(count: u64) {
    pause(Duration::from_secs(count));
}
