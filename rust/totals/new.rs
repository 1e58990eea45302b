//! New totals of one partition: what goes to `counts`, to the store and to the list of the most frequent.

use std::fmt;

use super::top::LONGEST_LISTED;

/// New totals, in byte order of the words.
#[derive(Debug, Default)]
pub struct Totals {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    values: Vec<i64>,
    deleted: Vec<Box<[u8]>>,
    refused: Vec<(Box<[u8]>, i64)>,
    new_words: i64,
    new_long: i64,
    added: i128,
    fell: bool,
}

/// A total as a record or a store has it: 8 bytes, or 4 from an older word count. None if it has another length.
#[must_use]
#[inline]
pub fn parse_total(bytes: &[u8]) -> Option<i64> {
    if let Ok(eight) = bytes.try_into() {
        return Some(i64::from_be_bytes(eight));
    }
    bytes
        .try_into()
        .ok()
        .map(|four| i32::from_be_bytes(four).into())
}

/// Why totals can't be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TotalsError {
    /// There must be one old total for each word.
    Count {
        /// Words of the batch.
        words: usize,
        /// Old totals given.
        old: usize,
    },
}

impl fmt::Display for TotalsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { words, old } => write!(f, "{old} old totals for {words} words"),
        }
    }
}

impl Totals {
    /// No totals, and room for some.
    #[must_use]
    pub fn with_capacity(words: usize) -> Self {
        Self {
            ends: Vec::with_capacity(words),
            values: Vec::with_capacity(words),
            ..Self::default()
        }
    }

    /// Appends the new total of a word behind all others.
    pub fn put(&mut self, word: &[u8], old: Option<i64>, new: i64) {
        self.bytes.extend_from_slice(word);
        self.ends.push(self.bytes.len());
        self.values.push(new);
        self.new_words += i64::from(old.is_none());
        self.new_long += i64::from(old.is_none() && word.len() > LONGEST_LISTED);
        self.added += i128::from(new) - i128::from(old.unwrap_or(0));
        self.fell |= old.is_some_and(|old| new < old);
    }

    /// Appends a word that the store has and must delete.
    pub fn delete(&mut self, word: &[u8], old: i64) {
        self.deleted.push(word.into());
        self.new_words -= 1;
        self.new_long -= i64::from(word.len() > LONGEST_LISTED);
        self.added -= i128::from(old);
    }

    /// Leaves the total of a word as it is: with the batch's count it would not fit 8 bytes.
    pub fn refuse(&mut self, word: &[u8], count: i64) {
        self.refused.push((word.into(), count));
    }

    /// Words whose counts were not added, with these, in byte order.
    #[must_use]
    pub fn refused(&self) -> &[(Box<[u8]>, i64)] {
        &self.refused
    }

    /// How many totals there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The word at an index.
    #[must_use]
    pub fn word(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    /// Words with their totals in byte order, from the place `start` to before `stop`, or to the end.
    pub fn entries(&self, start: usize, stop: Option<usize>) -> impl Iterator<Item = (&[u8], i64)> {
        let stop = stop.map_or(self.len(), |stop| stop.min(self.len()));
        (start..stop).map(|place| (self.word(place), self.values[place]))
    }

    /// The totals, without their words.
    #[must_use]
    pub fn values(&self) -> &[i64] {
        &self.values
    }

    /// Words that the store must delete, in byte order.
    #[must_use]
    pub fn deleted(&self) -> &[Box<[u8]>] {
        &self.deleted
    }

    /// By how much the number of words in the store changes.
    #[must_use]
    pub fn new_words(&self) -> i64 {
        self.new_words
    }

    /// By how much the number of words changes that are too long for the list of the most frequent.
    #[must_use]
    pub fn new_long(&self) -> i64 {
        self.new_long
    }

    /// By how much the sum of all totals changes.
    #[must_use]
    pub fn added(&self) -> i128 {
        self.added
    }

    /// Whether a total is lower than it was.
    #[must_use]
    pub fn fell(&self) -> bool {
        self.fell
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_LISTED, Totals, parse_total};

    #[test]
    fn totals_have_8_bytes_or_4() {
        assert_eq!(
            parse_total(&[0xff, 0, 0, 0, 0, 0, 0, 1]),
            Some((-1 << 56) + 1)
        );
        assert_eq!(parse_total(&[0xff, 0xff, 0xff, 0xfe]), Some(-2));
        for length in [0, 1, 3, 5, 7, 9] {
            assert_eq!(parse_total(&vec![0; length]), None);
        }
    }

    #[test]
    fn adds_up_what_changes() {
        let mut totals = Totals::default();
        totals.put(b"a", None, i64::MAX);
        totals.put(b"bcd", Some(5), i64::MAX);
        totals.delete(b"e", 7);
        assert_eq!(
            (totals.len(), totals.new_words(), totals.fell()),
            (2, 0, false)
        );
        assert_eq!(totals.added(), 2 * i128::from(i64::MAX) - 5 - 7);
        assert_eq!((totals.word(0), totals.word(1)), (&b"a"[..], &b"bcd"[..]));
        totals.put(b"f", Some(2), 1);
        assert!(totals.fell());
        assert_eq!(totals.new_long(), 0);
        let long = [b'x'; LONGEST_LISTED + 1];
        totals.put(&long, None, 1);
        totals.put(&long, Some(1), 2);
        totals.put(&long[1..], None, 1);
        assert_eq!(totals.new_long(), 1);
        totals.delete(&long, 2);
        assert_eq!(totals.new_long(), 0);
    }
}
