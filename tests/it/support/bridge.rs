//! A running koobridge: a process with its configuration file, killed when the test ends.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::http::{Response, exchange};
use crate::support::lines::{Lines, log_file};
use crate::support::ports::free_addresses;
use crate::support::proc;
use crate::support::records::{self, Kafka};

pub const CHANNEL: &str = "202105102694809992";
const FILE: &str = "koobridge.toml";
pub const PASSWORD: &str = "s3cret, with spaces";

/// A generous limit for anything that the bridge does by itself, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The delay that a busy machine may add to a timeout of the bridge.
pub const BUSY: Duration = Duration::from_secs(3);

/// Polls until `look` succeeds; panics with its last error after [`PATIENCE`].
pub fn eventually<T>(look: impl FnMut() -> Result<T, String>) -> T {
    records::until(PATIENCE, look).unwrap_or_else(|wrong| panic!("{wrong}"))
}

/// Returns a command that runs the program in the tests' build profile.
pub fn koobridge() -> Command {
    wrapped(&[] as &[&str])
}

/// Returns a command in which `wrapper` runs the program (`prlimit`, for example).
pub fn wrapped<S: AsRef<OsStr>>(wrapper: &[S]) -> Command {
    const PROGRAM: &str = env!("CARGO_BIN_EXE_koobridge");
    let words = wrapper.iter().map(AsRef::as_ref);
    let mut words = words.chain([OsStr::new(PROGRAM)]);
    let mut command = Command::new(words.next().expect("the program at least"));
    command.args(words);
    for (variable, _) in std::env::vars() {
        if variable.starts_with("KOOBRIDGE_") || variable.starts_with("OTEL_") {
            command.env_remove(variable);
        }
    }
    command
}

/// The address of a bridge that does not listen yet.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A `koobridge serve` process, killed when dropped.
pub struct Bridge {
    child: Child,
    lines: Lines,
    log: PathBuf,
    pub ingress: SocketAddr,
    pub admin: SocketAddr,
    settings: Vec<String>,
    environment: Vec<(&'static str, OsString)>,
    wrapper: Vec<String>,
    directory: TempDir,
}

impl Bridge {
    /// Starts a bridge and waits until it is ready. `settings` override the tests' defaults.
    pub fn ready(bootstrap: &str, topic: &str, rejected: &str, settings: &[(&str, &str)]) -> Self {
        let bridge = Self::start(bootstrap, topic, rejected, settings);
        bridge.wait_until_ready();
        bridge
    }

    /// Starts a bridge on two new topics, waits until it is ready, and returns the topics' names too.
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
        Self::start_in(&[], bootstrap, topic, rejected, settings)
    }

    /// Starts a bridge by a wrapper (`prlimit`, for example) and waits until it listens.
    pub fn start_by(
        wrapper: &[&str],
        bootstrap: &str,
        topic: &str,
        rejected: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        Self::launch(wrapper, &[], bootstrap, topic, rejected, settings)
    }

    /// Starts a bridge that logs to `log`, and waits until its admin port accepts connections.
    pub fn with_log(
        log: Stdio,
        bootstrap: &str,
        topic: &str,
        rejected: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = configuration(directory.path(), bootstrap, topic, rejected);
        let addresses = free_addresses();
        let [ingress, admin] = &addresses;
        let listen = [("ingress.listen", &**ingress), ("admin.listen", admin)];
        let settings = listen.iter().chain(settings);
        let settings = settings.map(|(key, value)| format!("{key}={value}"));
        let settings: Vec<_> = settings.collect();
        let child = serve(koobridge(), &file, &settings)
            .stderr(log)
            .spawn()
            .expect("koobridge starts");
        let [ingress, admin] = addresses.map(|address| address.parse().expect("an address"));
        let bridge = Self {
            child,
            lines: Lines::default(),
            log: "(the test has it)".into(),
            ingress,
            admin,
            settings,
            environment: Vec::new(),
            wrapper: Vec::new(),
            directory,
        };
        eventually(|| TcpStream::connect(admin).map_err(|error| error.to_string()));
        bridge
    }

    /// Starts a bridge with these environment variables, and waits until it listens.
    pub fn start_in(
        environment: &[(&'static str, OsString)],
        bootstrap: &str,
        topic: &str,
        rejected: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        Self::launch(vec![], environment, bootstrap, topic, rejected, settings)
    }

    fn launch(
        wrapper: Vec<String>,
        environment: &[(&'static str, OsString)],
        bootstrap: &str,
        topic: &str,
        rejected: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let mut bridge = Self::spawn(wrapper, environment, bootstrap, topic, rejected, settings);
        [bridge.ingress, bridge.admin] = addresses(&bridge.lines);
        bridge
    }

    /// Starts a bridge with these environment variables, and waits until it listens. Returns its log if it ends first.
    pub fn try_start_in(
        environment: &[(&'static str, OsString)],
        bootstrap: &str,
        topic: &str,
        rejected: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut bridge = Self::spawn(vec![], environment, bootstrap, topic, rejected, settings);
        let has_ended = eventually(|| {
            let is_listening = bridge.lines.find("\"listening\"").is_some();
            match (is_listening, bridge.is_running()) {
                (true, _) => Ok(false),
                (false, false) => Ok(true),
                (false, true) => Err(format!("not listening:\n{}", bridge.lines.all())),
            }
        });
        if has_ended {
            return Err(bridge.lines.wait_for_end());
        }
        [bridge.ingress, bridge.admin] = addresses(&bridge.lines);
        Ok(bridge)
    }

    fn spawn(
        wrapper: Vec<String>,
        environment: &[(&'static str, OsString)],
        bootstrap: &str,
        topic: &str,
        rejected: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = configuration(directory.path(), bootstrap, topic, rejected);
        let (settings, environment) = (flags(&file, settings), environment.to_vec());
        let (child, lines, log) = spawn(&wrapper, directory.path(), &settings, &environment);
        // Its `Drop` kills the process, so nothing may panic before this.
        Self {
            child,
            lines,
            log,
            ingress: UNKNOWN,
            admin: UNKNOWN,
            settings,
            environment,
            wrapper,
            directory,
        }
    }

    /// Sends SIGKILL and waits until the process has ended.
    pub fn sigkill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// Waits until the process has ended, starts it again with the same settings, and waits until it listens.
    pub fn restart(&mut self) {
        assert!(!self.is_running(), "only an ended bridge can be restarted");
        (self.child, self.lines, self.log) = spawn(
            &self.wrapper,
            self.directory.path(),
            &self.settings,
            &self.environment,
        );
        [self.ingress, self.admin] = addresses(&self.lines);
    }

    pub fn wait_until_ready(&self) {
        eventually(|| match self.probe("/readyz") {
            Response { status: 200, .. } => Ok(()),
            other => Err(format!("not ready: {}\n{}", other.text(), self.lines.all())),
        });
    }

    pub fn probe(&self, path: &str) -> Response {
        probe(self.admin, path)
    }

    /// Returns the value of a series in `/metrics`, or 0 if the series is absent.
    pub fn metric(&self, series: &str) -> u64 {
        metric(self.admin, series)
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

    /// Returns the resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        proc::status(self.pid(), "VmRSS") << 10
    }

    /// Returns the peak of the resident memory in bytes.
    pub fn peak_resident_bytes(&self) -> u64 {
        proc::status(self.pid(), "VmHWM") << 10
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

    /// Returns the directory of the configuration and the channels.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the message in `/readyz` about a part that could not be reloaded.
    pub fn stale(&self, part: &str) -> Option<String> {
        let readiness = self.probe("/readyz").json();
        readiness["stale"][part].as_str().map(str::to_owned)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns `true` if the process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("koobridge's log: {}", self.log.display());
        }
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }
}

fn spawn(
    wrapper: &[String],
    directory: &Path,
    settings: &[String],
    environment: &[(&'static str, OsString)],
) -> (Child, Lines, PathBuf) {
    let (copy, log) = log_file();
    let mut child = serve(wrapped(wrapper), &directory.join(FILE), settings)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stderr(Stdio::piped())
        .spawn()
        .expect("koobridge starts");
    let lines = Lines::read_and_copy(child.stderr.take().expect("a pipe"), copy);
    (child, lines, log)
}

/// Adds the arguments of `koobridge serve`.
fn serve(mut command: Command, file: &Path, settings: &[String]) -> Command {
    command.args(["serve", "--config"]).arg(file);
    for setting in settings {
        command.args(["--set", setting]);
    }
    // The test runner waits until its standard output is closed, so no child may inherit it.
    command.stdout(Stdio::null());
    command
}

fn probe(admin: SocketAddr, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    exchange(admin, request.as_bytes())
}

/// Does the same as [`Bridge::metric`], for a thread that has only the address.
pub fn metric(admin: SocketAddr, series: &str) -> u64 {
    let text = probe(admin, "/metrics").text();
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
        .map_or(0, |value| value.parse().expect("a whole number"))
}

/// Waits until the bridge listens, and returns the addresses of ingress and admin.
fn addresses(lines: &Lines) -> [SocketAddr; 2] {
    let listening = eventually(|| {
        lines
            .find("\"listening\"")
            .ok_or_else(|| format!("not listening:\n{}", lines.all()))
    });
    let listening: Value = serde_json::from_str(&listening).expect("a JSON line");
    ["ingress", "admin"].map(|name| {
        let text = listening[name].as_str().expect("an address in the log");
        text.parse().expect("an address")
    })
}

/// Writes a configuration and its channel into `directory`.
pub fn configuration(directory: &Path, bootstrap: &str, topic: &str, rejected: &str) -> PathBuf {
    let channels = directory.join("channels");
    std::fs::create_dir(&channels).expect("a directory");
    std::fs::write(channels.join(CHANNEL), format!("{PASSWORD}\n")).expect("a channel");
    let file = directory.join(FILE);
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

/// Returns settings as arguments of `--set`. Kafka properties whose value is a table go into the file, because `--set`
/// cannot hold a table.
pub fn flags(file: &Path, settings: &[(&str, &str)]) -> Vec<String> {
    let is_table = |(_, value): &&(&str, &str)| value.starts_with("{ ");
    let (tables, flags): (Vec<_>, Vec<_>) = settings.iter().partition(is_table);
    let mut text = std::fs::read_to_string(file).expect("a configuration");
    for (key, value) in tables {
        let name = key.strip_prefix("kafka.properties.");
        let name = name.expect("the file ends with this section");
        text.extend([name, " = ", value, "\n"]);
    }
    std::fs::write(file, text).expect("a configuration");
    let flags = flags.into_iter();
    flags.map(|(key, value)| format!("{key}={value}")).collect()
}

/// Runs the program until it ends; panics with its output when it does not end in time.
pub fn run(command: &mut Command) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("koobridge starts");
    let pid = Pid::from_child(&child);
    let ended = records::until(PATIENCE, || {
        let ended = child.try_wait().expect("a child");
        ended.ok_or("still running")
    });
    if ended.is_err() {
        kill_process(pid, Signal::KILL).expect("it runs");
    }
    let output = child.wait_with_output().expect("its output");
    if let Err(wrong) = ended {
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("{wrong}; its output: {said}");
    }
    output
}
