//! Marks on reports.

use super::*;

#[test]
fn marks_are_restored_and_a_quarantined_report_stays_quarantined() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    for number in 1..=5 {
        fixture.write(&spool, &lane(0), number).expect("room");
    }
    for (number, mark) in [
        (1, Mark::TimedOut),
        (2, Mark::SenderGone),
        (3, Mark::TimedOut),
        (3, Mark::Quarantined),
        (4, Mark::Quarantined),
        (4, Mark::SenderGone),
    ] {
        spool.mark(&lane(0), number, mark);
    }
    let (spool, restored) = fixture.reopen(spool);
    assert_eq!((restored[0].first, restored[0].last), (1, 5));
    let (rows, _) = spool.read(&lane(0), 1, 1 << 20).expect("readable");
    let marks: Vec<_> = rows.iter().map(|row| (row.number, row.mark)).collect();
    assert_eq!(
        marks,
        [
            (1, Some(Mark::TimedOut)),
            (2, Some(Mark::SenderGone)),
            (5, None)
        ]
    );
    close(&spool);
    assert_eq!((spool.level().reports, spool.level().quarantined), (5, 2));
}

#[test]
fn a_mark_is_applied_after_its_report_is_written() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    for number in 1..=10_000 {
        fixture.send(&spool, &lane(0), number, row(number).record);
        spool.mark(&lane(0), number, Mark::SenderGone);
    }
    close(&spool);
    let (rows, is_end) = spool.read(&lane(0), 1, usize::MAX).expect("readable");
    assert_eq!((rows.len(), is_end), (10_000, true));
    assert!(rows.iter().all(|row| row.mark == Some(Mark::SenderGone)));
}
