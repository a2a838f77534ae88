//! The bytes of a connection, one request or several: every answer is one that is documented, and what only
//! the password opens is answered only where the password was sent.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::answers::{self, Answer};
use super::bridge::{ADDRESS, PASSWORD};

/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends the bytes on a connection of their own, and looks at what is answered until its end.
pub fn check(input: &[u8]) {
    let answers = answers::read(&exchange(input));
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

fn exchange(input: &[u8]) -> Vec<u8> {
    let mut connection = TcpStream::connect(*ADDRESS).expect("the bridge listens");
    connection.set_nodelay(true).expect("a socket");
    connection
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket");
    connection.write_all(input).expect("the bridge reads");
    // A request that is not whole will never be.
    connection.shutdown(Shutdown::Write).expect("it is open");
    let mut answered = Vec::new();
    connection
        .read_to_end(&mut answered)
        .expect("the bridge answers and closes");
    answered
}

/// Whether there is a whole head, which has to be answered, sound or not. hyper says nothing to HTTP/2.
fn has_head(input: &[u8]) -> bool {
    let lines = input.trim_ascii_start();
    count(lines, b"\r\n\r\n") > 0 && !lines.starts_with(b"PRI ")
}

/// How often a text occurs, in whatever case.
fn count(input: &[u8], text: &[u8]) -> usize {
    let windows = input.windows(text.len());
    windows
        .filter(|window| window.eq_ignore_ascii_case(text))
        .count()
}
