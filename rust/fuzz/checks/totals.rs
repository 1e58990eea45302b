//! A partition's totals, in memory, unwritten and in a store, against a `BTreeMap`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use wcsup_core::totals::resident::Resident;
use wcsup_core::totals::top::Top;
use wcsup_core::totals::{State, Totals};

use super::{Choices, numbered};

const LISTED: usize = 3;

type Map = BTreeMap<Vec<u8>, i64>;

struct Partition {
    state: State,
    limit: usize,
    /// What the store has.
    stored: Map,
    /// What is true.
    all: Map,
    /// Whether a total fell, or a word was deleted: the list of top words need not be exact from then on.
    fell: bool,
}

/// A word's total is the last one that was committed, wherever it is and however batches, scans and writes come.
pub fn check(data: &[u8]) {
    let mut choices = Choices(data);
    let mut partition = Partition::of(&mut choices);
    while !choices.is_empty() {
        match choices.byte() % 8 {
            0 => partition.write(),
            1 => partition.scan(choices.below(200)),
            2 => {
                partition.limit = 1 << choices.below(16);
                partition.state.limit(partition.limit);
            }
            3 => partition.pack(),
            4 => {
                let (first, total) = (choices.below(1500), choices.number());
                let words = (first..first + choices.below(200)).map(numbered);
                partition.commit(&words.map(|word| (word, Some(total))).collect());
            }
            5 => {
                let (first, step) = (choices.below(300), 1 + choices.below(9));
                let words = partition.all.keys().skip(first).step_by(step).take(100);
                partition.commit(&words.map(|word| (word.clone(), None)).collect());
            }
            _ => {
                let changes = (0..choices.below(30)).map(|_| {
                    let (word, total) = (choices.word(), choices.number());
                    (word, (choices.byte() % 8 > 0).then_some(total))
                });
                partition.commit(&changes.collect());
            }
        }
    }
    // All is known once it is scanned, and needs no look-up.
    partition.write();
    partition.state.limit(usize::MAX);
    while partition.state.resident().frontier().is_some() {
        partition.scan(100);
    }
    let words = partition.all.keys().map(Vec::as_slice);
    assert!(partition.state.missing(words.clone()).is_empty());
    let found = partition.state.totals(words, &[]).expect("none is missing");
    assert!(
        found
            .into_iter()
            .flatten()
            .eq(partition.all.values().copied())
    );
    assert_eq!(partition.state.resident().len(), partition.all.len());
}

impl Partition {
    fn of(choices: &mut Choices<'_>) -> Self {
        let stored: Map = (0..choices.below(900))
            .map(|number| (numbered(number), 5))
            .collect();
        Self {
            state: State::new(Top::new(LISTED, words(&stored)), stored.is_empty()),
            limit: usize::MAX,
            all: stored.clone(),
            stored,
            fell: false,
        }
    }

    fn commit(&mut self, changes: &BTreeMap<Vec<u8>, Option<i64>>) {
        let words = || changes.keys().map(Vec::as_slice);
        let missing = self.state.missing(words());
        let found = missing.iter().map(|word| self.stored.get(*word).copied());
        let found: Vec<_> = found.collect();
        let old = self
            .state
            .totals(words(), &found)
            .expect("as many as missing");
        let mut totals = Totals::default();
        for ((word, total), old) in changes.iter().zip(old) {
            assert_eq!(old, self.all.get(word).copied(), "{word:?}");
            match (*total, old) {
                (Some(total), old) => {
                    totals.put(word, old, total);
                    self.all.insert(word.clone(), total);
                }
                (None, Some(old)) => {
                    totals.delete(word, old);
                    self.all.remove(word);
                }
                (None, None) => {}
            }
        }
        self.fell |= totals.fell() || !totals.deleted().is_empty();
        self.state.take(Arc::new(totals));
        assert!(self.state.resident().memory() <= self.limit);
        if !self.fell {
            let mut expected = self.all.iter().map(|(word, total)| (&word[..], *total));
            let mut expected: Vec<_> = expected
                .by_ref()
                .filter(|(word, _)| word.len() <= 256)
                .collect();
            expected.sort_by_key(|(word, total)| (Reverse(*total), *word));
            expected.truncate(LISTED);
            assert_eq!(self.state.top.words(LISTED), expected);
        }
    }

    fn write(&mut self) {
        let totals = self.state.unwritten.totals();
        assert_eq!(
            self.state.unwritten.len(),
            totals.len() + totals.deleted().len()
        );
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
        let frontier = self.state.resident().frontier().expect("it is scanned");
        let mut left = self.stored.range(frontier.to_vec()..);
        for (word, total) in left.by_ref().take(words) {
            scan.push(word, *total).expect("they come in order");
        }
        self.state.scanned(&scan);
        if left.next().is_none() {
            self.state.complete();
        }
    }

    /// A process that starts again has what it packed when it ended.
    fn pack(&mut self) {
        self.write();
        let resident = self.state.resident();
        let (packed, frontier) = (resident.packed(), resident.frontier());
        let same = Resident::unpacked(&packed, frontier).expect("what was packed");
        assert_eq!((same.len(), same.frontier()), (resident.len(), frontier));
        assert_eq!(same.packed(), packed);
        self.state.restore(same);
    }
}

fn words(map: &Map) -> impl Iterator<Item = (&[u8], i64)> {
    map.iter().map(|(word, total)| (&word[..], *total))
}
