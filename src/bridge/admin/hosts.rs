//! The host names that the admin listener answers.
//!
//! A web page can let its own name resolve to this listener (DNS rebinding), and then the browser lets the page read
//! the answers. This attack needs a name, so requests for an IP address or for `localhost` are safe.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Version};

/// The configured names. `localhost` and every IP address are allowed without configuration.
#[derive(Debug)]
pub(super) struct Hosts(Vec<String>);

/// The reason to refuse a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// `Host` is missing, repeated or malformed.
    Malformed,
    /// The name is not known.
    Unknown,
}

impl Hosts {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// Checks the name in the request's target, if it has one, and the name in `Host`.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let (target, host) = (request.uri().authority(), host(request)?);
        let mut names = target.into_iter().chain(&host).map(Authority::host);
        if names.all(|name| self.is_allowed(name)) {
            Ok(())
        } else {
            Err(Refusal::Unknown)
        }
    }

    fn is_allowed(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        let known = self.0.iter().map(String::as_str);
        let known = known.map(|known| known.strip_suffix('.').unwrap_or(known));
        let mut known = known.chain(["localhost"]);
        is_address(name) || known.any(|known| known.eq_ignore_ascii_case(name))
    }
}

fn is_address(name: &str) -> bool {
    let in_brackets = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    match in_brackets {
        // Some clients keep the zone of a link-local address.
        Some(address) => {
            let (address, _zone) = address.split_once('%').unwrap_or((address, ""));
            address.parse::<Ipv6Addr>().is_ok()
        }
        None => name.parse::<Ipv4Addr>().is_ok(),
    }
}

/// Returns the value of `Host`. Only HTTP/1.0, which browsers do not use, may omit it.
fn host<B>(request: &Request<B>) -> Result<Option<Authority>, Refusal> {
    let mut values = request.headers().get_all(HOST).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => parse(value).map(Some).ok_or(Refusal::Malformed),
        (None, _) if request.version() == Version::HTTP_10 => Ok(None),
        _ => Err(Refusal::Malformed),
    }
}

fn parse(value: &HeaderValue) -> Option<Authority> {
    let authority = Authority::try_from(value.as_bytes()).ok()?;
    let is_sound = !authority.as_str().contains('@') && !authority.host().is_empty();
    is_sound.then_some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: Version, target: &str, values: &[&str]) -> Result<(), Refusal> {
        let mut request = Request::builder().version(version).uri(target);
        for value in values {
            request = request.header(HOST, *value);
        }
        let hosts = Hosts::new(vec!["koobridge.monitoring.svc".to_owned()]);
        hosts.check(&request.body(()).expect("a request"))
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_known_with_any_port() {
        for value in [
            "127.0.0.1",
            "127.0.0.1:18447",
            "10.1.2.3:1",
            "[::1]",
            "[fd00::1]:18447",
            "[fe80::1%25eth0]:18447",
            "localhost",
            "LocalHost:18447",
            "localhost.:18447",
            "koobridge.monitoring.svc",
            "Koobridge.Monitoring.svc.:18447",
        ] {
            assert_eq!(check(Version::HTTP_11, "/", &[value]), Ok(()), "{value}");
        }
    }

    #[test]
    fn every_other_name_is_unknown() {
        for value in [
            "web.example",
            "web.example:18447",
            "localhost.web.example",
            "127.0.0.1.web.example",
            "x.koobridge.monitoring.svc",
            "monitoring.svc",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "localhost..",
            "[v1.x]",
        ] {
            let refused = check(Version::HTTP_11, "/", &[value]);
            assert_eq!(refused, Err(Refusal::Unknown), "{value}");
        }
    }

    #[test]
    fn a_missing_repeated_or_malformed_host_is_refused() {
        for values in [
            &[][..],
            &["localhost", "localhost"],
            &[""],
            &[":18447"],
            &["a b"],
            &["user@localhost"],
            &["localhost/path"],
            &["http://localhost"],
        ] {
            let refused = check(Version::HTTP_11, "/", values);
            assert_eq!(refused, Err(Refusal::Malformed), "{values:?}");
        }
        assert_eq!(check(Version::HTTP_10, "/", &[]), Ok(()));
        let refused = check(Version::HTTP_10, "/", &["web.example"]);
        assert_eq!(refused, Err(Refusal::Unknown));
    }

    #[test]
    fn the_name_in_the_target_is_checked_too() {
        let target = |target| check(Version::HTTP_11, target, &["localhost"]);
        assert_eq!(target("http://localhost/livez"), Ok(()));
        assert_eq!(target("http://web.example/livez"), Err(Refusal::Unknown));
    }
}
