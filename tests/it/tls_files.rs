//! Mistakes in the files of the ingress' TLS: the bridge names them when it starts, checks or reloads.
//!
//! `tls_files/` has files that rcgen can't make with ring: keys and self-signed authorities of OpenSSL, valid from 2020
//! to 2100, and one encrypted key (`openssl pkcs8 -topk8`, `openssl ec -aes128`).

use std::fs;

use jiff::{SignedDuration, Timestamp};
use koobridge::bridge::Identity;
use koobridge::config::Tls;
use rcgen::SerialNumber;
use serde_json::Value;
use tempfile::TempDir;
use tokio_rustls::rustls::version::TLS13;

use crate::support::authority::{Authority, NOW, authority_params};
use crate::support::bridge::{Bridge, configuration, eventually, koobridge, run};
use crate::support::http::Connection;
use crate::tls::{failures, secure};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("tls_files/", $name))
    };
}

/// A directory with `server.crt` and `server.key`, and with `ca.crt` if there are authorities.
struct Files {
    home: TempDir,
    settings: Vec<String>,
}

impl Files {
    fn new(certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        configuration(home.path(), "127.0.0.1:1", "events", "rejected");
        let files = Self {
            home,
            settings: Vec::new(),
        };
        let files = files.with("certificate", "server.crt", certificate);
        files.with("key", "server.key", key)
    }

    fn with(mut self, name: &str, file: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.home.path().join(file);
        fs::write(&path, content).expect("a file");
        let setting = format!("ingress.tls.{name}={}", path.display());
        self.settings.push(setting);
        self
    }

    fn client_ca(self, content: impl AsRef<[u8]>) -> Self {
        self.with("client_ca", "ca.crt", content)
    }

    /// Returns the findings of `check` about the certificate, without the directory of the files.
    fn check(&self, level: &str) -> Vec<String> {
        let output = self.run("check", &["--json"]);
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = found["findings"].as_array().expect("findings").iter();
        let found = findings
            .filter(|finding| finding["area"] == "certificate" && finding["level"] == level)
            .map(|finding| self.relative(finding["what"].as_str().expect("text")));
        found.collect()
    }

    /// Returns the errors, which `serve` and `check` report in the same words.
    fn errors(&self) -> Vec<String> {
        let output = self.run("serve", &[]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).expect("text");
        let lines = said.lines().skip(1);
        let errors: Vec<String> = lines.map(|line| self.relative(line.trim())).collect();
        assert_eq!(self.check("fail"), errors);
        errors
    }

    /// Returns the warnings of `check`, each of which a bridge logs when it starts.
    fn warnings(&self) -> Vec<String> {
        assert_eq!(self.check("fail"), Vec::<String>::new());
        let bridge = self.start();
        let warnings = self.check("warn");
        for warning in &warnings {
            let quoted = Value::from(warning.as_str()).to_string();
            bridge.wait_for_log(quoted.trim_matches('"'));
        }
        warnings
    }

    /// Returns the warnings at this time, without authorities.
    fn warnings_at(&self, now: Timestamp) -> Vec<String> {
        let files = Tls {
            certificate: self.home.path().join("server.crt"),
            key: self.home.path().join("server.key"),
            client_ca: None,
        };
        let identity = Identity::load(&files, now).expect("an identity");
        let warnings = identity.warnings().iter();
        warnings
            .map(|warning| self.relative(&warning.to_string()))
            .collect()
    }

    fn start(&self) -> Bridge {
        let settings = self.settings.iter();
        let settings: Vec<_> = settings
            .map(|setting| setting.split_once('=').expect("a key and a value"))
            .collect();
        Bridge::start("127.0.0.1:1", "events", "rejected", &settings)
    }

    fn run(&self, command: &str, flags: &[&str]) -> std::process::Output {
        let mut koobridge = koobridge();
        koobridge.arg(command).args(flags).arg("--config");
        koobridge.arg(self.home.path().join("koobridge.toml"));
        for setting in &self.settings {
            koobridge.args(["--set", setting]);
        }
        run(&mut koobridge)
    }

    fn relative(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.home.path().display()), "")
    }
}

/// Returns a valid certificate of an authority, and its key.
fn pair(authority: &Authority) -> [String; 2] {
    authority.issue("server", 1, NOW);
    ["server.crt", "server.key"].map(|name| authority.read(name))
}

fn with_authorities(content: impl AsRef<[u8]>) -> Files {
    let [certificate, key] = pair(&Authority::new());
    Files::new(certificate, key).client_ca(content)
}

fn der(pem: &str) -> Vec<u8> {
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
    certificate.expect("a certificate").to_vec()
}

/// Asserts that a client with a certificate of `authority` is answered.
fn assert_accepted(bridge: &Bridge, server: &Authority, authority: &Authority) {
    authority.issue("client", 2, NOW);
    for name in ["client.crt", "client.key"] {
        server.write(name, &authority.read(name));
    }
    let config = server.client_as(&[&TLS13], Some("client"));
    let mut connection =
        Connection::over(bridge.ingress, |socket| Box::new(secure(config, socket)));
    connection.send(b"GET / HTTP/1.1\r\nHost: bridge\r\n\r\n");
    assert_eq!(connection.answer().status, 404);
}

#[test]
fn every_authority_is_read_despite_text_around_its_certificate() {
    let authorities = ["A", "B"].map(Authority::named);
    let [one, two] = authorities
        .each_ref()
        .map(|authority| authority.read("ca.crt"));
    let server = Authority::new();
    let [certificate, key] = pair(&server);
    for client_ca in [
        format!("\u{feff}{one}{two}"),
        format!("{one}\u{feff}{two}"),
        format!("subject=A\n{one}\nsubject=B\n{two}\nthat is all"),
        format!("{one}{two}").replace('\n', "\r\n"),
        format!("  {}\n  {}", one.replace('\n', "\n  "), two.trim()),
    ] {
        let certificate = format!("\u{feff}{certificate}");
        let files = Files::new(certificate, &key).client_ca(&client_ca);
        assert_eq!(files.warnings(), Vec::<String>::new(), "{client_ca}");
        let bridge = files.start();
        for authority in &authorities {
            assert_accepted(&bridge, &server, authority);
        }
        assert_eq!(bridge.metric(&failures("client_certificate")), 0);
    }
}

#[test]
fn a_certificate_that_would_be_skipped_is_an_error() {
    let [one, two] = ["A", "B"].map(|name| Authority::named(name).read("ca.crt"));
    let (lines, after) = (one.lines().count(), one.lines().count() + 1);
    let cut = |text: &str, line: usize| {
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        lines.remove(line);
        lines.concat()
    };
    let no_end = "the CERTIFICATE block that begins here has no END line";
    let alone = "put BEGIN and END on separate lines, each with five hyphens before and after it";
    let refused = |label: &str, remedy: &str| {
        format!("line {after}: the {label} block can't be read; {remedy}")
    };
    let convert = "convert it to CERTIFICATE (openssl x509), or remove it";
    let print = "convert it to CERTIFICATE (openssl pkcs7 -print_certs), or remove it";
    let crl = "the bridge does not check whether a client's certificate is revoked; remove it";
    let relabelled = |label: &str| format!("{one}{}", two.replace("CERTIFICATE", label));
    for (client_ca, expected) in [
        (
            format!("{}{two}", cut(&one, lines - 1)),
            format!("line 1: {no_end}"),
        ),
        (
            format!("{one}{}", cut(&two, lines - 1)),
            format!("line {after}: {no_end}"),
        ),
        (
            format!("{}{two}", cut(&one, 0)),
            format!("line {}: this END line has no BEGIN line", lines - 1),
        ),
        (
            format!("{}{two}", one.replacen('M', "*", 1)),
            "line 1: the block that begins here is not valid base64; copy the certificate again"
                .to_owned(),
        ),
        (
            format!("{one}{}", two.replace("-----BEGIN", "---BEGIN")),
            format!("line {after}: {alone}"),
        ),
        (
            relabelled("TRUSTED CERTIFICATE"),
            refused("TRUSTED CERTIFICATE", convert),
        ),
        (
            relabelled("X509 CERTIFICATE"),
            refused("X509 CERTIFICATE", convert),
        ),
        (relabelled("PKCS7"), refused("PKCS7", print)),
        (relabelled("X509 CRL"), refused("X509 CRL", crl)),
    ] {
        let errors = with_authorities(&client_ca).errors();
        assert_eq!(errors[0], format!("ca.crt: {expected}"), "{client_ca}");
    }
    let joined = with_authorities(format!("{}{two}", one.trim_end())).errors();
    assert!(
        joined.contains(&format!("ca.crt: line {lines}: {alone}")),
        "{joined:?}"
    );
    // Valid base64 that is no valid certificate.
    let damaged = format!("{one}{}", cut(&two, 3));
    let errors = with_authorities(damaged).errors();
    assert!(errors[0].starts_with("ca.crt: certificate 2"), "{errors:?}");
}

#[test]
fn a_block_of_another_kind_beside_certificates_is_a_warning() {
    let [certificate, key] = pair(&Authority::new());
    let after = certificate.lines().count() + 1;
    let with = |label: &str| {
        let other = certificate.replace("CERTIFICATE", label);
        format!("{certificate}{other}")
    };
    let ignored = |file: &str, label: &str| {
        format!(
            "{file}: line {after}: the {label} block is ignored: only CERTIFICATE blocks are read; remove it"
        )
    };
    for label in ["X509 CRL", "CERTIFICATE REQUEST", "PUBLIC KEY", "CMS"] {
        let files = Files::new(with(label), &key);
        assert_eq!(files.warnings(), [ignored("server.crt", label)]);
    }
    let authority = Authority::new().read("ca.crt");
    let request = authority.replace("CERTIFICATE", "CERTIFICATE REQUEST");
    let after = authority.lines().count() + 1;
    assert_eq!(
        with_authorities(format!("{authority}{request}")).warnings(),
        [format!(
            "ca.crt: line {after}: the CERTIFICATE REQUEST block is ignored: only CERTIFICATE blocks are read; remove it"
        )]
    );
    for label in ["EC PARAMETERS", "PRIVATE KEY"] {
        let files = Files::new(with(label), &key);
        assert_eq!(files.warnings(), Vec::<String>::new());
    }
}

#[test]
fn a_block_in_comments_is_ignored() {
    let [certificate, key] = pair(&Authority::new());
    let commented = certificate.trim_end().replace('\n', "\n# ");
    let files = Files::new(
        format!("# {commented}\n--BEGIN intermediate--\n{certificate}"),
        &key,
    );
    assert_eq!(files.warnings(), Vec::<String>::new());
}

#[test]
fn a_file_in_another_format_is_an_error_with_the_converting_command() {
    let [certificate, key] = pair(&Authority::new());
    let utf_16 = |start: &[u8], bytes: fn(u16) -> [u8; 2]| {
        let text = certificate.encode_utf16().flat_map(bytes);
        start.iter().copied().chain(text).collect::<Vec<u8>>()
    };
    let pkcs_12 = [0x30, 0x82, 4, 0x0c, 2, 1, 3, 0x30, 0x82, 3, 0xc2];
    for (certificate, expected) in [
        (
            der(&certificate),
            "is DER, not PEM; convert it: openssl x509 -inform DER -in server.crt -out NEW",
        ),
        (
            pkcs_12.to_vec(),
            "is PKCS#12, not PEM; convert it: openssl pkcs12 -in server.crt -nokeys -out NEW",
        ),
        (
            utf_16(&[0xff, 0xfe], u16::to_le_bytes),
            "is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8 server.crt > NEW",
        ),
        (
            utf_16(&[], u16::to_be_bytes),
            "is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8 server.crt > NEW",
        ),
        (Vec::new(), "holds no certificate in PEM format"),
        (b"no PEM".to_vec(), "holds no certificate in PEM format"),
        (
            key.clone().into_bytes(),
            "holds a PRIVATE KEY block but no certificate; name the file that holds the certificate",
        ),
    ] {
        let files = Files::new(certificate, &key);
        assert_eq!(files.errors(), [format!("server.crt: {expected}")]);
    }
    for (key, expected) in [
        (
            pkcs_12.to_vec(),
            "is PKCS#12, not PEM; convert it: openssl pkcs12 -in server.key -nocerts -nodes -out NEW",
        ),
        (b"no PEM".to_vec(), "holds no private key in PEM format"),
        (
            certificate.clone().into_bytes(),
            "holds a CERTIFICATE block but no private key; set ingress.tls.key to the key's file",
        ),
    ] {
        let files = Files::new(&certificate, key);
        assert_eq!(files.errors(), [format!("server.key: {expected}")]);
    }
}

#[test]
fn an_unusable_key_is_an_error_with_its_kind() {
    let [certificate, key] = pair(&Authority::new());
    let unusable = |algorithm: &str| {
        format!(
            "its private key can't sign: {algorithm} is not supported; use a key of P-256, P-384, Ed25519, or RSA with \
             2048, 3072 or 4096 bits, and a certificate for it"
        )
    };
    let encrypted = "line 1: the private key is encrypted; decrypt it: \
                     openssl pkey -in server.key -out NEW";
    for (unusable_key, expected) in [
        (fixture!("p-521.key"), unusable("P-521")),
        (fixture!("p-521-sec1.key"), unusable("P-521")),
        (fixture!("ed448.key"), unusable("Ed448")),
        (fixture!("rsa-1024.key"), unusable("RSA with 1024 bits")),
        (
            fixture!("rsa-1024-pkcs1.key"),
            unusable("RSA with 1024 bits"),
        ),
        (fixture!("rsa-8192.key"), unusable("RSA with 8192 bits")),
        (fixture!("encrypted.key"), encrypted.to_owned()),
        (fixture!("encrypted-ec.key"), encrypted.to_owned()),
    ] {
        let files = Files::new(&certificate, unusable_key);
        assert_eq!(files.errors(), [format!("server.key: {expected}")]);
    }
    let rsa = Files::new(fixture!("rsa-2048.crt"), fixture!("rsa-2048.key"));
    assert_eq!(rsa.warnings(), Vec::<String>::new());
    let other = fixture!("rsa-2048.key");
    let several = Files::new(&certificate, format!("{key}{other}")).warnings();
    let expected = "server.key: holds 2 private keys, but only the first is read; keep only the certificate's key";
    assert_eq!(several, [expected]);
}

#[test]
fn a_key_of_another_certificate_is_an_error() {
    let root = Authority::named("root");
    let below = root.issue_authority("below", NOW);
    let [certificate, key] = pair(&below);
    let turned = Files::new(format!("{}{certificate}", below.read("ca.crt")), &key);
    assert_eq!(
        turned.errors(),
        [
            "server.key: is the key of certificate 2 in server.crt, not of the first; put that certificate first, and \
          each issuer after the certificate that it issued"
        ]
    );
    let [_, stranger] = pair(&Authority::new());
    let foreign = Files::new(format!("{certificate}{}", below.read("ca.crt")), stranger);
    assert_eq!(
        foreign.errors(),
        [
            "server.key: is not the key of the certificate in server.crt; name a certificate and its own key"
        ]
    );
}

#[test]
fn a_chain_that_is_out_of_order_or_incomplete_is_a_warning() {
    let root = Authority::named("root");
    let upper = root.issue_authority("upper", NOW);
    let lower = upper.issue_authority("lower", NOW);
    let [server, key] = pair(&lower);
    let [root, upper, lower] = [&root, &upper, &lower].map(|authority| authority.read("ca.crt"));
    let renewed = Authority::named("root")
        .issue_authority("lower", NOW)
        .read("ca.crt");
    let out_of_place = |second: &str, first: &str, problem: &str| {
        format!(
            "server.crt: certificate {second} is out of place: it comes after certificate {first}, which {problem}"
        )
    };
    let other_issuer = |named: &str| {
        format!(
            "has another issuer; put each issuer after the certificate that it issued, here CN={named}"
        )
    };
    let other_key = "names it as its issuer, but is signed by another key; put each issuer after the certificate that it \
                     issued, here CN=lower";
    let root_first = "ends the chain because it issued itself; move the certificates that follow it in front of it, or remove them if they are not needed";
    for (chain, expected) in [
        (vec![&server], vec![]),
        (vec![&server, &lower, &upper], vec![]),
        (vec![&server, &lower, &upper, &root], vec![]),
        (
            vec![&server, &upper],
            vec![out_of_place(
                "2 (CN=upper)",
                "1 (CN=server)",
                &other_issuer("lower"),
            )],
        ),
        (
            vec![&server, &upper, &lower],
            vec![
                out_of_place("2 (CN=upper)", "1 (CN=server)", &other_issuer("lower")),
                out_of_place("3 (CN=lower)", "2 (CN=upper)", &other_issuer("root")),
            ],
        ),
        (
            vec![&server, &lower, &upper, &root, &lower],
            vec![out_of_place("5 (CN=lower)", "4 (CN=root)", root_first)],
        ),
        (
            vec![&server, &renewed],
            vec![out_of_place("2 (CN=lower)", "1 (CN=server)", other_key)],
        ),
    ] {
        let chain: String = chain.into_iter().map(String::as_str).collect();
        assert_eq!(Files::new(chain, &key).warnings(), expected);
    }
}

const REFUSED: &str = "clients that need it refuse to connect while it is not valid";

#[test]
fn an_invalid_certificate_in_the_chain_is_named() {
    let root = Authority::named("root");
    for (years, problem) in [
        ([2000, 2001], "expired at 2001-01-01T00:00:00Z"),
        ([2100, 2101], "is not valid before 2100-01-01T00:00:00Z"),
    ] {
        let below = root.issue_authority("below", years);
        let [certificate, key] = pair(&below);
        let files = Files::new(format!("{certificate}{}", below.read("ca.crt")), &key);
        assert_eq!(
            files.warnings(),
            [format!(
                "server.crt: certificate 2 (CN=below) {problem}; {REFUSED}; replace it by its successor, or remove it if it \
                 has none"
            )]
        );

        root.issue("server", 1, years);
        let [certificate, key] = ["server.crt", "server.key"].map(|name| root.read(name));
        assert_eq!(
            Files::new(certificate, key).errors(),
            [format!(
                "server.crt: its certificate {problem}; replace it, and check the clock of this machine"
            )]
        );
    }
}

#[test]
fn an_expired_root_in_the_chain_should_be_removed() {
    let root = Authority::named("root").issue_authority("root", [2000, 2001]);
    let below = root.issue_authority("below", NOW);
    let [certificate, key] = pair(&below);
    let chain = [certificate, below.read("ca.crt"), root.read("ca.crt")].concat();
    assert_eq!(
        Files::new(chain, key).warnings(),
        [format!(
            "server.crt: certificate 3 (CN=root) expired at 2001-01-01T00:00:00Z; {REFUSED}; remove it: clients have their \
             own roots"
        )]
    );
}

#[test]
fn the_exposed_expiry_is_that_of_the_first_certificate() {
    let cross_signed = Authority::named("old").issue_authority("root", [2000, 2001]);
    let below = cross_signed.issue_authority("below", [2020, 2090]);
    let [certificate, key] = pair(&below);
    let chain = [
        certificate,
        below.read("ca.crt"),
        cross_signed.read("ca.crt"),
    ];
    let files = Files::new(chain.concat(), key);
    assert_eq!(files.warnings().len(), 1);
    let shown = "koobridge_certificate_expiry_timestamp_seconds";
    assert_eq!(files.start().metric(shown), 4_102_444_800);
    let lines = files.check("ok");
    let [line] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert!(line.starts_with("server.crt is valid for "), "{line}");
}

#[test]
fn a_certificate_of_the_chain_that_expires_within_14_days_is_a_warning() {
    let below = Authority::named("root").issue_authority("below", [2020, 2090]);
    let [certificate, key] = pair(&below);
    let files = Files::new(format!("{certificate}{}", below.read("ca.crt")), &key);
    let days_before: Timestamp = "2089-12-18T00:00:00Z".parse().expect("a time");
    assert_eq!(files.warnings_at(days_before), Vec::<String>::new());
    assert_eq!(
        files.warnings_at(days_before + SignedDuration::from_secs(1)),
        [format!(
            "server.crt: certificate 2 (CN=below) expires at 2090-01-01T00:00:00Z; {REFUSED}; replace it by its successor, or \
             remove it if it has none"
        )]
    );
}

#[test]
fn only_the_first_certificate_of_the_chain_must_be_readable() {
    let root = Authority::named("root");
    let mut params = authority_params("long serial", NOW);
    params.serial_number = Some(SerialNumber::from_slice(&[1; 30]));
    let long = root.certify(params);
    let [certificate, key] = pair(&long);
    let unread = long.read("ca.crt");
    let chain = [certificate, unread.clone(), root.read("ca.crt")];
    let warnings = Files::new(chain.concat(), key).warnings();
    let [warning] = &warnings[..] else {
        panic!("{warnings:?}");
    };
    let begins = "server.crt: certificate 2 can't be read (";
    assert!(warning.starts_with(begins), "{warning}");
    let ends = "); it is sent, but its validity and its place in the chain are not checked; if clients refuse it, copy it again";
    assert!(warning.ends_with(ends), "{warning}");

    let key = fixture!("rsa-2048.key");
    let errors = Files::new(unread, key).errors();
    let begins = "server.crt: certificate 1 is not valid X.509: ";
    assert!(errors[0].starts_with(begins), "{errors:?}");
}

#[test]
fn an_authority_whose_signatures_cannot_be_verified_is_a_warning_beside_another() {
    let usable = Authority::new();
    let sound = usable.read("ca.crt");
    let server = Authority::new();
    let [certificate, key] = pair(&server);
    for (authority, name, algorithm) in [
        (fixture!("p-521.crt"), "p-521", "P-521"),
        (fixture!("ed448.crt"), "ed448", "Ed448"),
        (fixture!("rsa-1024.crt"), "rsa-1024", "RSA with 1024 bits"),
    ] {
        let problem = |number: usize| {
            format!(
                "ca.crt: certificate {number} (CN={name}) has a key whose signatures can't be verified ({algorithm}); \
                 clients with its certificates are refused; remove it, and issue the certificates from an authority with a \
                 key of P-256, P-384, Ed25519, or RSA with 2048 to 8192 bits"
            )
        };
        let beside = Files::new(&certificate, &key).client_ca(format!("{sound}{authority}"));
        assert_eq!(beside.warnings(), [problem(2)]);
        assert_accepted(&beside.start(), &server, &usable);
        assert_eq!(with_authorities(authority).errors(), [problem(1)]);
    }
    let sound = format!(
        "{sound}{}{}",
        fixture!("rsa-2048.crt"),
        fixture!("rsa-8192.crt")
    );
    assert_eq!(with_authorities(sound).warnings(), Vec::<String>::new());
}

#[test]
fn an_expired_or_false_authority_is_a_warning() {
    let root = Authority::named("root");
    root.issue("client", 2, NOW);
    let expired = root.issue_authority("expired", [2000, 2001]).read("ca.crt");
    assert_eq!(
        with_authorities(format!("{}{expired}", root.read("client.crt"))).warnings(),
        [
            "ca.crt: certificate 1 (CN=client) is not an authority (its basic constraints do not say CA); clients are \
             accepted only if it issued their certificates; name the authority itself",
            "ca.crt: certificate 2 (CN=expired) expired at 2001-01-01T00:00:00Z; clients with certificates of this \
             authority are still accepted; remove it to refuse them",
        ]
    );
}

#[test]
fn mistakes_in_several_files_are_reported_together() {
    let files = Files::new("no PEM", fixture!("encrypted.key")).client_ca(fixture!("p-521.crt"));
    let errors = files.errors();
    let named: Vec<_> = errors
        .iter()
        .filter_map(|error| error.split(':').next())
        .collect();
    assert_eq!(named, ["server.crt", "server.key", "ca.crt"], "{errors:?}");
}

#[test]
fn a_missing_file_or_setting_is_named() {
    let [certificate, key] = pair(&Authority::new());
    let all = || Files::new(&certificate, &key).client_ca(&certificate);
    for missing in ["server.crt", "server.key", "ca.crt"] {
        let files = all();
        fs::remove_file(files.home.path().join(missing)).expect("a file");
        let problem = "can't be read: No such file or directory (os error 2)";
        assert_eq!(files.errors(), [format!("{missing}: {problem}")]);
    }
    for (kept, expected) in [
        ("certificate", "ingress.tls.key: is missing"),
        ("key", "ingress.tls.certificate: is missing"),
        ("client_ca", "ingress.tls.client_ca: has no effect without"),
    ] {
        let mut files = all();
        let kept = format!("ingress.tls.{kept}=");
        files.settings.retain(|setting| setting.starts_with(&kept));
        let output = files.run("serve", &[]);
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(said.contains(expected), "{expected}\n{said}");
        assert_eq!(output.status.code(), Some(2), "{said}");
    }
}

#[test]
fn a_reload_reports_mistakes_and_keeps_the_last_valid_files() {
    let authority = Authority::named("A");
    let files = with_authorities(authority.read("ca.crt"));
    let bridge = files.start();
    let replace = |content: &str| {
        let path = files.home.path();
        fs::write(path.join(".new"), content).expect("a file");
        fs::rename(path.join(".new"), path.join("ca.crt")).expect("a file");
    };
    replace(fixture!("p-521.crt"));
    let stale = eventually(|| bridge.stale("certificate").ok_or("not noticed".to_owned()));
    assert!(
        files
            .relative(&stale)
            .starts_with("ca.crt: certificate 1 (CN=p-521)"),
        "{stale}"
    );

    authority.issue("client", 2, NOW);
    replace(&authority.read("client.crt"));
    bridge.wait_for_metric("koobridge_stale{part=\"certificate\"}", 0);
    bridge.wait_for_log("certificate 1 (CN=client) is not an authority");
}
