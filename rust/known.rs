//! All totals of one partition in memory, so that no look-up has to reach the store.
//!
//! A total that a store has costs a look-up of 1.2 to 1.7 µs where words are many: more than all else that a
//! reducer does for a word. A hash table of all words would take 64 bytes or more of each; here most lie packed
//! in byte order, as in a record of `words`, in some 9 bytes. A batch comes in byte order, too, so its look-ups go
//! once through them, and leave out the blocks without a word of theirs. New totals gather in a small table
//! first; when it has grown to a part of the whole, the packed ones are written anew.

use crate::packed::{Entries, write};
use crate::table::Table;
use crate::totals::Totals;

/// Words of a block.
const BLOCK: usize = 64;
/// The table is merged with the packed words when it has so many words and a 32nd part of them.
const RECENT: usize = 4096;

/// The totals of all words of a partition; none of them is below 0.
#[derive(Debug, Default)]
pub struct Known {
    packed: Vec<u8>,
    /// Where each block begins.
    blocks: Vec<usize>,
    length: usize,
    /// New totals of words, whether they are among the packed ones or not.
    recent: Table<i64>,
}

impl Known {
    /// The totals of words given in byte order.
    pub fn totals<'a>(&self, words: impl Iterator<Item = &'a [u8]>) -> Vec<Option<i64>> {
        let mut reading = Reading {
            known: self,
            block: 0,
            entries: Entries::of(&self.packed),
            next: None,
        };
        reading.next = reading.entries.next();
        words
            .map(|word| match self.recent.get(word) {
                None => reading.find(word),
                found => found,
            })
            .collect()
    }

    /// Takes new totals in; returns whether it could: the totals of a batch that are all at least 0.
    pub fn merge(&mut self, new: &Totals) -> bool {
        if !new.deleted().is_empty() || new.values().iter().any(|total| *total < 0) {
            return false;
        }
        let enough = RECENT.max(self.length / 32);
        if self.recent.is_empty() && new.len() > enough {
            self.pack(new.entries(0, None), new.len());
            return true;
        }
        for (word, total) in new.entries(0, None) {
            *self.recent.value(word) = total;
        }
        if self.recent.len() > enough {
            let recent = std::mem::take(&mut self.recent);
            let order = recent.order();
            self.pack(recent.words(&order), recent.len());
        }
        true
    }

    /// Bytes held, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.packed.capacity() + self.blocks.capacity() * size_of::<usize>() + self.recent.memory()
    }

    /// Writes the packed words anew, with new totals in byte order of their words.
    fn pack<'a>(&mut self, new: impl Iterator<Item = (&'a [u8], i64)>, words: usize) {
        let mut new = new.peekable();
        let mut old = Entries::of(&self.packed).peekable();
        let mut packing = Packing {
            packed: Vec::with_capacity(self.packed.len() + 12 * words),
            blocks: Vec::with_capacity((self.length + words) / BLOCK + 1),
            length: 0,
        };
        loop {
            let (word, total) = match (old.peek(), new.peek()) {
                (Some((before, _)), Some((word, _))) if before < word => old.next(),
                (_, Some((word, _))) => {
                    let word = *word;
                    old.next_if(|(before, _)| *before == word);
                    new.next()
                }
                _ => old.next(),
            }
            .map_or((None, 0), |(word, total)| (Some(word), total));
            match word {
                Some(word) => packing.push(word, total),
                None => break,
            }
        }
        self.length = packing.length;
        self.blocks = packing.blocks;
        self.packed = packing.packed;
        self.packed.shrink_to_fit();
    }
}

struct Packing {
    packed: Vec<u8>,
    blocks: Vec<usize>,
    length: usize,
}

impl Packing {
    fn push(&mut self, word: &[u8], total: i64) {
        if self.length % BLOCK == 0 {
            self.blocks.push(self.packed.len());
        }
        self.length += 1;
        write(&mut self.packed, word.len() as u64);
        self.packed.extend_from_slice(word);
        write(&mut self.packed, total.unsigned_abs());
    }
}

/// Goes once through the packed words.
struct Reading<'a> {
    known: &'a Known,
    block: usize,
    entries: Entries<'a>,
    next: Option<(&'a [u8], i64)>,
}

impl Reading<'_> {
    fn find(&mut self, word: &[u8]) -> Option<i64> {
        let begins = |block: &usize| Entries::of(&self.known.packed[*block..]).next();
        let before = |block: &usize| begins(block).is_some_and(|(first, _)| first <= word);
        let ahead = self.known.blocks.get(self.block + 1..).unwrap_or_default();
        if ahead.first().is_some_and(before) {
            self.block += ahead.partition_point(before);
            self.entries = Entries::of(&self.known.packed[self.known.blocks[self.block]..]);
            self.next = self.entries.next();
        }
        while let Some((found, total)) = self.next {
            if found >= word {
                return (found == word).then_some(total);
            }
            self.next = self.entries.next();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Known;
    use crate::totals::Totals;

    fn totals(words: &BTreeMap<Vec<u8>, i64>) -> Totals {
        let mut totals = Totals::default();
        for (word, total) in words {
            totals.put(word, None, *total);
        }
        totals
    }

    #[test]
    fn equals_a_map() {
        let mut known = Known::default();
        let mut map = BTreeMap::new();
        let mut seed = 1_usize;
        for size in [0, 1, 100, 3000, 3000, 20_000, 5, 9000, 1, 300] {
            let words: Vec<_> = (0..size)
                .map(|_| {
                    seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    let number = seed >> 40 & 0x7fff;
                    format!("{number}").repeat(1 + number % 5).into_bytes()
                })
                .collect();
            let before: Vec<_> = map.clone().into_iter().collect();
            let batch: BTreeMap<_, _> = words.into_iter().zip((0..).step_by(77)).collect();
            let found = known.totals(batch.keys().map(Vec::as_slice));
            let expected: Vec<_> = batch.keys().map(|word| map.get(word).copied()).collect();
            assert_eq!(found, expected);
            assert!(known.merge(&totals(&batch)));
            map.extend(batch);
            let all = known.totals(map.keys().map(Vec::as_slice));
            assert_eq!(all, map.values().map(|n| Some(*n)).collect::<Vec<_>>());
            for (word, _) in before.iter().step_by(100) {
                let other = [word, &b"!"[..]].concat();
                let found = known.totals([word.as_slice(), &other].into_iter());
                assert_eq!(found, [map.get(word).copied(), None]);
            }
        }
        assert!(known.memory() < map.len() * 60 + 400_000);
    }

    #[test]
    fn takes_no_total_below_0() {
        let mut known = Known::default();
        assert!(!known.merge(&totals(&[(b"a".to_vec(), -1)].into())));
        let mut deletes = Totals::default();
        deletes.delete(b"a", 1);
        assert!(!known.merge(&deletes));
        assert_eq!(known.totals([&b"a"[..]].into_iter()), [None]);
    }
}
