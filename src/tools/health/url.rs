//! Parses the argument of `koobridge health`, and makes the request.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The default path.
const READY: &str = "/readyz";
const FORMS: &str = "write http://HOST[:PORT][/PATH], HOST:PORT[/PATH] or /PATH";

/// The argument of `koobridge health`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A path at the configured address.
    Path(String),
    Url(Url),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Other characters could end the request line.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('#') {
            return Err(format!(
                "a URL must be ASCII text without spaces and #; {FORMS}"
            ));
        }
        if text.starts_with('/') {
            return Ok(Self::Path(path(text)));
        }
        Url::parse(text).map(Self::Url)
    }
}

/// The URL of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// A name, or an address without brackets.
    host: String,
    port: u16,
    path: String,
}

impl Url {
    /// Returns the URL of a path at the address that a bridge listens on.
    #[must_use]
    pub fn at(listen: SocketAddr, path: Option<&str>) -> Self {
        let host: IpAddr = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self {
            host: host.to_string(),
            port: listen.port(),
            path: path.unwrap_or(READY).to_owned(),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (rest, usual_port) = match text.split_once("://") {
            Some(("http", rest)) => (rest, Some(80)),
            Some(("https", _)) => {
                return Err("the admin listener does not speak TLS; write http://".to_owned());
            }
            Some(_) => return Err(FORMS.to_owned()),
            None => (text, None),
        };
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(
                "the admin listener asks for no user and no password; leave them out".to_owned(),
            );
        }
        let (host, port) = split(authority).ok_or_else(|| FORMS.to_owned())?;
        let port = match (port, usual_port) {
            (Some(port), _) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or("the port is not a number from 1 to 65535")?,
            (None, Some(port)) => port,
            (None, None) => return Err(FORMS.to_owned()),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            path: path(rest),
        })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Returns a request of HTTP/1.0, so that the answer is not chunked and ends with the connection.
    pub(super) fn request(&self) -> String {
        let (authority, path) = (Authority(self), &self.path);
        format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\nConnection: close\r\n\r\n")
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", Authority(self), self.path)
    }
}

struct Authority<'a>(&'a Url);

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Url { host, port, .. } = self.0;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// Returns the path of a request: `/` counts as no path.
fn path(typed: &str) -> String {
    match typed {
        "" | "/" => READY.to_owned(),
        query if query.starts_with('?') => format!("{READY}{query}"),
        path => path.to_owned(),
    }
}

/// Splits off the port, if there is one. An IPv6 address is in brackets.
fn split(authority: &str) -> Option<(&str, Option<&str>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match rest {
        "" => None,
        rest => Some(rest.strip_prefix(':')?),
    };
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        text.parse().map(|target| match target {
            Target::Path(path) => path,
            Target::Url(url) => url.to_string(),
        })
    }

    #[test]
    fn a_url_can_be_typed_in_full_or_without_defaults() {
        for (typed, expected) in [
            (
                "http://127.0.0.1:18447/livez",
                "http://127.0.0.1:18447/livez",
            ),
            ("http://127.0.0.1:18447", "http://127.0.0.1:18447/readyz"),
            ("http://127.0.0.1:18447/", "http://127.0.0.1:18447/readyz"),
            ("http://bridge", "http://bridge:80/readyz"),
            ("http://[::1]/livez", "http://[::1]:80/livez"),
            ("127.0.0.1:1", "http://127.0.0.1:1/readyz"),
            (
                "localhost:65535/startupz",
                "http://localhost:65535/startupz",
            ),
            ("[::1]:18447", "http://[::1]:18447/readyz"),
            ("bridge:1?a=b", "http://bridge:1/readyz?a=b"),
            ("/", "/readyz"),
            ("/livez", "/livez"),
        ] {
            assert_eq!(shown(typed).as_deref(), Ok(expected), "{typed}");
        }
    }

    #[test]
    fn other_text_is_refused_with_a_message() {
        let graphic = format!("a URL must be ASCII text without spaces and #; {FORMS}");
        let tls = "the admin listener does not speak TLS; write http://";
        let user = "the admin listener asks for no user and no password; leave them out";
        let port = "the port is not a number from 1 to 65535";
        for (typed, expected) in [
            ("", FORMS),
            ("bridge", FORMS),
            ("http://", FORMS),
            ("http:///readyz", FORMS),
            ("ftp://bridge:1", FORMS),
            ("[::1", FORMS),
            ("[bridge]:1", FORMS),
            ("[::1]1", FORMS),
            (":18447", FORMS),
            ("https://bridge:1", tls),
            ("http://a:b@bridge:1", user),
            ("bridge:0", port),
            ("bridge:65536", port),
            ("::1:18447", FORMS),
            ("bridge:1:2", port),
            ("bridge:1/a b", &*graphic),
            ("bridge:1/a\r\nHost: b", &*graphic),
            ("/livez#top", &*graphic),
            ("brücke:1", &*graphic),
        ] {
            assert_eq!(shown(typed), Err(expected.to_owned()), "{typed}");
        }
    }

    #[test]
    fn an_unspecified_address_becomes_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:1", "http://127.0.0.1:1/readyz"),
            ("[::]:1", "http://[::1]:1/readyz"),
            ("10.0.0.1:1", "http://10.0.0.1:1/readyz"),
        ] {
            let listen = listen.parse().expect("an address");
            assert_eq!(Url::at(listen, None).to_string(), expected);
        }
    }

    #[test]
    fn the_request_has_the_host_in_brackets() {
        let listen = "[::]:1".parse().expect("an address");
        assert_eq!(
            Url::at(listen, Some("/livez")).request(),
            "GET /livez HTTP/1.0\r\nHost: [::1]:1\r\nConnection: close\r\n\r\n"
        );
    }
}
