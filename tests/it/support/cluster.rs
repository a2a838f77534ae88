//! Clusters of three Apache Kafka brokers each (`KRaft`), fetched with Maven. A cluster starts when a test needs one
//! and none is idle, and ends with the test process, even when that is killed. The brokers' logs stay in
//! `target/kafka/run-*/` until the next run.
//!
//! One cluster is never harmed and serves all tests that only need a Kafka ([`shared`]). The others are lent to one
//! test at a time, which may stop, freeze and kill brokers ([`exclusive`]). Such tests mostly wait, so several run side
//! by side.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use rdkafka::metadata::{MetadataPartition, MetadataTopic};

use crate::support::broker::{ARCHIVE, Broker};
use crate::support::jars::fetch_jars;
use crate::support::logins::Security;
use crate::support::ports::free_ports;
use crate::support::records::{Kafka, until};

pub const BROKERS: usize = 3;
pub const PATIENCE: Duration = Duration::from_mins(2);
/// A cluster must look healthy for this long, because its metadata lags after a freeze.
const SETTLED: Duration = Duration::from_secs(1);
/// Kafka's default session timeout of a broker.
pub const KAFKA_SESSION: Duration = Duration::from_secs(9);
/// The session timeout in the scenarios of `script/test`.
const SHORT_SESSION: Duration = Duration::from_secs(3);
/// The session timeout in the scenarios of `script/faults --long`.
const LONG_SESSION: Duration = Duration::from_secs(6);
/// The number of clusters that can be lent at the same time.
const MAX_LENT: usize = 3;

/// Poisoned when the start fails, so that it is not repeated.
static SHARED: LazyLock<Cluster> =
    LazyLock::new(|| Cluster::start(KAFKA_SESSION).unwrap_or_else(|why| panic!("{why}")));
static POOL: Pool = Pool {
    lent: Mutex::new(Lent {
        idle: Vec::new(),
        leases: MAX_LENT,
        failed_starts: 0,
    }),
    returned: Condvar::new(),
};

/// Returns `true` in `script/faults --long`, which gives the faults more time.
pub fn is_long() -> bool {
    env::var_os("KOOBRIDGE_TEST_LONG").is_some()
}

fn session() -> Duration {
    if is_long() {
        LONG_SESSION
    } else {
        SHORT_SESSION
    }
}

/// Returns a healthy Kafka that no test harms: `KOOBRIDGE_TEST_BROKERS` (three brokers or more) if set, else a cluster.
pub fn shared() -> Shared {
    match env::var("KOOBRIDGE_TEST_BROKERS") {
        Ok(bootstrap) => Shared::Given(Kafka::at(bootstrap)),
        Err(_) => Shared::Own(&SHARED),
    }
}

/// Waits for a cluster that no other test uses and returns it. When dropped, it is healed. A test that holds two can
/// deadlock with another one.
pub fn exclusive() -> Exclusive {
    let place = POOL.place();
    let exclusive = Exclusive {
        cluster: Some(POOL.cluster()),
        place: Some(place),
    };
    exclusive.clear().expect("topics can be deleted");
    exclusive
}

/// Returns a new cluster with this session timeout, which ends with the test.
pub fn exclusive_with_session(session: Duration) -> Exclusive {
    let cluster = Cluster::start(session).unwrap_or_else(|why| panic!("{why}"));
    Exclusive {
        cluster: Some(cluster),
        place: None,
    }
}

/// Returns the directory of Kafka's jars, which contain its tools.
pub fn jars() -> &'static Path {
    &HOME.jars
}

/// The clusters that are lent: at most one for each place.
struct Pool {
    lent: Mutex<Lent>,
    returned: Condvar,
}

struct Lent {
    idle: Vec<Cluster>,
    /// The number of clusters that can still be lent.
    leases: usize,
    failed_starts: usize,
}

/// A test's claim to a cluster of the pool, returned when dropped.
struct Lease(&'static Pool);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.locked().leases += 1;
        self.0.returned.notify_one();
    }
}

impl Pool {
    fn place(&'static self) -> Lease {
        let mut lent = self.locked();
        self.returned.wait_while(&mut lent, |lent| lent.leases == 0);
        lent.leases -= 1;
        Lease(self)
    }

    /// Returns an idle cluster, or a new one if there is none.
    fn cluster(&self) -> Cluster {
        let (idle, failed_starts) = {
            let mut lent = self.locked();
            (lent.idle.pop(), lent.failed_starts)
        };
        idle.unwrap_or_else(|| {
            assert!(
                failed_starts < MAX_LENT,
                "Kafka did not start for the tests before"
            );
            Cluster::start(session()).unwrap_or_else(|why| {
                self.locked().failed_starts += 1;
                panic!("{why}");
            })
        })
    }

    fn locked(&self) -> MutexGuard<'_, Lent> {
        self.lent.lock()
    }
}

pub enum Shared {
    Own(&'static Cluster),
    Given(Kafka),
}

impl Deref for Shared {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        match self {
            Self::Own(cluster) => &cluster.kafka,
            Self::Given(kafka) => kafka,
        }
    }
}

/// A cluster for one test. Brokers have indexes from 0 to 2, which are their Kafka ids too.
pub struct Exclusive {
    /// `None` only when it is being dropped.
    cluster: Option<Cluster>,
    /// `None` if the cluster ends with the test.
    place: Option<Lease>,
}

impl Deref for Exclusive {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        &self.cluster().kafka
    }
}

impl Exclusive {
    fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().expect("present until the drop")
    }

    /// Notes that a broker is harmed.
    fn mark_harmed(&self) {
        self.cluster().is_healthy.store(false, Ordering::Relaxed);
    }

    fn cluster_mut(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("present until the drop")
    }

    /// Returns the SASL listeners, which expect the password of `logins::SASL_USER`.
    pub fn sasl_bootstrap(&self) -> String {
        self.bootstrap_for(Security::Sasl)
    }

    /// Returns the bootstrap addresses of a listener.
    pub fn bootstrap_for(&self, way: Security) -> String {
        let brokers = self.cluster().brokers.iter();
        let addresses: Vec<_> = brokers.map(|broker| broker.address_for(way)).collect();
        addresses.join(",")
    }

    /// Returns for each broker the port that serves the proxy, and the port of the proxy itself.
    pub fn proxy_ports(&self) -> Vec<[u16; 2]> {
        self.cluster()
            .brokers
            .iter()
            .map(Broker::proxy_ports)
            .collect()
    }

    /// Returns the first log segment of a partition on this broker.
    pub fn log_file(&self, broker: usize, topic: &str, partition: u32) -> PathBuf {
        self.cluster().brokers[broker].log_file(topic, partition)
    }

    /// Kills all brokers, and starts them with proxies at other ports.
    pub fn move_proxies(&mut self) {
        self.mark_harmed();
        let ports: [u16; BROKERS] = free_ports();
        for (broker, port) in self.cluster_mut().brokers.iter_mut().zip(ports) {
            broker.kill();
            broker.readvertise(port);
        }
        self.start_all([0, 1, 2]);
    }

    /// Freezes a broker with its connections open, and waits until every thread stands still.
    pub fn freeze(&self, broker: usize) {
        self.mark_harmed();
        self.cluster().brokers[broker].freeze();
    }

    pub fn thaw(&self, broker: usize) {
        self.cluster().brokers[broker].thaw();
    }

    pub fn freeze_all(&self) {
        self.mark_harmed();
        self.cluster().brokers.iter().for_each(Broker::freeze);
    }

    pub fn thaw_all(&self) {
        self.cluster().brokers.iter().for_each(Broker::thaw);
    }

    /// Sends SIGKILL and waits until the broker has ended.
    pub fn kill(&mut self, broker: usize) {
        self.mark_harmed();
        self.cluster_mut().brokers[broker].kill();
    }

    /// Sends SIGTERM and waits until the broker has handed over its partitions and ended.
    pub fn stop(&mut self, broker: usize) {
        self.mark_harmed();
        self.cluster_mut().brokers[broker].stop();
    }

    /// Starts a dead broker on its old data, and waits until it is registered again.
    pub fn start(&mut self, broker: usize) {
        self.start_all([broker]);
    }

    /// Starts several brokers together, because one may need another's vote.
    pub fn start_all<const N: usize>(&mut self, brokers: [usize; N]) {
        for broker in brokers {
            let broker = &mut self.cluster_mut().brokers[broker];
            assert!(broker.is_dead(), "only a dead broker can be started");
            broker.launch();
        }
        for broker in brokers {
            let registered = self.cluster_mut().brokers[broker].wait_until_registered();
            registered.expect("a dead broker starts again");
        }
    }

    /// Waits until the partition has a leader, and returns its index.
    pub fn leader_index(&self, topic: &str, partition: i32) -> usize {
        let leader = until(PATIENCE, || {
            let metadata = self.metadata(Some(topic))?;
            let mut partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
            let found = partitions
                .find(|p| p.id() == partition)
                .map(MetadataPartition::leader);
            let leader = found.ok_or("no such partition")?;
            usize::try_from(leader).map_err(|_| "no leader".to_owned())
        });
        leader.unwrap_or_else(|why| panic!("{topic}/{partition}: {why}"))
    }

    /// Waits until a controller would place three replicas and every replica is in sync, for a second.
    pub fn wait_until_healthy(&self) {
        self.cluster()
            .wait_until_healthy()
            .expect("unhurt brokers come back to health");
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        let mut cluster = self.cluster.take().expect("present until the drop");
        if thread::panicking() {
            eprintln!("the brokers' logs: {}", cluster.run.display());
        }
        let Some(_place) = self.place.take() else {
            return;
        };
        // A second panic during a test's panic would abort the process.
        let healed = panic::catch_unwind(AssertUnwindSafe(|| cluster.heal()));
        match healed {
            Ok(Ok(())) => POOL.locked().idle.push(cluster),
            Ok(Err(why)) if !thread::panicking() => {
                panic!("Kafka does not recover from a test: {why}")
            }
            Err(why) if !thread::panicking() => panic::resume_unwind(why),
            _ => eprintln!("Kafka does not recover from this test; the next one starts another"),
        }
    }
}

pub struct Cluster {
    kafka: Kafka,
    brokers: Vec<Broker>,
    /// The directory of the brokers' files.
    run: PathBuf,
    /// `true` if no broker was harmed since the cluster was last healthy.
    is_healthy: AtomicBool,
}

impl Cluster {
    /// Serializes the starts: brokers compete for the CPU, and the first one writes the class archive for all.
    fn start(session: Duration) -> Result<Self, String> {
        static STARTING: Mutex<()> = Mutex::new(());
        let _turn = STARTING.lock();
        let mut started = start_brokers(&HOME, session);
        if matches!(&started, Err(why) if why.contains("Address already in use")) {
            started = start_brokers(&HOME, session);
        }
        let (brokers, run) = started.map_err(|why| format!("Kafka does not start: {why}"))?;
        let addresses: Vec<_> = brokers.iter().map(Broker::address).collect();
        let cluster = Self {
            kafka: Kafka::at(addresses.join(",")),
            brokers,
            run,
            is_healthy: AtomicBool::new(false),
        };
        let healthy = cluster.wait_until_healthy();
        healthy.map_err(|why| format!("a new Kafka is not healthy: {why}"))?;
        Ok(cluster)
    }

    fn wait_until_healthy(&self) -> Result<(), String> {
        if self.is_healthy.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut since = None;
        let healthy = until(PATIENCE, || {
            let look = self.kafka.check_health(BROKERS);
            since = look
                .as_ref()
                .ok()
                .map(|()| since.unwrap_or_else(Instant::now));
            match since {
                Some(since) if since.elapsed() < SETTLED => Err("healthy only just".to_owned()),
                _ => look,
            }
        });
        self.is_healthy.store(healthy.is_ok(), Ordering::Relaxed);
        healthy
    }

    fn heal(&mut self) -> Result<(), String> {
        for broker in &mut self.brokers {
            if broker.is_dead() {
                broker.launch();
            } else {
                broker.thaw();
            }
        }
        self.brokers
            .iter_mut()
            .try_for_each(Broker::wait_until_registered)?;
        self.wait_until_healthy()
    }
}

/// The directories of the brokers' programs and files.
struct Home {
    at: PathBuf,
    jars: PathBuf,
    /// Held while the process lives, so that test runs with the same target directory wait for each other.
    _lock: File,
}

static HOME: LazyLock<Home> = LazyLock::new(|| {
    let at = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("kafka");
    fs::create_dir_all(&at).expect("the target directory is writable");
    let lock = lock(&at.join("lock"));
    delete_earlier_runs(&at);
    let jars = fetch_jars(&at);
    Home {
        at,
        jars,
        _lock: lock,
    }
});

fn start_brokers(home: &Home, session: Duration) -> Result<(Vec<Broker>, PathBuf), String> {
    let run = tempfile::Builder::new().prefix("run-").tempdir_in(&home.at);
    let run = run.expect("the target directory is writable").keep();
    let ports = free_ports();
    let mut brokers: Vec<_> = (0..BROKERS)
        .map(|id| Broker::new(id, &ports, &run, &home.jars, session))
        .collect();
    brokers.iter_mut().for_each(Broker::format);
    brokers
        .iter_mut()
        .try_for_each(Broker::wait_until_formatted)?;
    brokers.iter_mut().for_each(Broker::launch);
    brokers
        .iter_mut()
        .try_for_each(Broker::wait_until_registered)?;
    if !home.jars.join(ARCHIVE).exists() {
        brokers[0].archive_classes()?;
    }
    Ok((brokers, run))
}

fn lock(path: &Path) -> File {
    let file = File::create(path).expect("the target directory is writable");
    if file.try_lock().is_err() {
        // eprintln would be captured, and a person waits for this.
        let mut terminal = io::stderr();
        let said = writeln!(
            terminal,
            "waiting for the test run that holds {}",
            path.display()
        );
        said.expect("standard error is open");
        file.lock().expect("a file can be locked");
    }
    file
}

/// Deletes the files of earlier runs.
fn delete_earlier_runs(home: &Path) {
    let entries = fs::read_dir(home).expect("the directory is there");
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with("run-") {
            until(PATIENCE, || fs::remove_dir_all(entry.path()))
                .expect("an earlier run's data can be deleted when its brokers have ended");
        }
    }
}
