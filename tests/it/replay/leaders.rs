//! Partitions without a leader, or with a corrupt log.

use std::fs;

use super::desk::{Desk, event, exit_code, large_event, stderr};
use super::ranges::wait_for;
use crate::support::bridge::{eventually, koobridge, run};
use crate::support::cluster;
use crate::support::lines::Lines;

const EVENTS: usize = 3000;

#[test]
fn a_replay_names_a_partition_without_a_leader_and_continues_when_it_has_one() {
    let mut kafka = cluster::exclusive();
    let (events, others, lines, mut running) = {
        let mut desk = Desk::new(&kafka);
        desk.events = kafka.topic_with("events", 3, 1, &[]);
        // More than a consumer prefetches.
        desk.write(
            &desk.events,
            (0..EVENTS).map(|number| large_event(number, 4000)),
        );
        let records = desk.read(&desk.events);
        let others = records.iter().filter(|record| record.partition != 0);
        let arguments = ["--since", "beginning", "--to", "-", "--rate", "500"];
        let mut running = desk.start("replay", &arguments);
        let lines = Lines::read(running.child.stdout.take().expect("a pipe"));
        (desk.events.clone(), others.count(), lines, running)
    };
    let leader = kafka.leader_index(&events, 0);
    eventually(|| lines.find("{").ok_or_else(|| running.stderr.all()));
    kafka.kill(leader);
    let waiting = format!("no leader of {events} partition 0 answers: ");
    wait_for(&running, &waiting);
    let of_others = || {
        let printed = lines.all();
        let is_other = |line: &&str| !line.contains(r#""partition":0,"#);
        printed.lines().filter(is_other).count()
    };
    eventually(|| match of_others() {
        found if found == others => Ok(()),
        found => Err(format!("{found} of {others}: {}", running.stderr.all())),
    });
    kafka.start(leader);
    assert_eq!(running.ended(), 0, "{}", running.stderr.all());
    assert_eq!(lines.wait_for_end().lines().count(), EVENTS);
}

#[test]
fn a_replay_waits_for_the_election_of_leaders() {
    let mut kafka = cluster::exclusive();
    let events = Desk::with_events(&kafka, 60).events;
    let leader = kafka.leader_index(&events, 0);
    kafka.kill(leader);
    let mut command = koobridge();
    command
        .args(["replay", "--bootstrap", kafka.bootstrap()])
        .args(["--set", &format!("kafka.topic={events}")])
        .args(["--since", "300d", "--to", "-"]);
    let output = run(&mut command);
    assert_eq!(exit_code(&output), 0, "{}", stderr(&output));
    let printed = String::from_utf8(output.stdout).expect("text");
    assert_eq!(printed.lines().count(), 60);
}

#[test]
fn a_batch_that_does_not_decompress_is_named() {
    let mut kafka = cluster::exclusive();
    let desk = Desk::new(&kafka);
    let events = kafka.topic_with("events", 1, 1, &[("compression.type", "gzip")]);
    desk.write(&events, (0..60).map(event));
    let leader = kafka.leader_index(&events, 0);
    drop(desk);
    kafka.stop(leader);
    let file = kafka.log_file(leader, &events, 0);
    let mut log = fs::read(&file).expect("a log");
    let middle = log.len() / 2;
    log[middle..middle + 8].fill(0xff);
    fs::write(&file, log).expect("it can be written");
    kafka.start(leader);
    let mut desk = Desk::new(&kafka);
    desk.events = events;
    let running = desk.start("replay", &["--since", "beginning", "--to", "-"]);
    let words = format!(
        "can't fetch records of {} partition 0 from offset ",
        desk.events
    );
    let line = wait_for(&running, &words);
    assert!(
        line.contains(" (Message consumption error: BadCompression "),
        "{line}"
    );
}
