//! Many words in one record of `words`.
//!
//! A plain record carries one word, and each record costs the mapper, the broker and the reducer together some
//! microseconds, whatever is in it. A packed one has the key [`KEY`] and as its value [`NAME`] with a version and
//! entries behind it, in byte order of the words, none twice: the length of the word as LEB128, its bytes, and how
//! often the batch had it as LEB128. Its value has more than 8 bytes always, and a plain record's has 8 or none: so
//! the word that is [`KEY`] itself is still counted by plain records, and nothing is ambiguous.
//!
//! The version says whose words they are: those of the record's own partition ([`Whose::Own`]), or of any
//! ([`Whose::Any`]), which a mapper writes where it has few, for the reducer that owns all of their partitions: each
//! partition that a transaction writes to is a request, and costs more than its words.
//!
//! What is not written in this way exactly is rejected as a whole. The rules are strict (the shortest LEB128
//! alone, words that rise), so that damage is found rather than counted.

use crate::words::tokenize::MAX_WORD_BYTES;

/// The key of packed records.
pub const KEY: &[u8] = b"\0";
/// How the values begin, before the version.
pub const NAME: [u8; 7] = *b"WCSUP\0\0";

/// Which partitions the words of a packed record belong to: its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Whose {
    /// All of them to the record's own.
    Own = 1,
    /// Each to that of its key, as if it had a record of its own.
    Any = 2,
}

/// Packs words, given in byte order with counts of at least 0, into values of at most `limit` bytes, where a word
/// alone is not longer.
///
/// # Panics
///
/// If a count is negative: no batch of lines has one.
pub fn pack<'a>(
    words: impl Iterator<Item = (&'a [u8], i64)>,
    whose: Whose,
    limit: usize,
) -> Vec<Vec<u8>> {
    /// The longest lengths and counts.
    const NUMBERS: usize = 4 + 9;
    let mut values: Vec<Vec<u8>> = Vec::new();
    for (word, count) in words {
        let needed = word.len() + NUMBERS;
        let value = match values.last_mut() {
            Some(value) if value.len() + needed <= limit => value,
            _ => {
                let mut value = Vec::with_capacity(limit.max(NAME.len() + 1 + needed));
                value.extend_from_slice(&NAME);
                value.push(whose as u8);
                values.push(value);
                values.last_mut().expect("it was pushed just now")
            }
        };
        write(value, word.len() as u64);
        value.extend_from_slice(word);
        write(
            value,
            u64::try_from(count).expect("a count that is not negative"),
        );
    }
    values
}

/// Appends a number in the shortest form.
pub(crate) fn write(value: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        value.push(0x80 | number.to_le_bytes()[0]);
        number >>= 7;
    }
    value.push(number.to_le_bytes()[0]);
}

/// What is wrong with a packed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It was written by a version that this one does not know.
    Version(u8),
    /// The entry at this byte is cut off, not in order, or no entry at all.
    Entry(usize),
}

/// A packed value whose entries are all well formed.
#[derive(Debug, Clone, Copy)]
pub struct Packed<'a> {
    entries: &'a [u8],
    /// Which partitions the words belong to.
    pub whose: Whose,
    /// Sum of the counts.
    pub sum: i128,
    /// Bytes of the words.
    pub bytes: usize,
}

impl<'a> Packed<'a> {
    /// Reads the value of a record whose key is [`KEY`]; none if it is no packed one.
    #[must_use]
    pub fn read(value: &'a [u8]) -> Option<Result<Self, Malformed>> {
        let rest = value.strip_prefix(&NAME)?;
        let (version, entries) = rest.split_first()?;
        if entries.is_empty() {
            return None;
        }
        let whose = match version {
            1 => Whose::Own,
            2 => Whose::Any,
            other => return Some(Err(Malformed::Version(*other))),
        };
        let checked = Self::check(entries, whose);
        Some(checked.map_err(|left| Malformed::Entry(value.len() - left)))
    }

    /// Goes through all entries; else tells how many bytes are left at the one that is wrong.
    fn check(entries: &'a [u8], whose: Whose) -> Result<Self, usize> {
        let mut packed = Self {
            entries,
            whose,
            sum: 0,
            bytes: 0,
        };
        let mut last: Option<&[u8]> = None;
        let mut left = Entries(entries);
        while !left.0.is_empty() {
            let at = left.0.len();
            let (word, count) = left.next().ok_or(at)?;
            if word.len() > MAX_WORD_BYTES || last.is_some_and(|last| last >= word) {
                return Err(at);
            }
            packed.sum += i128::from(count);
            packed.bytes += word.len();
            last = Some(word);
        }
        Ok(packed)
    }
}

impl<'a> IntoIterator for Packed<'a> {
    type Item = (&'a [u8], i64);
    type IntoIter = Entries<'a>;

    fn into_iter(self) -> Entries<'a> {
        Entries::of(self.entries)
    }
}

/// Words with their counts, which are at least 0.
#[derive(Debug, Default)]
pub struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    /// Those of bytes that were checked or written here.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], i64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let length = read(&mut self.0)?;
        let (word, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        let count = i64::try_from(read(&mut self.0)?).ok()?;
        Some((word, count))
    }
}

/// Reads a number that is written as shortly as it can be.
#[inline]
fn read(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    if *first < 0x80 {
        return Some(u64::from(*first));
    }
    read_long(u64::from(*first & 0x7f), bytes)
}

#[cold]
fn read_long(mut number: u64, bytes: &mut &[u8]) -> Option<u64> {
    for shift in (7..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(*byte & 0x7f) << shift;
        if *byte < 0x80 {
            return (*byte != 0).then_some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Malformed, NAME, Packed, Whose, pack, read, write};
    use crate::words::tokenize::MAX_WORD_BYTES;

    fn read_all(value: &[u8]) -> Result<Vec<(&[u8], i64)>, Malformed> {
        let packed = Packed::read(value).expect("a packed value")?;
        Ok(packed.into_iter().collect())
    }

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for shift in 0..63 {
            for number in [(1 << shift) - 1, 1 << shift, (1 << shift) + 1] {
                let mut bytes = Vec::new();
                write(&mut bytes, number);
                for cut in 0..bytes.len() {
                    assert_eq!(read(&mut &bytes[..cut]), None);
                }
                let mut rest = &bytes[..];
                assert_eq!((read(&mut rest), rest), (Some(number), &[][..]));
            }
        }
        assert_eq!(read(&mut &[0x80, 0][..]), None, "it could be shorter");
        assert_eq!(read(&mut &[0xff; 20][..]), None);
    }

    #[test]
    fn words_are_read_as_they_were_packed() {
        let longest = vec![b'x'; MAX_WORD_BYTES];
        let words: Vec<(&[u8], i64)> = vec![
            (b"", 7),
            (b"\0", 1),
            (b"a", i64::MAX),
            (b"ab", 0),
            (b"b", 128),
            (&longest, 3),
            (b"y", 1),
        ];
        for (limit, whose) in [
            (0, Whose::Own),
            (30, Whose::Any),
            (64, Whose::Own),
            (1000, Whose::Own),
            (MAX_WORD_BYTES * 2, Whose::Any),
        ] {
            let values = pack(words.iter().copied(), whose, limit);
            let read: Vec<_> = values
                .iter()
                .flat_map(|value| read_all(value).expect("what was packed"))
                .collect();
            assert_eq!(read, words);
            for value in &values {
                assert!(value.len() > NAME.len() + 1);
                assert!(value.len() <= limit || read_all(value).is_ok_and(|read| read.len() == 1));
                let packed = Packed::read(value).expect("a packed value");
                assert_eq!(packed.map(|packed| packed.whose), Ok(whose));
            }
        }
        assert!(pack([].into_iter(), Whose::Own, 10).is_empty());
    }

    #[test]
    fn what_is_no_packed_value_is_left_to_others() {
        for value in [
            &b""[..],
            b"WCSUP",
            b"12345678",
            b"123456789",
            b"WCSUP\0\0\x01",
            b"WCSUP\0\0\x02",
        ] {
            assert!(Packed::read(value).is_none());
        }
    }

    #[test]
    fn each_way_to_be_wrong_is_rejected() {
        let value = |entries: &[u8]| [&NAME[..], b"\x01", entries].concat();
        for (entries, at) in [
            (&b"\x01a"[..], 8),                                    // no count
            (b"\x02a\x01", 8),                                     // cut off
            (b"\x01b\x01\x01a\x01", 11),                           // out of order
            (b"\x01a\x01\x01a\x01", 11),                           // twice
            (b"\x01a\x81\x00", 8),                                 // a number that could be shorter
            (b"\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 8), // more than an i64
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 8),          // longer than memory
        ] {
            assert_eq!(
                read_all(&value(entries)),
                Err(Malformed::Entry(at)),
                "{entries:?}"
            );
        }
        let mut newer = value(b"\x01a\x01");
        for version in [0, 3, 255] {
            newer[7] = version;
            assert_eq!(read_all(&newer), Err(Malformed::Version(version)));
        }

        let long = [(&vec![b'x'; MAX_WORD_BYTES + 1][..], 1)];
        let long = pack(long.into_iter(), Whose::Own, 0);
        assert_eq!(read_all(&long[0]), Err(Malformed::Entry(8)));
    }

    #[test]
    fn damage_is_rejected_or_leaves_words_in_order() {
        let words: Vec<_> = (0..300_i64).map(|n| (format!("w{n:04}"), n)).collect();
        let pairs = words.iter().map(|(word, n)| (word.as_bytes(), *n));
        let value = pack(pairs, Whose::Own, 1 << 16).swap_remove(0);
        for place in 8..value.len() {
            for bit in 0..8 {
                let mut value = value.clone();
                value[place] ^= 1 << bit;
                if let Ok(read) = read_all(&value) {
                    assert!(read.windows(2).all(|two| two[0].0 < two[1].0));
                }
            }
        }
    }
}
