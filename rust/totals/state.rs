//! What a reducer has in memory of one partition's totals.
//!
//! The store is behind: totals that were committed are written to it later. So a word's total is, in this order,
//!
//! 1. the resident one, for all words before the frontier: a word that is not among them is new;
//! 2. the unwritten one;
//! 3. that of the store, which has to look it up.
//!
//! A store that has words when it is opened is scanned while work goes on, in byte order. What was scanned is resident
//! from then on, and the frontier is behind it. New totals of words behind the frontier are unwritten or in the store,
//! and a scan finds them in both. Where the totals do not fit the memory that they may use, the last words are
//! forgotten, and the frontier moves back.

use std::sync::Arc;

use super::resident::{self, Resident};
use super::top::Top;
use super::unwritten::Unwritten;
use super::{Totals, TotalsError};

/// Resident, unwritten and top words of one partition.
#[derive(Debug)]
pub struct State {
    /// The most frequent words.
    pub top: Top,
    /// What the store is yet to be given.
    pub unwritten: Unwritten,
    resident: Resident,
    limit: usize,
}

/// A scanned word does not come behind the one before it, or behind the frontier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotInOrder;

impl State {
    /// No totals yet of a partition that has no words, or may have any.
    #[must_use]
    pub fn new(top: Top, empty: bool) -> Self {
        Self {
            top,
            unwritten: Unwritten::default(),
            resident: if empty {
                Resident::empty()
            } else {
                Resident::unknown()
            },
            limit: usize::MAX,
        }
    }

    /// The resident totals.
    #[must_use]
    pub fn resident(&self) -> &Resident {
        &self.resident
    }

    /// Has the totals resident that were so in an earlier state of the same words; none of the unwritten ones is newer.
    pub fn restore(&mut self, resident: Resident) {
        self.resident = resident;
        self.resident.cut(self.limit);
    }

    /// Has the resident totals take at most so many bytes from now on.
    pub fn limit(&mut self, bytes: usize) {
        self.limit = bytes;
        self.resident.cut(bytes);
    }

    /// Bytes that may still be scanned: an eighth of the limit is left for new words, or they would soon have what was
    /// scanned forgotten.
    #[must_use]
    pub fn room(&self) -> usize {
        (self.limit - self.limit / 8).saturating_sub(self.resident.memory())
    }

    /// The words, of those given in byte order, that the store has to look up.
    pub fn missing<'a>(&mut self, words: impl Iterator<Item = &'a [u8]>) -> Vec<&'a [u8]> {
        let mut words = words.skip_while(|word| self.resident.knows(word));
        let Some(first) = words.next() else {
            return Vec::new();
        };
        let unwritten = &mut self.unwritten;
        let all = std::iter::once(first).chain(words);
        all.filter(|word| unwritten.get(word).is_none()).collect()
    }

    /// The totals of words given in byte order. `found` are those of the `missing` ones.
    ///
    /// # Errors
    ///
    /// If there are not as many found as missing.
    pub fn totals<'a>(
        &mut self,
        words: impl Iterator<Item = &'a [u8]>,
        found: &[Option<i64>],
    ) -> Result<Vec<Option<i64>>, TotalsError> {
        let mut left = found.iter();
        let mut missing = 0;
        let mut reading = self.resident.reading();
        let totals = words
            .map(|word| {
                if self.resident.knows(word) {
                    return reading.find(word);
                }
                self.unwritten.get(word).unwrap_or_else(|| {
                    missing += 1;
                    left.next().copied().flatten()
                })
            })
            .collect();
        if missing == found.len() {
            Ok(totals)
        } else {
            Err(TotalsError::Count {
                words: missing,
                old: found.len(),
            })
        }
    }

    /// Takes committed totals in; returns whether that may have changed the top words.
    pub fn take(&mut self, new: Arc<Totals>) -> bool {
        self.merge(&new, &[]);
        self.resident.cut(self.limit);
        let changed = self.top.merge(&new);
        self.unwritten.keep(new);
        changed
    }

    /// Takes in the totals of words from `first` on.
    fn merge(&mut self, totals: &Totals, first: &[u8]) {
        let new = totals.entries(0, None).filter(|(word, _)| *word >= first);
        self.resident
            .merge(new.map(|(word, total)| (word, Some(total))));
        let deleted = totals.deleted().iter().filter(|word| &***word >= first);
        self.resident.merge(deleted.map(|word| (&**word, None)));
    }

    /// Begins to take words of the store in: those from the frontier on, in byte order. None where all are known.
    #[must_use]
    pub fn scan(&self) -> Option<Scan> {
        let first = self.resident.frontier()?.into();
        let words = resident::Scan::default();
        Some(Scan { first, words })
    }

    /// Makes scanned words resident, also beyond the limit: where the store has no others, `complete` comes next. It is
    /// no error that some have newer totals.
    pub fn scanned(&mut self, scan: &Scan) {
        if self.resident.frontier() == Some(&*scan.first) {
            let first = self.resident.advance(&scan.words);
            self.overlay(first.as_deref());
        }
    }

    /// Ends the scan: the store has no words from the frontier on.
    pub fn complete(&mut self) {
        let first = self.resident.complete();
        self.overlay(first.as_deref());
        self.resident.cut(self.limit);
    }

    /// Takes in the unwritten totals of words that were behind a frontier and are before the next one: the store has
    /// older ones, or none.
    fn overlay(&mut self, first: Option<&[u8]>) {
        let Some(first) = first else {
            return;
        };
        let unwritten = self.unwritten.totals();
        self.merge(&unwritten, first);
    }
}

/// Words of a store, from the frontier on.
#[derive(Debug)]
pub struct Scan {
    first: Box<[u8]>,
    words: resident::Scan,
}

impl Scan {
    /// Appends a word.
    ///
    /// # Errors
    ///
    /// If it does not come behind the one before it.
    #[inline]
    pub fn push(&mut self, word: &[u8], total: i64) -> Result<(), NotInOrder> {
        let follows = match self.words.last() {
            Some(last) => word > last,
            None => word >= &*self.first,
        };
        if !follows {
            return Err(NotInOrder);
        }
        self.words.push(word, total);
        Ok(())
    }

    /// Bytes held, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.words.memory()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use super::{NotInOrder, State};
    use crate::totals::top::Top;
    use crate::totals::{Totals, TotalsError};

    type Map = BTreeMap<Vec<u8>, i64>;

    /// A partition: its state, what its store has, and what is true.
    struct Partition {
        state: State,
        stored: Map,
        all: Map,
        looked_up: usize,
    }

    impl Partition {
        fn of(stored: Map) -> Self {
            let none: [(&[u8], i64); 0] = [];
            Self {
                state: State::new(Top::new(3, none), stored.is_empty()),
                all: stored.clone(),
                stored,
                looked_up: 0,
            }
        }

        /// Changes words; a total of none deletes.
        fn commit(&mut self, changes: &BTreeMap<Vec<u8>, Option<i64>>) {
            let words = || changes.keys().map(Vec::as_slice);
            let missing = self.state.missing(words());
            self.looked_up += missing.len();
            let found: Vec<_> = missing
                .iter()
                .map(|word| self.stored.get(*word).copied())
                .collect();
            let old = self
                .state
                .totals(words(), &found)
                .expect("as many as missing");
            let mut totals = Totals::default();
            for ((word, total), old) in changes.iter().zip(old) {
                assert_eq!(old, self.all.get(word).copied(), "{word:?}");
                match (*total, old) {
                    (Some(total), old) => totals.put(word, old, total),
                    (None, Some(old)) => totals.delete(word, old),
                    (None, None) => {}
                }
                match total {
                    Some(total) => self.all.insert(word.clone(), *total),
                    None => self.all.remove(word),
                };
            }
            self.state.take(Arc::new(totals));
        }

        fn write(&mut self) {
            let totals = self.state.unwritten.totals();
            let new = totals.entries(0, None);
            self.stored
                .extend(new.map(|(word, total)| (word.to_vec(), total)));
            for word in totals.deleted() {
                self.stored.remove(&**word);
            }
            self.state.unwritten.clear();
            assert_eq!(self.stored, self.all);
        }

        fn scan(&mut self, words: usize) {
            let Some(mut scan) = self.state.scan() else {
                return;
            };
            let frontier = self
                .state
                .resident()
                .frontier()
                .expect("it is scanned")
                .to_vec();
            let mut left = self.stored.range(frontier..);
            for (word, total) in left.by_ref().take(words) {
                scan.push(word, *total).expect("they come in order");
            }
            let ended = left.next().is_none();
            self.state.scanned(&scan);
            if ended {
                self.state.complete();
            }
        }
    }

    #[test]
    fn equals_a_map_however_scans_and_batches_come() {
        for seed in 0..40_u64 {
            let mut seed = seed;
            let mut below = |most: u64| {
                seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                (seed >> 33) % most
            };
            let word = |number: u64| match number % 7 {
                0 => vec![0; usize::try_from(number).expect("it is small") % 5],
                1 => format!("{number}").repeat(200).into_bytes(),
                _ => format!("{:x}", number * 0x9e37 % 0xffff).into_bytes(),
            };
            let stored = (0..below(900)).map(|number| (word(number), 5)).collect();
            let mut partition = Partition::of(stored);
            let mut most = 0;
            for _ in 0..120 {
                let memory = partition.state.resident().memory();
                match below(6) {
                    0 => partition.write(),
                    1 | 2 => partition.scan(usize::try_from(below(200)).expect("it is small")),
                    3 if below(5) == 0 => {
                        let limit = 1 << below(16);
                        partition
                            .state
                            .limit(usize::try_from(limit).expect("it is small"));
                    }
                    _ => {
                        let changes = (0..below(40)).map(|_| {
                            let total = i64::try_from(below(1 << 40)).expect("it fits") - (1 << 20);
                            (word(below(1500)), (below(5) > 0).then_some(total))
                        });
                        partition.commit(&changes.collect());
                        assert!(partition.state.resident().memory() <= partition.state.limit);
                    }
                }
                most = most.max(memory);
            }
            assert!(most > 0);
            let every: BTreeSet<_> = partition
                .all
                .keys()
                .chain(partition.stored.keys())
                .cloned()
                .collect();
            partition.commit(&every.iter().map(|word| (word.clone(), Some(1))).collect());
            partition.state.limit(usize::MAX);
            while partition.state.resident().frontier().is_some() {
                partition.scan(50);
            }
            partition.looked_up = 0;
            partition.commit(&every.into_iter().map(|word| (word, None)).collect());
            assert_eq!(
                (partition.looked_up, partition.state.resident().len()),
                (0, 0)
            );
            partition.write();
        }
    }

    #[test]
    fn scanned_ranges_need_no_look_up() {
        let words = |numbers: std::ops::Range<u32>| {
            numbers
                .map(|number| (format!("{number:03}").into_bytes(), 1))
                .collect::<Map>()
        };
        let mut partition = Partition::of(words(100..200));
        let batch = |number: u32| BTreeMap::from([(format!("{number:03}").into_bytes(), Some(7))]);
        partition.commit(&batch(150));
        partition.commit(&batch(300));
        assert_eq!(partition.looked_up, 2);
        // Unwritten ones need none.
        partition.commit(&batch(150));
        partition.commit(&batch(300));
        assert_eq!(partition.looked_up, 2);
        partition.scan(51);
        partition.write();
        for known in [50, 100, 150] {
            partition.commit(&batch(known));
        }
        assert_eq!(partition.looked_up, 2);
        partition.commit(&batch(151));
        assert_eq!(partition.looked_up, 3);
        // A scan that comes late, after the frontier moved back, is dropped.
        let mut scan = partition.state.scan().expect("it is not complete");
        assert_eq!(scan.push(b"1", 1), Err(NotInOrder));
        assert_eq!(scan.push(b"160", 1), Ok(()));
        assert_eq!(scan.push(b"160", 1), Err(NotInOrder));
        partition.state.limit(0);
        partition.state.scanned(&scan);
        assert_eq!(partition.state.resident().len(), 0);
        assert_eq!(partition.state.room(), 0);
    }

    #[test]
    fn there_must_be_a_total_for_each_missing_word() {
        let mut partition = Partition::of(Map::from([(b"a".to_vec(), 1)]));
        let words = || [&b"a"[..]].into_iter();
        assert_eq!(
            partition.state.totals(words(), &[]),
            Err(TotalsError::Count { words: 1, old: 0 })
        );
        partition.state.complete();
        assert_eq!(partition.state.totals(words(), &[]), Ok(vec![None]));
        assert_eq!(
            partition.state.totals(words(), &[None]),
            Err(TotalsError::Count { words: 0, old: 1 })
        );
    }
}
