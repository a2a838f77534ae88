//! A sender that reads none of its answers: it is not served for ever.

use std::io::Write as _;
use std::net::TcpStream;

use crate::bridge::Bridge;
use crate::cluster;
use crate::http::{post, request};

/// Answers of some 300 bytes that fit into the buffers of both sides, with room to spare. With those that
/// systems give by themselves it is ten thousand and more.
const ANSWERS: u64 = 2000;

#[test]
fn a_sender_that_reads_no_answer_gets_few_and_is_let_go() {
    let kafka = cluster::shared();
    let (bridge, ..) = Bridge::with_topics(&kafka, 1, &[("ingress.idle_timeout", "1s")]);
    let mut sender = TcpStream::connect(bridge.ingress).expect("the bridge listens");
    let refused = request(&post(), &[("Authorization", Some("wrong"))], b"{}");
    // Until the bridge takes no more, and has closed.
    while sender.write_all(&refused).is_ok() {}
    bridge.wait_for_metric("koobridge_connections", 0);
    let answers = bridge.metric("koobridge_answers_total{code=\"401\"}");
    assert!((100..ANSWERS).contains(&answers), "{answers} answers");
}
