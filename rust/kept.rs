//! New totals of one partition that its store is yet to be given.

use std::sync::Arc;

use crate::table::Table;
use crate::totals::Totals;

/// The last total of each word. A word that changes often is then written once.
///
/// The totals of a small commit are put off until somebody asks: by themselves they take twice as long a word as many at
/// a time, since between two commits the table has left the caches.
#[derive(Debug, Default)]
pub struct Kept {
    last: Table<i64>,
    put_off: Vec<Arc<Totals>>,
}

impl Kept {
    /// Takes new totals in; returns whether it could: totals that come with no words to delete.
    pub fn keep(&mut self, new: Arc<Totals>) -> bool {
        if !new.deleted().is_empty() {
            return false;
        }
        self.put_off.push(new);
        true
    }

    fn last(&mut self) -> &Table<i64> {
        for totals in self.put_off.drain(..) {
            for (word, total) in totals.entries(0, None) {
                *self.last.value(word) = total;
            }
        }
        &self.last
    }

    /// The total that is kept of a word.
    #[must_use]
    pub fn get(&mut self, word: &[u8]) -> Option<i64> {
        self.last().get(word)
    }

    /// Gives all words with their totals, in byte order, to `work`.
    pub fn all<T>(&mut self, work: impl FnOnce(&mut dyn Iterator<Item = (&[u8], i64)>) -> T) -> T {
        let last = self.last();
        let order = last.order();
        work(&mut last.words(&order))
    }

    /// How many words there are.
    #[must_use]
    pub fn len(&mut self) -> usize {
        self.last().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&mut self) -> bool {
        self.last().is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.put_off.clear();
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;
    use crate::totals::Totals;

    #[test]
    fn the_last_total_of_a_word_is_kept() {
        let mut kept = Kept::default();
        assert!(kept.is_empty());
        let mut totals = Totals::default();
        totals.put(b"b", None, 2);
        totals.put(b"c", Some(7), -1);
        assert!(kept.keep(totals.into()));
        let mut totals = Totals::default();
        totals.put(b"a", None, 1);
        totals.put(b"b", Some(2), 3);
        assert!(kept.keep(totals.into()));
        assert_eq!(
            (kept.len(), kept.get(b"b"), kept.get(b"d")),
            (3, Some(3), None)
        );
        let all = kept.all(|words| {
            words
                .map(|(word, total)| (word[0], total))
                .collect::<Vec<_>>()
        });
        assert_eq!(all, [(b'a', 1), (b'b', 3), (b'c', -1)]);
        let mut totals = Totals::default();
        totals.put(b"b", Some(3), 4);
        assert!(kept.keep(totals.into()));
        kept.clear();
        assert!(kept.is_empty());
    }

    #[test]
    fn deleted_words_are_not_for_keeping() {
        let mut totals = Totals::default();
        totals.put(b"a", None, 1);
        totals.delete(b"b", 1);
        let mut kept = Kept::default();
        assert!(!kept.keep(totals.into()));
        assert!(kept.is_empty());
    }
}
