//! The number of records in one transaction.

/// The largest number of records in a transaction.
const LARGEST: u32 = 100_000;

/// The number of records in one transaction. It is halved when the transaction fails: slow brokers, or brokers that
/// accept only small batches, may need longer for a large transaction than its timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TransactionSize {
    /// Records of the open transaction.
    pub(super) filled: u32,
    most: u32,
}

impl Default for TransactionSize {
    fn default() -> Self {
        Self {
            filled: 0,
            most: LARGEST,
        }
    }
}

impl TransactionSize {
    /// Returns whether the open transaction has room for another record.
    pub(super) fn has_room(self) -> bool {
        self.filled < self.most
    }

    /// Notes that the transaction was committed: the next one may be larger.
    pub(super) fn committed(&mut self) {
        self.most = self.most.saturating_add(self.most / 4 + 1).min(LARGEST);
    }

    /// Notes that the transaction failed.
    pub(super) fn failed(&mut self) {
        if self.filled > 0 {
            self.most = (self.filled / 2).clamp(1, self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_fails_is_tried_with_half_its_records() {
        let mut size = TransactionSize {
            filled: 7000,
            ..TransactionSize::default()
        };
        for expected in [3500, 1750, 875] {
            size.failed();
            assert_eq!(size.most, expected);
            size.filled = size.most;
            assert!(!size.has_room());
        }
        size.committed();
        assert_eq!(size.most, 875 + 219);
        size.filled = 0;
        size.failed();
        assert_eq!(size.most, 875 + 219);
        size.filled = 1;
        size.failed();
        assert_eq!(size.most, 1);
        for _ in 0..100 {
            size.committed();
        }
        assert_eq!(size.most, LARGEST);
    }
}
