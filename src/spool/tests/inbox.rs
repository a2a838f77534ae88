//! The inbox: when the partitions are known, its reports are read with the lanes of their partitions.

use super::*;

fn inbox() -> LaneKey {
    LaneKey {
        topic: "events".into(),
        partition: None,
    }
}

/// Returns a row that was read from the inbox.
fn in_inbox(number: u64) -> Row {
    Row {
        is_in_inbox: true,
        ..row(number)
    }
}

/// Returns 1 for the keys m1, m3, m5, … and 0 for others.
fn partition_of(key: Option<&str>) -> u32 {
    let number = key.and_then(|key| key.strip_prefix('m')?.parse::<u32>().ok());
    number.unwrap_or_default() % 2
}

impl Fixture {
    fn write_all(&self, spool: &Spool<Ticket>, lane: &LaneKey, numbers: &[u64]) {
        for number in numbers {
            self.write(spool, lane, *number).expect("room");
        }
    }
}

#[test]
fn reports_of_the_inbox_are_read_once_with_the_lane_of_their_partition_in_order() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    fixture.write_all(&spool, &inbox(), &[1, 2, 3, 6, 7]);
    fixture.write_all(&spool, &lane(1), &[4, 8]);
    let (spool, _) = fixture.reopen(spool);
    fixture.write_all(&spool, &inbox(), &[9, 11]);
    fixture.write_all(&spool, &lane(1), &[13]);
    let read = |partition| spool.read(&lane(partition), 1, 1 << 20).expect("readable");
    let own = (vec![row(4), row(8), row(13)], true);
    assert_eq!(read(1), own, "not before the inbox is assigned");
    spool.assign("other", |_| 1);
    assert_eq!(read(1), own);
    spool.assign("events", partition_of);
    spool.assign("events", |_| 7);
    let of_both = [in_inbox(1), in_inbox(3), row(4), in_inbox(7), row(8)];
    let of_both = of_both
        .into_iter()
        .chain([in_inbox(9), in_inbox(11), row(13)]);
    assert_eq!(read(1), (of_both.collect(), true));
    assert_eq!(read(0), (vec![in_inbox(2), in_inbox(6)], true));
    assert_eq!(read(7), (vec![], true), "the first assignment counts");
}

#[test]
fn the_limit_in_bytes_applies_to_a_lane_and_its_inbox_together() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    fixture.write_all(&spool, &inbox(), &[1, 2, 7, 9]);
    fixture.write_all(&spool, &lane(1), &[3, 4, 11]);
    spool.assign("events", partition_of);
    let three = 3 * row(1).record.footprint();
    let read = |from| spool.read(&lane(1), from, three).expect("readable");
    assert_eq!(read(1), (vec![in_inbox(1), row(3), row(4)], false));
    assert_eq!(read(5), (vec![in_inbox(7), in_inbox(9), row(11)], false));
    assert_eq!(read(12), (vec![], true));
    let one = spool.read(&lane(1), 2, 1).expect("readable");
    assert_eq!(one, (vec![row(3)], false));
}

#[test]
fn a_report_of_the_inbox_is_deleted_and_quarantined_in_the_inbox() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    fixture.write_all(&spool, &inbox(), &[1, 3, 7]);
    spool.assign("events", partition_of);
    spool.delete(&inbox(), 1);
    spool.mark(&inbox(), 3, Mark::Quarantined);
    let (spool, restored) = fixture.reopen(spool);
    let left = RestoredLane {
        lane: inbox(),
        first: 7,
        last: 7,
    };
    assert_eq!(restored, [left]);
    let read = |partition| spool.read(&lane(partition), 1, 1 << 20).expect("readable");
    assert_eq!(read(1), (vec![], true), "an assignment lasts for one run");
    spool.assign("events", partition_of);
    assert_eq!(read(1), (vec![in_inbox(7)], true));
}

#[test]
fn a_partition_is_found_after_more_reports_than_one_read_scans() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    let written = 1..=20_011;
    for number in written.clone() {
        let record = Record {
            key: (number > 20_009).then(|| "m1".to_owned()),
            ..Record::clone(&row(number).record)
        };
        fixture.send(&spool, &inbox(), number, Arc::new(record));
    }
    for _ in written {
        fixture.answers.recv().expect("an answer").1.expect("room");
    }
    fixture.write_all(&spool, &lane(1), &[20_012]);
    spool.assign("events", partition_of);
    let (rows, is_end) = spool.read(&lane(1), 1, 1 << 20).expect("readable");
    assert_eq!(
        (numbers(&rows), is_end),
        (vec![20_010, 20_011, 20_012], true)
    );
    // One read scans a limited number of rows. The next read returns the remaining rows.
    let (rows, is_end) = spool.read(&lane(0), 1, usize::MAX).expect("readable");
    assert_eq!((rows.len(), is_end), (20_000, false));
    let (rows, is_end) = spool.read(&lane(0), 20_001, usize::MAX).expect("readable");
    assert_eq!((rows.len(), is_end), (9, true));
}

/// In format 1 the inbox had its own numbers.
#[test]
fn the_second_report_with_a_number_is_read_after_the_next_start() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    fixture.write_all(&spool, &inbox(), &[1]);
    fixture.write_all(&spool, &lane(1), &[1, 2]);
    spool.assign("events", partition_of);
    let read = |spool: &Spool<Ticket>| spool.read(&lane(1), 1, 1 << 20).expect("readable");
    assert_eq!(read(&spool), (vec![in_inbox(1), row(2)], true));
    spool.delete(&inbox(), 1);
    let (spool, _) = fixture.reopen(spool);
    assert_eq!(read(&spool), (vec![row(1), row(2)], true));
}
