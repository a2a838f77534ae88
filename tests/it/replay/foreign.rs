//! Records that librdkafka can't write.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::desk::{Desk, event, exit_code, stderr};
use crate::support::cluster;
use crate::support::records::Kafka;

/// The Produce API, in a version that Kafka 2.1 and 4 both have.
const PRODUCE: [i16; 2] = [0, 3];

/// Writes one record with a header of this name to partition 0.
fn write(kafka: &Kafka, topic: &str, name: &[u8]) {
    let batch = batch(&record(name));
    let mut request = Vec::new();
    for number in PRODUCE {
        request.extend(number.to_be_bytes());
    }
    request.extend(7_i32.to_be_bytes());
    // Neither a client id nor a transactional id.
    request.extend([0xff; 4]);
    // Every replica in sync, within ten seconds; one topic.
    request.extend((-1_i16).to_be_bytes());
    request.extend(10_000_i32.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    request.extend(u16::try_from(topic.len()).expect("a name").to_be_bytes());
    request.extend(topic.as_bytes());
    // One partition, which is 0.
    request.extend(1_i32.to_be_bytes());
    request.extend(0_i32.to_be_bytes());
    request.extend(sized(&batch));
    let mut connection = TcpStream::connect(leader(kafka, topic)).expect("a broker");
    connection.write_all(&sized(&request)).expect("it is sent");
    assert_eq!(answered_error(&mut connection, topic), 0);
}

fn leader(kafka: &Kafka, topic: &str) -> String {
    let metadata = kafka.metadata(Some(topic)).expect("metadata");
    let leader = metadata.topics()[0].partitions()[0].leader();
    let mut brokers = metadata.brokers().iter();
    let broker = brokers.find(|broker| broker.id() == leader);
    let broker = broker.expect("a leader");
    format!("{}:{}", broker.host(), broker.port())
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a few bytes");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// The error code of the one partition.
fn answered_error(connection: &mut TcpStream, topic: &str) -> i16 {
    // Length, request, topics, name, partitions, partition.
    let mut before = vec![0; 4 + 4 + 4 + 2 + topic.len() + 4 + 4];
    let mut code = [0; 2];
    connection.read_exact(&mut before).expect("an answer");
    connection.read_exact(&mut code).expect("an answer");
    i16::from_be_bytes(code)
}

fn batch(record: &[u8]) -> Vec<u8> {
    let mut checked = vec![0; 2 + 4];
    checked.extend([0; 8 + 8]);
    // No producer id, epoch and sequence.
    checked.extend([0xff; 8 + 2 + 4]);
    checked.extend(1_i32.to_be_bytes());
    checked.extend(record);
    let mut rest = (-1_i32).to_be_bytes().to_vec();
    rest.push(2);
    rest.extend(crc32c(&checked).to_be_bytes());
    rest.extend(checked);
    [vec![0; 8], sized(&rest)].concat()
}

/// Lengths are zigzag numbers below 64: one byte.
fn record(name: &[u8]) -> Vec<u8> {
    let length = |length: usize| u8::try_from(2 * length).expect("a short text");
    let mut record = vec![0, 0, 0];
    // No key.
    record.push(1);
    record.extend([length(5), b'v', b'a', b'l', b'u', b'e']);
    record.extend([length(1), length(name.len())]);
    record.extend(name);
    record.extend([length(1), b'x']);
    [vec![length(record.len())], record].concat()
}

fn crc32c(bytes: &[u8]) -> u32 {
    let shifted = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
    let added = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), shifted);
    !bytes.iter().fold(!0, added)
}

#[test]
fn a_header_name_that_is_not_utf_8_does_not_end_a_tail_or_a_replay() {
    let kafka = cluster::shared();
    let mut desk = Desk::new(&kafka);
    desk.events = kafka.topic("events", 1);
    desk.write(&desk.events, [event(0)]);
    write(&kafka, &desk.events, b"caf\xe9");
    desk.write(&desk.events, [event(1)]);

    let tail = desk.command("tail", &["--since", "beginning", "-n", "3"]);
    assert_eq!(exit_code(&tail), 0, "{}", stderr(&tail));
    let lines = String::from_utf8(tail.stdout).expect("text");
    assert!(lines.contains("partition 0 offset 1, "), "{lines}");
    let json = desk.command("tail", &["--since", "beginning", "-n", "3", "--json"]);
    let json = String::from_utf8(json.stdout).expect("text");
    assert!(json.contains("caf\u{fffd}"), "{json}");

    let target = kafka.topic("target", 1);
    let arguments = ["--since", "beginning", "--to", &target, "--yes"];
    let replay = desk.command("replay", &arguments);
    assert_eq!(exit_code(&replay), 0, "{}", stderr(&replay));
    desk.copies(&target, 2);
}
