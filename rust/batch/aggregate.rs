//! A reducer's batch: counts added up by partition and word.
//!
//! A record may have words of any partition, for the reducer that owned them all when it was written. Words of a
//! partition that the batch does not own when it ends are written to that one, in the same transaction: they are
//! [`forwarded`](Aggregator::forwarded). So who owns what has to be right for speed alone.
//!
//! Totals of a partition whose offset has not moved come from such a record. Its offset is committed all the same:
//! that has the next owner wait for a transaction that has yet to end, by the offset that is pending (KIP-447).

use crate::batch::ages::Ages;
use crate::batch::by_partition::WordsByPartition;
use crate::batch::input::{Event, Reason, Rejected};
use crate::batch::offsets::Offsets;
use crate::totals::{Totals, TotalsError};
use crate::wire::packed::{self, Entries, Packed, Whose};
use crate::wire::partitioner::partition;
use crate::wire::records::Records;
use crate::words::tokenize::MAX_WORD_BYTES;

/// Counts added up by partition and word.
#[derive(Debug)]
pub struct Aggregator {
    /// What is owned.
    pub offsets: Offsets,
    partitions: u32,
    sums: WordsByPartition<i64>,
    ages: Ages,
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
    /// Whether a record had words of any partition.
    pub mixed: bool,
}

impl Aggregator {
    /// An empty batch of a topic of so many partitions.
    #[must_use]
    pub fn new(partitions: u32) -> Self {
        Self {
            offsets: Offsets::default(),
            partitions,
            sums: WordsByPartition::default(),
            ages: Ages::default(),
            tally: Tally::default(),
        }
    }

    /// Takes records in and returns those that can't be processed.
    pub fn add(&mut self, events: &[Event<'_>]) -> Vec<Rejected> {
        let Self {
            offsets,
            partitions,
            sums,
            ages,
            tally,
        } = self;
        let partitions = *partitions;
        let mut rejected = Vec::new();
        let mut risky = Vec::new();
        let counts = events.iter().enumerate().flat_map(|(index, event)| {
            let read = match *event {
                Event::Other => return Counts::none(index),
                Event::End { partition, offset } => {
                    offsets.end(partition, offset);
                    return Counts::none(index);
                }
                Event::Record {
                    partition,
                    offset,
                    key,
                    value,
                    time,
                } => {
                    if !offsets.take(partition, offset) {
                        return Counts::none(index);
                    }
                    tally.taken += 1;
                    read(key, value).map(|read| (partition, time, read))
                }
            };
            match read {
                Ok((partition, time, Read::Plain(word, count))) => {
                    ages.add(time, count.into());
                    tally.bytes += word.len() as u64;
                    tally.counted += i128::from(count);
                    tally.magnitude += i128::from(count).abs();
                    Counts::one(index, Home::Partition(partition), word, count)
                }
                Ok((partition, time, Read::Packed(packed))) => {
                    ages.add(time, packed.sum);
                    tally.bytes += packed.bytes as u64;
                    tally.magnitude += packed.sum;
                    let home = match packed.whose {
                        Whose::Own => Home::Partition(partition),
                        Whose::Any => Home::OfWord(partitions),
                    };
                    if tally.magnitude > i64::MAX.into() {
                        risky.push((index, home, packed));
                        return Counts::none(index);
                    }
                    tally.counted += packed.sum;
                    tally.mixed |= packed.whose == Whose::Any;
                    Counts::many(index, home, packed)
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
        for (index, home, packed) in risky {
            if !self.add_if_it_fits(home, packed) {
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
    fn add_if_it_fits(&mut self, home: Home, packed: Packed<'_>) -> bool {
        let fits = packed.into_iter().all(|(word, count)| {
            let sum = self.sums.get(home.of(word), word).unwrap_or(0);
            sum.checked_add(count).is_some()
        });
        if fits {
            let counts = packed
                .into_iter()
                .map(|(word, count)| (home.of(word), word, count));
            self.sums.change(counts, |sum, count| *sum += count);
            self.tally.counted += packed.sum;
            self.tally.mixed |= packed.whose == Whose::Any;
        }
        fits
    }

    /// Owned partitions that the batch has words of, in order.
    #[must_use]
    pub fn partitions(&self) -> Vec<i32> {
        self.with_words(true)
    }

    /// Partitions that the batch has words of, those that are owned or the others, in order.
    fn with_words(&self, owned: bool) -> Vec<i32> {
        let mut numbers = self.sums.numbers();
        numbers.retain(|partition| self.offsets.owns(*partition) == owned);
        numbers
    }

    /// The words of partitions that are not owned, packed for those into records of at most `limit` bytes where a
    /// word alone is not longer.
    pub fn forwarded(&mut self, limit: usize) -> Records {
        let mut records = Records::of_lines(self.ages.oldest());
        for partition in self.with_words(false) {
            let words = self.sums.in_order(partition);
            records.put_packed(partition, packed::pack(words, Whose::Own, limit));
        }
        records
    }

    /// Sum of the counts that are not forwarded.
    pub fn counted(&mut self) -> i128 {
        let mut counted = self.tally.counted;
        for partition in self.with_words(false) {
            let words = self.sums.in_order(partition);
            counted -= words.map(|(_, sum)| i128::from(sum)).sum::<i128>();
        }
        counted
    }

    /// Times of lines with the words of their records, oldest first; those that are forwarded are among them.
    pub fn line_times(&mut self) -> Vec<(i64, u64)> {
        self.ages.all()
    }

    /// Partitions and their next offsets, of those that moved; of all that are owned where words came in a record of
    /// any partition's.
    #[must_use]
    pub fn offsets(&self) -> Vec<(i32, i64)> {
        if self.tally.mixed {
            self.offsets.all()
        } else {
            self.offsets.moved()
        }
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
        self.ages.clear();
        self.tally = Tally::default();
        self.offsets.clear();
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

/// Where the words of a record belong.
#[derive(Clone, Copy)]
enum Home {
    Partition(i32),
    /// Each to its own, of so many.
    OfWord(u32),
}

impl Home {
    #[inline]
    #[expect(clippy::cast_possible_wrap)] // Kafka's partitions are numbered by an i32
    fn of(self, word: &[u8]) -> i32 {
        match self {
            Self::Partition(partition) => partition,
            Self::OfWord(partitions) => partition(word, partitions) as i32,
        }
    }
}

/// The words of one record with its index and their counts.
struct Counts<'a> {
    index: usize,
    home: Home,
    one: Option<(&'a [u8], i64)>,
    many: Entries<'a>,
}

impl<'a> Counts<'a> {
    fn none(index: usize) -> Self {
        Self {
            index,
            home: Home::Partition(0),
            one: None,
            many: Entries::default(),
        }
    }

    fn one(index: usize, home: Home, word: &'a [u8], count: i64) -> Self {
        Self {
            home,
            one: Some((word, count)),
            ..Self::none(index)
        }
    }

    fn many(index: usize, home: Home, packed: Packed<'a>) -> Self {
        Self {
            home,
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
        Some((self.home.of(word), word, (self.index, count)))
    }
}

#[cfg(test)]
mod tests {
    use super::Aggregator;
    use crate::batch::input::{Event, Reason, Rejected};
    use crate::totals::TotalsError;
    use crate::wire::packed::{self, Malformed, Packed, Whose};
    use crate::wire::partitioner::partition;

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
                aggregator.offsets.own(*partition, 0);
                Event::Record {
                    partition: *partition,
                    offset,
                    key: Some(key.as_bytes()),
                    value: Some(value),
                    time: None,
                }
            })
            .collect();
        aggregator.add(&events)
    }

    #[test]
    fn adds_up_by_partition_and_word() {
        let mut aggregator = Aggregator::new(12);
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
        let mut aggregator = Aggregator::new(12);
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
            time: None,
        }
    }

    #[test]
    fn packed_and_plain_records_add_up() {
        let mut aggregator = Aggregator::new(12);
        aggregator.offsets.own(0, 0);
        let words: [(&[u8], i64); 3] = [(b"\0", 1), (b"a", 2), (b"b", 300)];
        let values = packed::pack(words.into_iter(), Whose::Own, 1000);
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
        let mut aggregator = Aggregator::new(12);
        aggregator.offsets.own(0, 0);
        let pack =
            |words: &[(&'static [u8], i64)]| packed::pack(words.iter().copied(), Whose::Own, 1000);
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
        let mut aggregator = Aggregator::new(12);
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

    #[test]
    fn words_of_any_partition_go_to_their_own_or_are_forwarded() {
        let mut aggregator = Aggregator::new(4);
        let words = (0..100).map(|n| (format!("w{n:02}"), n));
        let words: Vec<(String, i64)> = words.collect();
        let pairs = || words.iter().map(|(word, count)| (word.as_bytes(), *count));
        let of = |wanted: i32| {
            pairs().filter(move |(word, _)| partition(word, 4) == wanted.unsigned_abs())
        };
        let mixed = packed::pack(pairs(), Whose::Any, 1 << 16);
        for owned in [0, 1] {
            aggregator.offsets.own(owned, 5);
        }
        assert!(aggregator.add(&[packed_event(5, &mixed[0])]).is_empty());
        assert_eq!(aggregator.offsets(), [(0, 6), (1, 5)], "both fence");
        assert_eq!(aggregator.partitions(), [0, 1]);
        for owned in [0, 1] {
            let expected: Vec<_> = of(owned).map(|(word, _)| word).collect();
            assert_eq!(aggregator.words(owned).collect::<Vec<_>>(), expected);
        }
        let forwarded = aggregator.forwarded(1 << 16);
        for (place, partition) in [(0, 2), (1, 3)] {
            let (to, key, value) = forwarded.get(place).expect("a record for each");
            let packed = Packed::read(value).expect("packed").expect("well formed");
            assert_eq!(
                (to, key, packed.whose),
                (partition, packed::KEY, Whose::Own)
            );
            assert_eq!(
                packed.into_iter().collect::<Vec<_>>(),
                of(partition).collect::<Vec<_>>()
            );
        }
        assert_eq!(forwarded.len(), 2);
        let counted: i64 = of(0).chain(of(1)).map(|(_, count)| count).sum();
        assert_eq!(aggregator.counted(), counted.into());

        // What is opened before the batch ends is not forwarded any more.
        aggregator.offsets.own(3, 0);
        assert_eq!(aggregator.partitions(), [0, 1, 3]);
        assert_eq!(aggregator.forwarded(1 << 16).len(), 1);
        assert_eq!(aggregator.offsets(), [(0, 6), (1, 5), (3, 0)]);

        aggregator.clear();
        assert!(aggregator.offsets().is_empty());
        assert!(aggregator.forwarded(1 << 16).is_empty());
    }

    #[test]
    fn words_of_any_partition_whose_sums_do_not_fit_are_rejected_whole() {
        let mut aggregator = Aggregator::new(2);
        aggregator.offsets.own(0, 0);
        let pack = |words: &[(&'static [u8], i64)]| {
            packed::pack(words.iter().copied(), Whose::Any, 1000).swap_remove(0)
        };
        let (most, both) = (pack(&[(b"b", i64::MAX)]), pack(&[(b"a", 1), (b"b", 1)]));
        let rejected = aggregator.add(&[packed_event(0, &most), packed_event(1, &both)]);
        assert_eq!(rejected.len(), 1);
        let everywhere = [0, 1].map(|partition| {
            let words = aggregator.sums.in_order(partition);
            words.map(|(_, sum)| i128::from(sum)).sum::<i128>()
        });
        assert_eq!(everywhere.iter().sum::<i128>(), i64::MAX.into());
    }
}
