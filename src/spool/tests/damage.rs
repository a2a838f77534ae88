//! Damaged files of earlier runs: the spool opens, accepts new reports, and sets the files aside.

use super::*;

impl Fixture {
    /// Leaves one report in a file, and returns its path.
    fn leave_one(&self) -> PathBuf {
        let (spool, _) = self.open();
        self.write(&spool, &lane(0), 1).expect("room");
        close(&spool);
        self.newest_file()
    }

    /// Leaves three reports of a lane in a file, and changes the number of one of them in the file's bytes.
    fn leave_three_renumbered(&self, number: u8, other: u8) {
        let (spool, _) = self.open();
        for number in 1..=3 {
            self.write(&spool, &lane(0), number).expect("room");
        }
        close(&spool);
        drop(spool);
        let file = self.newest_file();
        let mut bytes = fs::read(&file).expect("a file");
        // The report's id as a variable-length integer of SQLite.
        let id = [0xa0, 0x80, 0x80, 0x80, 0x80, number];
        let at = bytes.windows(id.len()).position(|window| window == id);
        bytes[at.expect("an id") + id.len() - 1] = other;
        fs::write(&file, bytes).expect("a damaged file");
    }

    /// Changes a file's contents by SQL statements.
    pub(super) fn damage(path: &Path, sql: &str) {
        let connection = rusqlite::Connection::open(path).expect("a file");
        connection.execute_batch(sql).expect("sound SQL");
    }

    pub(super) fn count_aside(&self) -> usize {
        directory::set_aside_files(&self.path()).len()
    }
}

/// Reads all due reports of lane 0. Waits until damaged files are moved.
fn read_all(spool: &Spool<Ticket>) -> Vec<Row> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match spool.read(&lane(0), 1, 1 << 30) {
            Ok((rows, is_end)) => {
                assert!(is_end);
                return rows;
            }
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn an_unreadable_file_is_set_aside_and_the_others_are_read() {
    let fixture = Fixture::new();
    let first = fixture.leave_one();
    fs::rename(&first, fixture.path().join("spool-000009.sqlite")).expect("room");
    fs::write(&first, vec![b'?'; 8192]).expect("a damaged file");
    let (spool, restored) = fixture.open();
    assert_eq!(restored, [restored_lane(lane(0), 1, 1)]);
    assert!(!first.exists());
    let aside = directory::set_aside_files(&fixture.path());
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read(&aside[0]).expect("kept"), vec![b'?'; 8192]);
    fixture.write(&spool, &lane(0), 3).expect("room");
    assert_eq!(numbers(&read_all(&spool)), [1, 3]);
}

/// Returns a record whose value contains its number on each page.
fn marked(number: u64) -> Arc<Record> {
    let value = format!("<{number:06}>").repeat(if number % 40 == 7 { 1000 } else { 100 });
    Arc::new(Record {
        value: value.into_bytes(),
        ..Record::clone(&row(number).record)
    })
}

#[test]
fn a_page_that_is_damaged_costs_the_reports_on_it_and_no_others() {
    let fixture = Fixture::new();
    let options = Options {
        // A file is replaced at 256 KiB.
        disk_limit: 4 << 20,
        ..fixture.options()
    };
    let (spool, _) = Spool::open(&options, send_answer, drop).expect("a spool");
    let written = 1..=700;
    for number in written.clone() {
        fixture.send(&spool, &lane(0), number, marked(number));
        let (_, result) = fixture.answers.recv().expect("an answer");
        result.expect("room");
    }
    close(&spool);
    drop(spool);
    let files = directory::files(&fixture.path());
    assert!(files.len() > 2, "{files:?}");
    let sound = fs::read(&files[1]).expect("a file");
    // The pages of the small tables, and some with reports.
    for page in (0..8).chain((8..sound.len() / 4096).step_by(9)) {
        let copy = Fixture::new();
        fs::create_dir(copy.path()).expect("room");
        for file in &files {
            let name = file.file_name().expect("a name");
            fs::copy(file, copy.path().join(name)).expect("room");
        }
        let mut bytes = sound.clone();
        let damaged = &mut bytes[page * 4096..(page + 1) * 4096];
        let before = damaged.to_vec();
        damaged.fill(0xaa);
        let file = copy.path().join(files[1].file_name().expect("a name"));
        fs::write(file, &bytes).expect("a damaged file");
        let is_on_page = |number: &u64| {
            let mark = format!("<{number:06}>").into_bytes();
            before.windows(mark.len()).any(|window| window == mark)
        };
        let (spool, _) = copy.open();
        let rows = read_all(&spool);
        let read = numbers(&rows);
        let lost: Vec<u64> = written
            .clone()
            .filter(|number| !read.contains(number))
            .collect();
        let others: Vec<&u64> = lost.iter().filter(|number| !is_on_page(number)).collect();
        assert!(others.is_empty(), "page {page} costs {others:?}");
        // Reports on the damaged page may have other contents.
        let mut others = rows.iter().filter(|row| !is_on_page(&row.number));
        assert!(others.all(|row| row.record == marked(row.number)));
        assert!(
            read.is_sorted_by(|a, b| a < b),
            "page {page}: each once: {read:?}"
        );
        copy.write(&spool, &lane(0), 1000).expect("room");
        let until = Instant::now() + Duration::from_secs(10);
        while lost.len() as u64 + spool.level().reports != 701 || !spool.level().is_counted {
            assert!(
                Instant::now() < until,
                "page {page}: {:?}, {lost:?}",
                spool.level()
            );
            thread::park_timeout(Duration::from_millis(1));
        }
        close(&spool);
        drop(spool);
        let (spool, _) = copy.open();
        assert_eq!(read_all(&spool).len(), read.len() + 1, "page {page}");
    }
}

#[test]
fn damage_found_while_reading_does_not_hide_later_reports() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    for number in 1..=200 {
        fixture.send(&spool, &lane(0), number, marked(number));
        fixture.answers.recv().expect("an answer").1.expect("room");
    }
    close(&spool);
    drop(spool);
    let (spool, _) = fixture.open();
    let file = fixture.newest_file();
    let mut bytes = fs::read(&file).expect("a file");
    let pages = bytes.len() / 4096;
    // The pages with the middle reports.
    bytes[pages / 2 * 4096..(pages / 2 + 2) * 4096].fill(0xaa);
    fs::write(&file, bytes).expect("a damaged file");
    fixture.write(&spool, &lane(0), 300).expect("room");
    let read = numbers(&read_all(&spool));
    assert!(read.len() > 190 && read.len() < 201, "{read:?}");
    assert_eq!((read[0], read[read.len() - 1]), (1, 300));
    close(&spool);
    assert_eq!(fixture.count_aside(), 1);
    assert_eq!(spool.level().reports, read.len() as u64);
}

#[test]
fn a_file_without_a_table_is_set_aside_and_its_readable_reports_are_read() {
    // Without the table `lanes` the topic of a report is unknown. The pages of a dropped table are free.
    for (table, expected) in [("lanes", 0), ("reports", 0), ("topics", 1)] {
        let fixture = Fixture::new();
        let file = fixture.leave_one();
        Fixture::damage(&file, &format!("DROP TABLE {table}"));
        let (spool, restored) = fixture.open();
        assert_eq!(
            (restored.len(), fixture.count_aside()),
            (expected, 1),
            "{table}"
        );
        fixture.write(&spool, &lane(0), 2).expect("room");
    }
}

#[test]
fn an_invalid_report_is_kept_and_shown_and_costs_no_other() {
    for sql in [
        "UPDATE reports SET headers = '[[1]]' WHERE id & 7 = 1",
        "UPDATE reports SET headers = CAST(x'ff' AS TEXT) WHERE id & 7 = 1",
        "UPDATE reports SET key = CAST(x'ff' AS TEXT) WHERE id & 7 = 1",
        "UPDATE lanes SET id = 99 WHERE partition = 7",
    ] {
        let fixture = Fixture::new();
        let (spool, _) = fixture.open();
        fixture.write(&spool, &lane(7), 1).expect("room");
        fixture.write(&spool, &lane(0), 2).expect("room");
        close(&spool);
        drop(spool);
        Fixture::damage(&fixture.newest_file(), sql);
        let (spool, _) = fixture.open();
        let until = Instant::now() + Duration::from_secs(10);
        while fixture.count_aside() == 0 {
            assert!(Instant::now() < until, "{sql}");
            let _may_find_damage = spool.read(&lane(7), 1, 1 << 20);
        }
        assert_eq!(read_all(&spool), [row(2)], "{sql}");
        close(&spool);
        assert_eq!(spool.level().reports, 1, "{sql}");
        let mut fragments = Vec::new();
        let inspection = Inspection::of(&fixture.path()).expect("a spool");
        let problems = inspection.each_set_aside(|fragment| {
            fragments.extend(
                fragment
                    .err()
                    .map(|fragment| (fragment.number, fragment.value)),
            );
            Ok(())
        });
        let value = row(1).record.value.clone();
        assert_eq!(fragments, [(1, Some(value))], "{sql}");
        let problems = problems.expect("readable");
        assert_eq!((problems.len(), problems[0].fragments), (1, 1), "{sql}");
    }
}

#[test]
fn reports_in_the_wrong_order_are_read() {
    let fixture = Fixture::new();
    fixture.leave_three_renumbered(2, 9);
    let (spool, _) = fixture.open();
    assert_eq!(numbers(&read_all(&spool)), [1, 3, 9]);
    close(&spool);
    assert_eq!(fixture.count_aside(), 1);
}

#[test]
fn a_lane_whose_first_report_has_the_highest_number_is_read() {
    let fixture = Fixture::new();
    fixture.leave_three_renumbered(1, 9);
    let (_spool, restored) = fixture.open();
    assert_eq!(restored, [restored_lane(lane(0), 2, 9)]);
    assert_eq!(fixture.count_aside(), 1);
}

#[test]
fn a_lane_whose_topic_is_not_utf_8_is_damage() {
    let fixture = Fixture::new();
    let file = fixture.leave_one();
    Fixture::damage(&file, "UPDATE lanes SET topic = CAST(x'ff' AS TEXT)");
    let (_spool, restored) = fixture.open();
    assert_eq!((restored, fixture.count_aside()), (vec![], 1));
}

#[test]
fn a_lane_without_free_numbers_is_damage() {
    let fixture = Fixture::new();
    let file = fixture.leave_one();
    Fixture::damage(&file, "UPDATE reports SET id = (2 << 40) - 1");
    let (_spool, restored) = fixture.open();
    assert_eq!((restored, fixture.count_aside()), (vec![], 1));
}

#[test]
fn a_lane_with_an_impossible_id_has_no_reports() {
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
fn an_impossible_count_of_free_pages_does_not_make_the_spool_full() {
    let fixture = Fixture::new();
    let file = fixture.leave_one();
    let mut bytes = fs::read(&file).expect("a file");
    // The free-page count in the header (SQLite's file format, section 1.3.9).
    bytes[36..40].fill(0xff);
    fs::write(&file, bytes).expect("a damaged file");
    let (spool, restored) = fixture.open();
    assert_eq!(restored.len(), 1);
    fixture.write(&spool, &lane(0), 2).expect("room");
}

#[test]
fn reports_of_an_impossible_partition_are_read_from_the_inbox() {
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
        assert_eq!(
            restored,
            [
                restored_lane(inbox.clone(), 1, 4),
                restored_lane(lane(1), 3, 3)
            ]
        );
        let inspection = Inspection::of(&fixture.path()).expect("a spool");
        assert_eq!(inspection.lanes().0[&inbox].due, 3);
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
fn an_impossible_partition_count_is_ignored() {
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
        let (_spool, restored) =
            Spool::open(&fixture.options(), send_answer, drop).expect("a spool");
        let known = vec![("rejected".to_owned(), MAX_PARTITIONS)];
        assert_eq!((restored.partitions, restored.lanes.len()), (known, 1));
        assert_eq!(fixture.count_aside(), 0);
    }
}

#[test]
fn an_empty_file_is_removed_and_does_not_count_as_damage() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    close(&spool);
    drop(spool);
    fs::write(fixture.newest_file(), []).expect("room");
    let inspection = Inspection::of(&fixture.path()).expect("a spool");
    assert_eq!(inspection.lanes().0.len(), 0);
    let (_spool, restored) = fixture.open();
    assert_eq!((restored, fixture.count_aside()), (vec![], 0));
    assert_eq!(directory::files(&fixture.path()).len(), 1);
}

#[test]
fn an_unfinished_file_of_a_killed_process_does_not_count_as_damage() {
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

#[test]
fn reports_in_a_file_that_was_copied_from_another_spool_are_read() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    for (fixture, value) in [(&fixture, 1), (&other, 100)] {
        let (spool, _) = fixture.open();
        for number in 1..=3 {
            fixture.send(&spool, &lane(0), number, row(number * value).record);
            fixture.answers.recv().expect("an answer").1.expect("room");
        }
        close(&spool);
    }
    for name in ["spool-000000.sqlite", "spool-000009.sqlite"] {
        let brought = fixture.path().join(name);
        fs::copy(other.newest_file(), &brought).expect("room");
        let (spool, restored) = fixture.open();
        let mut keys: Vec<_> = read_all(&spool)
            .iter()
            .map(|row| row.record.key.clone())
            .collect();
        keys.sort();
        keys.dedup();
        // Every fifth report has no key.
        let expected = [None, Some("m1"), Some("m2"), Some("m3")];
        assert_eq!(keys, expected.map(|key| key.map(str::to_owned)), "{name}");
        assert_eq!(restored.len(), 1);
        close(&spool);
    }
    let (spool, _) = fixture.open();
    // The second copy contains the same reports.
    assert_eq!(numbers(&read_all(&spool)), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn deletions_while_a_damaged_file_is_moved_have_an_effect() {
    let fixture = Fixture::new();
    let (spool, _) = fixture.open();
    for number in 1..=4000 {
        fixture.send(&spool, &lane(0), number, marked(number));
    }
    for _ in 1..=4000 {
        fixture.answers.recv().expect("an answer").1.expect("room");
    }
    close(&spool);
    drop(spool);
    Fixture::damage(
        &fixture.newest_file(),
        "UPDATE reports SET headers = '[[1]]' WHERE id & 4095 = 3999",
    );
    let (spool, _) = fixture.open();
    // Reading finds the damage. The reports are moved while these are deleted.
    let read = || spool.read(&lane(0), 3990, 1 << 20);
    let found = read();
    assert!(
        found.is_err(),
        "{:?}",
        found.map(|(rows, _)| numbers(&rows))
    );
    for number in 1..=2000 {
        spool.delete(&lane(0), number);
    }
    let rows = read_all(&spool);
    let until = Instant::now() + Duration::from_secs(10);
    while spool.level().reports != 1999 {
        assert!(
            Instant::now() < until,
            "{:?}, read {}",
            spool.level(),
            rows.len()
        );
        thread::park_timeout(Duration::from_millis(1));
    }
    close(&spool);
    let kept = numbers(&read_all(&fixture.reopen(spool).0));
    assert_eq!((kept.len(), kept[0], kept[1998]), (1999, 2001, 4000));
}
