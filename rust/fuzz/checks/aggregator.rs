//! A reducer's batch, against sums of 128 bits.

use std::collections::{BTreeMap, BTreeSet};

use wcsup_core::batch::aggregate::Aggregator;
use wcsup_core::batch::input::{Event, Reason};
use wcsup_core::wire::packed::{self, Packed, Whose, pack};
use wcsup_core::wire::partitioner::partition;

use super::Choices;

const PARTITIONS: u32 = 4;
/// Partitions that records come from: one of them has no words by the partitioner.
const INPUTS: i32 = 5;

/// A word of a partition.
type Home = (i32, Vec<u8>);

/// A record as a batch is given it, and what it has to make of it.
struct Record {
    partition: i32,
    offset: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    counts: Result<Vec<(Home, i64)>, ()>,
    mixed: bool,
}

#[derive(Default)]
struct Model {
    /// The offset expected next of what is owned, and whether it moved.
    owned: BTreeMap<i32, (i64, bool)>,
    sums: BTreeMap<Home, i128>,
    /// The counts of a word without their signs, also of records that were rejected.
    magnitudes: BTreeMap<Home, i128>,
    taken: u64,
    mixed: bool,
}

/// A batch has the sums of what it took, and rejects what can't be read, or what might not fit 64 bits.
pub fn check(data: &[u8]) {
    let mut choices = Choices(data);
    let (mut batch, mut model) = (Aggregator::new(PARTITIONS), Model::default());
    while !choices.is_empty() {
        match choices.byte() % 8 {
            0 => {
                let (partition, offset) = (input(&mut choices), i64::from(choices.byte()) - 1);
                batch.offsets.own(partition, offset);
                model.owned.insert(partition, (offset, false));
            }
            1 => {
                let partition = input(&mut choices);
                batch.offsets.disown(partition);
                model.owned.remove(&partition);
            }
            2 => {
                let (partition, offset) = (input(&mut choices), i64::from(choices.byte()));
                batch.add(&[Event::Other, Event::End { partition, offset }]);
                if let Some((next, moved)) = model.owned.get_mut(&partition) {
                    (*next, *moved) = ((*next).max(offset), *moved || offset > *next);
                }
            }
            3 => compare(&mut batch, &model, &mut choices),
            4 if choices.byte() % 8 == 0 => {
                batch.clear();
                let mut owned = model.owned;
                for (_, moved) in owned.values_mut() {
                    *moved = false;
                }
                model = Model {
                    owned,
                    ..Model::default()
                };
            }
            _ => {
                let records = (0..choices.below(40)).map(|_| record(&mut choices, &model));
                let records: Vec<_> = records.collect();
                add(&mut batch, &mut model, &records);
            }
        }
    }
    compare(&mut batch, &model, &mut choices);
}

fn input(choices: &mut Choices<'_>) -> i32 {
    i32::from(choices.byte()) % INPUTS
}

fn home(word: &[u8]) -> i32 {
    i32::try_from(partition(word, PARTITIONS)).expect("there are a few")
}

fn record(choices: &mut Choices<'_>, model: &Model) -> Record {
    let partition = input(choices);
    let next = model.owned.get(&partition).map_or(0, |(next, _)| *next);
    let offset = next + i64::from(choices.byte() % 8) - 1;
    let mut record = Record {
        partition,
        offset,
        key: Some(packed::KEY.into()),
        value: None,
        counts: Err(()),
        mixed: false,
    };
    match choices.byte() % 8 {
        0 => record.key = None,
        1 => {
            record.key = Some(choices.word());
            record.value = Some(vec![0; [0, 7, 9][choices.below(3)]]);
        }
        2 => record.value = Some([&packed::NAME[..], b"\x01\x01"].concat()),
        3 => {
            let word = choices.word();
            record.key = Some(word.clone());
            record.counts = Ok(vec![((partition, word), 1)]);
        }
        kind @ 4..6 => {
            let words =
                (0..=choices.below(20)).map(|_| (choices.word(), choices.number() & i64::MAX));
            let words: BTreeMap<_, _> = words.collect();
            let pairs = words.iter().map(|(word, count)| (&word[..], *count));
            record.mixed = kind == 4;
            let whose = if record.mixed { Whose::Any } else { Whose::Own };
            record.value = pack(pairs, whose, 1 << 16).pop();
            let home = |word: &[u8]| if record.mixed { home(word) } else { partition };
            let counts = words.iter();
            let counts = counts.map(|(word, count)| ((home(word), word.clone()), *count));
            record.counts = Ok(counts.collect());
        }
        _ => {
            let (word, count) = (choices.word(), choices.number());
            record.key = Some(word.clone());
            record.value = Some(count.to_be_bytes().into());
            record.counts = Ok(vec![((partition, word), count)]);
        }
    }
    record
}

fn add(batch: &mut Aggregator, model: &mut Model, records: &[Record]) {
    let events = records.iter().map(|record| Event::Record {
        partition: record.partition,
        offset: record.offset,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        time: None,
    });
    let rejected = batch.add(&events.collect::<Vec<_>>());
    assert!(rejected.is_sorted_by(|a, b| a.index < b.index));
    let rejected: BTreeMap<_, _> = rejected
        .iter()
        .map(|each| (each.index, each.reason))
        .collect();

    let mut overflows = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let reason = rejected.get(&index);
        match model.owned.get_mut(&record.partition) {
            Some((next, moved)) if record.offset >= *next => {
                (*next, *moved) = (record.offset + 1, true);
            }
            _ => {
                assert_eq!(reason, None, "it was not taken");
                continue;
            }
        }
        model.taken += 1;
        let Ok(counts) = &record.counts else {
            assert!(reason.is_some_and(|reason| *reason != Reason::Overflow));
            continue;
        };
        for (home, count) in counts {
            *model.magnitudes.entry(home.clone()).or_default() += i128::from(*count).abs();
        }
        match reason {
            None => {
                model.mixed |= record.mixed;
                for (home, count) in counts {
                    *model.sums.entry(home.clone()).or_default() += i128::from(*count);
                }
            }
            Some(reason) => {
                assert_eq!(*reason, Reason::Overflow);
                overflows.push(counts);
            }
        }
    }
    // Those of other records count, wherever they are in the batch: they are not added in the order of their offsets.
    for counts in overflows {
        let large = |(home, _): &(Home, i64)| model.magnitudes[home] > i64::MAX.into();
        assert!(counts.iter().any(large), "it fits whatever the order");
    }
}

fn compare(batch: &mut Aggregator, model: &Model, choices: &mut Choices<'_>) {
    let owns = |(partition, _): &Home| model.owned.contains_key(partition);
    let with_words: BTreeSet<_> = model.sums.keys().map(|(partition, _)| *partition).collect();
    let owned = with_words
        .iter()
        .filter(|number| model.owned.contains_key(number));
    assert!(batch.partitions().iter().eq(owned));
    assert_eq!(batch.distinct(), model.sums.len());
    assert_eq!(batch.tally().taken, model.taken);
    let counted = model.sums.iter().filter(|(home, _)| owns(home));
    assert_eq!(batch.counted(), counted.map(|(_, sum)| sum).sum::<i128>());
    let offsets = model
        .owned
        .iter()
        .filter(|(_, (_, moved))| *moved || model.mixed);
    let offsets = offsets.map(|(partition, (next, _))| (*partition, *next));
    assert_eq!(batch.offsets(), offsets.collect::<Vec<_>>());

    for number in 0..INPUTS {
        let sums = model
            .sums
            .iter()
            .filter(|((partition, _), _)| *partition == number);
        let sums: Vec<_> = sums.map(|((_, word), sum)| (&word[..], *sum)).collect();
        assert!(batch.words(number).eq(sums.iter().map(|(word, _)| *word)));
        let old = sums
            .iter()
            .map(|_| (choices.byte() % 4 > 0).then(|| choices.number()));
        let old: Vec<_> = old.collect();
        totals(batch, number, &sums, &old);
    }

    // Words that are forwarded came in records of any partition's, whose counts are not negative: a batch is cleared before
    // a partition that it has plain records of is disowned.
    let mut left = model.sums.iter().filter(|(home, _)| !owns(home));
    if left.clone().all(|(_, sum)| *sum >= 0) {
        let records = batch.forwarded(choices.below(500));
        for place in 0..records.len() {
            let (partition, key, value) = records.get(place).expect("it is one of them");
            assert_eq!(key, packed::KEY);
            let packed = Packed::read(value).expect("packed").expect("well formed");
            assert_eq!(packed.whose, Whose::Own);
            for (word, count) in packed {
                let home = (partition, word.to_vec());
                assert_eq!(left.next(), Some((&home, &count.into())));
            }
        }
        assert_eq!(left.next(), None);
    }
}

/// New totals are the old ones with the sums added, but for words whose total would not fit.
fn totals(batch: &mut Aggregator, number: i32, sums: &[(&[u8], i128)], old: &[Option<i64>]) {
    let totals = batch.totals(number, old).expect("as many as words");
    let (mut new, mut refused) = (Vec::new(), Vec::new());
    let (mut words, mut added, mut fell) = (0, 0, false);
    for ((word, sum), old) in sums.iter().zip(old) {
        let before = i128::from(old.unwrap_or(0));
        match i64::try_from(before + sum) {
            Ok(total) => {
                new.push((*word, total));
                words += i64::from(old.is_none());
                added += sum;
                fell |= old.is_some() && *sum < 0;
            }
            Err(_) => refused.push((
                (*word).into(),
                i64::try_from(*sum).expect("it was added up"),
            )),
        }
    }
    assert!(totals.entries(0, None).eq(new));
    assert_eq!(totals.refused(), refused);
    assert_eq!(
        (totals.new_words(), totals.added(), totals.fell()),
        (words, added, fell)
    );
}
