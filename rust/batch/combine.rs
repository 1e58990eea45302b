//! A mapper's batch: equal words of many lines added up.
//!
//! The records of a partition go out in byte order of their words, for the compression: neighbours begin alike.
//! Where distinct words are many, lz4 makes them 17 % smaller than in no order, for 40 ns a word; a batch of prose
//! gains nothing, but has few. By count first and then by word compresses the same.

use crate::batch::input::{Event, Reason, Rejected};
use crate::batch::offsets::Offsets;
use crate::batch::table::{Hashed, Table, WordsInOrder};
use crate::wire::packed::{self, Whose};
use crate::wire::partitioner;
use crate::wire::records::Records;
use crate::words::ascii::Text;
use crate::words::tokenize::Rule;

/// Lines are split when so many bytes have come together: what the work on them touches stays in the first cache.
const TEXT: usize = 8192;
/// So many words wait for their slots at most: all of a text, but for a long line's.
const WAITING: usize = TEXT / 2 + 1;

/// Equal words of many lines, added up.
#[derive(Debug)]
pub struct Combiner {
    /// What is owned.
    pub offsets: Offsets,
    rule: Rule,
    partitions: u32,
    counts: Table<i64>,
    tally: Tally,
    text: Text,
    hashed: Vec<Hashed>,
}

/// What a batch was made of.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Messages taken, null lines and rejected ones included.
    pub taken: u64,
    /// Lines without a value.
    pub null_lines: u64,
    /// Words counted.
    pub words: u64,
    /// Bytes of the lines taken.
    pub bytes: u64,
    /// Bytes that the rejected lines hold, about.
    pub rejected_memory: usize,
    /// The time of the oldest line counted, in milliseconds since 1970, where lines have one.
    pub oldest: Option<i64>,
}

impl Combiner {
    /// An empty batch whose words are grouped into `partitions`.
    #[must_use]
    pub fn new(rule: Rule, partitions: u32) -> Self {
        Self {
            offsets: Offsets::default(),
            rule,
            partitions,
            counts: Table::default(),
            tally: Tally::default(),
            text: Text::default(),
            hashed: vec![Hashed::default(); WAITING],
        }
    }

    /// Takes lines in and returns those that can't be processed.
    pub fn add(&mut self, events: &[Event<'_>]) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        for (index, event) in events.iter().enumerate() {
            match *event {
                Event::Other => {}
                Event::End { partition, offset } => self.offsets.end(partition, offset),
                Event::Record {
                    partition,
                    offset,
                    value,
                    time,
                    ..
                } => {
                    if self.offsets.take(partition, offset) {
                        if let Err(reason) = self.take(value, time) {
                            rejected.push(Rejected { index, reason });
                        }
                    }
                }
            }
        }
        self.count();
        self.tally.rejected_memory += Rejected::memory(&rejected, events);
        rejected
    }

    fn take(&mut self, line: Option<&[u8]>, time: Option<i64>) -> Result<(), Reason> {
        self.tally.taken += 1;
        let Some(line) = line else {
            self.tally.null_lines += 1;
            return Ok(());
        };
        self.tally.bytes += line.len() as u64;
        if let Some(length) = self.rule.too_long(line) {
            return Err(Reason::LongWord(length));
        }
        if let Some(time) = time {
            self.tally.oldest = Some(self.tally.oldest.map_or(time, |oldest| oldest.min(time)));
        }
        match self.rule {
            Rule::Ascii => {
                self.text.push(line);
                if self.text.len() >= TEXT {
                    self.count();
                }
            }
            Rule::Unicode => self.rule.words(line, |word| {
                self.tally.words += 1;
                *self.counts.value(word) += 1;
            }),
        }
        Ok(())
    }

    /// Counts the words of the text gathered: each as soon as it is split, or, where the table is too large for the
    /// cache, the short ones together, so that their slots can be asked for ahead.
    ///
    /// Tried: asking for the bytes of the next lines ahead, when their messages were read long before, gains 3 % of
    /// the whole; all words together, whatever the table's size, costs 4 %.
    fn count(&mut self) {
        // A slice is quicker to write to than a vector that may grow at each word.
        let hashed = self.hashed.as_mut_slice();
        let mut waiting = 0;
        let mut words = 0;
        self.text.drain(|word| {
            words += 1;
            let Some(key) = word.key() else {
                *self.counts.value(word.bytes()) += 1;
                return;
            };
            let key = self.counts.hashed(key);
            if self.counts.fits_cache() {
                *self.counts.short(&key) += 1;
            } else {
                if waiting == hashed.len() {
                    self.counts.change_all(hashed, |count| *count += 1);
                    waiting = 0;
                }
                hashed[waiting] = key;
                waiting += 1;
            }
        });
        self.counts
            .change_all(&hashed[..waiting], |count| *count += 1);
        self.tally.words += words;
    }

    /// The records of all partitions, one for each distinct word, in byte order of a partition's words.
    #[must_use]
    pub fn records(&self) -> Records {
        let mut records = Records::of_lines(self.tally.oldest);
        self.partitions(|partition, words| records.put_words(partition, words));
        records
    }

    /// The same with many words in each record, of at most `limit` bytes where a word alone is not longer.
    #[must_use]
    pub fn packed(&self, limit: usize) -> Records {
        let mut records = Records::of_lines(self.tally.oldest);
        self.partitions(|partition, words| {
            records.put_packed(partition, packed::pack(words, Whose::Own, limit));
        });
        records
    }

    /// The same with the words of several partitions in one record, which is written to one of them: `homes` has that
    /// one for each partition. None if it has not, or another number.
    #[must_use]
    pub fn mixed(&self, homes: &[u32], limit: usize) -> Option<Records> {
        let fit = homes.iter().all(|home| *home < self.partitions);
        if homes.len() != self.partitions as usize || !fit {
            return None;
        }
        let mut records = Records::of_lines(self.tally.oldest);
        let home = |word: &[u8]| homes[partitioner::partition(word, self.partitions) as usize];
        self.groups(home, |home, words| {
            records.put_packed(home, packed::pack(words, Whose::Any, limit));
        });
        Some(records)
    }

    /// Hands over each partition's distinct words with their counts, in byte order.
    fn partitions(&self, hand: impl FnMut(i32, WordsInOrder<'_, i64>)) {
        self.groups(|word| partitioner::partition(word, self.partitions), hand);
    }

    /// Hands over the distinct words of each group, which has the number of a partition, in byte order.
    fn groups(
        &self,
        group: impl Fn(&[u8]) -> u32,
        mut hand: impl FnMut(i32, WordsInOrder<'_, i64>),
    ) {
        let orders = self
            .counts
            .orders(self.partitions as usize, |word| group(word) as usize);
        for (partition, order) in (0..).zip(&orders) {
            hand(partition, self.counts.words(order));
        }
    }

    /// What the batch was made of.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Distinct words.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.counts.len()
    }

    /// Bytes held, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.counts.memory() + self.tally.rejected_memory
    }

    /// Forgets the batch.
    pub fn clear(&mut self) {
        self.counts.clear();
        self.tally = Tally::default();
        self.offsets.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Combiner;
    use crate::batch::input::{Event, Reason, Rejected};
    use crate::wire::packed::{KEY, Packed, Whose};
    use crate::wire::partitioner::partition;
    use crate::words::tokenize::{MAX_WORD_BYTES, Rule};

    fn line(offset: i64, value: &[u8]) -> Event<'_> {
        Event::Record {
            partition: 0,
            offset,
            key: None,
            value: Some(value),
            time: None,
        }
    }

    fn counts(combiner: &Combiner) -> Vec<(String, i64)> {
        let mut counts = Vec::new();
        combiner.partitions(|_, words| {
            counts.extend(
                words.map(|(word, count)| (String::from_utf8_lossy(word).into_owned(), count)),
            );
        });
        counts.sort();
        counts
    }

    #[test]
    fn adds_up_equal_words_by_partition() {
        let mut combiner = Combiner::new(Rule::Ascii, 3);
        combiner.offsets.own(0, 0);
        assert!(
            combiner
                .add(&[
                    line(0, b"a b a"),
                    Event::Other,
                    line(1, b"A internationalisation")
                ])
                .is_empty()
        );
        assert_eq!(
            counts(&combiner),
            [
                ("a".into(), 3),
                ("b".into(), 1),
                ("internationalisation".into(), 1)
            ]
        );
        combiner.partitions(|index, words| {
            for (word, _) in words {
                assert_eq!(partition(word, 3), index.unsigned_abs());
            }
        });
        assert_eq!(
            (
                combiner.tally().taken,
                combiner.tally().words,
                combiner.distinct()
            ),
            (2, 5, 3)
        );
        assert!(combiner.add(&[line(2, b"late")]).is_empty());
        assert_eq!(counts(&combiner).len(), 4);
        combiner.clear();
        assert!(counts(&combiner).is_empty());
    }

    #[test]
    fn the_records_have_the_time_of_the_oldest_line_counted() {
        let mut combiner = Combiner::new(Rule::Ascii, 2);
        combiner.offsets.own(0, 3);
        let line = |offset, value, time| Event::Record {
            partition: 0,
            offset,
            key: None,
            value,
            time,
        };
        let long = vec![b'x'; MAX_WORD_BYTES + 1];
        combiner.add(&[
            line(2, Some(&b"taken before"[..]), Some(1)),
            line(3, Some(b"a"), None),
            line(4, None, Some(2)),
            line(5, Some(&long), Some(3)),
        ]);
        assert_eq!(combiner.records().line_time(), None);
        combiner.add(&[
            line(6, Some(b"b"), Some(9)),
            line(7, Some(b"c"), Some(7)),
            line(8, Some(b"d"), Some(8)),
        ]);
        for records in [
            combiner.records(),
            combiner.packed(99),
            combiner.mixed(&[0, 0], 99).expect("two homes"),
        ] {
            assert_eq!(records.line_time(), Some(7));
        }
        combiner.clear();
        assert_eq!(combiner.records().line_time(), None);
    }

    #[test]
    fn a_long_line_leaves_no_memory_behind() {
        let mut combiner = Combiner::new(Rule::Ascii, 3);
        combiner.offsets.own(0, 0);
        let letters = |number: usize| {
            let digits = format!("{number}");
            digits.bytes().map(|digit| digit - b'0' + b'a').collect()
        };
        let words: Vec<Vec<u8>> = (0..150_000).map(letters).collect();
        let line = [words.join(&b' '), b" ".to_vec()].concat().repeat(11);
        assert!(line.len() > 10_000_000);
        for offset in 0..2 {
            assert!(combiner.add(&[self::line(offset, &line)]).is_empty());
        }
        assert_eq!(combiner.distinct(), words.len());
        assert!(counts(&combiner).iter().all(|(_, count)| *count == 22));
        assert_eq!(combiner.hashed.len(), super::WAITING);
        assert!(combiner.text.held() <= 1 << 20);
    }

    #[test]
    fn a_rejected_line_leaves_nothing_behind() {
        for rule in [Rule::Ascii, Rule::Unicode] {
            let mut combiner = Combiner::new(rule, 1);
            combiner.offsets.own(0, 0);
            let long = [b"a b ".to_vec(), vec![b'x'; MAX_WORD_BYTES + 1]].concat();
            let rejected = combiner.add(&[line(0, b"a"), line(1, &long), line(1, b"twice")]);
            assert_eq!(
                rejected,
                [Rejected {
                    index: 1,
                    reason: Reason::LongWord(MAX_WORD_BYTES + 1)
                }]
            );
            assert_eq!(counts(&combiner), [("a".into(), 1)]);
        }
    }

    #[test]
    fn mixes_the_words_of_partitions_with_one_home() {
        let mut combiner = Combiner::new(Rule::Ascii, 4);
        combiner.offsets.own(0, 0);
        let text = (0..200).map(|n| format!("w{}", "x".repeat(n % 50)));
        let text = text.collect::<Vec<_>>().join(" ");
        assert!(combiner.add(&[line(0, text.as_bytes())]).is_empty());
        let homes = [0, 1, 1, 0];
        let records = combiner.mixed(&homes, 1 << 16).expect("four homes");
        assert_eq!(records.len(), 2);
        let mut found = Vec::new();
        for place in 0..2 {
            let (home, key, value) = records.get(place).expect("two records");
            let packed = Packed::read(value).expect("packed").expect("well formed");
            assert_eq!((key, packed.whose), (KEY, Whose::Any));
            for (word, count) in packed {
                assert_eq!(homes[partition(word, 4) as usize], home.unsigned_abs());
                found.push((String::from_utf8_lossy(word).into_owned(), count));
            }
        }
        found.sort();
        assert_eq!(found, counts(&combiner));
        for wrong in [&[0, 1, 1][..], &[0, 1, 1, 4], &[]] {
            assert!(combiner.mixed(wrong, 1 << 16).is_none());
        }
    }
}
