//! One Kafka broker: its files, its JVM, and the watchdog that kills the JVM when the tests end.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::cluster::{BROKERS, PATIENCE};
use crate::support::logins::{
    self, COMMON_NAME, KEYSTORE, SASL_PASSWORD, SASL_USER, STRANGER, Security, TLS_USER, TRUSTSTORE,
};
use crate::support::records::{Kafka, until};

const CLUSTER_ID: &str = "a29vYnJpZGdlLXRlc3RzIQ";
/// The JVM's options; [`SMALL_JVM`] unless they are set before the first broker starts.
pub static JVM: OnceLock<&str> = OnceLock::new();
/// Small heaps, the serial collector and one compiler, because three JVMs share the machine with the tests.
const SMALL_JVM: &str = "-Xms64m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
                   -Dlog4j2.level=WARN";

/// A class data sharing archive beside the jars. A broker that uses it starts with a third less CPU time.
pub const ARCHIVE: &str = "classes.jsa";

/// Runs its arguments, prints their process id, and kills them when its standard input closes. It ignores the signals
/// that a terminal or an orphaned process group may send; the program ends by SIGTERM, as operators stop it.
pub const WATCHDOG: &str = r#"
    trap '' HUP INT TERM
    exec 3<&0
    (trap - TERM; exec "$@") </dev/null >&2 3<&- &
    program=$!
    echo $program
    { read -r _; kill -9 $program; } <&3 3<&- &
    wait $program
    status=$?
    kill -9 $! 2>/dev/null
    exit $status"#;

/// The ports of all brokers of a cluster.
pub type AllPorts = [u16; 8 * BROKERS];

/// The ports in one broker's configuration.
struct Ports {
    plain: u16,
    controller: u16,
    sasl: u16,
    behind_proxy: u16,
    proxy: u16,
    tls: u16,
    mutual_tls: u16,
    sasl_tls: u16,
}

impl Ports {
    fn of(id: usize, ports: &AllPorts) -> Self {
        let [
            plain,
            controller,
            sasl,
            behind_proxy,
            proxy,
            tls,
            mutual_tls,
            sasl_tls,
        ] = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| ports[at * BROKERS + id]);
        Self {
            plain,
            controller,
            sasl,
            behind_proxy,
            proxy,
            tls,
            mutual_tls,
            sasl_tls,
        }
    }
}

pub struct Broker {
    id: usize,
    ports: Ports,
    dir: PathBuf,
    jars: PathBuf,
    java: Option<Java>,
}

impl Broker {
    pub fn new(id: usize, ports: &AllPorts, run: &Path, jars: &Path, session: Duration) -> Self {
        let dir = run.join(id.to_string());
        fs::create_dir(&dir).expect("the run's directory is writable");
        fs::write(
            dir.join("server.properties"),
            properties(id, ports, session),
        )
        .expect("so is the broker's");
        logins::write_broker_files(&dir);
        Self {
            id,
            ports: Ports::of(id, ports),
            dir,
            jars: jars.to_owned(),
            java: None,
        }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plain)
    }

    /// Returns the address of a listener.
    pub fn address_for(&self, way: Security) -> String {
        let port = match way {
            Security::Sasl => self.ports.sasl,
            Security::Tls => self.ports.tls,
            Security::MutualTls => self.ports.mutual_tls,
            Security::SaslTls => self.ports.sasl_tls,
        };
        format!("127.0.0.1:{port}")
    }

    /// Returns the port that serves the proxy, and the port that the broker advertises for the proxy.
    pub fn proxy_ports(&self) -> [u16; 2] {
        [self.ports.behind_proxy, self.ports.proxy]
    }

    /// Returns the first log segment of a partition.
    pub fn log_file(&self, topic: &str, partition: u32) -> PathBuf {
        let partition = self.dir.join(format!("data/{topic}-{partition}"));
        partition.join("00000000000000000000.log")
    }

    /// Changes the advertised port of the proxy; effective when the broker starts again.
    pub fn readvertise(&mut self, proxy: u16) {
        let file = self.dir.join("server.properties");
        let text = fs::read_to_string(&file).expect("its properties");
        let [old, new] =
            [self.ports.proxy, proxy].map(|port| format!("PROXY://127.0.0.1:{port}\n"));
        assert!(text.contains(&old), "{text}");
        fs::write(file, text.replace(&old, &new)).expect("they can be written");
        self.ports.proxy = proxy;
    }

    pub fn format(&mut self) {
        let users = [
            format!("SCRAM-SHA-256=[name={SASL_USER},password={SASL_PASSWORD}]"),
            format!("SCRAM-SHA-512=[name={TLS_USER},password={SASL_PASSWORD}]"),
        ];
        let tool = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID];
        let users = ["--add-scram", &users[0], "--add-scram", &users[1], "-c"];
        let args = [&tool[..], &users].concat();
        self.java = Some(Java::run(&self.dir, &self.jars, &args));
    }

    pub fn wait_until_formatted(&mut self) -> Result<(), String> {
        until(PATIENCE, || {
            self.is_dead().then_some(()).ok_or("still formatting")
        })
    }

    pub fn launch(&mut self) {
        self.java = Some(Java::run(&self.dir, &self.jars, &["kafka.Kafka"]));
    }

    /// Writes the class archive beside the jars. A JVM writes it when it exits, so the broker starts twice.
    pub fn archive_classes(&mut self) -> Result<(), String> {
        let part = self.dir.join(ARCHIVE);
        let option = format!("-XX:ArchiveClassesAtExit={}", part.display());
        self.stop();
        self.java = Some(Java::run(&self.dir, &self.jars, &[&option, "kafka.Kafka"]));
        self.wait_until_registered()?;
        self.stop();
        if let Err(why) = fs::rename(part, self.jars.join(ARCHIVE)) {
            eprintln!("this JVM archives no classes, so that brokers start slower: {why}");
        }
        self.launch();
        self.wait_until_registered()
    }

    /// Waits until this broker itself reports that it is registered in the cluster.
    pub fn wait_until_registered(&mut self) -> Result<(), String> {
        let itself = Kafka::at(self.address());
        let id = i32::try_from(self.id).expect("a handful of brokers");
        let registered = until(PATIENCE, || {
            if self.is_dead() {
                return Ok(Err("it exited".to_owned()));
            }
            let metadata = itself.metadata(None)?;
            let mut brokers = metadata.brokers().iter();
            brokers
                .any(|broker| broker.id() == id)
                .then_some(Ok(()))
                .ok_or("unregistered".to_owned())
        });
        registered
            .flatten()
            .map_err(|why| format!("broker {id}: {why}\n{}", self.last_output()))
    }

    fn last_output(&self) -> String {
        let output = fs::read(self.dir.join("output")).unwrap_or_default();
        String::from_utf8_lossy(&output[output.len().saturating_sub(8000)..]).into_owned()
    }

    pub fn is_dead(&mut self) -> bool {
        self.java.as_mut().is_none_or(Java::has_exited)
    }

    pub fn kill(&mut self) {
        if let Some(mut java) = self.java.take() {
            java.kill();
        }
    }

    /// Sends SIGTERM, as operators do, and waits until the broker has ended.
    pub fn stop(&mut self) {
        if let Some(java) = &self.java {
            java.signal(Signal::TERM);
        }
        until(PATIENCE, || self.is_dead().then_some(()).ok_or("alive"))
            .expect("a broker stops when asked to");
    }

    pub fn freeze(&self) {
        if let Some(java) = &self.java {
            java.signal(Signal::STOP);
            until(PATIENCE, || java.check_stopped()).expect("SIGSTOP stops every thread");
        }
    }

    pub fn thaw(&self) {
        if let Some(java) = &self.java {
            java.signal(Signal::CONT);
        }
    }
}

/// A JVM and its watchdog shell; dropping it kills both.
struct Java {
    watchdog: Child,
    pid: Pid,
}

impl Java {
    fn run(dir: &Path, jars: &Path, args: &[&str]) -> Self {
        let output = File::options()
            .create(true)
            .append(true)
            .open(dir.join("output"));
        let archive = jars.join(ARCHIVE);
        let archive = archive
            .exists()
            .then(|| format!("-XX:SharedArchiveFile={}", archive.display()));
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", "java"])
            .args(JVM.get_or_init(|| SMALL_JVM).split_whitespace())
            .args(archive)
            .arg(format!("-Djava.io.tmpdir={}", dir.display()))
            .arg("-cp")
            .arg(jars.join("*"))
            .args(args)
            .arg("server.properties")
            .current_dir(dir)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output.expect("the broker's directory is writable"))
            .spawn()
            .expect("a system has sh");
        let mut line = String::new();
        let stdout = watchdog.stdout.take().expect("stdout is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the watchdog prints a line");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw);
        Self {
            watchdog,
            pid: pid.expect("the line is a process id"),
        }
    }

    fn has_exited(&mut self) -> bool {
        self.watchdog
            .try_wait()
            .expect("the watchdog is a child")
            .is_some()
    }

    fn kill(&mut self) {
        drop(self.watchdog.stdin.take());
        let gone = || self.has_exited().then_some(()).ok_or("alive");
        until(PATIENCE, gone).expect("the watchdog kills its JVM");
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("a running JVM takes signals");
    }

    fn check_stopped(&self) -> io::Result<()> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let stat = fs::read_to_string(thread?.path().join("stat"))?;
            // The state follows the name, which is in parentheses and may contain any character.
            let state = stat.rsplit(") ").next().unwrap_or_default();
            if !state.starts_with('T') {
                return Err(io::Error::other("a thread runs on"));
            }
        }
        Ok(())
    }
}

/// Every client may do everything, except a user with a password on the listener without TLS: it needs ACLs. Offsets
/// and transactions use the smallest internal topics, and nothing expires, because the tests' records have arbitrary
/// timestamps. The last four lines save a fifth of an idle broker's CPU time.
fn properties(id: usize, ports: &AllPorts, session: Duration) -> String {
    let (session, heartbeat) = (session.as_millis(), session.as_millis() / 6);
    let Ports {
        plain,
        controller,
        sasl,
        behind_proxy,
        proxy,
        tls,
        mutual_tls,
        sasl_tls,
    } = Ports::of(id, ports);
    let with_tls = format!(
        "TLS://127.0.0.1:{tls},MTLS://127.0.0.1:{mutual_tls},SASLTLS://127.0.0.1:{sasl_tls}"
    );
    let voter = |id| format!("{id}@127.0.0.1:{}", Ports::of(id, ports).controller);
    let voters: Vec<_> = (0..BROKERS).map(voter).collect();
    let voters = voters.join(",");
    format!(
        "\
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=BROKER://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},\
    SASL://127.0.0.1:{sasl},{with_tls},PROXY://127.0.0.1:{behind_proxy}
advertised.listeners=BROKER://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},{with_tls},\
    PROXY://127.0.0.1:{proxy}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,\
    TLS:SSL,MTLS:SSL,SASLTLS:SASL_SSL,PROXY:PLAINTEXT
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:CN={COMMON_NAME};User:{TLS_USER}
ssl.keystore.type=PEM
ssl.keystore.location={KEYSTORE}
ssl.truststore.type=PEM
ssl.truststore.location={TRUSTSTORE}
listener.name.mtls.ssl.client.auth=required
listener.name.sasltls.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasltls.scram-sha-512.sasl.jaas.config=\
    org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
    required user_{SASL_USER}=\"{SASL_PASSWORD}\" user_{STRANGER}=\"{SASL_PASSWORD}\";
listener.name.sasl.scram-sha-256.sasl.jaas.config=\
    org.apache.kafka.common.security.scram.ScramLoginModule required;
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs=data
auto.create.topics.enable=false
num.partitions=6
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=3
group.initial.rebalance.delay.ms=0
log.retention.ms=-1
broker.heartbeat.interval.ms={heartbeat}
broker.session.timeout.ms={session}
log.cleaner.dedupe.buffer.size=16777216
metadata.max.idle.interval.ms=10000
num.network.threads=1
num.io.threads=2
background.threads=2
"
    )
}
