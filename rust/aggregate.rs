//! A reducer's batch: counts added up by partition and word.

use crate::input::{Event, Reason, Rejected};
use crate::packed::{self, Entries, Packed};
use crate::partitions::Partitions;
use crate::positions::Positions;
use crate::tokenize::MAX_WORD_BYTES;
use crate::totals::{Totals, TotalsError};

/// Counts added up by partition and word.
#[derive(Debug, Default)]
pub struct Aggregator {
    /// What is owned.
    pub positions: Positions,
    sums: Partitions<i64>,
    tally: Tally,
}

/// What a batch was made of.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Messages taken, rejected ones included.
    pub taken: u64,
    /// Sum of the counts.
    pub counted: i128,
    /// Bytes of the words taken.
    pub bytes: u64,
    /// Bytes that the rejected records hold, about.
    pub rejected_memory: usize,
    /// Sum of the counts without their signs: no sum of a word is larger.
    magnitude: i128,
}

impl Aggregator {
    /// Takes records in and returns those that can't be processed.
    pub fn add(&mut self, events: &[Event<'_>]) -> Vec<Rejected> {
        let Self {
            positions,
            sums,
            tally,
        } = self;
        let mut rejected = Vec::new();
        let mut risky = Vec::new();
        let counts = events.iter().enumerate().flat_map(|(index, event)| {
            let read = match *event {
                Event::Other => return Counts::none(index),
                Event::End { partition, offset } => {
                    positions.end(partition, offset);
                    return Counts::none(index);
                }
                Event::Record {
                    partition,
                    offset,
                    key,
                    value,
                } => {
                    if !positions.take(partition, offset) {
                        return Counts::none(index);
                    }
                    tally.taken += 1;
                    read(key, value).map(|read| (partition, read))
                }
            };
            match read {
                Ok((partition, Read::Plain(word, count))) => {
                    tally.bytes += word.len() as u64;
                    tally.counted += i128::from(count);
                    tally.magnitude += i128::from(count).abs();
                    Counts::one(index, partition, word, count)
                }
                Ok((partition, Read::Packed(packed))) => {
                    tally.bytes += packed.bytes as u64;
                    tally.magnitude += packed.sum;
                    if tally.magnitude > i64::MAX.into() {
                        risky.push((index, partition, packed));
                        return Counts::none(index);
                    }
                    tally.counted += packed.sum;
                    Counts::many(index, partition, packed)
                }
                Err(reason) => {
                    rejected.push(Rejected { index, reason });
                    Counts::none(index)
                }
            }
        });
        let mut overflows = Vec::new();
        sums.change(counts, |sum, (index, count)| match sum.checked_add(count) {
            Some(added) => *sum = added,
            None => overflows.push((index, count)),
        });
        for (index, count) in overflows {
            tally.counted -= i128::from(count);
            rejected.push(Rejected {
                index,
                reason: Reason::Overflow,
            });
        }
        for (index, partition, packed) in risky {
            if !self.add_if_it_fits(partition, packed) {
                rejected.push(Rejected {
                    index,
                    reason: Reason::Overflow,
                });
            }
        }
        rejected.sort_unstable_by_key(|rejected| rejected.index);
        self.tally.rejected_memory += Rejected::memory(&rejected, events);
        rejected
    }

    /// Adds packed words all or none: where one of the sums would not fit. Few texts can come near that, so that
    /// what this costs does not matter.
    fn add_if_it_fits(&mut self, partition: i32, packed: Packed<'_>) -> bool {
        let fits = packed.into_iter().all(|(word, count)| {
            let sum = self.sums.get(partition, word).unwrap_or(0);
            sum.checked_add(count).is_some()
        });
        if fits {
            let counts = packed
                .into_iter()
                .map(|(word, count)| (partition, word, count));
            self.sums.change(counts, |sum, count| *sum += count);
            self.tally.counted += packed.sum;
        }
        fits
    }

    /// Partitions that the batch has words of, in order.
    #[must_use]
    pub fn partitions(&self) -> Vec<i32> {
        self.sums.numbers()
    }

    /// Distinct words of a partition in byte order.
    pub fn words(&mut self, partition: i32) -> impl ExactSizeIterator<Item = &[u8]> {
        self.sums.in_order(partition).map(|(word, _)| word)
    }

    /// Adds the batch to old totals, given in the order of `words`. A sum that does not fit is refused: an error would
    /// come again with each try, so that one forged count could stop a reducer for good.
    ///
    /// # Errors
    ///
    /// If there are not as many old totals as words.
    pub fn totals(&mut self, partition: i32, old: &[Option<i64>]) -> Result<Totals, TotalsError> {
        let sums = self.sums.in_order(partition);
        if sums.len() != old.len() {
            return Err(TotalsError::Count {
                words: sums.len(),
                old: old.len(),
            });
        }
        let mut totals = Totals::with_capacity(old.len());
        for ((word, sum), old) in sums.zip(old) {
            match old.unwrap_or(0).checked_add(sum) {
                Some(new) => totals.put(word, *old, new),
                None => totals.refuse(word, sum),
            }
        }
        Ok(totals)
    }

    /// What the batch was made of.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Distinct words, counted in each partition.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.sums.len()
    }

    /// Bytes held, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.sums.memory() + self.tally.rejected_memory
    }

    /// Forgets the batch.
    pub fn clear(&mut self) {
        self.sums.clear();
        self.tally = Tally::default();
        self.positions.clear();
    }
}

/// What a record of `words` has.
enum Read<'a> {
    Plain(&'a [u8], i64),
    Packed(Packed<'a>),
}

/// A record of `words`: no value means once.
fn read<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Result<Read<'a>, Reason> {
    let key = key.ok_or(Reason::NoKey)?;
    if key.len() > MAX_WORD_BYTES {
        return Err(Reason::LongWord(key.len()));
    }
    let Some(value) = value else {
        return Ok(Read::Plain(key, 1));
    };
    if let Ok(count) = value.try_into() {
        return Ok(Read::Plain(key, i64::from_be_bytes(count)));
    }
    match Packed::read(value) {
        Some(packed) if key == packed::KEY => packed.map(Read::Packed).map_err(Reason::Packed),
        _ => Err(Reason::ValueLength(value.len())),
    }
}

/// The words of one record with its index and their counts.
struct Counts<'a> {
    index: usize,
    partition: i32,
    one: Option<(&'a [u8], i64)>,
    many: Entries<'a>,
}

impl<'a> Counts<'a> {
    fn none(index: usize) -> Self {
        Self {
            index,
            partition: 0,
            one: None,
            many: Entries::default(),
        }
    }

    fn one(index: usize, partition: i32, word: &'a [u8], count: i64) -> Self {
        Self {
            partition,
            one: Some((word, count)),
            ..Self::none(index)
        }
    }

    fn many(index: usize, partition: i32, packed: Packed<'a>) -> Self {
        Self {
            partition,
            many: packed.into_iter(),
            ..Self::none(index)
        }
    }
}

impl<'a> Iterator for Counts<'a> {
    type Item = (i32, &'a [u8], (usize, i64));

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (word, count) = self.one.take().or_else(|| self.many.next())?;
        Some((self.partition, word, (self.index, count)))
    }
}

#[cfg(test)]
mod tests {
    use super::Aggregator;
    use crate::input::{Event, Reason, Rejected};
    use crate::packed::{self, Malformed};
    use crate::totals::TotalsError;

    fn add(aggregator: &mut Aggregator, records: &[(i32, &str, i64)]) -> Vec<Rejected> {
        let values: Vec<_> = records
            .iter()
            .map(|(_, _, count)| count.to_be_bytes())
            .collect();
        let events: Vec<_> = records
            .iter()
            .zip(&values)
            .zip(0..)
            .map(|(((partition, key, _), value), offset)| {
                aggregator.positions.own(*partition, 0);
                Event::Record {
                    partition: *partition,
                    offset,
                    key: Some(key.as_bytes()),
                    value: Some(value),
                }
            })
            .collect();
        aggregator.add(&events)
    }

    #[test]
    fn adds_up_by_partition_and_word() {
        let mut aggregator = Aggregator::default();
        let long = "a word of more than sixteen bytes";
        assert!(
            add(
                &mut aggregator,
                &[
                    (1, "b", 1),
                    (0, "b", 2),
                    (1, "a", 3),
                    (1, "b", -5),
                    (1, long, 7)
                ]
            )
            .is_empty()
        );
        assert_eq!(aggregator.partitions(), [0, 1]);
        assert_eq!(
            aggregator.words(1).collect::<Vec<_>>(),
            [b"a", long.as_bytes(), b"b"]
        );
        let totals = aggregator
            .totals(1, &[Some(1), None, Some(256)])
            .expect("sums that fit");
        assert_eq!(totals.values(), [4, 7, 252]);
        assert_eq!(
            (totals.new_words(), totals.added(), totals.fell()),
            (1, 6, true)
        );
    }

    #[test]
    fn what_overflows_is_rejected_and_not_counted() {
        let mut aggregator = Aggregator::default();
        let rejected = add(
            &mut aggregator,
            &[(0, "a", i64::MAX), (0, "a", 2), (0, "b", 1), (0, "a", -1)],
        );
        assert_eq!(
            rejected,
            [Rejected {
                index: 1,
                reason: Reason::Overflow
            }]
        );
        assert_eq!(aggregator.tally().counted, i128::from(i64::MAX));
        let totals = aggregator
            .totals(0, &[Some(2), None])
            .expect("as many old totals as words");
        assert_eq!(totals.refused(), [(b"a"[..].into(), i64::MAX - 1)]);
        assert_eq!((totals.len(), totals.word(0)), (1, &b"b"[..]));
    }

    fn packed_event(offset: i64, value: &[u8]) -> Event<'_> {
        Event::Record {
            partition: 0,
            offset,
            key: Some(packed::KEY),
            value: Some(value),
        }
    }

    #[test]
    fn packed_and_plain_records_add_up() {
        let mut aggregator = Aggregator::default();
        aggregator.positions.own(0, 0);
        let words: [(&[u8], i64); 3] = [(b"\0", 1), (b"a", 2), (b"b", 300)];
        let values = packed::pack(words.into_iter(), 1000);
        let (plain, damaged) = (5_i64.to_be_bytes(), [&values[0][..], b"\x01a\x01"].concat());
        let rejected = aggregator.add(&[
            packed_event(0, &values[0]),
            packed_event(1, &plain),
            packed_event(2, &damaged),
            packed_event(2, &values[0]),
            packed_event(3, &values[0]),
        ]);
        assert_eq!(
            rejected,
            [Rejected {
                index: 2,
                reason: Reason::Packed(Malformed::Entry(values[0].len()))
            }]
        );
        let tally = aggregator.tally();
        assert_eq!((tally.taken, tally.counted, tally.bytes), (4, 611, 7));
        let totals = aggregator
            .totals(0, &[None; 3])
            .expect("as many as there are words");
        assert_eq!(totals.values(), [7, 4, 600]);
    }

    #[test]
    fn packed_words_whose_sums_do_not_fit_are_rejected_whole() {
        let mut aggregator = Aggregator::default();
        aggregator.positions.own(0, 0);
        let pack = |words: &[(&'static [u8], i64)]| packed::pack(words.iter().copied(), 1000);
        let (most, both) = (pack(&[(b"b", i64::MAX)]), pack(&[(b"a", 1), (b"b", 1)]));
        let fits = pack(&[(b"a", 1), (b"c", 5)]);
        let rejected = aggregator.add(&[
            packed_event(0, &most[0]),
            packed_event(1, &both[0]),
            packed_event(2, &fits[0]),
        ]);
        assert_eq!(
            rejected,
            [Rejected {
                index: 1,
                reason: Reason::Overflow
            }]
        );
        assert_eq!(aggregator.tally().counted, i128::from(i64::MAX) + 6);
        let totals = aggregator
            .totals(0, &[None; 3])
            .expect("as many as there are words");
        assert_eq!(totals.values(), [1, i64::MAX, 5]);
    }

    #[test]
    fn old_totals_must_fit_the_words() {
        let mut aggregator = Aggregator::default();
        add(&mut aggregator, &[(0, "a", 1)]);
        assert_eq!(
            aggregator.totals(0, &[]).map(|_| ()),
            Err(TotalsError::Count { words: 1, old: 0 })
        );
        assert!(
            aggregator
                .totals(7, &[])
                .is_ok_and(|totals| totals.is_empty())
        );
    }
}
