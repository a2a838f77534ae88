//! The load balancers of `deploy/`, started as operators start them: they terminate TLS in front of two replicas.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::version::TLS13;

use crate::support::authority::{Authority, NOW};
use crate::support::bridge::{Bridge, eventually};
use crate::support::http::Connection;
use crate::support::lines::Lines;
use crate::support::ports::free_addresses;
use crate::tls::secure;

/// The address from which haproxy connects to its replicas.
pub const HAPROXY: &str = "127.0.0.2";

/// A text in a configuration, and its replacement.
type Change<'a> = (&'a str, &'a str);

/// A balancer's process, killed when dropped.
pub struct Balancer {
    child: Child,
    lines: Lines,
    address: String,
    client: ClientConfig,
    _directory: TempDir,
}

/// A balancer's files.
struct Home {
    directory: TempDir,
    address: String,
    client: ClientConfig,
    certificate: String,
    key: String,
}

impl Home {
    fn new() -> Self {
        let authority = Authority::new();
        authority.issue("server", 1, NOW);
        let [certificate, key] = ["server.crt", "server.key"]
            .map(|name| fs::read_to_string(authority.path(name)).expect("a file"));
        let [address] = free_addresses();
        Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
            address,
            client: authority.client(&[&TLS13]),
            certificate,
            key,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file");
        path
    }
}

impl Balancer {
    fn start(home: Home, program: &str, arguments: &[&str], file: &Path) -> Self {
        // /usr/sbin is not in every user's PATH.
        let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let mut child = Command::new(program)
            .env("PATH", path)
            .args(arguments)
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|_| panic!("script/bootstrap --tests installs {program}"));
        let lines = Lines::read(child.stderr.take().expect("a pipe"));
        Self {
            child,
            lines,
            address: home.address,
            client: home.client,
            _directory: home.directory,
        }
    }

    /// Starts nginx with one worker process, and waits until it listens.
    pub fn nginx(replicas: &[Bridge; 2], changes: &[Change<'_>]) -> Self {
        let home = Home::new();
        let certificate = home.write("koobridge.crt", &home.certificate);
        let key = home.write("koobridge.key", &home.key);
        let [first, second] = replicas
            .each_ref()
            .map(|replica| replica.ingress.to_string());
        let own = [
            ("listen 18446", &*format!("listen {}", home.address)),
            (
                "/etc/nginx/koobridge.crt",
                &certificate.display().to_string(),
            ),
            ("/etc/nginx/koobridge.key", &key.display().to_string()),
            ("10.10.10.11:18446", &first),
            ("10.10.10.12:18446", &second),
        ];
        let shown = include_str!("../../deploy/nginx/koobridge.conf");
        let shown = changed(shown, own.into_iter().chain(changes.iter().copied()));
        let directory = home.directory.path().display();
        let file = home.write(
            "nginx.conf",
            &format!(
                "daemon off;\nerror_log stderr;\npid {directory}/pid;\nworker_processes 1;\nevents {{}}\nhttp {{\n\
                 access_log off;\nclient_body_temp_path {directory}/body;\nproxy_temp_path {directory}/proxy;\n\
                 fastcgi_temp_path {directory}/fastcgi;\nuwsgi_temp_path {directory}/uwsgi;\n\
                 scgi_temp_path {directory}/scgi;\n{shown}}}\n"
            ),
        );
        let nginx = Self::start(home, "nginx", &["-e", "stderr", "-c"], &file);
        eventually(|| match TcpStream::connect(&nginx.address) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{error}:\n{}", nginx.lines.all())),
        });
        nginx
    }

    pub fn open(&self) -> Connection {
        let address = self.address.parse().expect("an address");
        Connection::over(address, |socket| {
            Box::new(secure(self.client.clone(), socket))
        })
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
        if std::thread::panicking() {
            eprintln!("the balancer's output:\n{}", self.lines.all());
        }
    }
}

/// A haproxy, and the socket that gives its view of the replicas.
pub struct Haproxy {
    pub balancer: Balancer,
    socket: PathBuf,
}

impl Haproxy {
    /// Starts haproxy, and waits until it sees both replicas up.
    pub fn start(replicas: &[Bridge; 2], changes: &[Change<'_>]) -> Self {
        let home = Home::new();
        let pem = home.write("koobridge.pem", &(home.certificate.clone() + &home.key));
        let socket = home.path("socket");
        let [first, second] = replicas.each_ref().map(|replica| {
            let (ingress, admin) = (replica.ingress, replica.admin.port());
            format!("{ingress} port {admin} source {HAPROXY}")
        });
        let own = [
            ("0.0.0.0:18446", &*home.address),
            ("/etc/haproxy/koobridge.pem", &pem.display().to_string()),
            ("/run/haproxy/admin.sock", &socket.display().to_string()),
            ("10.10.10.11:18446 port 18447", &first),
            ("10.10.10.12:18446 port 18447", &second),
        ];
        let shown = include_str!("../../deploy/haproxy/haproxy.cfg");
        let text = changed(shown, own.into_iter().chain(changes.iter().copied()));
        let file = home.write("haproxy.cfg", &text);
        let balancer = Balancer::start(home, "haproxy", &["-db", "-f"], &file);
        let haproxy = Self { balancer, socket };
        haproxy.wait_for(0, "UP");
        haproxy.wait_for(1, "UP");
        haproxy
    }

    /// Waits until haproxy gives the replica this status.
    pub fn wait_for(&self, replica: usize, status: &str) {
        let server = format!("koobridge-{}", replica + 1);
        eventually(|| match self.status(&server) {
            Ok(seen) if seen.starts_with(status) => Ok(()),
            seen => Err(format!(
                "{server} is {seen:?}, not {status}:\n{}",
                self.balancer.lines.all()
            )),
        });
    }

    /// Returns a server's status in haproxy's statistics, for example `UP 1/2`.
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
        let mut socket = UnixStream::connect(&self.socket)?;
        socket.write_all(format!("{question}\n").as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Applies the test's changes to a configuration of `deploy/`.
fn changed<'a>(shown: &str, changes: impl Iterator<Item = Change<'a>>) -> String {
    changes.fold(shown.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from} in the file");
        text.replace(from, to)
    })
}
