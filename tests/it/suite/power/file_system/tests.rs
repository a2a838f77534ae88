//! The file system in memory, and its images after a power cut.

use std::collections::BTreeSet;

use super::super::recording::{Change, Found, Step};
use super::{FileSystem, Image, Rules, Survivors};
use crate::suite::random::Random;

const FILE: u64 = 7;

/// Applies these changes to an empty directory. The number of each is the recording's length before it.
fn system<'r>(changes: &[Change<'r>], rules: Rules) -> FileSystem<'r> {
    let root = Found {
        path: String::new(),
        inode: 1,
        content: None,
    };
    let mut system = FileSystem::new(&[root], rules);
    for (change, start) in changes.iter().zip(0..) {
        let change = change.clone();
        system.apply(&Step {
            start,
            end: start + 1,
            change,
        });
    }
    system
}

fn create(path: &str) -> Change<'_> {
    Change::Create { path, inode: FILE }
}

fn write(at: u64, data: &[u8]) -> Change<'_> {
    Change::Write {
        inode: FILE,
        at,
        data,
    }
}

fn sync(inode: u64, before: u64) -> Change<'static> {
    Change::Sync { inode, before }
}

fn file(path: &str, content: &[u8]) -> Image {
    Image::from([(path.to_owned(), Some(content.to_vec()))])
}

/// Returns all different images of a cut now, with a hundred seeds.
fn images_by(rules: Rules, changes: &[Change<'_>]) -> Vec<Image> {
    let system = system(changes, rules);
    let image = |seed| system.image(Survivors::Some, &mut Random::of(seed));
    let mut images: Vec<_> = (0..100).map(image).collect();
    images.sort();
    images.dedup();
    images
}

fn images(changes: &[Change<'_>]) -> Vec<Image> {
    images_by(Rules::AnyOrder, changes)
}

fn extremes(changes: &[Change<'_>], rules: Rules) -> [Image; 2] {
    let system = system(changes, rules);
    [Survivors::None, Survivors::All].map(|which| system.image(which, &mut Random::of(1)))
}

#[test]
fn without_an_fsync_nothing_or_everything_may_survive() {
    let changes = [create("a"), write(0, b"text")];
    assert_eq!(
        extremes(&changes, Rules::AnyOrder),
        [Image::new(), file("a", b"text")]
    );
    let expected = [
        Image::new(),
        file("a", b""),
        file("a", &[0; 4]),
        file("a", b"text"),
    ];
    assert_eq!(images(&changes), expected);
}

#[test]
fn an_fsync_makes_earlier_changes_durable() {
    let changes = [
        create("a"),
        write(0, b"one"),
        write(0, b"two"),
        sync(FILE, 2),
        sync(1, 2),
    ];
    assert_eq!(
        extremes(&changes, Rules::AnyOrder),
        [file("a", b"one"), file("a", b"two")]
    );
    assert_eq!(images(&changes), [file("a", b"one"), file("a", b"two")]);
}

#[test]
fn a_file_is_lost_until_its_directory_is_fsynced() {
    let changes = [create("a"), write(0, b"text"), sync(FILE, 2)];
    assert_eq!(images(&changes), [Image::new(), file("a", b"text")]);
}

#[test]
fn a_write_is_torn_between_sectors_only() {
    let data = [1; 1024];
    let changes = [
        create("a"),
        Change::Resize {
            inode: FILE,
            length: 1024,
        },
        sync(FILE, 2),
        sync(1, 2),
    ];
    let changes = [&changes[..], &[write(256, &data[..768])]].concat();
    let seen: BTreeSet<_> = images(&changes)
        .iter()
        .map(|image| {
            let content = image["a"].as_ref().expect("a file");
            assert_eq!(content.len(), 1024);
            [
                content[255],
                content[256],
                content[511],
                content[512],
                content[1023],
            ]
        })
        .collect();
    let expected = [
        [0, 0, 0, 0, 0],
        [0, 0, 0, 1, 1],
        [0, 1, 1, 0, 0],
        [0, 1, 1, 1, 1],
    ];
    assert_eq!(seen, BTreeSet::from(expected));
}

#[test]
fn a_renamed_file_has_one_of_its_names_and_keeps_its_content() {
    let rename = Change::Rename { from: "a", to: "b" };
    let changes = [
        create("a"),
        write(0, b"text"),
        sync(FILE, 2),
        sync(1, 2),
        rename,
    ];
    assert_eq!(images(&changes), [file("a", b"text"), file("b", b"text")]);
    let changes = [
        &changes[..],
        &[write(0, b"next"), sync(FILE, 6), sync(1, 6)],
    ]
    .concat();
    assert_eq!(images(&changes), [file("b", b"next")]);
}

#[test]
fn changes_of_two_names_survive_in_order_or_in_any_and_changes_of_one_name_in_order() {
    let other = Change::Create {
        path: "b",
        inode: 8,
    };
    let again = Change::Create {
        path: "a",
        inode: 9,
    };
    let changes = [
        create("a"),
        write(0, b"old"),
        other,
        sync(FILE, 3),
        sync(1, 3),
        Change::Unlink { path: "a" },
        Change::Unlink { path: "b" },
        again,
    ];
    let content = |image: &Image| {
        let content =
            |path: &str| Some(String::from_utf8_lossy(image.get(path)?.as_ref()?).into_owned());
        [content("a"), content("b")]
    };
    let seen = |rules| -> BTreeSet<_> { images_by(rules, &changes).iter().map(content).collect() };
    let text = |text: &str| Some(text.to_owned());
    let in_order = [
        [text("old"), text("")],
        [None, text("")],
        [None, None],
        [text(""), None],
    ];
    assert_eq!(seen(Rules::Journaled), BTreeSet::from(in_order));
    let expected = [
        [text("old"), text("")],
        [text("old"), None],
        [None, text("")],
        [None, None],
        [text(""), text("")],
        [text(""), None],
    ];
    assert_eq!(seen(Rules::AnyOrder), BTreeSet::from(expected));
}

#[test]
fn earlier_files_are_durable_and_an_index_is_not() {
    let found = |path: &str, inode, content: Option<&[u8]>| Found {
        path: path.to_owned(),
        inode,
        content: content.map(<[u8]>::to_vec),
    };
    let base = [
        found("", 1, None),
        found("d", 2, None),
        found("d/a", 3, Some(b"old")),
        found("d/a-shm", 4, Some(b"index")),
    ];
    let system = FileSystem::new(&base, Rules::AnyOrder);
    let mut expected = file("d/a", b"old");
    expected.insert("d".to_owned(), None);
    assert_eq!(system.image(Survivors::None, &mut Random::of(1)), expected);
}

#[test]
fn ignored_fsyncs_make_nothing_certain() {
    let changes = [create("a"), write(0, b"text"), sync(FILE, 2), sync(1, 2)];
    let none = |rules| extremes(&changes, rules)[0].clone();
    assert_eq!(none(Rules::AnyOrder), file("a", b"text"));
    assert_eq!(none(Rules::FilesNotSynced), file("a", b""));
    assert_eq!(none(Rules::DirectoriesNotSynced), Image::new());
}
