//! Reads the pages of a damaged file and of its write-ahead log, without SQLite.
//!
//! The formats are described in <https://www.sqlite.org/fileformat2.html>.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::spool::directory::with_suffix;

/// The page size, if the first page does not contain a valid one.
const SIZE: usize = 4096;
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The offset, in the first page, of the number of the first free-list page.
const FREE: usize = 32;

/// A file's pages after its last transaction.
pub(super) struct Pages {
    file: File,
    log: Option<File>,
    /// The offsets of pages in the write-ahead log.
    logged: HashMap<u32, u64>,
    /// The offsets without the last transaction, if it is unknown whether that is complete.
    older: Option<HashMap<u32, u64>>,
    /// The number of unreadable pages in the write-ahead log.
    pub(super) lost: u64,
    /// The number of pages.
    pub(super) count: u32,
    /// Bytes of a page.
    pub(super) size: usize,
}

impl Pages {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let log = match File::open(with_suffix(path, "-wal")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            log => Some(log?),
        };
        let size = size_of(&file);
        let wal_pages = log.as_ref().map(|log| WalPages::of(log, size));
        let WalPages {
            places,
            older,
            lost,
        } = wal_pages.transpose()?.unwrap_or_default();
        let length = file.metadata()?.len();
        let last = places.keys().copied().max().unwrap_or_default();
        let count = u32::try_from(length.div_ceil(size as u64)).unwrap_or(u32::MAX);
        Ok(Self {
            file,
            log,
            logged: places,
            older,
            lost,
            count: count.max(last),
            size,
        })
    }

    /// Reads a page; the first has the number 1. Returns `None` if the disk can't read it, or if it does not exist.
    pub(super) fn read(&self, number: u32) -> Option<Vec<u8>> {
        let mut page = vec![0; self.size];
        if let (Some(log), Some(at)) = (&self.log, self.logged.get(&number)) {
            log.read_exact_at(&mut page, *at).ok()?;
        } else {
            let at = u64::from(number.checked_sub(1)?) * self.size as u64;
            self.file.read_exact_at(&mut page, at).ok()?;
        }
        Some(page)
    }

    pub(super) fn has_older(&self) -> bool {
        self.older.is_some()
    }

    /// Switches to the pages before the last transaction. Returns `false` if there are none.
    pub(super) fn use_previous(&mut self) -> bool {
        let older = self.older.take();
        let is_older = older.is_some();
        self.logged = older.unwrap_or_else(|| mem::take(&mut self.logged));
        is_older
    }

    /// Returns the free pages; none if their list can't be trusted.
    pub(super) fn free(&self) -> HashSet<u32> {
        let mut free = HashSet::new();
        // An older list may contain pages that were used again.
        if self.lost > 0 {
            return free;
        }
        let mut next = self.read(1).map(|first| number_at(&first, FREE));
        while let Some(trunk) = next.filter(|trunk| *trunk != 0 && *trunk <= self.count) {
            if !free.insert(trunk) {
                break;
            }
            let Some(page) = self.read(trunk) else { break };
            let listed = (number_at(&page, 4) as usize).min(self.size / 4 - 2);
            free.extend((0..listed).map(|at| number_at(&page, 8 + 4 * at)));
            next = Some(number_at(&page, 0));
        }
        free
    }
}

/// Returns the page size from the file's first page, or the default if that is unreadable or invalid.
fn size_of(file: &File) -> usize {
    let mut bytes = [0; 2];
    let read = file.read_exact_at(&mut bytes, 16);
    let size = usize::from(u16::from_be_bytes(bytes));
    // The value 1 means 65,536.
    let size = if size == 1 { 1 << 16 } else { size };
    let is_sound = read.is_ok() && size >= 512 && size.is_power_of_two();
    if is_sound { size } else { SIZE }
}

/// The readable pages in a write-ahead log.
#[derive(Default)]
struct WalPages {
    /// Their offsets after the last complete transaction.
    places: HashMap<u32, u64>,
    /// Their offsets without the last transaction, if its end is unreadable.
    older: Option<HashMap<u32, u64>>,
    /// The number of unreadable pages.
    lost: u64,
}

impl WalPages {
    fn of(log: &File, size: usize) -> io::Result<Self> {
        let mut header = [0; LOG_HEADER];
        let length = log.metadata()?.len();
        let (mut lost, mut foreign) = (0, 0);
        // From the header: the byte order of checksums, the salts, and the first checksum.
        let mut is_big_endian = cfg!(target_endian = "big");
        let (mut salts, mut sum) = (None, None);
        if length == 0 {
            return Ok(Self::default());
        }
        if log.read_exact_at(&mut header, 0).is_ok() {
            is_big_endian = number_at(&header, 0) & 1 == 1;
            salts = Some(header[16..24].to_vec());
            sum = Some([number_at(&header, 24), number_at(&header, 28)]);
        }
        let mut frame = vec![0; FRAME_HEADER + size];
        let (mut pages, mut complete, mut lost_in_complete) = (Vec::new(), 0, 0);
        let mut at = LOG_HEADER as u64;
        while at + frame.len() as u64 <= length {
            let place = at + FRAME_HEADER as u64;
            let read = log.read_exact_at(&mut frame, at);
            at += frame.len() as u64;
            if read.is_err() {
                (lost, sum) = (lost + 1, None);
                continue;
            }
            let (head, page) = frame.split_at(FRAME_HEADER);
            // Usually this frame is from an earlier use of the write-ahead log.
            if *salts.get_or_insert_with(|| head[8..16].to_vec()) != head[8..16] {
                (foreign, sum) = (foreign + 1, None);
                continue;
            }
            lost += mem::take(&mut foreign);
            let expected =
                sum.map(|sum| add(add(sum, &head[..8], is_big_endian), page, is_big_endian));
            let own = [number_at(head, 16), number_at(head, 20)];
            sum = Some(own);
            if expected.is_some_and(|expected| expected != own) {
                lost += 1;
                continue;
            }
            pages.push((number_at(head, 0), place));
            if number_at(head, 4) > 0 {
                (complete, lost_in_complete) = (pages.len(), lost);
            }
        }
        if lost > lost_in_complete {
            let older = pages[..complete].iter().copied().collect();
            return Ok(Self {
                places: pages.into_iter().collect(),
                older: Some(older),
                lost,
            });
        }
        pages.truncate(complete);
        Ok(Self {
            places: pages.into_iter().collect(),
            older: None,
            lost,
        })
    }
}

/// Adds bytes to a checksum of the write-ahead log.
fn add([mut first, mut second]: [u32; 2], bytes: &[u8], is_big_endian: bool) -> [u32; 2] {
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().expect("four bytes");
        if is_big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    };
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(word(&pair[..4])).wrapping_add(second);
        second = second.wrapping_add(word(&pair[4..])).wrapping_add(first);
    }
    [first, second]
}

/// Returns the big-endian number of four bytes at an offset.
pub(super) fn number_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
