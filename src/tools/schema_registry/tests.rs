use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;

/// The path, the login and the body of each request.
type Heard = Arc<Mutex<Vec<(String, Option<String>, Value)>>>;

/// A server that gives each request the same answer.
struct Server {
    address: String,
    heard: Heard,
}

impl Server {
    async fn start(status: u16, body: &'static str) -> Self {
        Self::over(None, status, body).await
    }

    async fn over(tls: Option<TlsAcceptor>, status: u16, body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = listener.local_addr().expect("an address");
        let heard = Heard::default();
        let server = Self {
            address: format!("{scheme}://{address}"),
            heard: Arc::clone(&heard),
        };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let heard = Arc::clone(&heard);
                match &tls {
                    None => serve(stream, heard, status, body),
                    // A client that refuses the certificate leaves no stream.
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, heard, status, body);
                        }
                    }
                }
            }
        });
        server
    }

    fn client(&self, credentials: Option<Credentials>) -> Client {
        let address = self.address.parse().expect("an address");
        Client::new(address, credentials, None).expect("no TLS")
    }
}

fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    heard: Heard,
    status: u16,
    body: &'static str,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let heard = Arc::clone(&heard);
        async move {
            let path = request.uri().path().to_owned();
            let login = request.headers().get("authorization").cloned();
            let login = login.map(|it| it.to_str().expect("text").to_owned());
            let text = request.into_body().collect().await.expect("a body");
            let text = serde_json::from_slice(&text.to_bytes()).expect("JSON");
            heard.lock().push((path, login, text));
            let mut response = Response::new(Full::new(Bytes::from(body)));
            *response.status_mut() = status.try_into().expect("a status");
            Ok::<_, Infallible>(response)
        }
    });
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
}

/// Returns a certificate for 127.0.0.1 in PEM, and the acceptor that presents it.
fn tls() -> (String, TlsAcceptor) {
    let names = vec!["127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    let config = Arc::new(config.expect("a sound pair"));
    (made.cert.pem(), TlsAcceptor::from(config))
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("file");
    fs::write(&path, text).expect("a file");
    (home, path)
}

#[tokio::test]
async fn a_request_has_the_schema_and_the_credentials() {
    let server = Server::start(200, r#"{"id":7,"version":1}"#).await;
    let (_home, path) = file("user:pass:word\n");
    let credentials = Credentials::read(&path).expect("credentials");
    assert_eq!(format!("{credentials:?}"), "Credentials");
    let client = server.client(Some(credentials));
    let registered = register(&client, "t-value").await.expect("an id");
    assert_eq!(registered.schema_id(), SchemaId::Number(7));
    let heard = server.heard.lock();
    let [(path, login, body)] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(path, "/subjects/t-value/versions");
    // "user:pass:word": by RFC 7617 the password may have a colon.
    assert_eq!(login.as_deref(), Some("Basic dXNlcjpwYXNzOndvcmQ="));
    assert_eq!(body["schemaType"], "JSON");
    let schema: Value = serde_json::from_str(body["schema"].as_str().expect("text")).expect("JSON");
    assert_eq!(schema["$id"], "urn:koobridge:schema:event");
}

#[tokio::test]
async fn a_guid_goes_before_the_number() {
    let guid = "89791762-2336-4186-9674-299b90a802e2";
    let body = r#"{"id":7,"guid":"89791762-2336-4186-9674-299b90a802e2","subject":"t-value"}"#;
    let server = Server::start(200, body).await;
    let found = find(&server.client(None), "t-value")
        .await
        .expect("an answer");
    let found = found.expect("a schema");
    assert_eq!(found.schema_id().to_string(), guid);
    assert!(found.has(SchemaId::Number(7)) && found.has(found.schema_id()));
    assert!(!found.has(SchemaId::Number(8)));
}

#[tokio::test]
async fn a_subject_or_a_schema_that_is_missing_is_not_found() {
    for body in [
        r#"{"error_code":40401,"message":"Subject 't-value' not found."}"#,
        r#"{"error_code":40403,"message":"Schema not found"}"#,
    ] {
        let server = Server::start(404, body).await;
        let found = find(&server.client(None), "t-value").await;
        assert_eq!(found.expect("an answer"), None);
    }
}

#[tokio::test]
async fn each_refusal_says_what_to_do() {
    for (status, body, expected) in [
        (
            401,
            r#"{"error_code":401,"message":"Unauthorized"}"#,
            "it refuses this client (401); put USER:PASSWORD in a file, and name the file with --schema-registry-credentials",
        ),
        (
            401,
            "<html>",
            "it refuses this client (401); put USER:PASSWORD in a file, and name the file with --schema-registry-credentials",
        ),
        (
            403,
            r#"{"error_code":40301,"message":"User is denied Write"}"#,
            "it denied the request (403): User is denied Write",
        ),
        (
            409,
            r#"{"error_code":409,"message":"incompatible\u001b[2J"}"#,
            "the schema is not compatible with the subject's (409): incompatible [2J; check the subject's versions and \
             its compatibility",
        ),
        (
            422,
            r#"{"error_code":42201,"message":"Invalid schema"}"#,
            "it does not accept the schema (42201): Invalid schema",
        ),
        (
            500,
            r#"{"error_code":50001,"message":"Error in the backend"}"#,
            "it answers 500: Error in the backend",
        ),
        (404, "not here", NOT_ONE_404),
        (200, "<html>", NOT_ONE_200),
        (301, "", NOT_ONE_301),
    ] {
        let server = Server::start(status, body).await;
        let refused = register(&server.client(None), "t-value").await;
        let refused = refused.expect_err("a refusal").to_string();
        assert_eq!(refused, expected, "{status} {body}");
    }
}

const NOT_ONE_404: &str = "its answer (404) is not that of a schema registry; use the address of the registry's API, for \
                           example http://registry:8081 or http://apicurio:8080/apis/ccompat/v7";
const NOT_ONE_200: &str = "its answer (200) is not that of a schema registry; use the address of the registry's API, for \
                           example http://registry:8081 or http://apicurio:8080/apis/ccompat/v7";
const NOT_ONE_301: &str = "its answer (301) is not that of a schema registry; use the address of the registry's API, for \
                           example http://registry:8081 or http://apicurio:8080/apis/ccompat/v7";

#[tokio::test]
async fn a_registry_that_is_away_or_silent_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let client = || {
        let address = format!("http://{address}").parse().expect("an address");
        let client = Client::new(address, None, None).expect("no TLS");
        client.with_timeout(Duration::from_millis(50))
    };
    let silent = find(&client(), "t-value").await.expect_err("no answer");
    assert!(matches!(silent, RegistryError::TimedOut(_)), "{silent}");
    drop(listener);
    let away = find(&client(), "t-value").await.expect_err("no server");
    assert!(matches!(away, RegistryError::Unreachable(_)), "{away}");
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off() {
    let body = Box::leak("x".repeat((1 << 20) + 1).into_boxed_str());
    let server = Server::start(200, body).await;
    let refused = register(&server.client(None), "t-value").await;
    let refused = refused.expect_err("too long");
    assert!(matches!(refused, RegistryError::Broken(_)), "{refused}");
}

#[tokio::test]
async fn the_certificate_of_a_registry_is_held_against_the_given_roots() {
    let (certificate, acceptor) = tls();
    let server = Server::over(Some(acceptor), 200, r#"{"id":7}"#).await;
    let (other, _) = tls();
    for (root, is_known) in [(certificate, true), (other, false)] {
        let (_home, path) = file(&root);
        let address = server.address.parse().expect("an address");
        let client = Client::new(address, None, Some(&path)).expect("a root");
        match register(&client, "t-value").await {
            Ok(registered) => {
                assert!(is_known);
                assert_eq!(registered.schema_id(), SchemaId::Number(7));
            }
            Err(refused) => {
                assert!(!is_known, "{refused}");
                assert!(matches!(refused, RegistryError::Tls(_)), "{refused}");
            }
        }
    }
}

#[test]
fn credentials_are_one_line_with_a_colon() {
    for text in ["", "user", "user:a\nuser:b\n", "user:a\tb"] {
        let (_home, path) = file(text);
        let refused = Credentials::read(&path).expect_err(text).to_string();
        let expected = format!("{}: it must hold one line, USER:PASSWORD", path.display());
        assert_eq!(refused, expected);
    }
    for text in ["u:p", "u:p\n", "u:p\r\n", ":", "\u{e9}:\u{e9}"] {
        let (_home, path) = file(text);
        assert!(Credentials::read(&path).is_ok(), "{text}");
    }
}

#[test]
fn a_file_of_roots_without_a_certificate_is_refused() {
    let (_home, path) = file("nothing");
    let address: Address = "https://127.0.0.1".parse().expect("an address");
    let refused = Client::new(address, None, Some(&path)).expect_err("no root");
    let expected = format!(
        "{}: it has no certificate; put the root certificate into it, in PEM",
        path.display()
    );
    assert_eq!(refused.to_string(), expected);
}
