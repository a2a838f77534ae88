//! Files of earlier formats.

use super::*;

impl Fixture {
    /// Changes a file to format 1.
    fn downgrade(path: &Path) {
        let connection = rusqlite::Connection::open(path).expect("a file");
        let sql = "ALTER TABLE reports RENAME COLUMN state TO parked; PRAGMA user_version = 1";
        connection.execute_batch(sql).expect("sound SQL");
    }

    /// Leaves the reports 1, 2 and 3 in a file of format 1. Report 2 is quarantined.
    fn leave_format_1(&self) -> PathBuf {
        let (spool, _) = self.open();
        for number in 1..=3 {
            self.write(&spool, &lane(0), number).expect("room");
        }
        spool.mark(&lane(0), 2, Mark::Quarantined);
        close(&spool);
        drop(spool);
        let file = self.newest_file();
        Self::downgrade(&file);
        file
    }

    fn inspect(&self) -> (Vec<LaneStatus>, Vec<(u64, bool)>) {
        let inspection = Inspection::of(&self.path()).expect("a spool");
        let lanes = inspection.lanes().0.into_values();
        let mut shown = Vec::new();
        let show = |kept: SpooledReport| {
            shown.push((kept.number, kept.mark.is_some()));
            Ok(())
        };
        inspection.each(show).expect("shown");
        (lanes.collect(), shown)
    }
}

fn format_of(path: &Path) -> i64 {
    let connection = rusqlite::Connection::open(path).expect("a file");
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("a format")
}

#[test]
fn a_file_of_format_1_is_upgraded_when_it_is_opened() {
    let fixture = Fixture::new();
    let file = fixture.leave_format_1();
    let (spool, restored) = fixture.open();
    assert_eq!((restored[0].first, restored[0].last), (1, 3));
    let (rows, _) = spool.read(&lane(0), 1, 1 << 20).expect("readable");
    assert_eq!(rows, [row(1), row(3)]);
    spool.mark(&lane(0), 1, Mark::TimedOut);
    close(&spool);
    assert_eq!((spool.level().reports, spool.level().quarantined), (3, 1));
    assert_eq!(format_of(&file), 3);
    let (rows, _) = spool.read(&lane(0), 1, 1 << 20).expect("readable");
    assert_eq!(rows[0].mark, Some(Mark::TimedOut));
}

#[test]
fn a_file_of_format_2_is_upgraded_when_it_is_opened() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    fixture.write(&spool, &lane(0), 1).expect("room");
    close(&spool);
    drop(spool);
    let file = fixture.newest_file();
    let connection = rusqlite::Connection::open(&file).expect("a file");
    let sql = "PRAGMA user_version = 2";
    connection.execute_batch(sql).expect("sound SQL");
    drop(connection);
    let (spool, _) = fixture.open();
    let (rows, _) = spool.read(&lane(0), 1, 1 << 20).expect("readable");
    assert_eq!(rows, [row(1)]);
    close(&spool);
    assert_eq!(format_of(&file), 3);
}

#[test]
fn a_file_of_format_1_is_inspected_without_an_upgrade() {
    let fixture = Fixture::new();
    let file = fixture.leave_format_1();
    let before = fixture.inspect();
    let counted = LaneStatus {
        due: 2,
        quarantined: 1,
        oldest: Some(row(1).record.timestamp),
    };
    let shown = vec![(1, false), (2, true), (3, false)];
    assert_eq!(before, (vec![counted], shown));
    assert_eq!(format_of(&file), 1);
    let (spool, _) = fixture.open();
    close(&spool);
    assert_eq!(fixture.inspect(), before, "and after the upgrade");
}

#[test]
fn the_reports_of_a_file_of_format_1_with_a_damaged_partition_move_to_the_inbox() {
    let fixture = Fixture::new();
    let file = fixture.leave_format_1();
    Fixture::damage(&file, "UPDATE lanes SET partition = -7");
    let (_spool, restored) = fixture.open();
    let inbox = LaneKey {
        partition: None,
        ..lane(0)
    };
    assert_eq!(restored, [restored_lane(inbox, 1, 3)]);
    assert_eq!(fixture.count_aside(), 1);
}

#[test]
fn a_failed_upgrade_is_an_error_and_leaves_the_file_unchanged() {
    let fixture = Fixture::new();
    let file = fixture.leave_format_1();
    let other = rusqlite::Connection::open(&file).expect("a file");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    match Spool::open(&fixture.options(), send_answer, drop) {
        Err(OpenError::File(path, _)) => assert_eq!(path, file),
        other => panic!("{:?}", other.map(|(spool, ..)| spool)),
    }
    drop(other);
    assert_eq!(format_of(&file), 1);
    assert_eq!(fixture.count_aside(), 0);
    let (_spool, restored) = fixture.open();
    assert_eq!((restored[0].first, restored[0].last), (1, 3));
}
