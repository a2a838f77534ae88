//! A schema registry: Apicurio Registry, fetched with Maven, which also serves Confluent's API.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::WATCHDOG;
use crate::support::http::{Connection, Response};
use crate::support::ports::free_ports;
use crate::support::records::until;

const APICURIO: &str = "3.0.9";
/// It starts within 10 s on an idle machine.
const START: Duration = Duration::from_mins(4);
/// The registry must start fast; its answers may be slow.
const JVM: [&str; 2] = ["-Xmx256m", "-XX:TieredStopAtLevel=1"];
/// The path of Confluent's API.
const API: &str = "/apis/ccompat/v7";

/// A registry that keeps its schemas in memory.
pub struct Registry {
    port: u16,
    /// Kills the registry when its standard input closes, which happens when this process ends.
    _watchdog: Child,
    home: TempDir,
}

/// Returns the registry of this run. Each test uses its own subjects.
pub fn shared() -> &'static Registry {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::start);
    &REGISTRY
}

impl Registry {
    fn start() -> Self {
        let program = fetch();
        let [port] = free_ports();
        let home = tempfile::tempdir().expect("a directory");
        let output = File::create(home.path().join("output")).expect("a file");
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", "java"])
            .args(JVM)
            .arg("-jar")
            .arg(program)
            .env("QUARKUS_HTTP_HOST", "127.0.0.1")
            .env("QUARKUS_HTTP_PORT", port.to_string())
            .current_dir(home.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            .spawn()
            .expect("a system has sh");
        let mut line = String::new();
        let output = watchdog.stdout.take().expect("a pipe");
        let read = BufReader::new(output).read_line(&mut line);
        read.expect("the watchdog prints the process id");
        let registry = Self {
            port,
            _watchdog: watchdog,
            home,
        };
        until(START, || registry.answers()).unwrap_or_else(|why| panic!("{why}"));
        registry
    }

    fn answers(&self) -> Result<(), String> {
        let address = ("127.0.0.1", self.port);
        std::net::TcpStream::connect(address)
            .map_err(|error| format!("{error}: {}", self.said()))?;
        let answer = self.ask("GET", "/subjects", None);
        match answer.status {
            200 => Ok(()),
            _ => Err(format!("{answer:?}")),
        }
    }

    fn said(&self) -> String {
        let mut text = String::new();
        let file = File::open(self.home.path().join("output"));
        let read = file.and_then(|mut file| file.read_to_string(&mut text));
        read.map_or_else(|error| error.to_string(), |_| text)
    }

    /// Returns the address of Confluent's API.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}{API}", self.port)
    }

    /// Sends a request to Confluent's API.
    pub fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let (port, length) = (self.port, body.len());
        let request = format!(
            "{method} {API}{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\n\
             Content-Type: application/vnd.schemaregistry.v1+json\r\nConnection: close\r\n\r\n{body}"
        );
        let address = ([127, 0, 0, 1], port).into();
        let mut connection = Connection::open(address);
        connection.send(request.as_bytes());
        connection.answer()
    }

    /// Registers a JSON schema.
    pub fn register(&self, subject: &str, schema: &Value) {
        let schema = json!({ "schemaType": "JSON", "schema": schema.to_string() });
        let path = format!("/subjects/{subject}/versions");
        let answer = self.ask("POST", &path, Some(schema));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// Returns the path of the program. Renames its directory when it is complete, so that the name implies completeness.
fn fetch() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let home = target.join(format!("apicurio-{APICURIO}"));
    if !home.exists() {
        let part = tempfile::tempdir_in(&target).expect("the target directory is writable");
        let artifact = format!("io.apicurio:apicurio-registry-app:{APICURIO}:tar.gz:all");
        let fetched = Command::new("mvn")
            .args(["-B", "-q", "dependency:unpack"])
            .arg(format!("-Dartifact={artifact}"))
            .arg("-DoutputDirectory=registry")
            .current_dir(part.path())
            .output();
        match fetched {
            Ok(output) if output.status.success() => {}
            failed => {
                panic!("these tests need a JDK 17, Maven (mvn) and a Maven repository: {failed:?}")
            }
        }
        fs::rename(part.path().join("registry"), &home).expect("one directory to another name");
    }
    home.join(format!("apicurio-registry-app-{APICURIO}-runner.jar"))
}
