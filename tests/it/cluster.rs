//! The Apache Kafka the tests run against: three brokers of one `KRaft` cluster, fetched with Maven,
//! started at the first use and gone with the test process, however that ends. Its logs stay in
//! `target/kafka/run-*/` until the next run. Hold one guard at a time: two on a thread can deadlock.

use std::env;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::metadata::{MetadataPartition, MetadataTopic};

use crate::broker::{ARCHIVE, Broker, Ports};
use crate::jars::fetch_jars;
use crate::records::{Kafka, until};

pub const BROKERS: usize = 3;
pub const PATIENCE: Duration = Duration::from_mins(1);
/// How long a cluster must look healthy to be: its view of itself lags after a freeze.
const SETTLED: Duration = Duration::from_secs(1);
/// Poisoned when the start fails, so that the tests after the first do not try it again.
static CLUSTER: LazyLock<RwLock<Cluster>> = LazyLock::new(|| RwLock::new(Cluster::start()));

/// A healthy Kafka: `KOOBRIDGE_TEST_BROKERS` (at least three brokers) if set, else the own cluster.
pub fn shared() -> Shared {
    match env::var("KOOBRIDGE_TEST_BROKERS") {
        Ok(bootstrap) => Shared::Given(Kafka::at(bootstrap)),
        Err(_) => Shared::Own(CLUSTER.read().unwrap_or_else(PoisonError::into_inner)),
    }
}

/// The own cluster, with no other test on it, to do harm to. Healed when dropped.
pub fn exclusive() -> Exclusive {
    let exclusive = Exclusive(CLUSTER.write().unwrap_or_else(PoisonError::into_inner));
    // Brokers that hand over the partitions of hundreds of tests take seconds for it on a slow machine.
    exclusive.clear().expect("topics can be deleted");
    exclusive
}

pub enum Shared {
    Own(RwLockReadGuard<'static, Cluster>),
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

/// The cluster to itself. Brokers go by index, 0 to 2, which is their Kafka id too.
pub struct Exclusive(RwLockWriteGuard<'static, Cluster>);

impl Deref for Exclusive {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        &self.0.kafka
    }
}

impl Exclusive {
    /// The listeners that ask for a password: `broker::SASL_USER` has one.
    pub fn sasl_bootstrap(&self) -> String {
        let addresses: Vec<_> = self.0.brokers.iter().map(Broker::sasl_address).collect();
        addresses.join(",")
    }

    /// Of each broker: where it listens for what comes by a proxy, and where the proxy has to be.
    pub fn proxy_ports(&self) -> Vec<[u16; 2]> {
        self.0.brokers.iter().map(Broker::proxy_ports).collect()
    }

    /// Where Kafka's own tools are.
    pub fn jars(&self) -> &Path {
        &self.0.jars
    }

    /// Stops a broker in its tracks, its connections open. Returns when every thread stands still.
    pub fn freeze(&self, broker: usize) {
        self.0.is_sound.set(false);
        self.0.brokers[broker].freeze();
    }

    pub fn thaw(&self, broker: usize) {
        self.0.brokers[broker].thaw();
    }

    pub fn freeze_all(&self) {
        self.0.is_sound.set(false);
        self.0.brokers.iter().for_each(Broker::freeze);
    }

    pub fn thaw_all(&self) {
        self.0.brokers.iter().for_each(Broker::thaw);
    }

    /// SIGKILL, and returns when the broker is gone.
    pub fn kill(&mut self, broker: usize) {
        self.0.is_sound.set(false);
        self.0.brokers[broker].kill();
    }

    /// SIGTERM, and returns when the broker has handed over what it led and is gone.
    pub fn stop(&mut self, broker: usize) {
        self.0.is_sound.set(false);
        self.0.brokers[broker].stop();
    }

    /// Starts a dead broker on what it had, and returns when it is registered again.
    pub fn start(&mut self, broker: usize) {
        self.start_all([broker]);
    }

    /// The same of several at once: one may need another's vote.
    pub fn start_all<const N: usize>(&mut self, brokers: [usize; N]) {
        for broker in brokers {
            let broker = &mut self.0.brokers[broker];
            assert!(broker.is_dead(), "only a dead broker can be started");
            broker.launch();
        }
        for broker in brokers {
            let registered = self.0.brokers[broker].wait_until_registered();
            registered.expect("a dead broker starts again");
        }
    }

    /// The broker that leads the partition, once one does.
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

    /// A controller that would place three replicas, and every replica in sync, for a second.
    pub fn wait_until_healthy(&self) {
        self.0
            .wait_until_healthy()
            .expect("unhurt brokers come back to health");
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        match self.0.heal() {
            Err(why) if thread::panicking() => eprintln!("Kafka stays broken: {why}"),
            healed => healed.expect("Kafka comes back to health after a test"),
        }
    }
}

/// A flag that tests with a shared cluster may look at.
#[derive(Default)]
struct Sound(AtomicBool);

impl Sound {
    fn set(&self, sound: bool) {
        self.0.store(sound, Ordering::SeqCst);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

pub struct Cluster {
    kafka: Kafka,
    brokers: Vec<Broker>,
    jars: PathBuf,
    /// No broker was harmed since it was last seen healthy.
    is_sound: Sound,
    /// Held as long as the process lives: one cluster at a time for one target directory.
    _lock: File,
}

impl Cluster {
    fn start() -> Self {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("kafka");
        fs::create_dir_all(&home).expect("the target directory is writable");
        let lock = lock(&home.join("lock"));
        sweep(&home);
        let jars = fetch_jars(&home);
        let mut started = start_brokers(&home, &jars, 0);
        if matches!(&started, Err(why) if why.contains("Address already in use")) {
            started = start_brokers(&home, &jars, 1);
        }
        let brokers = started.unwrap_or_else(|why| panic!("Kafka does not start: {why}"));
        let addresses: Vec<_> = brokers.iter().map(Broker::address).collect();
        let cluster = Self {
            kafka: Kafka::at(addresses.join(",")),
            brokers,
            jars,
            is_sound: Sound::default(),
            _lock: lock,
        };
        cluster
            .wait_until_healthy()
            .expect("a new Kafka is healthy");
        cluster
    }

    fn wait_until_healthy(&self) -> Result<(), String> {
        if self.is_sound.get() {
            return Ok(());
        }
        let mut since = None;
        let healthy = until(PATIENCE, || {
            let look = self.kafka.look_healthy(BROKERS);
            since = look
                .as_ref()
                .ok()
                .map(|()| since.unwrap_or_else(Instant::now));
            match since {
                Some(since) if since.elapsed() < SETTLED => Err("healthy only just".to_owned()),
                _ => look,
            }
        });
        self.is_sound.set(healthy.is_ok());
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

fn start_brokers(home: &Path, jars: &Path, attempt: u16) -> Result<Vec<Broker>, String> {
    let run = tempfile::Builder::new().prefix("run-").tempdir_in(home);
    let run = run.expect("the target directory is writable").keep();
    let ports = free_ports(attempt);
    let mut brokers: Vec<_> = (0..BROKERS)
        .map(|id| Broker::new(id, &ports, &run, jars))
        .collect();
    brokers.iter_mut().for_each(Broker::format);
    brokers
        .iter_mut()
        .try_for_each(Broker::wait_until_formatted)?;
    brokers.iter_mut().for_each(Broker::launch);
    brokers
        .iter_mut()
        .try_for_each(Broker::wait_until_registered)?;
    if !jars.join(ARCHIVE).exists() {
        brokers[0].archive_classes()?;
    }
    Ok(brokers)
}

/// All brokers'. Below the range the kernel gives to clients, one of which could otherwise sit on
/// a killed broker's port.
fn free_ports(attempt: u16) -> Vec<u16> {
    let spread = u16::try_from(process::id() % 1000).expect("below 1000");
    let from = 20_000 + 10 * spread + 1000 * attempt;
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (from..32_000)
        .filter(is_free)
        .take(Ports::EACH * BROKERS)
        .collect()
}

fn lock(path: &Path) -> File {
    let file = File::create(path).expect("the target directory is writable");
    if file.try_lock().is_err() {
        eprintln!("waiting for the test run that holds {}", path.display());
        file.lock().expect("a file can be locked");
    }
    file
}

/// Earlier runs' data, kept until now for whoever had to look at it.
fn sweep(home: &Path) {
    let entries = fs::read_dir(home).expect("the directory is there");
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with("run-") {
            until(PATIENCE, || fs::remove_dir_all(entry.path()))
                .expect("an earlier run's data can be removed once its brokers are gone");
        }
    }
}
