//! What the Rust core costs by the byte and by the word, beside ceilings measured in the same run.
//!
//! `cargo bench --locked` runs all, `cargo bench --locked -- prose` those with the name. On a shared machine only
//! the ratios of one run mean something: compare `fastest`.

use std::sync::LazyLock;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use wcsup_core::batch::aggregate::Aggregator;
use wcsup_core::batch::combine::Combiner;
use wcsup_core::batch::input::Event;
use wcsup_core::batch::table::{Key, Table};
use wcsup_core::totals::Totals;
use wcsup_core::totals::changelog::Changelog;
use wcsup_core::totals::top::Top;
use wcsup_core::words::ascii::Text;
use wcsup_core::words::tokenize::Rule;

fn main() {
    divan::main();
}

const PARTITIONS: u32 = 12;

/// Numbers that look random and are the same in every run (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("less than a usize")
    }
}

/// The words of the most frequent ranks of English; the others are made up and longer.
const COMMON: &str = "the of and to a in that he was it his is with as i had for at by on not be from but have \
    him they which you were all she or there her one their so we an said when out this no if me what them more \
    who into up would could will been my now like some very then its man upon your than any other about time";

/// Lines of 26 words and 140 bytes, 12,000 different words by Zipf's law, some of them capital or before a comma.
static PROSE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut random = Random(1);
    let mut vocabulary: Vec<String> = COMMON.split_whitespace().map(String::from).collect();
    while vocabulary.len() < 12_000 {
        let length = 3 + random.below(4) + random.below(5);
        let letters = (0..length).map(|place| {
            let of = if place % 2 == 0 {
                "bcdfghjklmnprstvw"
            } else {
                "aeiou"
            };
            char::from(of.as_bytes()[random.below(of.len())])
        });
        let word: String = letters.collect();
        if !vocabulary.contains(&word) {
            vocabulary.push(word);
        }
    }
    let mut sum = 0;
    let ranks: Vec<usize> = (0..vocabulary.len())
        .map(|rank| {
            sum += 1_000_000_000 / (rank + 2);
            sum
        })
        .collect();
    let mut line = || {
        let mut line = Vec::new();
        for _ in 0..26 {
            let chance = random.below(sum);
            let word = &vocabulary[ranks.partition_point(|rank| *rank <= chance)];
            let start = line.len();
            line.extend_from_slice(word.as_bytes());
            if random.below(15) == 0 {
                line[start..].make_ascii_uppercase();
            }
            line.extend_from_slice(if random.below(10) == 0 { b", " } else { b" " });
        }
        line
    };
    (0..50_000).map(|_| line()).collect()
});

/// Lines of 10 words, uniform out of 5 million.
static MANY: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut random = Random(2);
    let mut word = || {
        let mut number = 26 * 26 * 26 + random.below(5_000_000);
        let mut word = Vec::new();
        while number > 0 {
            word.push(b"etaoinshrdlucmfwypvbgkjqxz"[number % 26]);
            number /= 26;
        }
        word
    };
    (0..100_000)
        .map(|_| (0..10).map(|_| word()).collect::<Vec<_>>().join(&b' '))
        .collect()
});

/// The distinct words of [`MANY`], as records have them.
static WORDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut words: Vec<Vec<u8>> = MANY
        .iter()
        .flat_map(|line| line.split(|b| *b == b' '))
        .map(<[u8]>::to_vec)
        .collect();
    words.sort_unstable();
    words.dedup();
    let mut random = Random(3);
    words.sort_by_cached_key(|_| random.next());
    // Copied, so that they lie in memory in this order, as records just read do.
    words.iter().map(Clone::clone).collect()
});

fn bytes(lines: &[Vec<u8>]) -> BytesCount {
    BytesCount::new(lines.iter().map(Vec::len).sum::<usize>())
}

fn words(lines: &[Vec<u8>]) -> ItemsCount {
    let mut words = 0_usize;
    for line in lines {
        Rule::Ascii.words(line, |_| words += 1);
    }
    ItemsCount::new(words)
}

fn events<'a>(lines: &'a [Vec<u8>], value: Option<&'a [u8]>) -> Vec<Event<'a>> {
    let event = |(offset, line): (i64, &'a Vec<u8>)| {
        let (key, value) = value.map_or((None, &line[..]), |value| (Some(&line[..]), value));
        Event::Record {
            partition: 0,
            offset,
            key,
            value: Some(value),
            time: None,
        }
    };
    (0..).zip(lines).map(event).collect()
}

/// A combiner that has these lines.
fn combined(lines: &[Vec<u8>]) -> Combiner {
    let mut combiner = Combiner::new(Rule::Ascii, PARTITIONS);
    combiner.offsets.own(0, 0);
    combiner.add(&events(lines, None));
    combiner
}

/// Ceilings: what nothing built this way can be faster than.
mod ceiling {
    use super::{Bencher, Key, PROSE, Table, Text, black_box, bytes, words};

    #[divan::bench]
    fn prose_is_copied(bencher: Bencher) {
        let mut text = Vec::new();
        bencher
            .counter(bytes(&PROSE))
            .counter(words(&PROSE))
            .bench_local(|| {
                for lines in PROSE.chunks(60) {
                    text.clear();
                    for line in lines {
                        text.extend_from_slice(line);
                    }
                    black_box(&text);
                }
            });
    }

    #[divan::bench]
    fn prose_is_split(bencher: Bencher) {
        let mut text = Text::default();
        bencher
            .counter(bytes(&PROSE))
            .counter(words(&PROSE))
            .bench_local(|| {
                let mut sum = 0;
                for lines in PROSE.chunks(60) {
                    for line in lines {
                        text.push(line);
                    }
                    text.drain(|word| sum += word.bytes().len());
                }
                sum
            });
    }

    #[divan::bench]
    fn prose_is_looked_up(bencher: Bencher) {
        look_up(bencher, &PROSE);
    }

    #[divan::bench]
    fn many_are_looked_up(bencher: Bencher) {
        look_up(bencher, &super::MANY);
    }

    fn look_up(bencher: Bencher, lines: &[Vec<u8>]) {
        let mut table = Table::<i64>::default();
        let mut keys = Vec::new();
        for line in lines {
            super::Rule::Ascii.words(line, |word| {
                keys.extend(Key::of(word).map(|key| table.hashed(key)));
            });
        }
        bencher
            .counter(bytes(lines))
            .counter(words(lines))
            .bench_local(|| {
                if table.fits_cache() {
                    for key in &keys {
                        *table.short(key) += 1;
                    }
                } else {
                    table.change_all(&keys, |count| *count += 1);
                }
            });
    }
}

/// What one would write first, to compare with: byte by byte, and a map of boxed words with a quick hash.
mod plain {
    use std::collections::HashMap;
    use std::hash::{BuildHasherDefault, Hasher};

    use super::{Bencher, PROSE, bytes, combined, words};

    /// A multiplication for each eight bytes, as in rustc's own maps.
    #[derive(Default)]
    struct Quick(u64);

    impl Quick {
        fn mix(&mut self, bits: u64) {
            self.0 = (self.0.rotate_left(5) ^ bits).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    impl Hasher for Quick {
        fn write(&mut self, bytes: &[u8]) {
            let mut eights = bytes.chunks_exact(8);
            for eight in &mut eights {
                self.mix(u64::from_ne_bytes(eight.try_into().expect("eight")));
            }
            let rest = eights.remainder();
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_ne_bytes(last));
        }

        fn write_usize(&mut self, number: usize) {
            self.mix(number as u64);
        }

        fn finish(&self) -> u64 {
            self.0.rotate_left(26)
        }
    }

    #[divan::bench]
    fn prose(bencher: Bencher) {
        let distinct = combined(&PROSE).distinct();
        let mut counts = HashMap::<Box<[u8]>, i64, BuildHasherDefault<Quick>>::default();
        let mut word = Vec::new();
        bencher
            .counter(bytes(&PROSE))
            .counter(words(&PROSE))
            .bench_local(|| {
                counts.clear();
                for line in PROSE.iter() {
                    for byte in line.iter().chain(b" ") {
                        if byte.is_ascii_alphabetic() || *byte == b'_' {
                            word.push(byte.to_ascii_lowercase());
                        } else if !word.is_empty() {
                            if let Some(count) = counts.get_mut(&word[..]) {
                                *count += 1;
                            } else {
                                counts.insert(word[..].into(), 1);
                            }
                            word.clear();
                        }
                    }
                }
                assert_eq!(counts.len(), distinct);
            });
    }
}

mod combiner {
    use super::{Bencher, Combiner, MANY, PARTITIONS, PROSE, Rule, bytes, combined, events, words};

    #[divan::bench]
    fn prose(bencher: Bencher) {
        add(bencher, Rule::Ascii, &PROSE);
    }

    #[divan::bench]
    fn prose_by_unicode_rules(bencher: Bencher) {
        add(bencher, Rule::Unicode, &PROSE);
    }

    #[divan::bench(sample_count = 20)]
    fn many(bencher: Bencher) {
        add(bencher, Rule::Ascii, &MANY);
    }

    fn add(bencher: Bencher, rule: Rule, lines: &[Vec<u8>]) {
        let events = events(lines, None);
        let mut combiner = Combiner::new(rule, PARTITIONS);
        bencher
            .counter(bytes(lines))
            .counter(words(lines))
            .bench_local(|| {
                combiner.clear();
                combiner.offsets.own(0, 0);
                for events in events.chunks(5000) {
                    combiner.add(events);
                }
                assert!(combiner.distinct() > 0);
            });
    }

    #[divan::bench(sample_count = 20)]
    fn prose_records(bencher: Bencher) {
        records(bencher, &PROSE);
    }

    #[divan::bench(sample_count = 20)]
    fn many_records(bencher: Bencher) {
        records(bencher, &MANY);
    }

    fn records(bencher: Bencher, lines: &[Vec<u8>]) {
        let combiner = combined(lines);
        bencher
            .counter(combiner.distinct())
            .bench_local(|| combiner.records());
    }
}

/// A reducer's side, with 950,000 distinct words in one partition.
mod many {
    use super::{Aggregator, Bencher, Changelog, Top, Totals, WORDS, events};

    const ONE: [u8; 8] = 1_i64.to_be_bytes();

    #[divan::bench(sample_count = 20)]
    fn aggregate(bencher: Bencher) {
        let events = events(&WORDS, Some(&ONE));
        let mut aggregator = Aggregator::new(12);
        bencher.counter(WORDS.len()).bench_local(|| {
            aggregator.clear();
            aggregator.offsets.own(0, 0);
            events
                .chunks(5000)
                .for_each(|events| assert!(aggregator.add(events).is_empty()));
        });
    }

    #[divan::bench(sample_count = 20)]
    fn restore_an_empty_store(bencher: Bencher) {
        let events = events(&WORDS, Some(&ONE));
        bencher.counter(WORDS.len()).bench_local(|| {
            let mut log = Changelog::default();
            log.offsets.own(0, 0);
            events.chunks(5000).for_each(|events| log.add(events));
            log.totals(0, None)
        });
    }

    #[divan::bench(sample_count = 20)]
    fn totals(bencher: Bencher) {
        let mut aggregator = Aggregator::new(12);
        aggregator.offsets.own(0, 0);
        aggregator.add(&events(&WORDS, Some(&ONE)));
        let old = vec![Some(7); aggregator.words(0).len()];
        bencher
            .counter(WORDS.len())
            .bench_local(|| aggregator.totals(0, &old));
    }

    #[divan::bench]
    fn top(bencher: Bencher) {
        let mut totals = Totals::default();
        WORDS
            .iter()
            .zip(1..)
            .for_each(|(word, total)| totals.put(word, None, total));
        let mut top = Top::new(100, [(b"", 0); 0]);
        bencher
            .counter(WORDS.len())
            .bench_local(|| top.merge(&totals));
    }
}
