//! Records of `counts`, folded by partition and word while a store is restored: the last one counts.

use super::{Totals, TotalsError, parse_total};
use crate::batch::by_partition::WordsByPartition;
use crate::batch::input::Event;
use crate::batch::offsets::Offsets;

/// The last total of each word, by partition; none where the last record deletes the word.
#[derive(Debug, Default)]
pub struct Changelog {
    /// What is owned.
    pub offsets: Offsets,
    last: WordsByPartition<Option<i64>>,
    taken: u64,
    malformed: u64,
}

impl Changelog {
    /// Takes records in.
    pub fn add(&mut self, events: &[Event<'_>]) {
        let Self {
            offsets,
            last,
            taken,
            malformed,
        } = self;
        let totals = events.iter().filter_map(|event| match *event {
            Event::Other => None,
            Event::End { partition, offset } => {
                offsets.end(partition, offset);
                None
            }
            Event::Record {
                partition,
                offset,
                key,
                value,
                ..
            } => {
                if !offsets.take(partition, offset) {
                    return None;
                }
                *taken += 1;
                let total = value.map(parse_total);
                if let (Some(word), None | Some(Some(_))) = (key, total) {
                    Some((partition, word, total.flatten()))
                } else {
                    *malformed += 1;
                    None
                }
            }
        });
        last.change(totals, |last, total| *last = total);
    }

    /// Takes no more records of a partition and forgets what was read of it.
    pub fn disown(&mut self, partition: i32) {
        self.offsets.disown(partition);
        self.last.remove(partition);
    }

    /// Distinct words of a partition in byte order.
    pub fn words(&mut self, partition: i32) -> impl ExactSizeIterator<Item = &[u8]> {
        self.last.in_order(partition).map(|(word, _)| word)
    }

    /// The last totals as changes to a store that has the old ones, given in the order of `words` (none: the store
    /// is empty). They are forgotten.
    ///
    /// # Errors
    ///
    /// If there are not as many old totals as words. Then nothing is forgotten.
    pub fn totals(
        &mut self,
        partition: i32,
        old: Option<&[Option<i64>]>,
    ) -> Result<Totals, TotalsError> {
        let last = self.last.in_order(partition);
        if let Some(old) = old.filter(|old| old.len() != last.len()) {
            return Err(TotalsError::Count {
                words: last.len(),
                old: old.len(),
            });
        }
        let mut totals = Totals::with_capacity(last.len());
        for (place, (word, total)) in last.enumerate() {
            match (total, old.and_then(|old| old[place])) {
                (Some(total), old) => totals.put(word, old, total),
                (None, Some(old)) => totals.delete(word, old),
                (None, None) => {}
            }
        }
        self.last.remove(partition);
        Ok(totals)
    }

    /// Records read.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Records that are no totals.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Bytes held, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.last.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::Changelog;
    use crate::batch::input::Event;

    fn record<'a>(offset: i64, key: &'a [u8], value: Option<&'a [u8]>) -> Event<'a> {
        Event::Record {
            partition: 0,
            offset,
            key: Some(key),
            value,
            time: None,
        }
    }

    #[test]
    fn the_last_record_of_a_word_counts() {
        let mut log = Changelog::default();
        log.offsets.own(0, 0);
        let (one, two) = (1_i64.to_be_bytes(), 2_i32.to_be_bytes());
        log.add(&[
            record(0, b"a", Some(&one)),
            record(1, b"b", Some(&one)),
            record(2, b"c", Some(&one)),
            record(3, b"a", Some(&two)),
            record(4, b"b", None),
            record(5, b"c", None),
            record(6, b"c", Some(&two)),
            record(7, b"d", Some(b"123")),
            record(7, b"a", Some(&one)),
            Event::End {
                partition: 0,
                offset: 9,
            },
        ]);
        assert_eq!(
            (log.taken(), log.malformed(), log.offsets.next(0)),
            (8, 1, Some(9))
        );
        assert_eq!(log.words(0).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
        let totals = log
            .totals(0, Some(&[None, Some(1), Some(1)]))
            .expect("as many old totals as words");
        assert_eq!(totals.values(), [2, 2]);
        assert_eq!(totals.deleted(), [b"b"[..].into()]);
        assert_eq!((totals.new_words(), totals.added()), (0, 2));
        assert_eq!(log.words(0).len(), 0);
    }
}
