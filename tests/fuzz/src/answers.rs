//! A strict parser of a bridge's answers, and the rules for any answer.

use koobridge::contract::Reason;
use serde::Deserialize;

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    pub version: String,
    pub status: u16,
    reason: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    body: String,
    /// Whether it has a length but no body, as an answer to HEAD.
    pub is_bare: bool,
}

/// The members of an RFC 9457 problem document that the bridge uses.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    detail: String,
    member: Option<String>,
}

/// The codes and statuses of refused requests, except breaches of the contract.
const REFUSALS: [(&str, u16); 12] = [
    ("host-missing", 400),
    ("host-repeated", 400),
    ("host-malformed", 400),
    ("transfer-encoding", 400),
    ("not-found", 404),
    ("method-not-allowed", 405),
    ("unauthorized", 401),
    ("expectation", 417),
    ("body-too-large", 413),
    ("body-timeout", 408),
    ("body-broken", 400),
    ("kafka-unavailable", 503),
];
/// The number of codes, at the start of [`REFUSALS`], that an unauthenticated sender can get.
const WITHOUT_PASSWORD: usize = 7;

/// The source with all details of refusals. Each detail must occur in it, so that an answer never repeats input.
const DETAILS: &str = include_str!("../../../src/bridge/ingress/answer.rs");

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        Some(value)
    }

    /// Returns whether the answer closes the connection.
    pub fn closes(&self) -> bool {
        let connection = self.header("connection");
        connection.is_some_and(|options| options.starts_with("close"))
    }

    /// Returns whether only an authenticated sender may get this answer.
    pub fn is_for_senders(&self) -> bool {
        let without_password = &REFUSALS[..WITHOUT_PASSWORD];
        match self.problem() {
            Some((code, _)) => !without_password.iter().any(|(known, _)| *known == code),
            None => self.status < 300,
        }
    }

    /// Returns the code and the members of its problem document, if it has one.
    fn problem(&self) -> Option<(String, Problem)> {
        if self.body.is_empty() {
            return None;
        }
        let problem: Problem = serde_json::from_str(&self.body).expect("a problem");
        let code = problem.kind.strip_prefix("urn:koobridge:problem:");
        Some((code.expect("a type of the bridge's").to_owned(), problem))
    }
}

/// Parses all answers on a connection.
pub fn read(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let (head, rest) = bytes.split_at(end.expect("a whole head") + 4);
        let mut answer = read_head(str::from_utf8(head).expect("a text head"));
        let length = answer.header("content-length").map_or(0, |length| {
            length.parse().expect("a length in decimal digits")
        });
        answer.is_bare = length > 0 && (rest.is_empty() || rest.starts_with(b"HTTP/1."));
        let (body, rest) = rest.split_at(if answer.is_bare { 0 } else { length });
        let body = str::from_utf8(body).expect("a text body");
        answer.body.push_str(body);
        answers.push(answer);
        bytes = rest;
    }
    answers
}

fn read_head(head: &str) -> Answer {
    let mut lines = head.trim_end().split("\r\n");
    let status_line = lines.next().expect("a status line");
    let mut parts = status_line.splitn(3, ' ');
    let version = parts.next().expect("a version");
    assert!(matches!(version, "HTTP/1.0" | "HTTP/1.1"), "{status_line}");
    let status = parts.next().and_then(|status| status.parse().ok());
    let headers = lines.map(|line| line.split_once(": ").expect("a header"));
    Answer {
        version: version.to_owned(),
        status: status.expect("a status"),
        reason: parts.next().expect("a reason").to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: String::new(),
        is_bare: false,
    }
}

/// Checks that an answer is documented, including each header.
pub fn check(answer: &Answer) {
    for (name, value) in &answer.headers {
        assert!(is_header(name, value), "{name}: {value}");
    }
    let has = |name| answer.header(name).is_some();
    assert_eq!(has("www-authenticate"), answer.status == 401);
    assert_eq!(has("allow"), answer.status == 405);
    assert_eq!(has("retry-after"), answer.status == 503);
    match answer.problem() {
        Some((code, problem)) => check_problem(answer, &code, &problem),
        // An answer to HEAD.
        None if has("content-type") => assert!(matches!(answer.status, 400 | 404 | 405)),
        // A success, an interim answer, or an error of hyper itself.
        None => assert!(matches!(answer.status, 100 | 200 | 400 | 414 | 431)),
    }
}

fn is_header(name: &str, value: &str) -> bool {
    match name {
        "allow" => value == "POST",
        // hyper appends "keep-alive" to "close" when an HTTP/1.0 request asked for it; the first value counts.
        "connection" => matches!(value, "close" | "keep-alive" | "close, keep-alive"),
        "content-length" => true,
        "content-type" => value == "application/problem+json",
        "date" => value.len() == "Thu, 01 Jan 1970 00:00:00 GMT".len(),
        "retry-after" => matches!(value, "1" | "2" | "3" | "4" | "5"),
        "www-authenticate" => value == "WebhookPassword realm=\"koobridge\"",
        _ => false,
    }
}

fn check_problem(answer: &Answer, code: &str, problem: &Problem) {
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(
        (problem.status, &problem.title),
        (answer.status, &answer.reason)
    );
    let breaches = Reason::ALL.iter();
    let mut breaches = breaches.filter(|reason| **reason != Reason::UnknownStatus);
    if let Some(breach) = breaches.find(|reason| reason.code() == code) {
        let status = match breach {
            Reason::ContentType | Reason::ContentEncoding => 415,
            _ => 400,
        };
        assert_eq!((answer.status, &*problem.detail), (status, breach.detail()));
        let is_name = |c: char| c.is_ascii_alphabetic() || "_-.".contains(c);
        let member = problem.member.as_deref().unwrap_or_default();
        assert!(member.chars().all(is_name), "{member}");
    } else {
        assert!(REFUSALS.contains(&(code, answer.status)), "{answer:?}");
        assert!(DETAILS.contains(&problem.detail.replace('"', "\\\"")));
        assert_eq!(problem.member, None);
    }
}
