//! The position of a record on a topic.

/// The position of a record on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub offset: u64,
}
