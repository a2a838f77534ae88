//! The authorities of client certificates.

use std::path::Path;

use jiff::Timestamp;
use tokio_rustls::rustls::RootCertStore;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::BasicConstraints;

use super::algorithm::Algorithm;
use crate::certificates::pem::Content;
use crate::certificates::problems::Problems;
use crate::certificates::{self, title, validity_problem};

pub(super) fn read(path: &Path, now: Timestamp, problems: &mut Problems) -> Option<RootCertStore> {
    let errors = problems.errors.len();
    let mut store = RootCertStore::empty();
    let mut unusable = Vec::new();
    let certificates = certificates::read(path, Content::Authorities, problems)?;
    for (index, der) in certificates.into_iter().enumerate() {
        // rustls accepts more certificates than this parser.
        let certificate = Certificate::from_der(&der).ok();
        let title = match &certificate {
            Some(certificate) => title(index, certificate),
            None => format!("certificate {}", index + 1),
        };
        if let Err(error) = store.add(der) {
            let remedy = "copy it again, or remove it";
            problems.error(path, format!("{title} can't be used: {error}; {remedy}"));
        } else if let Some(problem) = unverifiable(&store) {
            store.roots.pop();
            unusable.push(format!("{title} {problem}"));
        } else if let Some(certificate) = certificate {
            check(path, &title, &certificate, now, problems);
        }
    }
    for problem in unusable {
        if store.is_empty() {
            problems.error(path, problem);
        } else {
            problems.warn(path, problem);
        }
    }
    (problems.errors.len() == errors).then_some(store)
}

/// Returns why signatures of the authority that was added last can't be verified.
fn unverifiable(store: &RootCertStore) -> Option<String> {
    let added = store.roots.last()?;
    let remedy = "clients with its certificates are refused; remove it, and issue the certificates from an authority \
                  with a key of P-256, P-384, Ed25519, or RSA with 2048 to 8192 bits";
    match Algorithm::of_public(&added.subject_public_key_info) {
        Ok(algorithm) if algorithm.can_verify() => None,
        Ok(algorithm) => Some(format!(
            "has a key whose signatures can't be verified ({algorithm}); {remedy}"
        )),
        Err(_) => Some(format!("has a key that can't be read; {remedy}")),
    }
}

/// rustls checks neither the validity of an authority nor its right to issue certificates.
fn check(
    path: &Path,
    title: &str,
    certificate: &Certificate,
    now: Timestamp,
    problems: &mut Problems,
) {
    if let Some(problem) = validity_problem(certificate, now) {
        problems.warn(path, format!(
            "{title} {problem}; clients with certificates of this authority are still accepted; \
             remove it to refuse them"
        ));
    }
    let constraints = certificate
        .tbs_certificate()
        .get_extension::<BasicConstraints>();
    if !matches!(constraints, Ok(Some((_, constraints))) if constraints.ca) {
        problems.warn(path, format!(
            "{title} is not an authority (its basic constraints do not say CA); clients are accepted only if it \
             issued their certificates; name the authority itself"
        ));
    }
}
