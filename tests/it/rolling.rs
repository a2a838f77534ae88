//! A rolling restart of two replicas behind haproxy, set up as `deploy/haproxy/haproxy.cfg` has it: no
//! sender notices.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::version::TLS13;

use crate::bridge::{Bridge, eventually};
use crate::cluster;
use crate::http::{Connection, body, post, request};
use crate::lines::Lines;
use crate::ports::free_addresses;
use crate::records::Kafka;
use crate::reload::EndsWith;
use crate::suite::checker::{Checker, Excused};
use crate::suite::evidence::Evidence;
use crate::suite::load::Told;
use crate::suite::rig::pause;
use crate::tls::{Authority, NOW, secure};

/// Where haproxy comes from, as replicas see it.
const HAPROXY: &str = "127.0.0.2";
const ROUNDS: usize = 3;
const SENDERS: usize = 24;
/// Between two reports of a sender.
const PACE: Duration = Duration::from_millis(80);
/// Reports that are answered after each restart, and before the next.
const REPORTS: usize = 100;

#[test]
fn a_rolling_restart_behind_haproxy_is_not_noticed() {
    let kafka = cluster::shared();
    let (topic, rejected) = (
        kafka.topic("rolling", 6),
        kafka.topic("rolling-rejected", 1),
    );
    let mut replicas = [(); 2].map(|()| replica(&kafka, &topic, &rejected));
    let haproxy = Haproxy::start(&replicas);
    let told = told_during(&haproxy, |answered| {
        for _ in 0..ROUNDS {
            for (at, replica) in replicas.iter_mut().enumerate() {
                restart(at, replica, &haproxy);
                let wanted = answered.load(Ordering::Relaxed) + REPORTS;
                eventually(|| match answered.load(Ordering::Relaxed) {
                    answered if answered >= wanted => Ok(()),
                    answered => Err(format!("{answered} of {wanted} reports are answered")),
                });
            }
        }
    });
    let excused = Excused {
        deadline: Duration::from_secs(8),
        ..Excused::NOTHING
    };
    let evidence = Evidence::gather(kafka.bootstrap(), [&*topic, &*rejected], None);
    Checker::new(&told, excused, &evidence).check();
}

/// A replica at addresses that stay its own while it is down. It takes reports from 127.0.0.1 only,
/// and haproxy comes from elsewhere: what counts is what haproxy says of its senders.
fn replica(kafka: &Kafka, topic: &str, rejected: &str) -> Bridge {
    let [ingress, admin] = free_addresses();
    let settings = [
        ("ingress.listen", &*ingress),
        ("admin.listen", &*admin),
        ("ingress.drain_delay", "6s"),
        ("ingress.deadline", "8s"),
        ("ingress.trusted_proxies", HAPROXY),
        ("ingress.allow", "127.0.0.1"),
    ];
    Bridge::ready(kafka.bootstrap(), topic, rejected, &settings)
}

/// Returns what the senders are told while something is done to the replicas, which is given the count of answers.
fn told_during(haproxy: &Haproxy, harm: impl FnOnce(&AtomicUsize)) -> Vec<Told> {
    let (done, answered) = (&AtomicBool::new(false), &AtomicUsize::new(0));
    thread::scope(|scope| {
        let _end = EndsWith(done);
        let send = move |sender| scope.spawn(move || send(sender, haproxy.open(), done, answered));
        let senders: Vec<_> = (0..SENDERS).map(send).collect();
        harm(answered);
        done.store(true, Ordering::Relaxed);
        let told = senders
            .into_iter()
            .map(|sender| sender.join().expect("answers"));
        told.flatten().collect()
    })
}

/// Sends reports on one connection, which stays open all the time, and claims to be another client.
fn send(
    sender: usize,
    mut connection: Connection,
    done: &AtomicBool,
    count: &AtomicUsize,
) -> Vec<Told> {
    let lie = [("X-Forwarded-For", Some("192.0.2.1"))];
    let mut told = Vec::new();
    let mut due = Instant::now();
    while !done.load(Ordering::Relaxed) {
        let (message_id, status) = (format!("m-{sender}-{}", told.len()), "read");
        let sent = Instant::now();
        connection.send(&request(&post(), &lie, &body(&message_id, status)));
        let code = Some(connection.answer().status);
        let answered = Instant::now();
        count.fetch_add(1, Ordering::Relaxed);
        told.push(Told {
            message_id,
            status,
            big: false,
            sent,
            answered,
            code,
        });
        due += PACE;
        pause(due.saturating_duration_since(answered));
    }
    told
}

/// As an orchestrator does it: the next one has to wait until this one is back.
fn restart(at: usize, replica: &mut Bridge, haproxy: &Haproxy) {
    replica.signal(Signal::TERM);
    haproxy.wait_for(at, "DOWN");
    assert!(replica.is_running(), "it ended before haproxy noticed");
    assert_eq!(
        replica.wait_for_exit().code(),
        Some(0),
        "{}",
        replica.logged()
    );
    replica.restart();
    haproxy.wait_for(at, "UP");
}

/// A haproxy that ends TLS, killed when dropped.
struct Haproxy {
    child: Child,
    lines: Lines,
    address: String,
    client: ClientConfig,
    directory: TempDir,
}

impl Haproxy {
    fn start(replicas: &[Bridge; 2]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let authority = Authority::new();
        authority.issue("server", 1, NOW);
        let [certificate, key] = ["server.crt", "server.key"]
            .map(|name| fs::read_to_string(authority.path(name)).expect("a file"));
        let pem = directory.path().join("koobridge.pem");
        fs::write(&pem, certificate + &key).expect("a file");
        let [address] = free_addresses();
        let file = directory.path().join("haproxy.cfg");
        let text = configuration(&address, &pem, &directory.path().join("socket"), replicas);
        fs::write(&file, text).expect("a configuration");

        // Not everybody has it in his path.
        let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let mut child = Command::new("haproxy")
            .env("PATH", path)
            .args(["-db", "-f"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .expect("haproxy is installed; script/bootstrap --tests does that");
        let lines = Lines::read(child.stderr.take().expect("a pipe"));
        let haproxy = Self {
            child,
            lines,
            address,
            client: authority.client(&[&TLS13]),
            directory,
        };
        haproxy.wait_for(0, "UP");
        haproxy.wait_for(1, "UP");
        haproxy
    }

    fn open(&self) -> Connection {
        let address = self.address.parse().expect("an address");
        Connection::over(address, |socket| {
            Box::new(secure(self.client.clone(), socket))
        })
    }

    /// Waits until haproxy sees the replica so.
    fn wait_for(&self, replica: usize, status: &str) {
        let server = format!("koobridge-{}", replica + 1);
        eventually(|| match self.status(&server) {
            Ok(seen) if seen.starts_with(status) => Ok(()),
            seen => Err(format!(
                "{server} is {seen:?}, not {status}:\n{}",
                self.lines.all()
            )),
        });
    }

    /// The status of a server as the statistics have it, for example `UP 1/2`.
    fn status(&self, server: &str) -> Result<String, String> {
        let table = self.ask("show stat").map_err(|error| error.to_string())?;
        let mut rows = table.lines().map(|row| row.split(',').collect::<Vec<_>>());
        let head = rows.next().ok_or("no statistics")?;
        let column = head
            .iter()
            .position(|name| *name == "status")
            .ok_or("no status")?;
        let row = rows
            .find(|row| row.get(1) == Some(&server))
            .ok_or("no such server")?;
        Ok(row[column].to_owned())
    }

    fn ask(&self, question: &str) -> std::io::Result<String> {
        let mut socket = UnixStream::connect(self.directory.path().join("socket"))?;
        socket.write_all(format!("{question}\n").as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
        if thread::panicking() {
            eprintln!("haproxy said:\n{}", self.lines.all());
        }
    }
}

/// What operators are shown, with the test's addresses and files.
fn configuration(address: &str, pem: &Path, socket: &Path, replicas: &[Bridge; 2]) -> String {
    let [first, second] = replicas.each_ref().map(|replica| {
        let (ingress, admin) = (replica.ingress, replica.admin.port());
        format!("{ingress} port {admin} source {HAPROXY}")
    });
    let changes = [
        ("0.0.0.0:18446", address.to_owned()),
        ("/etc/haproxy/koobridge.pem", pem.display().to_string()),
        ("/run/haproxy/admin.sock", socket.display().to_string()),
        ("10.10.10.11:18446 port 18447", first),
        ("10.10.10.12:18446 port 18447", second),
    ];
    let shown = include_str!("../../deploy/haproxy/haproxy.cfg").to_owned();
    changes.into_iter().fold(shown, |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from} in the file");
        text.replace(from, &to)
    })
}
