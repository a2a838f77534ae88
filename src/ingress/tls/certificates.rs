//! Files of certificates: the chain of the ingress, and the authorities of client certificates.

use std::path::Path;

use jiff::Timestamp;
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::time::Time;

use super::pem::{self, Block, Content};
use super::problems::Problems;

/// Reads the certificates of a file; none if one of them can't be read.
pub(super) fn read(path: &Path, problems: &mut Problems) -> Option<Vec<CertificateDer<'static>>> {
    let errors = problems.errors.len();
    let blocks = pem::read(path, Content::Certificate, problems);
    let is_read = |block: &&Block| !is_beside(&block.label);
    let certificates = blocks.iter().filter(is_read).filter_map(|block| {
        let certificate = decode(block);
        certificate
            .map_err(|problem| problems.error(path, format!("line {}: {problem}", block.line)))
            .ok()
    });
    let certificates: Vec<_> = certificates.collect();
    let is_sound = problems.errors.len() == errors;
    if is_sound && certificates.is_empty() {
        let label = &blocks[0].label;
        problems.error(path, format!(
            "holds no certificate, but a block of the kind {label}; is it another file that should be named?"
        ));
        return None;
    }
    is_sound.then_some(certificates)
}

/// Blocks that may stand in one file with certificates.
fn is_beside(label: &str) -> bool {
    label.ends_with("PRIVATE KEY") || label.ends_with("PARAMETERS")
}

fn decode(block: &Block) -> Result<CertificateDer<'static>, String> {
    let label = &block.label;
    if label != "CERTIFICATE" {
        return Err(format!(
            "a block of the kind {label} is not read; convert it to CERTIFICATE (openssl x509), or take it out"
        ));
    }
    block.certificate().ok_or_else(|| {
        "the block that begins here is no sound base64; copy the certificate anew".to_owned()
    })
}

/// Returns why a certificate is not valid `now`.
pub(super) fn invalid(certificate: &Certificate, now: Timestamp) -> Option<String> {
    let validity = certificate.tbs_certificate().validity();
    let [begins, expires] = [validity.not_before, validity.not_after].map(to_timestamp);
    if expires <= now {
        return Some(format!("has expired at {expires}"));
    }
    (begins > now).then(|| format!("is valid from {begins} on"))
}

pub(super) fn expires(certificate: &Certificate) -> Timestamp {
    to_timestamp(certificate.tbs_certificate().validity().not_after)
}

/// X.509 knows the years to 9999, as jiff does.
fn to_timestamp(time: Time) -> Timestamp {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// Whether a certificate names itself as its issuer, as that of a root does.
pub(super) fn is_self_issued(certificate: &Certificate) -> bool {
    let certificate = certificate.tbs_certificate();
    certificate.subject() == certificate.issuer()
}

/// Returns the number, counted from 1, and the name of a certificate in its file.
pub(super) fn title(index: usize, certificate: &Certificate) -> String {
    let subject = certificate.tbs_certificate().subject();
    format!("certificate {} ({subject})", index + 1)
}
