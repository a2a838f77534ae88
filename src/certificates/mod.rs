//! Files of certificates: the chain of the ingress, the authorities of client certificates, and the client certificate
//! for Kafka.

pub(crate) mod pem;
pub(crate) mod problems;

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::time::Time;

use pem::{Block, Content};
use problems::Problems;

/// A certificate that expires within this time is a warning.
pub(crate) const RENEWAL_PERIOD: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Reads the certificates of a file. Returns `None` if one of them can't be read.
pub(crate) fn read(
    path: &Path,
    content: Content,
    problems: &mut Problems,
) -> Option<Vec<CertificateDer<'static>>> {
    let errors = problems.errors.len();
    let blocks = pem::read(path, content, problems);
    let decoded = blocks
        .iter()
        .filter_map(|block| decode(path, block, content, problems));
    let certificates: Vec<_> = decoded.collect();
    let is_sound = problems.errors.len() == errors;
    if is_sound && certificates.is_empty() {
        let label = &blocks[0].label;
        problems.error(
            path,
            format!(
                "holds a {label} block but no certificate; name the file that holds the certificate"
            ),
        );
        return None;
    }
    is_sound.then_some(certificates)
}

/// Returns whether blocks of this kind may be in one file with certificates.
fn may_be_beside_certificates(label: &str) -> bool {
    label.ends_with("PRIVATE KEY") || label.ends_with("PARAMETERS")
}

/// Returns the certificate of a block. A block of another kind is a problem, unless it may be beside certificates.
fn decode(
    path: &Path,
    block: &Block,
    content: Content,
    problems: &mut Problems,
) -> Option<CertificateDer<'static>> {
    let Block { line, label, .. } = block;
    if label == "CERTIFICATE" {
        let certificate = block.certificate();
        if certificate.is_none() {
            let problem =
                "the block that begins here is not valid base64; copy the certificate again";
            problems.error(path, format!("line {line}: {problem}"));
        }
        return certificate;
    }
    let block = format!("line {line}: the {label} block");
    if let Some(remedy) = refused(label, content) {
        problems.error(path, format!("{block} can't be read; {remedy}"));
    } else if !may_be_beside_certificates(label) {
        let problem = "is ignored: only CERTIFICATE blocks are read; remove it";
        problems.warn(path, format!("{block} {problem}"));
    }
    None
}

/// Returns the remedy for a block that holds certificates in another format, or a revocation list, which is not
/// checked.
fn refused(label: &str, content: Content) -> Option<&'static str> {
    match label {
        "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => {
            Some("convert it to CERTIFICATE (openssl x509), or remove it")
        }
        "PKCS7" | "PKCS #7 SIGNED DATA" => {
            Some("convert it to CERTIFICATE (openssl pkcs7 -print_certs), or remove it")
        }
        "X509 CRL" if content == Content::Authorities => {
            Some("the bridge does not check whether a client's certificate is revoked; remove it")
        }
        _ => None,
    }
}

/// Returns why a certificate is not valid `now`.
pub(crate) fn validity_problem(certificate: &Certificate, now: Timestamp) -> Option<String> {
    let [begins, expires] = validity(certificate);
    if expires <= now {
        return Some(format!("expired at {expires}"));
    }
    (begins > now).then(|| format!("is not valid before {begins}"))
}

pub(crate) fn expires(certificate: &Certificate) -> Timestamp {
    let [_, expires] = validity(certificate);
    expires
}

/// Returns when a certificate begins to be valid, and when it expires.
pub(crate) fn validity(certificate: &Certificate) -> [Timestamp; 2] {
    let validity = certificate.tbs_certificate().validity();
    [validity.not_before, validity.not_after].map(to_timestamp)
}

/// Exact, because X.509 and jiff both end with the year 9999.
fn to_timestamp(time: Time) -> Timestamp {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// Returns whether a certificate names itself as its issuer, as a root does.
pub(crate) fn is_self_issued(certificate: &Certificate) -> bool {
    let certificate = certificate.tbs_certificate();
    certificate.subject() == certificate.issuer()
}

/// Returns the number of a certificate in its file, counted from 1, and its name.
pub(crate) fn title(index: usize, certificate: &Certificate) -> String {
    let subject = certificate.tbs_certificate().subject();
    format!("certificate {} ({subject})", index + 1)
}
