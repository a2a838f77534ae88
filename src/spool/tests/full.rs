//! The disk limits.

use super::*;

#[test]
fn a_spool_is_full_at_its_limit_and_accepts_reports_again_after_deletions() {
    let fixture = Fixture::new();
    let options = Options {
        disk_limit: 16 << 20,
        ..fixture.options()
    };
    let (spool, ..) = Spool::open(&options, send_answer, drop).expect("a spool");
    let large = Record {
        value: vec![b'x'; 300 << 10],
        ..Record::clone(&row(1).record)
    };
    let large = Arc::new(large);
    let write = |number| {
        fixture.send(&spool, &lane(0), number, Arc::clone(&large));
        fixture.answers.recv().expect("an answer").1
    };
    let full = (1..100)
        .find(|number| write(*number).is_err())
        .expect("a limit");
    assert_eq!(write(full), Err(WriteError::Full));
    assert!(directory::bytes(&fixture.path()) <= options.disk_limit);
    assert!(full > 40, "{full} reports of 300 KiB filled it");
    for number in 1..full {
        spool.delete(&lane(0), number);
    }
    let until = Instant::now() + Duration::from_secs(10);
    while spool.level().reports > 0 {
        assert!(
            Instant::now() < until,
            "deletions are made durable within a second"
        );
        thread::park_timeout(Duration::from_millis(10));
    }
    while !spool.level().is_writable {
        assert!(Instant::now() < until, "room is noticed without a write");
        thread::park_timeout(Duration::from_millis(10));
    }
    fixture.write(&spool, &lane(0), full).expect("room");
}

#[test]
fn a_spool_is_full_if_too_little_free_space_would_be_left() {
    let fixture = Fixture::new();
    let options = Options {
        free_space: u64::MAX / 2,
        ..fixture.options()
    };
    let (spool, ..) = Spool::open(&options, send_answer, drop).expect("a spool");
    assert!(
        !spool.level().is_writable,
        "a full spool is noticed before a report needs it"
    );
    assert_eq!(fixture.write(&spool, &lane(0), 1), Err(WriteError::Full));
}

#[test]
fn a_file_that_can_not_grow_is_removed_at_the_end_if_all_its_reports_are_deleted() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    for number in 1..=40 {
        fixture.write(&spool, &lane(0), number).expect("room");
    }
    close(&spool);
    drop(spool);
    let full = Options {
        disk_limit: 0,
        ..fixture.options()
    };
    let (spool, ..) = Spool::<Ticket>::open(&full, send_answer, drop).expect("a spool");
    for number in 1..=30 {
        spool.delete(&lane(0), number);
    }
    let until = Instant::now() + Duration::from_secs(10);
    while spool.level().undeleted != 30 {
        assert!(
            Instant::now() < until,
            "deletions are tried within a second"
        );
        thread::park_timeout(Duration::from_millis(10));
    }
    for number in 31..=40 {
        spool.delete(&lane(0), number);
    }
    close(&spool);
    assert_eq!((spool.level().reports, spool.level().undeleted), (0, 0));
    drop(spool);
    assert_eq!(fixture.open().1, []);
}
