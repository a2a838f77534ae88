//! Reads the rows on a page of a damaged file, without SQLite.

use super::pages::{Pages, number_at};

/// The first byte of a table's leaf page, of an index's leaf page, and of an index's interior page.
const ROWS: u8 = 0x0d;
const INDEX: u8 = 0x0a;
const INDEX_ABOVE: u8 = 0x02;

/// A column's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

/// A row's id and columns; `None` if the columns can't be read.
pub(super) type Cell = (i64, Option<Vec<Value>>);

/// The cells of a page.
pub(super) enum Cells {
    Rows(Vec<Cell>),
    /// The indexed columns and the row's id, of each entry.
    Index(Vec<Vec<Value>>),
    Other,
}

/// Returns the cells of a page; `None` if it is damaged.
pub(super) fn cells_of(pages: &Pages, page: &[u8]) -> Option<Cells> {
    let cells = |start| {
        let count = usize::from(u16_at(page, 3)?);
        let starts = (0..count).map(|number| u16_at(page, start + 2 * number).map(usize::from));
        starts.collect::<Option<Vec<usize>>>()
    };
    let repeated = |at: usize| {
        let mut rest = page.get(at..)?;
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        columns(rest.get(..length)?)
    };
    Some(match page[0] {
        ROWS => Cells::Rows(
            cells(8)?
                .into_iter()
                .map(|at| cell_at(pages, page, at))
                .collect::<Option<_>>()?,
        ),
        INDEX => Cells::Index(cells(8)?.into_iter().filter_map(repeated).collect()),
        // Each cell begins with a pointer to another page.
        INDEX_ABOVE => {
            let cells = cells(12)?.into_iter().map(|at| at + 4);
            Cells::Index(cells.filter_map(repeated).collect())
        }
        // Interior pages of a table, and overflow pages, which begin with the number of the next page.
        0x05 => Cells::Other,
        0 if page.iter().any(|byte| *byte != 0) => Cells::Other,
        _ => return None,
    })
}

fn u16_at(page: &[u8], at: usize) -> Option<u16> {
    let bytes = page.get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn cell_at(pages: &Pages, page: &[u8], at: usize) -> Option<Cell> {
    let mut rest = page.get(at..)?;
    let length = usize::try_from(varint(&mut rest)?).ok()?;
    let id = varint(&mut rest)?;
    // The maximum bytes of a row without overflow pages.
    let payload = if length <= pages.size - 35 {
        rest.get(..length).map(<[u8]>::to_vec)
    } else {
        with_overflow(pages, rest, length)
    };
    Some((id, payload.and_then(|payload| columns(&payload))))
}

/// Collects a row that has overflow pages.
fn with_overflow(pages: &Pages, rest: &[u8], length: usize) -> Option<Vec<u8>> {
    // The minimum bytes of the row on its own page, and the bytes on each overflow page.
    let least = (pages.size - 12) * 32 / 255 - 23;
    let further = pages.size - 4;
    let fitting = least + (length - least) % further;
    let local = if fitting <= pages.size - 35 {
        fitting
    } else {
        least
    };
    if length / further > pages.count as usize {
        return None;
    }
    let mut payload = rest.get(..local)?.to_vec();
    let mut next = number_at(rest.get(local..local + 4)?, 0);
    while payload.len() < length {
        let page = pages.read(next)?;
        let wanted = (length - payload.len()).min(further);
        payload.extend(&page[4..4 + wanted]);
        next = number_at(&page, 0);
    }
    Some(payload)
}

fn columns(payload: &[u8]) -> Option<Vec<Value>> {
    let mut head = payload;
    let length = usize::try_from(varint(&mut head)?).ok()?;
    let read = payload.len() - head.len();
    let mut kinds = payload.get(read..length)?;
    let mut rest = payload.get(length..)?;
    let mut values = Vec::new();
    while !kinds.is_empty() {
        values.push(value(varint(&mut kinds)?, &mut rest)?);
    }
    Some(values)
}

fn value(kind: i64, rest: &mut &[u8]) -> Option<Value> {
    let kind = usize::try_from(kind).ok()?;
    let length = match kind {
        0 | 8 | 9 => 0,
        1..=4 => kind,
        5 => 6,
        6 | 7 => 8,
        12.. => (kind - 12) / 2,
        _ => return None,
    };
    let bytes = rest.split_off(..length)?;
    Some(match kind {
        0 => Value::Null,
        8 => Value::Integer(0),
        9 => Value::Integer(1),
        1..=6 => {
            let negative = bytes[0] & 0x80 != 0;
            let start = if negative { -1 } else { 0 };
            Value::Integer(
                bytes
                    .iter()
                    .fold(start, |sum, byte| sum << 8 | i64::from(*byte)),
            )
        }
        // No column of the spool has floating-point numbers.
        7 => return None,
        _ if kind % 2 == 0 => Value::Blob(bytes.to_vec()),
        _ => Value::Text(bytes.to_vec()),
    })
}

/// Reads a variable-length integer of one to nine bytes.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0;
    for place in 1..=9 {
        let byte = *bytes.split_off_first()?;
        if place == 9 {
            return Some(number << 8 | i64::from(byte));
        }
        number = number << 7 | i64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(number)
}
