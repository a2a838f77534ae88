//! The address of a registry.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use thiserror::Error;

/// `http://HOST:PORT/PATH` or `https://…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub(super) is_https: bool,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// Host and port as they were written.
    pub(super) authority: String,
    /// Without a slash at its end.
    path: String,
}

/// Why a text is not the address of a registry. The message omits the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidAddress {
    #[error(
        "write the address of the registry's API without a query, for example http://registry:8081 or \
         https://registry.example/apis/ccompat/v7"
    )]
    Malformed,
    #[error(
        "the URL has a user or a password, which other users of the machine can read in the list of processes; put \
         USER:PASSWORD in a file, and name the file with --schema-registry-credentials"
    )]
    HasCredentials,
}

impl Address {
    /// Returns the target of a request for `path`, which begins with a slash.
    pub(super) fn target(&self, path: &str) -> String {
        format!("{}{path}", self.path)
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let uri: Uri = text.parse().map_err(|_| InvalidAddress::Malformed)?;
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(InvalidAddress::Malformed),
        };
        let authority = uri.authority().ok_or(InvalidAddress::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(InvalidAddress::HasCredentials);
        }
        let host = authority.host();
        if host.is_empty() || uri.query().is_some() || text.contains('#') {
            return Err(InvalidAddress::Malformed);
        }
        let port = authority.port_u16();
        if port.is_none() && authority.as_str() != host {
            return Err(InvalidAddress::Malformed);
        }
        Ok(Self {
            is_https,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.unwrap_or(if is_https { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_a_host_and_perhaps_a_port_and_a_path() {
        for (text, host, port, target) in [
            ("http://registry", "registry", 80, "/subjects"),
            ("https://registry/", "registry", 443, "/subjects"),
            ("http://127.0.0.1:8081", "127.0.0.1", 8081, "/subjects"),
            ("http://[::1]:8081/", "::1", 8081, "/subjects"),
            (
                "https://r.example:1/apis/ccompat/v7/",
                "r.example",
                1,
                "/apis/ccompat/v7/subjects",
            ),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!((&*address.host, address.port), (host, port), "{text}");
            assert_eq!(address.is_https, text.starts_with("https"));
            assert_eq!(address.target("/subjects"), target);
            assert_eq!(address.to_string(), text.trim_end_matches('/'));
        }
    }

    #[test]
    fn a_password_in_the_address_is_refused_and_not_shown() {
        let refused = "https://user:hunter2@registry:8081".parse::<Address>();
        let refused = refused.expect_err("a password");
        assert_eq!(refused, InvalidAddress::HasCredentials);
        assert!(!refused.to_string().contains("hunter2"));
    }

    #[test]
    fn other_text_is_not_an_address() {
        for text in [
            "",
            "registry",
            "registry:8081",
            "/subjects",
            "ftp://registry",
            "http://",
            "http://registry:x",
            "http://registry:",
            "http://registry:65536",
            "http://registry?x=1",
            "http://registry/#x",
        ] {
            assert_eq!(
                text.parse::<Address>(),
                Err(InvalidAddress::Malformed),
                "{text}"
            );
        }
    }
}
