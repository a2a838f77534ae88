//! The certificate of the ingress, and the certificates of its issuers.

use std::path::Path;

use jiff::Timestamp;
use tokio_rustls::rustls::crypto::WebPkiSupportedAlgorithms;
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{self, Decode as _, Encode, Reader as _, SliceReader};

use crate::certificates::pem::Content;
use crate::certificates::problems::Problems;
use crate::certificates::{self, RENEWAL_PERIOD, expires, is_self_issued, title, validity_problem};

pub(super) struct Chain {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// When the first certificate, which is the ingress' own, expires.
    pub(super) expires: Timestamp,
}

/// A certificate in its encoded and its parsed form.
struct Link<'a> {
    /// Its place in the chain.
    index: usize,
    der: &'a CertificateDer<'static>,
    certificate: Certificate,
}

impl Chain {
    pub(super) fn read(
        path: &Path,
        now: Timestamp,
        algorithms: &WebPkiSupportedAlgorithms,
        problems: &mut Problems,
    ) -> Option<Self> {
        let errors = problems.errors.len();
        let certificates = certificates::read(path, Content::Chain, problems)?;
        let links = parse(path, &certificates, problems);
        check_validity(path, &links, now, problems);
        check_order(path, &links, algorithms, problems);
        let expires = expires(&links.first()?.certificate);
        (problems.errors.len() == errors).then_some(Self {
            certificates,
            expires,
        })
    }
}

/// Only the first certificate must be readable: clients may accept others that this parser does not.
fn parse<'a>(
    path: &Path,
    certificates: &'a [CertificateDer<'static>],
    problems: &mut Problems,
) -> Vec<Link<'a>> {
    let mut links = Vec::new();
    for (index, der) in certificates.iter().enumerate() {
        let number = index + 1;
        match Certificate::from_der(der) {
            Ok(certificate) => links.push(Link { index, der, certificate }),
            Err(error) if index == 0 => {
                let problem = format!("certificate {number} is not valid X.509: {error}");
                problems.error(path, format!("{problem}; copy it again"));
            }
            Err(error) => problems.warn(path, format!(
                "certificate {number} can't be read ({error}); it is sent, but its validity and its place in the chain are \
                 not checked; if clients refuse it, copy it again"
            )),
        }
    }
    links
}

fn check_validity(path: &Path, links: &[Link<'_>], now: Timestamp, problems: &mut Problems) {
    for Link {
        index, certificate, ..
    } in links
    {
        let invalid = validity_problem(certificate, now);
        if *index == 0 {
            let remedy = "replace it, and check the clock of this machine";
            if let Some(invalid) = invalid {
                problems.error(path, format!("its certificate {invalid}; {remedy}"));
            }
        } else if let Some(problem) = invalid.or_else(|| expires_soon(certificate, now)) {
            let title = title(*index, certificate);
            let remedy = if is_self_issued(certificate) {
                "remove it: clients have their own roots"
            } else {
                "replace it by its successor, or remove it if it has none"
            };
            problems.warn(path, format!(
                "{title} {problem}; clients that need it refuse to connect while it is not valid; {remedy}"
            ));
        }
    }
}

fn expires_soon(certificate: &Certificate, now: Timestamp) -> Option<String> {
    let expires = expires(certificate);
    (expires.duration_since(now) < RENEWAL_PERIOD).then(|| format!("expires at {expires}"))
}

/// A wrong order is a warning: many clients accept any order, but some do not.
fn check_order(
    path: &Path,
    links: &[Link<'_>],
    algorithms: &WebPkiSupportedAlgorithms,
    problems: &mut Problems,
) {
    let pairs = links.iter().zip(links.iter().skip(1));
    for (link, next) in pairs.filter(|(link, next)| link.index + 1 == next.index) {
        if let Some(problem) = misplaced(link, &next.certificate, algorithms) {
            let [first, second] = [link, next].map(|link| title(link.index, &link.certificate));
            let place = format!("{second} is out of place: it comes after {first}, which");
            problems.warn(path, format!("{place} {problem}"));
        }
    }
}

/// Returns why `issuer` should not follow a certificate, and the name of its real issuer.
fn misplaced(
    link: &Link<'_>,
    issuer: &Certificate,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<String> {
    let named = link.certificate.tbs_certificate().issuer();
    let problem = if is_self_issued(&link.certificate) {
        return Some(
            "ends the chain because it issued itself; move the certificates that follow it in front of it, or remove them if they are not needed".to_owned(),
        );
    } else if named != issuer.tbs_certificate().subject() {
        "has another issuer"
    } else if is_signed_by(link, issuer, algorithms) == Ok(false) {
        "names it as its issuer, but is signed by another key"
    } else {
        return None;
    };
    let remedy = "put each issuer after the certificate that it issued, here";
    Some(format!("{problem}; {remedy} {named}"))
}

/// Returns whether the key of `issuer` has signed a certificate; an error if the signature can't be verified.
fn is_signed_by(
    Link {
        der, certificate, ..
    }: &Link<'_>,
    issuer: &Certificate,
    algorithms: &WebPkiSupportedAlgorithms,
) -> der::Result<bool> {
    let signed = SliceReader::new(der)?.sequence(|reader| {
        let signed = reader.tlv_bytes()?;
        reader.drain(reader.remaining_len())?;
        Ok::<_, der::Error>(signed)
    })?;
    let key = issuer.tbs_certificate().subject_public_key_info();
    let [signature_algorithm, key_algorithm] = [
        content(certificate.signature_algorithm())?,
        content(&key.algorithm)?,
    ];
    let algorithm = algorithms.all.iter().find(|algorithm| {
        algorithm.signature_alg_id().as_ref() == signature_algorithm
            && algorithm.public_key_alg_id().as_ref() == key_algorithm
    });
    let algorithm = algorithm.ok_or_else(|| der::Error::from(der::ErrorKind::Failed))?;
    let (key, signature) = (key.subject_public_key.raw_bytes(), certificate.signature());
    Ok(algorithm
        .verify_signature(key, signed, signature.raw_bytes())
        .is_ok())
}

/// Encodes a sequence without its tag and length.
fn content(sequence: &impl Encode) -> der::Result<Vec<u8>> {
    let der = sequence.to_der()?;
    Ok(AnyRef::from_der(&der)?.value().to_vec())
}
