//! The program's files of delivery, and their scenarios.

#[path = "../../../../src/bridge/delivery/backoff.rs"]
mod backoff;
#[path = "../../../../src/bridge/delivery/given_up.rs"]
mod given_up;
#[path = "../../../../src/bridge/delivery/inbox.rs"]
mod inbox;
#[path = "../../../../src/bridge/delivery/lane/mod.rs"]
mod lane;
#[path = "../../../../src/bridge/delivery/limits.rs"]
mod limits;
#[path = "../../../../src/bridge/delivery/maintenance/mod.rs"]
mod maintenance;
#[path = "../../../../src/bridge/delivery/outage.rs"]
mod outage;
#[path = "../../../../src/bridge/delivery/partition/mod.rs"]
mod partition;
#[path = "../../../../src/bridge/delivery/partitions.rs"]
mod partitions;
#[path = "../../../../src/bridge/delivery/pending.rs"]
mod pending;
#[path = "../../../../src/bridge/delivery/producers.rs"]
mod producers;
#[path = "../../../../src/bridge/delivery/rejected_size.rs"]
mod rejected_size;
#[path = "../../../../src/bridge/delivery/replies.rs"]
mod replies;
#[path = "../../../../src/bridge/delivery/shared.rs"]
mod shared;
#[path = "../../../../src/bridge/delivery/topic.rs"]
mod topic;

mod answers;
mod fixture;
mod permits;
mod topics;

use crate::Scenario;

pub const SCENARIOS: &[Scenario] = &[
    (
        "limits: no more permits than allowed, and each is given back",
        permits::reports,
        1000,
    ),
    (
        "limits: no more bytes of bodies than allowed, and each is given back",
        permits::bodies,
        1000,
    ),
    (
        "replies: each sender whose reply is added wakes",
        answers::each_sender_wakes,
        1000,
    ),
    (
        "pending: the first of deadline, hang-up, spool and Kafka answers, and one fate is counted",
        answers::the_first_end_counts,
        1000,
    ),
    (
        "pending: a sender that is told finds its report counted and its permit given back",
        answers::each_answer_is_counted,
        1000,
    ),
    (
        "topic: each report is answered, delivered once and counted once",
        topics::each_is_delivered_once,
        300,
    ),
    (
        "topic: reports that Kafka fails go to the spool and from there to Kafka, each once",
        topics::failures_go_through_the_spool,
        300,
    ),
    (
        "topic: the spool answers each report while the partitions become known, and none stays in the inbox",
        topics::the_inbox_ends,
        300,
    ),
    (
        "topic: a report of the inbox that Kafka has before the disk leaves no row",
        topics::the_inbox_ends_while_kafka_answers,
        300,
    ),
    (
        "topic: the next producer delivers records without a report of the replaced one",
        topics::a_producer_is_replaced,
        300,
    ),
    (
        "topic: after a stop each report is on the topic, on the disk, or counted as unwritten",
        topics::a_stop_spills,
        300,
    ),
    (
        "topic: a report finds a lane while lanes are opened",
        topics::lanes_open,
        1000,
    ),
];
