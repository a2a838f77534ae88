//! A file system in memory that knows which changes are durable, and what a power cut can do to the others. A change of
//! a file's content is durable after the next fsync of the file, a change of a directory's entries after the next fsync
//! of the directory. Of the other changes any part may survive: any of the writes, whole or in part, with or without
//! the growth of the file, and the changes of entries up to any of them, or some without earlier ones.

mod directory;
mod file;
mod tests;

use std::collections::{BTreeMap, HashMap};

use self::directory::{Directory, Entry};
use self::file::{Content, File};
use super::recording::{Change, Found, Step};
use crate::suite::random::Random;

/// The files when the power is cut: the content of each path, `None` for a directory.
pub type Image = BTreeMap<String, Option<Vec<u8>>>;

/// Which of the changes that are not durable survive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Survivors {
    None,
    All,
    Some,
}

/// The possible effects of a power cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rules {
    /// A change of a directory survives only together with all earlier ones of that directory, as in journaling file
    /// systems.
    Journaled,
    /// Changes of different names survive in any order, because POSIX promises no order.
    AnyOrder,
    /// Journaled, as if the program did not fsync its files.
    FilesNotSynced,
    /// Journaled, as if the program did not fsync its directories.
    DirectoriesNotSynced,
}

pub struct FileSystem<'r> {
    nodes: Vec<Node<'r>>,
    /// The nodes by inode. The number is used again after the file is gone.
    inodes: HashMap<u64, usize>,
    rules: Rules,
}

enum Node<'r> {
    File(File<'r>),
    Directory(Directory),
}

/// How much survives in one image.
struct SurvivalOdds {
    survivors: Survivors,
    /// The percentage of changes that survive, and of writes that survive only in part.
    kept: u64,
    torn: u64,
    /// The size of a sector in bytes.
    sector: u64,
    /// Whether entries survive in order.
    in_order: bool,
}

impl<'r> FileSystem<'r> {
    /// Everything that the directory has is durable.
    pub fn new(base: &[Found], rules: Rules) -> Self {
        let mut system = Self {
            nodes: Vec::new(),
            inodes: HashMap::new(),
            rules,
        };
        for Found {
            path,
            inode,
            content,
        } in base
        {
            let node = system.add(*inode, content.clone());
            if !path.is_empty() {
                let (directory, name) = system.place(path);
                directory.insert(name, node);
            }
        }
        system
    }

    fn add(&mut self, inode: u64, content: Option<Vec<u8>>) -> usize {
        self.nodes.push(match content {
            Some(content) => Node::File(File::new(content)),
            None => Node::Directory(Directory::default()),
        });
        self.inodes.insert(inode, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// Returns the directory of a path, and its name there.
    fn place<'p>(&mut self, path: &'p str) -> (&mut Directory, &'p str) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut at = 0;
        for part in parent.split('/').filter(|part| !part.is_empty()) {
            at = self.directory(at).entry(part);
        }
        (self.directory(at), name)
    }

    fn directory(&mut self, node: usize) -> &mut Directory {
        match &mut self.nodes[node] {
            Node::Directory(directory) => directory,
            Node::File(_) => panic!("a file in the middle of a path"),
        }
    }

    fn file(&mut self, inode: u64) -> &mut File<'r> {
        match &mut self.nodes[self.inodes[&inode]] {
            Node::File(file) => file,
            Node::Directory(_) => panic!("a directory is written to"),
        }
    }

    pub fn apply(&mut self, step: &Step<'r>) {
        match step.change {
            Change::Create { path, inode } => self.make(step.start, path, inode, Some(Vec::new())),
            Change::MakeDirectory { path, inode } => self.make(step.start, path, inode, None),
            Change::Write { inode, at, data } => {
                let write = Content::Write { at, data };
                self.file(inode).change(step.start, write);
            }
            Change::Resize { inode, length } => {
                let resize = Content::Resize(length);
                self.file(inode).change(step.start, resize);
            }
            Change::Unlink { path } => {
                let (directory, name) = self.place(path);
                directory.change(step.start, Entry::Remove(name.to_owned()));
            }
            Change::Rename { from, to } => {
                let parent = |path: &'r str| path.rsplit_once('/').map(|(parent, _)| parent);
                assert_eq!(parent(from), parent(to), "not modelled");
                let (_, to) = self.place(to);
                let (directory, from) = self.place(from);
                directory.change(step.start, Entry::Rename(from.to_owned(), to.to_owned()));
            }
            Change::Sync { inode, before } => self.sync(inode, before),
        }
    }

    fn make(&mut self, at: u64, path: &str, inode: u64, content: Option<Vec<u8>>) {
        let node = self.add(inode, content);
        let (directory, name) = self.place(path);
        directory.change(at, Entry::Add(name.to_owned(), node));
    }

    fn sync(&mut self, inode: u64, before: u64) {
        match &mut self.nodes[self.inodes[&inode]] {
            Node::File(file) if self.rules != Rules::FilesNotSynced => file.sync(before),
            Node::Directory(directory) if self.rules != Rules::DirectoriesNotSynced => {
                directory.sync(before);
            }
            _ => {}
        }
    }

    /// Returns a possible state of the files after a power cut now.
    pub fn image(&self, survivors: Survivors, random: &mut Random) -> Image {
        let odds = SurvivalOdds {
            survivors,
            kept: random.pick(&[10, 50, 90]),
            torn: random.pick(&[0, 50, 100]),
            sector: random.pick(&[512, 4096]),
            in_order: self.rules != Rules::AnyOrder || random.chance(50),
        };
        let mut image = Image::new();
        self.add_to(&mut image, "", 0, &odds, random);
        image
    }

    fn add_to(
        &self,
        image: &mut Image,
        path: &str,
        node: usize,
        odds: &SurvivalOdds,
        random: &mut Random,
    ) {
        match &self.nodes[node] {
            // This file is memory that readers share; SQLite makes it again.
            Node::File(_) if path.ends_with("-shm") => {
                if let Some(content) = index(odds.survivors, random) {
                    image.insert(path.to_owned(), Some(content));
                }
            }
            Node::File(file) => {
                image.insert(path.to_owned(), Some(file.survivor(odds, random)));
            }
            Node::Directory(directory) => {
                if !path.is_empty() {
                    image.insert(path.to_owned(), None);
                }
                for (name, node) in directory.survivor(odds, random) {
                    let inner = format!("{path}/{name}");
                    let inner = inner.trim_start_matches('/');
                    self.add_to(image, inner, node, odds, random);
                }
            }
        }
    }
}

/// Returns the index of a log after a power cut: absent, cut short, or random.
fn index(survivors: Survivors, random: &mut Random) -> Option<Vec<u8>> {
    if survivors != Survivors::Some || random.chance(33) {
        return None;
    }
    let length = random.pick(&[0, 3, 32 << 10]);
    let byte = |_| random.pick(&[0, 1, 0x18, 0xff]);
    Some((0..length).map(byte).collect())
}

fn size(number: u64) -> usize {
    usize::try_from(number).expect("the files fit in memory")
}
