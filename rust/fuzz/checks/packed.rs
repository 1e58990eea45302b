//! Packed records, against a reader that goes byte by byte.

use std::collections::BTreeMap;

use wcsup_core::wire::packed::{Malformed, NAME, Packed, Whose, pack};
use wcsup_core::words::tokenize::MAX_WORD_BYTES;

use super::Choices;

type Words = Vec<(Vec<u8>, i64)>;

/// Any bytes are read as the plain reader does, and words are read as they were packed.
pub fn check(data: &[u8]) {
    compare(data);
    let mut choices = Choices(data);
    let version = choices.byte() % 4;
    compare(&[&NAME[..], &[version], choices.0].concat());

    let whose = [Whose::Own, Whose::Any][choices.below(2)];
    let limit = choices.below(3000);
    let damage = choices.byte();
    let mut words = BTreeMap::new();
    while !choices.is_empty() {
        words.insert(choices.word(), choices.number() & i64::MAX);
    }
    let pairs = words.iter().map(|(word, count)| (&word[..], *count));
    let mut found = Vec::new();
    for mut value in pack(pairs, whose, limit) {
        let read = Packed::read(&value).expect("a packed value");
        assert_eq!(read.map(|packed| packed.whose), Ok(whose));
        let read = compare(&value).expect("what was packed");
        assert!(value.len() <= limit || read.len() == 1);
        found.extend(read);
        let place = usize::from(damage) * 7 % value.len();
        value[place] ^= 1 << (damage % 8);
        compare(&value);
    }
    assert_eq!(found, words.into_iter().collect::<Vec<_>>());
}

/// Reads in both ways; returns the words of a well formed value.
fn compare(value: &[u8]) -> Option<Words> {
    let expected = read(value);
    let found = Packed::read(value);
    if let Some(Ok(packed)) = found {
        let words: Words = packed
            .into_iter()
            .map(|(word, n)| (word.into(), n))
            .collect();
        assert_eq!(
            packed.bytes,
            words.iter().map(|(word, _)| word.len()).sum::<usize>()
        );
        assert_eq!(
            packed.sum,
            words.iter().map(|(_, n)| i128::from(*n)).sum::<i128>()
        );
        assert_eq!(expected, Some(Ok(words.clone())));
        return Some(words);
    }
    assert_eq!(expected, found.map(|read| read.map(|_| Vec::new())));
    None
}

fn read(value: &[u8]) -> Option<Result<Words, Malformed>> {
    if value.len() < 9 || value[..7] != NAME {
        return None;
    }
    if !(1..=2).contains(&value[7]) {
        return Some(Err(Malformed::Version(value[7])));
    }
    let (mut words, mut at) = (Words::new(), 8);
    while at < value.len() {
        let Some((word, count, length)) = entry(&value[at..]) else {
            return Some(Err(Malformed::Entry(at)));
        };
        if words.last().is_some_and(|(last, _)| **last >= *word) {
            return Some(Err(Malformed::Entry(at)));
        }
        words.push((word.into(), count));
        at += length;
    }
    Some(Ok(words))
}

/// A word with its count, and how many bytes both take.
fn entry(bytes: &[u8]) -> Option<(&[u8], i64, usize)> {
    let (length, start) = number(bytes)?;
    let length = usize::try_from(length).ok()?;
    let end = start.checked_add(length)?;
    let word = bytes.get(start..end)?;
    let (count, size) = number(&bytes[end..])?;
    (length <= MAX_WORD_BYTES).then_some((word, count, end + size))
}

/// A number of up to nine bytes with 7 bits each, the lowest first; the last byte is not zero, but for the number 0.
fn number(bytes: &[u8]) -> Option<(i64, usize)> {
    let last = bytes.iter().take(9).position(|byte| *byte < 0x80)?;
    if last > 0 && bytes[last] == 0 {
        return None;
    }
    let bytes = bytes[..=last].iter().rev();
    let number = bytes.fold(0, |number, byte| number << 7 | i64::from(byte & 0x7f));
    Some((number, last + 1))
}
