//! The authorities of client certificates.

use std::path::Path;

use jiff::Timestamp;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::BasicConstraints;

use super::algorithm::Algorithm;
use super::certificates::{self, invalid, title};
use super::problems::Problems;

pub(super) fn read(path: &Path, now: Timestamp, problems: &mut Problems) -> Option<RootCertStore> {
    let errors = problems.errors.len();
    let mut store = RootCertStore::empty();
    for (index, der) in certificates::read(path, problems)?.into_iter().enumerate() {
        // rustls takes what this parser does not: it asks for less.
        let certificate = Certificate::from_der(&der).ok();
        if let Err(problem) = add(&mut store, der) {
            let title = match &certificate {
                Some(certificate) => title(index, certificate),
                None => format!("certificate {}", index + 1),
            };
            problems.error(path, format!("{title} {problem}"));
        } else if let Some(certificate) = certificate {
            check(path, index, &certificate, now, problems);
        }
    }
    (problems.errors.len() == errors).then_some(store)
}

/// Adds an authority if what it signs can be verified.
fn add(store: &mut RootCertStore, der: CertificateDer<'_>) -> Result<(), String> {
    store
        .add(der)
        .map_err(|error| format!("can't be used: {error}; copy it anew, or take it out"))?;
    let added = store.roots.last().expect("an authority was added");
    let remedy = "authorities have keys of P-256, P-384, Ed25519, or RSA with 2048 to 8192 bits; \
                  have its clients' certificates issued by one of these, and take it out";
    match Algorithm::of_public(&added.subject_public_key_info) {
        Ok(algorithm) if algorithm.can_verify() => Ok(()),
        Ok(algorithm) => Err(format!(
            "has a key whose signatures can't be verified ({algorithm}); {remedy}"
        )),
        Err(_) => Err(format!("has a key that can't be read; {remedy}")),
    }
}

/// rustls looks neither at the validity of an authority nor at its right to issue certificates.
fn check(
    path: &Path,
    index: usize,
    certificate: &Certificate,
    now: Timestamp,
    problems: &mut Problems,
) {
    let title = title(index, certificate);
    if let Some(invalid) = invalid(certificate, now) {
        problems.warn(path, format!(
            "{title} {invalid}; clients with a certificate of this authority are accepted all the same; \
             take it out if they should not be"
        ));
    }
    let constraints = certificate
        .tbs_certificate()
        .get_extension::<BasicConstraints>();
    if !matches!(constraints, Ok(Some((_, constraints))) if constraints.ca) {
        problems.warn(path, format!(
            "{title} is no authority (its basic constraints do not say CA); clients are accepted only if it has \
             issued their certificates; name the authority itself"
        ));
    }
}
