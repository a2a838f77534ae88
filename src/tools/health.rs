//! Sends one request to a running bridge's admin listener, for container images without an HTTP client. It does not trust the
//! answer.

mod answer;
mod url;

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::blocking::on_thread;
use answer::Answer;
pub use url::{Target, Url};

/// The time limit of the whole request.
pub const TIMEOUT: Duration = Duration::from_secs(2);
const SLOW: &str = "within 2 seconds";
/// The most that is read of an answer, in bytes.
const LIMIT: usize = 64 << 10;

/// Sends the request, and succeeds if the answer is 200.
///
/// # Errors
/// If the answer is another one, or does not come within [`TIMEOUT`].
pub async fn ask(url: &Url) -> anyhow::Result<()> {
    let until = Instant::now() + TIMEOUT;
    let stream = timeout_at(until, connect(url))
        .await
        .map_err(|_| anyhow!("no connection {SLOW}"))??;
    let mut answer = Answer::default();
    let whole = timeout_at(until, exchange(&stream, url, &mut answer)).await;
    match answer.status() {
        Some(200) => Ok(()),
        Some(status) => bail!("the answer is {status}: {}", answer.reason()),
        None if !answer.can_be_http() => {
            bail!(
                "the answer is not HTTP: another program may use the port, or the port may need TLS"
            )
        }
        None => match whole {
            Err(_) => bail!("connected, but no answer {SLOW}"),
            Ok(Err(error)) => Err(error).context("the connection broke off"),
            Ok(Ok(())) => bail!("the connection was closed without an answer"),
        },
    }
}

async fn connect(url: &Url) -> anyhow::Result<TcpStream> {
    let mut problem = None;
    for address in resolve(url).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = Some(error),
        }
    }
    Err(match problem {
        None => anyhow!("{} has no address", url.host()),
        Some(error) if error.kind() == ErrorKind::ConnectionRefused => {
            anyhow!("connection refused: nothing listens there")
        }
        Some(error) => anyhow!("can't connect: {error}"),
    })
}

/// Returns the addresses of the host. The system's resolver can block for longer than [`TIMEOUT`], so it has a thread.
async fn resolve(url: &Url) -> anyhow::Result<Vec<SocketAddr>> {
    let (host, port) = (url.host().to_owned(), url.port());
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = host.clone();
    let look_up = move || Ok((name, port).to_socket_addrs()?.collect());
    let found = on_thread("resolver", look_up)
        .map_err(|(error, _)| error)
        .context("can't start a thread")?;
    let found: io::Result<_> = found.await.context("the resolver broke off")?;
    found.with_context(|| format!("can't find the address of {host}"))
}

/// Sends the request, and reads the part of the answer that is needed.
async fn exchange(stream: &TcpStream, url: &Url, answer: &mut Answer) -> io::Result<()> {
    let request = url.request();
    let mut unsent = request.as_bytes();
    while !unsent.is_empty() {
        stream.writable().await?;
        match stream.try_write(unsent) {
            Ok(count) => unsent = &unsent[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    let mut part = [0; 4096];
    while answer.wants_more(LIMIT) {
        stream.readable().await?;
        match stream.try_read(&mut part) {
            Ok(0) => break,
            Ok(count) => answer.add(&part[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
