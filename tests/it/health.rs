//! `koobridge health`: one request to the admin listener, and the exit code.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::bridge::{BUSY, Bridge, eventually, koobridge, run, wrapped};
use crate::support::ports::free_addresses;

/// The time limit of the command.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Returns the command for `url`.
fn health(url: &str) -> Command {
    let mut command = koobridge();
    command.args(["health", url]);
    command
}

/// Runs a command; returns its exit code and its output.
fn ended(command: &mut Command) -> (Option<i32>, String) {
    let output = run(command);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("text"))
}

fn healthy(url: &str) -> (Option<i32>, String) {
    (Some(0), format!("{url}: the answer is 200\n"))
}

fn unhealthy(url: &str, why: &str) -> (Option<i32>, String) {
    (Some(1), format!("koobridge: {url}: {why}\n"))
}

/// Starts a bridge without Kafka, which accepts reports if it has a spool.
fn bridge(settings: &[(&str, &str)]) -> Bridge {
    Bridge::start("127.0.0.1:1", "events", "rejected", settings)
}

#[test]
fn a_ready_bridge_is_0_for_every_form_of_its_address() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let spool = home.path().join("spool").display().to_string();
    let bridge = bridge(&[("spool.directory", &spool), ("admin.listen", "0.0.0.0:0")]);
    bridge.wait_until_ready();
    let port = bridge.admin.port();
    let [ready, live] = ["readyz", "livez"].map(|path| format!("http://127.0.0.1:{port}/{path}"));
    for (typed, asked) in [
        (ready.clone(), &ready),
        (format!("http://127.0.0.1:{port}"), &ready),
        (format!("127.0.0.1:{port}"), &ready),
        (live.clone(), &live),
        (format!("127.0.0.1:{port}/livez"), &live),
    ] {
        assert_eq!(ended(&mut health(&typed)), healthy(asked), "{typed}");
    }
    let by_name = format!("http://localhost:{port}/readyz");
    assert_eq!(ended(&mut health(&by_name)), healthy(&by_name));
    let file = home.path().join("koobridge.toml");
    let text = format!(
        "[admin]\nlisten = \"0.0.0.0:{port}\"\n[ingress]\nlisten = \"of a later version\"\n"
    );
    std::fs::write(&file, text).expect("a file");
    let mut by_file = koobridge();
    by_file.args(["health", "--config"]).arg(&file);
    assert_eq!(ended(&mut by_file), healthy(&ready));
    let mut by_variable = health("/livez");
    by_variable
        .env("KOOBRIDGE_CONFIG", "/nowhere")
        .env("KOOBRIDGE_ADMIN_LISTEN", format!("0.0.0.0:{port}"));
    assert_eq!(ended(&mut by_variable), healthy(&live));
}

#[test]
fn a_bridge_that_is_not_ready_is_1_with_the_reason_and_alive() {
    let mut bridge = bridge(&[("ingress.drain_delay", "10m")]);
    let url = format!("http://{}/readyz", bridge.admin);
    let unreached = eventually(|| {
        let (code, said) = ended(&mut health(&url));
        assert_eq!(code, Some(1), "{said}");
        let reason =
            said.strip_prefix(&format!("koobridge: {url}: the answer is 503: not ready: "));
        let reason =
            reason.and_then(|reason| reason.strip_prefix("events: Kafka can't be reached: "));
        reason.map(str::to_owned).ok_or(said.clone())
    });
    assert!(unreached.contains("127.0.0.1:1"), "{unreached}");
    assert_eq!(unreached.lines().count(), 1, "{unreached}");
    bridge.signal(Signal::TERM);
    eventually(|| {
        let (code, said) = ended(&mut health(&url));
        let expected = unhealthy(&url, "the answer is 503: not ready: it is stopping");
        let is_it = (code, said.clone()) == expected;
        is_it.then_some(()).ok_or(said)
    });
    let live = format!("http://{}/livez", bridge.admin);
    assert_eq!(ended(&mut health(&live)), healthy(&live));
    bridge.sigkill();
}

#[test]
fn another_path_or_host_name_is_1_with_the_listeners_answer() {
    let bridge = bridge(&[]);
    let url = format!("http://{}/readyz/", bridge.admin);
    let why = "the answer is 404: try / (the status page), /livez, /readyz, /startupz or /metrics";
    assert_eq!(ended(&mut health(&url)), unhealthy(&url, why));
    let ingress = format!("http://{}/readyz", bridge.ingress);
    let (code, said) = ended(&mut health(&ingress));
    assert_eq!(code, Some(1));
    let refused = format!("koobridge: {ingress}: the answer is 404: ");
    assert!(said.starts_with(&refused), "{said}");
}

#[test]
fn a_closed_port_is_1() {
    let [address] = free_addresses();
    let url = format!("http://{address}/readyz");
    let why = "connection refused: nothing listens there";
    assert_eq!(ended(&mut health(&url)), unhealthy(&url, why));
    let mut doubtful = koobridge();
    doubtful
        .args(["health", "--config", "/nowhere"])
        .env("KOOBRIDGE_ADMIN_LISTEN", &address);
    let doubt =
        "; also, the configuration can't be read: `koobridge serve --print-config` shows why";
    assert_eq!(
        ended(&mut doubtful),
        unhealthy(&url, &format!("{why}{doubt}"))
    );
    let unknown = "http://nowhere.invalid:1/readyz";
    let (code, said) = ended(&mut health(unknown));
    assert_eq!(code, Some(1));
    let expected = format!("koobridge: {unknown}: can't find the address of nowhere.invalid: ");
    let is_slow = said == unhealthy(unknown, "no connection within 2 seconds").1;
    assert!(said.starts_with(&expected) || is_slow, "{said}");
}

#[test]
fn a_wrong_argument_or_address_is_2() {
    for (typed, why) in [
        (
            "https://127.0.0.1:1",
            "the admin listener does not speak TLS; write http://",
        ),
        (
            "bridge",
            "write http://HOST[:PORT][/PATH], HOST:PORT[/PATH] or /PATH",
        ),
        (
            "bridge:1/a\r\nHost:b",
            "a URL must be ASCII text without spaces and #",
        ),
    ] {
        let (code, said) = ended(&mut health(typed));
        assert_eq!(code, Some(2), "{typed}");
        assert!(said.contains(why), "{said}");
    }
    let mut wrong = koobridge();
    wrong.arg("health").env("KOOBRIDGE_ADMIN_LISTEN", "bridge");
    let (code, said) = ended(&mut wrong);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("KOOBRIDGE_ADMIN_LISTEN: admin.listen: "),
        "{said}"
    );
}

/// The behaviour of another program on a connection after it has read a request.
type Behaviour = fn(&mut TcpStream);

/// Starts a server with this behaviour, and returns its address.
fn fake_server(behaviour: Behaviour) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = [0; 1024];
            let _length = stream.read(&mut request).expect("a request");
            behaviour(&mut stream);
        }
    });
    address
}

/// Writes without an end, until the peer closes the connection.
fn flood(stream: &mut TcpStream, part: &[u8]) {
    let part = part.repeat(1 << 16);
    while stream.write_all(&part).is_ok() {}
}

fn begin(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).expect("it reads");
}

/// Waits until the peer closes the connection.
fn hold(stream: &mut TcpStream) {
    let _gone = stream.read(&mut [0]);
}

#[test]
fn an_answer_without_an_end_takes_neither_time_nor_memory() {
    const MEMORY: &str = "--as=536870912";
    const REFUSED: &str = "HTTP/1.1 503 Service Unavailable\r\n\r\nfull";
    const SLOW: &str = "connected, but no answer within 2 seconds";
    const ALIEN: &str =
        "the answer is not HTTP: another program may use the port, or the port may need TLS";
    const CLOSED: &str = "the connection was closed without an answer";
    let full = "the answer is 503: full";
    let cases: [(Behaviour, Result<(), &str>); 9] = [
        (hold, Err(SLOW)),
        (|stream| flood(stream, b"x"), Err(ALIEN)),
        (|_| {}, Err(CLOSED)),
        (
            |stream| {
                begin(stream, "HTTP/1.1 200 ");
                flood(stream, b"x");
            },
            Err(ALIEN),
        ),
        (
            |stream| {
                begin(stream, "HTTP/1.1 2");
                hold(stream);
            },
            Err(SLOW),
        ),
        (
            |stream| {
                begin(stream, REFUSED);
                hold(stream);
            },
            Err(full),
        ),
        (
            |stream| {
                begin(stream, REFUSED);
                flood(stream, b"\nx");
            },
            Err(full),
        ),
        (
            |stream| {
                begin(stream, REFUSED);
                begin(stream, "\u{1b}[2J\r\n");
            },
            Err("the answer is 503: full[2J"),
        ),
        (
            |stream| {
                begin(stream, "HTTP/1.1 200 OK\r\n");
                flood(stream, b"x");
            },
            Ok(()),
        ),
    ];
    for (behaviour, expected) in cases {
        let url = format!("http://{}/readyz", fake_server(behaviour));
        let mut command = wrapped(&["prlimit", MEMORY]);
        command.args(["health", &url]);
        let began = Instant::now();
        let end = ended(&mut command);
        let took = began.elapsed();
        match expected {
            Ok(()) => assert_eq!(end, healthy(&url)),
            Err(why) => assert_eq!(end, unhealthy(&url, why)),
        }
        assert!(took < TIMEOUT + BUSY, "{took:?}: {expected:?}");
    }
}
