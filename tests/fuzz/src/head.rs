//! The bytes of a connection, with one or several requests: every answer must be documented, and answers to
//! authenticated senders must not occur if the password was not sent.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::answers::{self, Answer};
use super::bridge::{ADDRESS, PASSWORD};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// hyper resets a connection with these bytes, without an answer (RFC 9113, section 3.4).
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sends the bytes on a new connection, and checks all answers.
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

/// Checks that there are not more answers than requests, and at least one if there was a request.
fn check_counts(input: &[u8], interim: usize, last: usize) {
    // Each head contains its version, except one that is not HTTP. After that one nothing is read.
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
    // An incomplete request will not be completed.
    connection.shutdown(Shutdown::Write)?;
    let mut answered = Vec::new();
    connection.read_to_end(&mut answered)?;
    Ok(answered)
}

/// Returns whether the input has a complete head, which needs an answer even if it is invalid.
fn has_head(input: &[u8]) -> bool {
    count(input.trim_ascii_start(), b"\r\n\r\n") > 0 && count(input, HTTP_2) == 0
}

/// Counts the occurrences of a text, ignoring ASCII case.
fn count(input: &[u8], text: &[u8]) -> usize {
    let windows = input.windows(text.len());
    windows
        .filter(|window| window.eq_ignore_ascii_case(text))
        .count()
}
