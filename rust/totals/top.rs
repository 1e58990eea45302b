//! The most frequent words of one partition.

use std::cmp::Reverse;

use super::Totals;
use crate::batch::table::Table;

/// Words longer than this are left out: the list is for people to read, and must fit a record.
pub const LONGEST_LISTED: usize = 256;

/// The most frequent words. Exact as long as totals only rise: then a word that is not listed enters by its own
/// new total alone, and one that is below the last of a full list can be passed over after one comparison.
///
/// Commits come far more often than anybody asks for the words, so a commit's are taken in without order: twice as
/// many as are listed, at most.
#[derive(Debug, Clone)]
pub struct Top {
    size: usize,
    words: Table<i64>,
    /// What a word has to go before, as far as it is known; none where there is room for any.
    last: Option<(Reverse<i64>, Box<[u8]>)>,
}

impl Top {
    /// A list of at most `size` words, starting with those given.
    #[must_use]
    pub fn new<W: AsRef<[u8]>>(size: usize, words: impl IntoIterator<Item = (W, i64)>) -> Self {
        let mut top = Self {
            size,
            words: Table::default(),
            last: None,
        };
        for (word, total) in words {
            let word = word.as_ref();
            if word.len() <= LONGEST_LISTED {
                *top.words.value(word) = total;
            }
        }
        top.keep_first(&[]);
        top
    }

    /// Takes new totals in; returns whether that may have changed the list.
    pub fn merge(&mut self, totals: &Totals) -> bool {
        let fell = totals.fell() || !totals.deleted().is_empty();
        let mut changed = fell;
        for (word, total) in totals.entries(0, None) {
            // Where totals fell, the words listed must be found wherever they are now.
            if self.enters(word, total) || (fell && self.words.get(word).is_some()) {
                let before = self.words.len();
                let old = std::mem::replace(self.words.value(word), total);
                changed |= old != total || self.words.len() > before;
                if self.words.len() > 2 * self.size && !fell {
                    self.keep_first(&[]);
                }
            }
        }
        if fell {
            self.keep_first(totals.deleted());
        }
        changed
    }

    /// Another list, with new totals taken in.
    #[must_use]
    pub fn merged(&self, totals: &Totals) -> Self {
        let mut merged = self.clone();
        merged.merge(totals);
        merged
    }

    fn enters(&self, word: &[u8], total: i64) -> bool {
        let goes_before = |(last, last_word): &(Reverse<i64>, Box<[u8]>)| {
            (Reverse(total), word) <= (*last, &**last_word)
        };
        self.size > 0 && word.len() <= LONGEST_LISTED && self.last.as_ref().is_none_or(goes_before)
    }

    /// Leaves out deleted words, given in byte order, and of the others what is behind the first ones.
    fn keep_first(&mut self, deleted: &[Box<[u8]>]) {
        let all = std::mem::take(&mut self.words);
        let stays = |word: &[u8]| deleted.binary_search_by(|gone| (**gone).cmp(word)).is_err();
        let first = first(all.entries().filter(|(word, _)| stays(word)), self.size);
        for (Reverse(total), word) in &first {
            *self.words.value(word) = *total;
        }
        let full = first.len() == self.size;
        self.last = first
            .last()
            .filter(|_| full)
            .map(|(total, word)| (*total, (*word).into()));
    }

    /// The first `most` words with their totals, highest first, equal totals in byte order of the words.
    #[must_use]
    pub fn words(&self, most: usize) -> Vec<(&[u8], i64)> {
        let words = first(self.words.entries(), self.size.min(most)).into_iter();
        words.map(|(Reverse(total), word)| (word, total)).collect()
    }
}

fn first<'a>(
    words: impl Iterator<Item = (&'a [u8], i64)>,
    most: usize,
) -> Vec<(Reverse<i64>, &'a [u8])> {
    let mut first: Vec<_> = words.map(|(word, total)| (Reverse(total), word)).collect();
    if first.len() > most {
        first.select_nth_unstable(most);
        first.truncate(most);
    }
    first.sort_unstable();
    first
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Top;
    use crate::totals::Totals;

    const NONE: [(&[u8], i64); 0] = [];

    fn totals(words: &[(&str, Option<i64>, i64)]) -> Totals {
        let mut totals = Totals::default();
        for (word, old, new) in words {
            totals.put(word.as_bytes(), *old, *new);
        }
        totals
    }

    fn words(top: &Top) -> Vec<(&str, i64)> {
        top.words(usize::MAX)
            .into_iter()
            .map(|(word, total)| (std::str::from_utf8(word).unwrap_or("?"), total))
            .collect()
    }

    #[test]
    fn keeps_the_highest_and_says_whether_it_changed() {
        let mut top = Top::new(2, NONE);
        assert!(top.merge(&totals(&[("a", None, 3), ("b", None, 3), ("c", None, 3)])));
        assert_eq!(words(&top), [("a", 3), ("b", 3)]);
        assert!(!top.merge(&totals(&[("b", None, 3)])));
        assert!(top.merge(&totals(&[("c", Some(3), 4)])));
        assert_eq!(words(&top), [("c", 4), ("a", 3)]);
        assert_eq!(top.words(1), [(&b"c"[..], 4)]);
        assert!(!Top::new(0, NONE).merge(&totals(&[("a", None, i64::MAX)])));
        let mut zeros = Top::new(1, NONE);
        assert!(zeros.merge(&totals(&[("a", None, 0)])));
        assert!(!zeros.merge(&totals(&[("a", Some(0), 0)])));
    }

    #[test]
    fn passes_over_what_is_behind_a_full_list() {
        let mut top = Top::new(2, [(&b"b"[..], 3), (b"c", 3), (b"a", 2)]);
        assert!(!top.merge(&totals(&[("a", None, 2), ("d", None, 3)])));
        assert!(top.merge(&totals(&[("bb", None, 3)])));
        assert_eq!(words(&top), [("b", 3), ("bb", 3)]);
    }

    #[test]
    fn equals_sorting_for_far_more_words_than_it_lists() {
        let mut store = BTreeMap::new();
        let mut top = Top::new(10, NONE);
        for step in 1..4 {
            for (number, hash) in (0..4000)
                .zip((0..).map(|n: i64| (n * n + n) % 997))
                .step_by(step)
            {
                store
                    .entry(format!("{number:05}"))
                    .and_modify(|total| *total += hash)
                    .or_insert(hash);
            }
            let all: Vec<_> = store
                .iter()
                .map(|(word, total)| (&**word, Some(0), *total))
                .collect();
            assert!(top.merge(&totals(&all)));
            assert!(top.words.len() <= 20);
            let mut expected: Vec<_> = all.iter().map(|(word, _, total)| (*word, *total)).collect();
            expected.sort_by_key(|(word, total)| (-total, *word));
            assert_eq!(words(&top), expected[..10]);
        }
    }

    #[test]
    fn what_is_listed_follows_a_fall() {
        let mut top = Top::new(2, [(&b"a"[..], 9), (b"b", 8)]);
        assert!(top.merge(&totals(&[("a", Some(9), 1), ("c", None, 7)])));
        assert_eq!(words(&top), [("b", 8), ("a", 1)]);
        assert!(top.merge(&totals(&[("d", None, 2)])));
        assert_eq!(words(&top), [("b", 8), ("d", 2)]);
    }

    #[test]
    fn deleted_words_leave_room() {
        let mut top = Top::new(2, [(&b"a"[..], 9), (b"b", 8)]);
        let mut deletes = totals(&[]);
        deletes.delete(b"a", 9);
        assert!(top.merge(&deletes));
        assert_eq!(words(&top), [("b", 8)]);
        assert!(top.merge(&totals(&[("c", None, 1)])));
        assert_eq!(words(&top), [("b", 8), ("c", 1)]);
    }
}
