//! New totals of one partition that its store is yet to be given.

use crate::table::Table;
use crate::totals::Totals;

/// The last total of each word. A word that changes often is then written once.
#[derive(Debug, Default)]
pub struct Kept(Table<i64>);

impl Kept {
    /// Takes new totals in; returns whether it could: totals that come with no words to delete.
    pub fn keep(&mut self, new: &Totals) -> bool {
        if !new.deleted().is_empty() {
            return false;
        }
        for (word, total) in new.entries(0, None) {
            *self.0.value(word) = total;
        }
        true
    }

    /// The total that is kept of a word.
    #[must_use]
    pub fn get(&self, word: &[u8]) -> Option<i64> {
        self.0.get(word)
    }

    /// Gives all words with their totals, in byte order, to `work`.
    pub fn all<T>(&self, work: impl FnOnce(&mut dyn Iterator<Item = (&[u8], i64)>) -> T) -> T {
        let order = self.0.order();
        work(&mut self.0.words(&order))
    }

    /// How many words there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;
    use crate::totals::Totals;

    #[test]
    fn the_last_total_of_a_word_is_kept() {
        let mut kept = Kept::default();
        let mut totals = Totals::default();
        totals.put(b"b", None, 2);
        totals.put(b"c", Some(7), -1);
        assert!(kept.keep(&totals));
        let mut totals = Totals::default();
        totals.put(b"a", None, 1);
        totals.put(b"b", Some(2), 3);
        assert!(kept.keep(&totals));
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
        kept.clear();
        assert!(kept.is_empty());
    }

    #[test]
    fn deleted_words_are_not_for_keeping() {
        let mut totals = Totals::default();
        totals.put(b"a", None, 1);
        totals.delete(b"b", 1);
        let mut kept = Kept::default();
        assert!(!kept.keep(&totals));
        assert!(kept.is_empty());
    }
}
