//! The most frequent words of one partition.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::totals::Totals;

/// Words longer than this are left out: the list is for people to read, and must fit a record.
pub const LONGEST_LISTED: usize = 256;

/// So many candidates more than needed are gathered before the best of them are chosen.
const ROOM: usize = 1000;

/// The most frequent words. Exact as long as totals only rise: then a word that is not listed enters by its own
/// new total alone, and one that is below the last of a full list can be passed over after one comparison.
#[derive(Debug)]
pub struct Top {
    size: usize,
    /// Highest first, equal totals in byte order.
    words: Vec<Listed>,
}

/// A list is made anew for every commit, of mostly the same words.
type Listed = (Reverse<i64>, Arc<[u8]>);

impl Top {
    /// A list of at most `size` words, starting with those given.
    #[must_use]
    pub fn new(size: usize, words: impl IntoIterator<Item = (Arc<[u8]>, i64)>) -> Self {
        let listed = words
            .into_iter()
            .filter(|(word, _)| word.len() <= LONGEST_LISTED);
        let listed: HashMap<_, _> = listed.collect();
        let mut words: Vec<_> = listed
            .into_iter()
            .map(|(word, total)| (Reverse(total), word))
            .collect();
        keep_first(&mut words, size);
        Self { size, words }
    }

    /// The list with new totals taken in; none where that changes nothing.
    #[must_use]
    pub fn merged(&self, totals: &Totals) -> Option<Self> {
        let candidates = self.candidates(totals);
        if candidates.is_empty() && totals.deleted().is_empty() {
            return None;
        }
        let changed: HashSet<&[u8]> = candidates
            .iter()
            .map(|(_, word)| *word)
            .chain(totals.deleted().iter().map(|word| &**word))
            .collect();
        let mut words = self.words.clone();
        words.retain(|(_, word)| !changed.contains(&**word));
        words.extend(
            candidates
                .into_iter()
                .map(|(total, word)| (total, word.into())),
        );
        keep_first(&mut words, self.size);
        (words != self.words).then_some(Self {
            size: self.size,
            words,
        })
    }

    /// The new totals that the list may have to take in.
    fn candidates<'a>(&self, totals: &'a Totals) -> Vec<(Reverse<i64>, &'a [u8])> {
        let mut lowest = match self.words.last() {
            Some((total, _)) if self.words.len() == self.size => total.0,
            _ => i64::MIN,
        };
        // Where totals fell, the words listed must be found wherever they are now.
        let fell = totals.fell();
        let listed: HashSet<&[u8]> = self
            .words
            .iter()
            .filter(|_| fell)
            .map(|(_, word)| &**word)
            .collect();
        let mut candidates = Vec::new();
        for (index, total) in totals.values().iter().enumerate() {
            if *total < lowest && !fell {
                continue;
            }
            let word = totals.word(index);
            if word.len() > LONGEST_LISTED || (*total < lowest && !listed.contains(word)) {
                continue;
            }
            candidates.push((Reverse(*total), word));
            if candidates.len() > ROOM + 2 * self.size && !fell {
                keep_first(&mut candidates, self.size);
                lowest = candidates.last().map_or(i64::MAX, |(total, _)| total.0);
            }
        }
        candidates
    }

    /// Words with their totals, highest first.
    pub fn words(&self) -> impl Iterator<Item = (&[u8], i64)> {
        self.words.iter().map(|(total, word)| (&**word, total.0))
    }
}

/// Sorts and leaves out what is behind the first `size`.
fn keep_first<T: Ord>(words: &mut Vec<T>, size: usize) {
    if words.len() > size {
        words.select_nth_unstable(size);
        words.truncate(size);
    }
    words.sort_unstable();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{ROOM, Top};
    use crate::totals::Totals;

    fn totals(words: &[(&str, Option<i64>, i64)]) -> Totals {
        let mut totals = Totals::default();
        for (word, old, new) in words {
            totals.put(word.as_bytes(), *old, *new);
        }
        totals
    }

    fn merged(top: &Top, words: &[(&str, Option<i64>, i64)]) -> Top {
        top.merged(&totals(words)).expect("a list that changes")
    }

    fn words(top: &Top) -> Vec<(&str, i64)> {
        top.words()
            .map(|(word, total)| (std::str::from_utf8(word).unwrap_or("?"), total))
            .collect()
    }

    #[test]
    fn keeps_the_highest_and_says_whether_it_changed() {
        let top = merged(
            &Top::new(2, []),
            &[("a", None, 3), ("b", None, 3), ("c", None, 3)],
        );
        assert_eq!(words(&top), [("a", 3), ("b", 3)]);
        let same = totals(&[("b", None, 3), ("c", Some(2), 3)]);
        assert!(top.merged(&same).is_none());
        let top = merged(&top, &[("c", Some(3), 4)]);
        assert_eq!(words(&top), [("c", 4), ("a", 3)]);
        let none = Top::new(0, []);
        assert!(none.merged(&totals(&[("a", None, i64::MAX)])).is_none());
    }

    #[test]
    fn equals_sorting_for_far_more_words_than_it_lists() {
        let mut store = BTreeMap::new();
        let mut top = Top::new(10, []);
        for step in 1..4 {
            for (number, hash) in (0..4 * ROOM)
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
            top = merged(&top, &all);
            let mut expected: Vec<_> = all.iter().map(|(word, _, total)| (*word, *total)).collect();
            expected.sort_by_key(|(word, total)| (-total, *word));
            assert_eq!(words(&top), expected[..10]);
        }
    }

    #[test]
    fn what_is_listed_follows_a_fall() {
        let top = Top::new(2, [(b"a"[..].into(), 9), (b"b"[..].into(), 8)]);
        let top = merged(&top, &[("a", Some(9), 1), ("c", None, 7)]);
        assert_eq!(words(&top), [("b", 8), ("a", 1)]);
    }
}
