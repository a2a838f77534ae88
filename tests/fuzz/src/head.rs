//! The bytes of a connection, one request or several: every answer is one that is documented, and what only
//! the password opens is answered only where the password was sent.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::answers::{self, Answer};
use super::bridge::{ADDRESS, PASSWORD};

/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// On these hyper hangs up at once, without an answer and with a reset (RFC 9113, section 3.4).
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sends the bytes on a connection of their own, and looks at what is answered until its end.
pub fn check(input: &[u8]) {
    let answers = match exchange(input) {
        Ok(answered) => answers::read(&answered),
        Err(_) if count(input, HTTP_2) > 0 => return,
        Err(error) => panic!("{error}"),
    };
    answers.iter().for_each(answers::check);
    let (interim, last): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.status == 100);
    check_counts(input, interim.len(), last.len());
    let opened = last.iter().filter(|answer| answer.is_for_senders());
    let opened = opened.count().max(interim.len());
    assert!(opened <= count(input, PASSWORD.as_bytes()), "{answers:?}");
    let closed = last.iter().position(|answer| answer.closes());
    assert!(closed.is_none_or(|at| at + 1 == last.len()), "{answers:?}");
    let bare = last.iter().filter(|answer| answer.is_bare).count();
    assert!(bare <= count(input, b"HEAD "), "{answers:?}");
    let is_older = last.iter().any(|answer| answer.version == "HTTP/1.0");
    assert!(!is_older || count(input, b"HTTP/1.0") > 0, "{answers:?}");
}

/// No more is answered than was asked, and something where anything was.
fn check_counts(input: &[u8], interim: usize, last: usize) {
    // Each head names its version, but for one that is no HTTP at all, after which nothing is read.
    let asked = count(input, b"HTTP/1.") + 1;
    assert!(last <= asked, "{last} answers to {asked} requests");
    assert!(last > 0 || !has_head(input), "no answer");
    let expected = count(input, b"100-continue");
    assert!(interim <= expected, "{interim} to {expected} that wait");
}

fn exchange(input: &[u8]) -> io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(*ADDRESS)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(input)?;
    // A request that is not whole will never be.
    connection.shutdown(Shutdown::Write)?;
    let mut answered = Vec::new();
    connection.read_to_end(&mut answered)?;
    Ok(answered)
}

/// Whether there is a whole head, which has to be answered, sound or not.
fn has_head(input: &[u8]) -> bool {
    count(input.trim_ascii_start(), b"\r\n\r\n") > 0 && count(input, HTTP_2) == 0
}

/// How often a text occurs, in whatever case.
fn count(input: &[u8], text: &[u8]) -> usize {
    let windows = input.windows(text.len());
    windows
        .filter(|window| window.eq_ignore_ascii_case(text))
        .count()
}
