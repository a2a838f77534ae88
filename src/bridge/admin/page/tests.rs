use sha2::{Digest as _, Sha256};

use super::*;
use crate::bridge::admin::status::tests::{away, named, status, well};

fn text(response: Response<Full<Bytes>>) -> String {
    use http_body_util::BodyExt as _;
    let mut body = Box::pin(response.into_body().collect());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match Future::poll(body.as_mut(), &mut context) {
        std::task::Poll::Ready(Ok(body)) => {
            String::from_utf8(body.to_bytes().to_vec()).expect("text")
        }
        other => panic!("a whole body is there at once: {other:?}"),
    }
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    let (_, rest) = text.split_once(start).expect("it starts");
    rest.split_once(end).expect("it ends").0
}

#[test]
fn the_policy_names_what_the_page_holds() {
    let response = html(&status(&well()));
    let policy = response.headers()[CONTENT_SECURITY_POLICY]
        .to_str()
        .expect("text")
        .to_owned();
    let page = text(response);
    for (tag, directive) in [("style", "style-src"), ("script", "script-src")] {
        let inline = between(&page, &format!("<{tag}>"), &format!("</{tag}>"));
        assert!(!inline.is_empty());
        // Another spelling of the hash than the policy's own.
        let hash = between(&policy, &format!("{directive} 'sha256-"), "'");
        assert_eq!(decoded(hash), Sha256::digest(inline).to_vec());
    }
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    for rest in [
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(rest), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
}

fn decoded(base64: &str) -> Vec<u8> {
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<bool> = base64
        .trim_end_matches('=')
        .chars()
        .map(|digit| digits.find(digit).expect("a digit"))
        .flat_map(|digit| (0..6).rev().map(move |bit| digit >> bit & 1 == 1))
        .collect();
    let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    bits.chunks_exact(8).map(byte).collect()
}

#[test]
fn the_state_is_in_the_page_without_its_script() {
    let page = text(html(&status(&away())));
    for part in [
        "<title>Serving from the spool while Kafka is away · koobridge</title>",
        r#"<h1 id="state" data-tone="warn" aria-live="polite"><span>Serving from the spool while Kafka is away</span></h1>"#,
        "Kafka has not answered for 2 s.",
        r#"<dt data-say="name">events</dt><dd data-say="value">no answer</dd>"#,
        "No report has come yet.",
    ] {
        assert!(page.contains(part), "{part} is not in:\n{page}");
    }
    assert!(!page.contains("{{"), "{page}");
}

#[test]
fn every_section_has_its_place() {
    let status = status(&well());
    for section in &status.sections {
        assert!(
            PAGE.contains(&format!("{{{{{}}}}}", section.id)),
            "{}",
            section.id
        );
    }
}

#[test]
fn what_is_said_is_text_whatever_it_holds() {
    let hostile = "</script><script>alert(1)</script>{{style}}";
    let page = text(html(&status(&named(hostile))));
    assert!(!page.contains("<script>alert"));
    assert_eq!(page.matches("<style>").count(), 1);
    assert_eq!(page.matches("color-scheme: light dark;").count(), 1);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;{{style}}"));
}

#[test]
fn the_script_makes_no_html_of_what_it_is_told() {
    for way in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval",
    ] {
        assert!(!SCRIPT.contains(way), "{way}");
    }
}
