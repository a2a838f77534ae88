//! Files of earlier runs that are damaged: the spool opens, keeps what comes, and sets them aside.

use super::*;

impl Fixture {
    /// Leaves one report in a file, and gives its path.
    fn leave_one(&self) -> PathBuf {
        let (spool, _) = self.open();
        self.write(&spool, &lane(0), 1).expect("room");
        close(&spool);
        self.newest_file()
    }

    /// Leaves three reports of a lane in a file; in its bytes one has another number.
    fn leave_three_renumbered(&self, number: u8, other: u8) {
        let (spool, _) = self.open();
        for number in 1..=3 {
            self.write(&spool, &lane(0), number).expect("room");
        }
        close(&spool);
        drop(spool);
        let file = self.newest_file();
        let mut bytes = fs::read(&file).expect("a file");
        // Its id, as SQLite writes it: seven bits a byte.
        let id = [0xa0, 0x80, 0x80, 0x80, 0x80, number];
        let at = bytes.windows(id.len()).position(|window| window == id);
        bytes[at.expect("an id") + id.len() - 1] = other;
        fs::write(&file, bytes).expect("a broken file");
    }

    /// What the SQL makes of a file's contents.
    pub(super) fn damage(path: &Path, sql: &str) {
        let connection = rusqlite::Connection::open(path).expect("a file");
        connection.execute_batch(sql).expect("sound SQL");
    }

    pub(super) fn count_aside(&self) -> usize {
        directory::set_aside_files(&self.path()).len()
    }
}

#[test]
fn a_damaged_file_is_set_aside_and_the_rest_is_read() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    fixture.write(&spool, &lane(0), 1).expect("room");
    close(&spool);
    drop(spool);
    let first = fixture.newest_file();
    let (spool, _) = fixture.open();
    fixture.write(&spool, &lane(0), 2).expect("room");
    close(&spool);
    drop(spool);
    fs::write(&first, vec![b'?'; 8192]).expect("a broken file");
    let (spool, restored) = fixture.open();
    assert_eq!(
        restored,
        [Restored {
            lane: lane(0),
            first: 2,
            last: 2
        }]
    );
    assert!(!first.exists());
    let aside = directory::set_aside_files(&fixture.path());
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read(&aside[0]).expect("kept"), vec![b'?'; 8192]);
    fixture.write(&spool, &lane(0), 3).expect("room");
}

#[test]
fn damage_that_shows_while_reading_sets_the_file_aside_and_loses_no_other() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    for number in 1..=200 {
        fixture.write(&spool, &lane(0), number).expect("room");
    }
    close(&spool);
    drop(spool);
    let first = fixture.newest_file();
    let mut bytes = fs::read(&first).expect("a file");
    let pages = bytes.len() / 4096;
    // The pages of the reports in the middle.
    bytes[pages / 2 * 4096..(pages / 2 + 2) * 4096].fill(0xaa);
    fs::write(&first, bytes).expect("a broken file");
    let (spool, _) = fixture.open();
    fixture.write(&spool, &lane(0), 300).expect("room");
    let (rows, is_all) = spool.read(&lane(0), 1, 1 << 20).expect("not an error");
    assert_eq!((numbers(&rows), is_all), (vec![300], true));
    close(&spool);
    assert_eq!(directory::set_aside_files(&fixture.path()).len(), 1);
}

#[test]
fn a_file_without_its_tables_is_set_aside() {
    for table in ["lanes", "reports", "topics"] {
        let fixture = Fixture::new();
        let file = fixture.leave_one();
        Fixture::damage(&file, &format!("DROP TABLE {table}"));
        let (spool, restored) = fixture.open();
        assert_eq!((restored, fixture.count_aside()), (vec![], 1), "{table}");
        fixture.write(&spool, &lane(0), 1).expect("room");
    }
}

#[test]
fn what_no_run_can_have_written_sets_the_file_aside_once_it_is_read() {
    for sql in [
        "UPDATE reports SET headers = '[[1]]'",
        "UPDATE reports SET headers = CAST(x'ff' AS TEXT)",
        "UPDATE reports SET key = CAST(x'ff' AS TEXT)",
        "ALTER TABLE reports RENAME COLUMN headers TO h",
    ] {
        let fixture = Fixture::new();
        let file = fixture.leave_one();
        Fixture::damage(&file, sql);
        let (spool, restored) = fixture.open();
        assert_eq!(restored.len(), 1, "{sql}");
        let (rows, is_all) = spool.read(&lane(0), 1, 1 << 20).expect("no error");
        assert_eq!((rows, is_all), (vec![], true), "{sql}");
        close(&spool);
        assert_eq!(fixture.count_aside(), 1, "{sql}");
    }
}

#[test]
fn reports_that_are_out_of_order_are_damage() {
    let fixture = Fixture::new();
    fixture.leave_three_renumbered(2, 9);
    let (spool, _) = fixture.open();
    let (rows, is_all) = spool.read(&lane(0), 1, 1 << 20).expect("no error");
    assert_eq!((rows, is_all), (vec![], true));
    close(&spool);
    assert_eq!(fixture.count_aside(), 1);
}

#[test]
fn a_lane_whose_first_report_is_behind_its_last_is_damage() {
    let fixture = Fixture::new();
    fixture.leave_three_renumbered(1, 9);
    let (_spool, restored) = fixture.open();
    assert_eq!((restored, fixture.count_aside()), (vec![], 1));
}

#[test]
fn a_report_behind_the_last_that_its_lane_was_left_with_is_damage() {
    let fixture = Fixture::new();
    // In a tree the last is the highest.
    fixture.leave_three_renumbered(3, 0);
    let (spool, restored) = fixture.open();
    assert_eq!(restored[0].last, 0);
    fixture.write(&spool, &lane(0), 1).expect("room");
    let (rows, _) = spool.read(&lane(0), 1, 1).expect("no error");
    assert_eq!(rows, [row(1)]);
    close(&spool);
    assert_eq!(fixture.count_aside(), 1);
}

#[test]
fn a_lane_whose_topic_is_no_text_is_damage() {
    let fixture = Fixture::new();
    let file = fixture.leave_one();
    Fixture::damage(&file, "UPDATE lanes SET topic = CAST(x'ff' AS TEXT)");
    let (_spool, restored) = fixture.open();
    assert_eq!((restored, fixture.count_aside()), (vec![], 1));
}

#[test]
fn a_lane_that_has_used_its_numbers_up_is_damage() {
    let fixture = Fixture::new();
    let file = fixture.leave_one();
    Fixture::damage(&file, "UPDATE reports SET id = (2 << 40) - 1");
    let (_spool, restored) = fixture.open();
    assert_eq!((restored, fixture.count_aside()), (vec![], 1));
}

#[test]
fn a_lane_with_an_id_that_none_can_have_holds_nothing() {
    for id in [i64::MAX, i64::MAX >> 40, -1, 0] {
        let fixture = Fixture::new();
        let file = fixture.leave_one();
        Fixture::damage(&file, &format!("UPDATE lanes SET id = {id}"));
        let (spool, restored) = fixture.open();
        assert_eq!(restored, [], "{id}");
        let (rows, _) = spool.read(&lane(0), 1, 1 << 20).expect("readable");
        assert_eq!(rows, [], "{id}");
    }
}

#[test]
fn a_count_of_free_pages_that_can_not_be_takes_no_room() {
    let fixture = Fixture::new();
    let file = fixture.leave_one();
    let mut bytes = fs::read(&file).expect("a file");
    // Its place in the header (SQLite's file format, section 1.3.9).
    bytes[36..40].fill(0xff);
    fs::write(&file, bytes).expect("a broken file");
    let (spool, restored) = fixture.open();
    assert_eq!(restored.len(), 1);
    fixture.write(&spool, &lane(0), 2).expect("room");
}

#[test]
fn the_reports_of_a_partition_that_can_not_be_are_read_as_the_inboxs() {
    for partition in [-2, i64::from(MAX_PARTITIONS), i64::from(u32::MAX), i64::MAX] {
        let fixture = Fixture::new();
        let (spool, _) = fixture.open();
        let inbox = LaneKey {
            partition: None,
            ..lane(0)
        };
        for (lane, number) in [(&lane(0), 1), (&inbox, 2), (&lane(1), 3), (&lane(0), 4)] {
            fixture.write(&spool, lane, number).expect("room");
        }
        close(&spool);
        drop(spool);
        let sql = format!("UPDATE lanes SET partition = {partition} WHERE partition = 0");
        Fixture::damage(&fixture.newest_file(), &sql);
        let (spool, mut restored) = fixture.open();
        restored.sort_by_key(|left| left.first);
        let left = |lane: LaneKey, first, last| Restored { lane, first, last };
        assert_eq!(restored, [left(inbox.clone(), 1, 4), left(lane(1), 3, 3)]);
        let inspection = Inspection::of(&fixture.path()).expect("a spool");
        assert_eq!(inspection.lanes().expect("readable")[&inbox].due, 3);
        spool.assign("events", |_| 1);
        let (rows, _) = spool.read(&lane(1), 1, 1 << 20).expect("readable");
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (row.number, row.is_in_inbox))
            .collect();
        assert_eq!(rows, [(1, true), (2, true), (3, false), (4, true)]);
        spool.delete(&inbox, 1);
        spool.mark(&inbox, 2, Mark::Quarantined);
        spool.delete(&inbox, 4);
        close(&spool);
        assert_eq!((spool.level().reports, spool.level().quarantined), (2, 1));
        assert_eq!(fixture.count_aside(), 0);
    }
}

#[test]
fn a_count_of_partitions_that_can_not_be_is_not_believed() {
    for count in [0, -1, i64::from(MAX_PARTITIONS) + 1, i64::MAX] {
        let fixture = Fixture::new();
        let (spool, _) = fixture.open();
        fixture.write(&spool, &lane(0), 1).expect("room");
        spool.remember("events", 6);
        spool.remember("rejected", MAX_PARTITIONS);
        close(&spool);
        drop(spool);
        let sql = format!("UPDATE topics SET partitions = {count} WHERE name = 'events'");
        Fixture::damage(&fixture.newest_file(), &sql);
        let (_spool, remains) = Spool::open(&fixture.options(), settle, drop).expect("a spool");
        let known = vec![("rejected".to_owned(), MAX_PARTITIONS)];
        assert_eq!((remains.partitions, remains.lanes.len()), (known, 1));
        assert_eq!(fixture.count_aside(), 0);
    }
}

#[test]
fn an_empty_file_is_removed_and_is_no_damage() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    close(&spool);
    drop(spool);
    fs::write(fixture.newest_file(), []).expect("room");
    let inspection = Inspection::of(&fixture.path()).expect("a spool");
    assert_eq!(inspection.lanes().expect("no error").len(), 0);
    let (_spool, restored) = fixture.open();
    assert_eq!((restored, fixture.count_aside()), (vec![], 0));
    assert_eq!(directory::files(&fixture.path()).len(), 1);
}

#[test]
fn a_file_that_a_kill_left_unfinished_is_no_damage() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    close(&spool);
    drop(spool);
    let file = fixture.newest_file();
    let unfinished = fixture.path().join("new.sqlite");
    fs::rename(&file, &unfinished).expect("room");
    let (spool, restored) = fixture.open();
    assert_eq!((restored, fixture.count_aside()), (vec![], 0));
    fixture.write(&spool, &lane(0), 1).expect("room");
    assert!(!unfinished.exists());
    let (_spool, restored) = fixture.reopen(spool);
    assert_eq!(restored.len(), 1);
}
