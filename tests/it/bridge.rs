//! A running koobridge: started as a process with a configuration file, ended with the test.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Response, exchange};
use crate::records::{self, Kafka};

pub const CHANNEL: &str = "202105102694809992";
pub const PASSWORD: &str = "s3cret, with spaces";

/// How long anything that a bridge does by itself may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Looks until there is something to see; panics with what was wrong at the last look.
pub fn eventually<T>(look: impl FnMut() -> Result<T, String>) -> T {
    records::until(PATIENCE, look).unwrap_or_else(|wrong| panic!("{wrong}"))
}

/// The program, built as the tests are.
pub fn koobridge() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_koobridge"));
    for (variable, _) in std::env::vars() {
        if variable.starts_with("KOOBRIDGE_") {
            command.env_remove(variable);
        }
    }
    command
}

/// A `koobridge serve`, killed when dropped.
pub struct Bridge {
    child: Child,
    lines: Lines,
    pub ingress: SocketAddr,
    pub admin: SocketAddr,
    _directory: TempDir,
}

/// What a bridge has logged so far.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn push(&self, line: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    fn find(&self, part: &str) -> Option<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().find(|line| line.contains(part)).cloned()
    }

    fn all(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join("\n")
    }
}

impl Bridge {
    /// Starts a bridge and waits until it is ready. `settings` go over the defaults of the tests.
    pub fn ready(bootstrap: &str, topic: &str, rejected: &str, settings: &[(&str, &str)]) -> Self {
        let bridge = Self::start(bootstrap, topic, rejected, settings);
        bridge.wait_until_ready();
        bridge
    }

    /// Starts a bridge with topics of its own and waits until it is ready; gives their names too.
    pub fn with_topics(
        kafka: &Kafka,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> (Self, String, String) {
        let topic = kafka.topic("events", partitions);
        let rejected = kafka.topic("rejected", partitions);
        let bridge = Self::ready(kafka.bootstrap(), &topic, &rejected, settings);
        (bridge, topic, rejected)
    }

    /// Starts a bridge and waits until it listens.
    pub fn start(bootstrap: &str, topic: &str, rejected: &str, settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = configuration(directory.path(), bootstrap, topic, rejected);
        let mut command = koobridge();
        command.args(["serve", "--config"]).arg(file);
        for (key, value) in settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("koobridge starts");
        let lines = Lines::default();
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let sink = lines.clone();
        thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .for_each(|line| sink.push(line));
        });
        let listening = eventually(|| {
            lines
                .find("\"listening\"")
                .ok_or_else(|| format!("not listening:\n{}", lines.all()))
        });
        let listening: Value = serde_json::from_str(&listening).expect("a JSON line");
        let address = |name: &str| {
            let text = listening[name].as_str().expect("an address in the log");
            text.parse().expect("an address")
        };
        let (ingress, admin) = (address("ingress"), address("admin"));
        Self {
            child,
            lines,
            ingress,
            admin,
            _directory: directory,
        }
    }

    pub fn wait_until_ready(&self) {
        eventually(|| match self.probe("/readyz") {
            Response { status: 200, .. } => Ok(()),
            other => Err(format!("not ready: {}\n{}", other.text(), self.lines.all())),
        });
    }

    pub fn probe(&self, path: &str) -> Response {
        exchange(
            self.admin,
            format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n").as_bytes(),
        )
    }

    /// The value of one series as `/metrics` shows it; 0 where it does not show it.
    pub fn metric(&self, series: &str) -> u64 {
        let text = self.probe("/metrics").text();
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
            .map_or(0, |value| value.parse().expect("a whole number"))
    }

    pub fn wait_for_metric(&self, series: &str, expected: u64) {
        eventually(|| match self.metric(series) {
            value if value == expected => Ok(()),
            value => Err(format!("{series} is {value}, not {expected}")),
        });
    }

    pub fn wait_for_log(&self, part: &str) -> String {
        eventually(|| {
            self.lines
                .find(part)
                .ok_or_else(|| format!("no {part:?} in:\n{}", self.lines.all()))
        })
    }

    pub fn logged(&self) -> String {
        self.lines.all()
    }

    /// The memory that is resident, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("a running process");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("a size");
        let kibibytes: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number of kibibytes");
        kibibytes << 10
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the bridge is there to be signalled");
    }

    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually(|| {
            child
                .try_wait()
                .expect("a child")
                .ok_or_else(|| "still running".to_owned())
        })
    }

    /// Whether the process is the one that was started.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }
}

/// Writes a configuration and its channel into `directory`.
pub fn configuration(directory: &Path, bootstrap: &str, topic: &str, rejected: &str) -> PathBuf {
    let channels = directory.join("channels");
    std::fs::create_dir(&channels).expect("a directory");
    std::fs::write(channels.join(CHANNEL), format!("{PASSWORD}\n")).expect("a channel");
    let file = directory.join("koobridge.toml");
    let channels = channels.display();
    let text = format!(
        "[ingress]\n\
         listen = \"127.0.0.1:0\"\n\
         channels = \"{channels}\"\n\
         drain_delay = \"0s\"\n\
         [admin]\n\
         listen = \"127.0.0.1:0\"\n\
         [kafka]\n\
         topic = \"{topic}\"\n\
         rejected_topic = \"{rejected}\"\n\
         [kafka.properties]\n\
         bootstrap.servers = \"{bootstrap}\"\n"
    );
    std::fs::write(&file, text).expect("a configuration");
    file
}

/// Runs the program to its end.
pub fn run(command: &mut Command) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("koobridge starts");
    let status = eventually(|| {
        child
            .try_wait()
            .expect("a child")
            .ok_or_else(|| "still running".to_owned())
    });
    let mut output = Output {
        status,
        stdout: Vec::new(),
        stderr: Vec::new(),
    };
    child
        .stdout
        .expect("a pipe")
        .read_to_end(&mut output.stdout)
        .expect("its output");
    child
        .stderr
        .expect("a pipe")
        .read_to_end(&mut output.stderr)
        .expect("its messages");
    output
}
