//! New totals of one partition that its store is yet to be given.

use std::sync::Arc;

use super::Totals;
use crate::batch::table::Table;

/// The last total of each word, none of a deleted one. A word that changes often is then written once.
///
/// The totals of a small commit are put off until somebody asks: by themselves they take twice as long a word as many at
/// a time, since between two commits the table has left the caches. A large commit that is written at once never
/// comes to the table.
#[derive(Debug, Default)]
pub struct Unwritten {
    last: Table<Option<i64>>,
    put_off: Vec<Arc<Totals>>,
    /// What `totals` made of them last.
    sorted: Option<Arc<Totals>>,
}

impl Unwritten {
    /// Takes new totals in.
    pub fn keep(&mut self, new: Arc<Totals>) {
        self.sorted = None;
        self.put_off.push(new);
    }

    fn last(&mut self) -> &Table<Option<i64>> {
        for totals in self.put_off.drain(..) {
            for (word, total) in totals.entries(0, None) {
                *self.last.value(word) = Some(total);
            }
            for word in totals.deleted() {
                *self.last.value(word) = None;
            }
        }
        &self.last
    }

    /// The only totals, with nothing to delete among them.
    fn single(&self) -> Option<&Totals> {
        match &*self.put_off {
            [one] if self.last.is_empty() && one.deleted().is_empty() => Some(one),
            _ => None,
        }
    }

    /// What is to be written of a word, if anything.
    #[must_use]
    pub fn get(&mut self, word: &[u8]) -> Option<Option<i64>> {
        self.last().get(word)
    }

    /// All words with their totals, and words to delete. What changes by them is not said.
    pub fn totals(&mut self) -> Arc<Totals> {
        if self.single().is_some() {
            return self.put_off[0].clone();
        }
        self.last();
        let last = &self.last;
        let sorted = self.sorted.get_or_insert_with(|| {
            let order = last.order();
            let mut totals = Totals::with_capacity(order.len());
            for (word, total) in last.words(&order) {
                match total {
                    Some(total) => totals.put(word, None, total),
                    None => totals.delete(word, 0),
                }
            }
            totals.into()
        });
        sorted.clone()
    }

    /// How many words there are.
    #[must_use]
    pub fn len(&mut self) -> usize {
        match self.single() {
            Some(one) => one.len(),
            None => self.last().len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&mut self) -> bool {
        self.len() == 0
    }

    /// Forgets all: the store has it.
    pub fn clear(&mut self) {
        self.put_off.clear();
        self.last.clear();
        self.sorted = None;
    }
}

#[cfg(test)]
mod tests {
    use super::Unwritten;
    use crate::totals::Totals;

    fn totals(words: &[(&[u8], i64)], deleted: &[&[u8]]) -> std::sync::Arc<Totals> {
        let mut totals = Totals::default();
        for (word, total) in words {
            totals.put(word, None, *total);
        }
        for word in deleted {
            totals.delete(word, 1);
        }
        totals.into()
    }

    fn all(unwritten: &mut Unwritten) -> (Vec<(u8, i64)>, Vec<u8>) {
        let totals = unwritten.totals();
        let words = totals
            .entries(0, None)
            .map(|(word, total)| (word[0], total));
        (
            words.collect(),
            totals.deleted().iter().map(|word| word[0]).collect(),
        )
    }

    #[test]
    fn the_last_total_of_a_word_is_kept() {
        let mut unwritten = Unwritten::default();
        assert!(unwritten.is_empty());
        unwritten.keep(totals(&[(b"b", 2), (b"c", -1)], &[]));
        assert_eq!(unwritten.len(), 2);
        assert_eq!(all(&mut unwritten), (vec![(b'b', 2), (b'c', -1)], vec![]));
        unwritten.keep(totals(&[(b"a", 1), (b"b", 3)], &[]));
        assert_eq!(unwritten.len(), 3);
        assert_eq!(
            (unwritten.get(b"b"), unwritten.get(b"d")),
            (Some(Some(3)), None)
        );
        assert_eq!(
            all(&mut unwritten),
            (vec![(b'a', 1), (b'b', 3), (b'c', -1)], vec![])
        );
        unwritten.keep(totals(&[(b"b", 4)], &[]));
        unwritten.clear();
        assert!(unwritten.is_empty());
    }

    #[test]
    fn a_word_is_deleted_until_it_comes_again() {
        let mut unwritten = Unwritten::default();
        unwritten.keep(totals(&[(b"a", 1)], &[b"b"]));
        assert_eq!(all(&mut unwritten), (vec![(b'a', 1)], vec![b'b']));
        assert_eq!(unwritten.get(b"b"), Some(None));
        unwritten.keep(totals(&[(b"b", 7)], &[b"a"]));
        assert_eq!(all(&mut unwritten), (vec![(b'b', 7)], vec![b'a']));
    }
}
