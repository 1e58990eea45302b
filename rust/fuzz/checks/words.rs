//! Splitting and counting words, against loops over bytes and characters.

use std::collections::BTreeMap;

use icu_casemap::CaseMapper;
use wcsup_core::batch::combine::Combiner;
use wcsup_core::batch::input::Event;
use wcsup_core::words::tokenize::Rule;

/// So many bytes are more than a combiner gathers before it splits them.
const MANY: usize = 20_000;

/// Lines have the words that the loops find, and a batch of lines has as many of each.
pub fn check(data: &[u8]) {
    let Some((first, text)) = data.split_first() else {
        return;
    };
    let lines: Vec<&[u8]> = text.chunks(1 + usize::from(*first) * 2).collect();
    for line in &lines {
        assert_eq!(words(Rule::Ascii, line), runs(line), "{line:?}");
        unicode(line);
    }
    let times = if first % 8 == 0 { MANY / data.len() } else { 1 };
    for rule in [Rule::Ascii, Rule::Unicode] {
        batch(rule, &lines, times);
    }
}

fn words(rule: Rule, line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    rule.words(line, |word| words.push(word.to_vec()));
    words
}

/// Runs of letters and underscores, in lower case.
fn runs(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = vec![Vec::new()];
    for byte in line {
        match byte {
            b'a'..=b'z' | b'_' => words.last_mut().expect("one is open").push(*byte),
            b'A'..=b'Z' => words.last_mut().expect("one is open").push(byte + 32),
            _ => words.push(Vec::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Each letter and digit is in a word, once and folded, in its order. Words of UAX 29 that are of letters, digits and
/// spaces of ASCII end at the spaces.
fn unicode(line: &[u8]) {
    let text = String::from_utf8_lossy(line);
    let found = words(Rule::Unicode, line);
    let kept = |text: &str| {
        text.chars()
            .filter(|c| c.is_alphanumeric())
            .collect::<String>()
    };
    let joined = String::from_utf8(found.concat()).expect("folded text");
    let fold = CaseMapper::new();
    let letters = text.chars().filter(|c| c.is_alphanumeric());
    let letters: String = letters
        .map(|c| fold.fold_string(c.encode_utf8(&mut [0; 4])).into_owned())
        .collect();
    assert_eq!(kept(&joined), kept(&letters), "{text:?}");

    let plain = |byte: &u8| {
        if byte.is_ascii_alphanumeric() {
            *byte
        } else {
            b' '
        }
    };
    let line: Vec<u8> = line.iter().map(plain).collect();
    let expected = line
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty());
    let expected: Vec<_> = expected.map(<[u8]>::to_ascii_lowercase).collect();
    assert_eq!(words(Rule::Unicode, &line), expected);
}

fn batch(rule: Rule, lines: &[&[u8]], times: usize) {
    let mut combiner = Combiner::new(rule, 3);
    combiner.offsets.own(0, 0);
    let mut expected = BTreeMap::<Vec<u8>, i64>::new();
    let mut offsets = 0..;
    for _ in 0..times {
        let event = |(line, offset)| Event::Record {
            partition: 0,
            offset,
            key: None,
            value: Some(line),
            time: None,
        };
        let lines = || lines.iter().copied();
        let events: Vec<_> = lines().zip(offsets.by_ref()).map(event).collect();
        assert!(combiner.add(&events).is_empty());
        for word in lines().flat_map(|line| words(rule, line)) {
            *expected.entry(word).or_default() += 1;
        }
    }
    let records = combiner.records();
    let found = (0..records.len()).map(|place| {
        let (_, word, count) = records.get(place).expect("it is one of them");
        let count = count.try_into().expect("8 bytes");
        (word.to_vec(), i64::from_be_bytes(count))
    });
    assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
    assert_eq!(records.len(), expected.len());
    assert_eq!(combiner.distinct(), expected.len());
    let counted = expected.values().sum::<i64>();
    assert_eq!(i64::try_from(combiner.tally().words), Ok(counted));
}
