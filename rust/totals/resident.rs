//! Totals in memory, packed: those of all words of a partition that come before a frontier.
//!
//! A total that only the store has costs a look-up of 1.2 to 1.7 µs where words are many: more than all else that a
//! reducer does for a word. A hash table of all words would take 64 bytes or more of each; here they lie packed in
//! byte order, as in a record of `words`, in some 10 bytes. A word before the frontier is here or is new.
//!
//! A batch comes in byte order, too: its look-ups go once through the blocks, and leave out those without a word of
//! theirs. A new total takes the old one's place where it has as many bytes, as most have. For others, and for new
//! words, their block alone is written anew.

use std::cmp::Ordering;

use crate::wire::packed::write;

/// A block is split when it has more bytes and more than one word.
const MOST: usize = 1024;
/// A block is made with so many bytes, or with one word.
const FILLED: usize = 640;
/// What an allocation costs beside its bytes, about.
const ALLOCATION: usize = 16;
/// Up to so many blocks are put between others one by one; more of them in a new list.
const FEW: usize = 8;

/// The totals of all words before a frontier.
#[derive(Debug, Default)]
pub struct Resident {
    /// In byte order; none is empty.
    blocks: Vec<Block>,
    /// The first word that is not known here, or that would be; none where all are known.
    frontier: Option<Box<[u8]>>,
    words: usize,
    /// Bytes of the blocks.
    bytes: usize,
}

/// Words with their totals: the length of the word as LEB128, its bytes, and the total's 64 bits as LEB128.
#[derive(Debug)]
struct Block {
    /// How its first word begins.
    first: u64,
    bytes: Box<[u8]>,
}

impl Block {
    fn of(bytes: &[u8]) -> Self {
        let mut block = Self {
            first: 0,
            bytes: bytes.into(),
        };
        block.first = prefix(block.first_word());
        block
    }

    fn first_word(&self) -> &[u8] {
        Entry::at(&self.bytes, 0).map_or(&[], |first| first.word(&self.bytes))
    }

    /// Whether it begins with this word or one before it.
    #[inline]
    fn begins_before(&self, word: &[u8], prefix: u64) -> bool {
        match self.first.cmp(&prefix) {
            Ordering::Less => true,
            Ordering::Equal => self.first_word() <= word,
            Ordering::Greater => false,
        }
    }

    fn words(&self) -> usize {
        entries(&self.bytes).count()
    }
}

/// The first 8 bytes of a word as a number, with zeros behind a shorter one: words whose numbers differ are in the order
/// of their numbers.
#[inline]
fn prefix(word: &[u8]) -> u64 {
    word.first_chunk().map_or_else(
        || {
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            u64::from_be_bytes(bytes)
        },
        |first| u64::from_be_bytes(*first),
    )
}

/// Where one word lies among the bytes of a block.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: usize,
    word: usize,
    total: usize,
    end: usize,
}

impl Entry {
    /// The entry that begins at a byte; none at the end.
    #[inline]
    fn at(bytes: &[u8], start: usize) -> Option<Self> {
        let (length, word) = read(bytes, start)?;
        let total = word.checked_add(usize::try_from(length).ok()?)?;
        let mut end = total;
        while *bytes.get(end)? >= 0x80 {
            end += 1;
        }
        Some(Self {
            start,
            word,
            total,
            end: end + 1,
        })
    }

    #[inline]
    fn word<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.word..self.total]
    }

    #[inline]
    fn prefix(&self, bytes: &[u8]) -> u64 {
        let length = self.total - self.word;
        match bytes[self.word..].first_chunk() {
            Some(eight) if length < 8 => u64::from_be_bytes(*eight) & !(u64::MAX >> (8 * length)),
            Some(eight) => u64::from_be_bytes(*eight),
            None => prefix(self.word(bytes)),
        }
    }

    fn value(&self, bytes: &[u8]) -> i64 {
        read(bytes, self.total).map_or(0, |(total, _)| i64::from_ne_bytes(total.to_ne_bytes()))
    }
}

/// Reads a number of at most 64 bits; also returns where it ends.
#[inline]
fn read(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let first = *bytes.get(at)?;
    if first < 0x80 {
        return Some((u64::from(first), at + 1));
    }
    let mut number = 0;
    // 64 bits take ten bytes at most; what is damaged may go on.
    for (place, byte) in bytes[at..].iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * place);
        if *byte < 0x80 {
            return Some((number, at + place + 1));
        }
    }
    None
}

fn bits(total: i64) -> u64 {
    u64::from_ne_bytes(total.to_ne_bytes())
}

fn put(bytes: &mut Vec<u8>, word: &[u8], total: i64) {
    write(bytes, word.len() as u64);
    bytes.extend_from_slice(word);
    write(bytes, bits(total));
}

fn entries(bytes: &[u8]) -> impl Iterator<Item = Entry> {
    std::iter::successors(Entry::at(bytes, 0), |before| Entry::at(bytes, before.end))
}

/// A word's place in a block, from a place that is not behind it: its entry, or where it would be.
#[inline]
fn find(bytes: &[u8], from: usize, word: &[u8], prefix: u64) -> Result<Entry, usize> {
    let mut at = from;
    while let Some(entry) = Entry::at(bytes, at) {
        let order = entry.prefix(bytes).cmp(&prefix);
        match order.then_with(|| entry.word(bytes).cmp(word)) {
            Ordering::Less => at = entry.end,
            Ordering::Equal => return Ok(entry),
            Ordering::Greater => break,
        }
    }
    Err(at)
}

impl Resident {
    /// No totals, of a partition that has no words.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// No totals, of a partition that may have any words.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            frontier: Some([].into()),
            ..Self::default()
        }
    }

    /// Where the words begin that are not known; none where all are known.
    #[must_use]
    pub fn frontier(&self) -> Option<&[u8]> {
        self.frontier.as_deref()
    }

    /// Whether a word comes before the frontier.
    #[must_use]
    #[inline]
    pub fn knows(&self, word: &[u8]) -> bool {
        self.frontier.as_deref().is_none_or(|first| word < first)
    }

    /// How many words there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words == 0
    }

    /// Bytes held, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes + self.blocks.len() * (size_of::<Block>() + ALLOCATION)
    }

    /// All entries, one behind the other.
    #[must_use]
    pub fn packed(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes);
        for block in &self.blocks {
            bytes.extend_from_slice(&block.bytes);
        }
        bytes
    }

    /// What was packed, with the frontier of then; none where the bytes are not entries in byte order before it.
    #[must_use]
    pub fn unpacked(bytes: &[u8], frontier: Option<&[u8]>) -> Option<Self> {
        let mut end = 0;
        let mut last: Option<&[u8]> = None;
        while let Some(entry) = Entry::at(bytes, end) {
            let word = bytes.get(entry.word..entry.total)?;
            if last.is_some_and(|last| last >= word) || frontier.is_some_and(|first| word >= first)
            {
                return None;
            }
            (last, end) = (Some(word), entry.end);
        }
        let blocks = parts(bytes, FILLED).filter(|part| !part.is_empty());
        let blocks: Vec<_> = blocks.map(Block::of).collect();
        let words = blocks.iter().map(Block::words).sum();
        (end == bytes.len()).then(|| Self {
            blocks,
            frontier: frontier.map(Into::into),
            words,
            bytes: bytes.len(),
        })
    }

    /// Looks totals up, of words that come in byte order.
    pub(super) fn reading(&self) -> Reading<'_> {
        Reading {
            resident: self,
            block: 0,
            at: 0,
        }
    }

    /// The block that has or would have a word, from a block on that is not behind it.
    #[inline]
    fn seek(&self, from: usize, word: &[u8], prefix: u64) -> usize {
        // The next word of a batch is in one of the next few blocks as a rule.
        let begins_before = |block: &Block| block.begins_before(word, prefix);
        let (mut low, mut step) = (from, 1);
        while self.blocks.get(low + step).is_some_and(begins_before) {
            low += step;
            step *= 2;
        }
        let high = self.blocks.len().min(low + step);
        let between = self.blocks.get(low + 1..high).unwrap_or_default();
        low + between.partition_point(begins_before)
    }

    /// Takes new totals in, none for a deleted word, in byte order; passes over words that are not known.
    pub fn merge<'a>(&mut self, new: impl Iterator<Item = (&'a [u8], Option<i64>)>) {
        let mut new = new.map(|(word, total)| (word, prefix(word), total));
        let mut splits = Vec::new();
        let mut written = Vec::new();
        let (mut place, mut emptied) = (0, false);
        let mut next = new.next();
        while let Some((word, prefix, _)) = next.filter(|(word, ..)| self.knows(word)) {
            if self.blocks.is_empty() {
                self.blocks.push(Block::of(&[]));
            }
            place = self.seek(place, word, prefix);
            let (before, behind) = self.blocks.split_at_mut(place + 1);
            let block = &mut before[place];
            let (mut at, mut copied) = (0, 0);
            let mut changed = false;
            written.clear();
            while let Some((word, prefix, total)) = next {
                if behind
                    .first()
                    .is_some_and(|b| b.begins_before(word, prefix))
                    || self.frontier.as_deref().is_some_and(|first| word >= first)
                {
                    break;
                }
                next = new.next();
                let found = find(&block.bytes, at, word, prefix);
                at = found.map_or_else(|at| at, |entry| entry.start);
                match (found, total) {
                    (Ok(entry), Some(total)) => {
                        let from = written.len();
                        write(&mut written, bits(total));
                        if written.len() - from == entry.end - entry.total {
                            block.bytes[entry.total..entry.end].copy_from_slice(&written[from..]);
                            written.truncate(from);
                        } else {
                            written.truncate(from);
                            written.extend_from_slice(&block.bytes[copied..entry.total]);
                            write(&mut written, bits(total));
                            copied = entry.end;
                            changed = true;
                        }
                        at = entry.end;
                    }
                    (Ok(entry), None) => {
                        written.extend_from_slice(&block.bytes[copied..entry.start]);
                        (copied, at) = (entry.end, entry.end);
                        changed = true;
                        self.words -= 1;
                    }
                    (Err(at), Some(total)) => {
                        written.extend_from_slice(&block.bytes[copied..at]);
                        put(&mut written, word, total);
                        copied = at;
                        changed = true;
                        self.words += 1;
                    }
                    (Err(_), None) => {}
                }
            }
            if changed {
                written.extend_from_slice(&block.bytes[copied..]);
                self.bytes = self.bytes + written.len() - block.bytes.len();
                let mut parts = parts(&written, MOST);
                *block = Block::of(parts.next().unwrap_or_default());
                emptied |= block.bytes.is_empty();
                splits.extend(parts.map(|part| (place, Block::of(part))));
            }
        }
        self.insert(splits);
        if emptied || self.words == 0 {
            self.blocks.retain(|block| !block.bytes.is_empty());
        }
    }

    /// Puts blocks behind those at their places, which rise.
    fn insert(&mut self, splits: Vec<(usize, Block)>) {
        if splits.len() <= FEW {
            for (place, block) in splits.into_iter().rev() {
                self.blocks.insert(place + 1, block);
            }
            return;
        }
        let mut all = Vec::with_capacity(self.blocks.len() + splits.len());
        let mut splits = splits.into_iter().peekable();
        for (place, block) in self.blocks.drain(..).enumerate() {
            all.push(block);
            while let Some((_, split)) = splits.next_if(|(behind, _)| *behind == place) {
                all.push(split);
            }
        }
        self.blocks = all;
    }

    /// Takes in what was scanned; returns the frontier before.
    pub(super) fn advance(&mut self, scan: &Scan) -> Option<Box<[u8]>> {
        self.words += scan.words;
        for block in parts(&scan.bytes, FILLED).filter(|part| !part.is_empty()) {
            self.bytes += block.len();
            self.blocks.push(Block::of(block));
        }
        match scan.last() {
            Some(last) => self.frontier.replace([last, &[0]].concat().into()),
            None => self.frontier.clone(),
        }
    }

    /// Knows from now on that there are no other words; returns the frontier before.
    pub(super) fn complete(&mut self) -> Option<Box<[u8]>> {
        self.frontier.take()
    }

    /// Forgets the last words until the others fit so many bytes.
    pub fn cut(&mut self, bytes: usize) {
        while self.memory() > bytes {
            let Some(block) = self.blocks.pop() else {
                return;
            };
            self.words -= block.words();
            self.bytes -= block.bytes.len();
            self.frontier = Some(block.first_word().into());
        }
    }
}

/// Cuts the bytes of entries into parts: all in one if they are at most so many, else each as large as a new block.
fn parts(bytes: &[u8], most: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest.take()?;
        if bytes.len() <= most {
            return Some(bytes);
        }
        let end = entries(bytes).map(|entry| entry.end);
        let end = end.into_iter().find(|end| *end >= FILLED)?;
        let (part, behind) = bytes.split_at(end);
        rest = (!behind.is_empty()).then_some(behind);
        Some(part)
    })
}

/// Words from the frontier on.
#[derive(Debug, Default)]
pub(super) struct Scan {
    bytes: Vec<u8>,
    words: usize,
    /// Where the last one begins.
    last: usize,
}

impl Scan {
    /// Appends a word that comes behind all others.
    pub(super) fn push(&mut self, word: &[u8], total: i64) {
        self.last = self.bytes.len();
        put(&mut self.bytes, word, total);
        self.words += 1;
    }

    /// The last word.
    pub(super) fn last(&self) -> Option<&[u8]> {
        Entry::at(&self.bytes, self.last).map(|last| last.word(&self.bytes))
    }

    pub(super) fn memory(&self) -> usize {
        self.bytes.len()
    }
}

/// Goes once through the words.
pub(super) struct Reading<'a> {
    resident: &'a Resident,
    block: usize,
    at: usize,
}

impl Reading<'_> {
    /// The total of a word that is before the frontier and not before the last one that was asked for.
    #[inline]
    pub(super) fn find(&mut self, word: &[u8]) -> Option<i64> {
        let prefix = prefix(word);
        let place = self.resident.seek(self.block, word, prefix);
        if place != self.block {
            (self.block, self.at) = (place, 0);
        }
        let bytes = &self.resident.blocks.get(place)?.bytes;
        match find(bytes, self.at, word, prefix) {
            Ok(entry) => {
                self.at = entry.start;
                Some(entry.value(bytes))
            }
            Err(at) => {
                self.at = at;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Resident, bits, prefix, read};
    use crate::wire::packed::write;

    type Map = BTreeMap<Vec<u8>, i64>;

    fn find(resident: &Resident, words: &[Vec<u8>]) -> Vec<Option<i64>> {
        let mut reading = resident.reading();
        words.iter().map(|word| reading.find(word)).collect()
    }

    fn merge(resident: &mut Resident, map: &mut Map, changes: &BTreeMap<Vec<u8>, Option<i64>>) {
        resident.merge(changes.iter().map(|(word, total)| (&word[..], *total)));
        for (word, total) in changes {
            match total {
                Some(total) => map.insert(word.clone(), *total),
                None => map.remove(word),
            };
        }
    }

    /// Numbers that are the same in each run.
    struct Chance(usize);

    impl Chance {
        fn below(&mut self, most: usize) -> usize {
            self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (self.0 >> 33) % most
        }

        /// A word: one of so many; some are empty, of NULs, or long.
        fn word(&mut self, most: usize) -> Vec<u8> {
            let number = self.below(most);
            match number % 50 {
                0 => vec![0; self.below(20)],
                1 => format!("long{number}").repeat(300).into_bytes(),
                n => [format!("{number:x}").into_bytes(), vec![0; n % 3]].concat(),
            }
        }

        fn total(&mut self) -> i64 {
            match self.below(20) {
                0 => i64::MIN,
                1 => i64::MAX,
                2 => -1,
                n => i64::try_from(self.below(1 << n)).unwrap_or(0),
            }
        }
    }

    #[test]
    fn numbers_have_any_64_bits() {
        for number in [0, 1, 127, 128, -1, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            write(&mut bytes, bits(number));
            assert_eq!(read(&bytes, 0), Some((bits(number), bytes.len())));
            assert_eq!(read(&bytes, bytes.len()), None);
            assert_eq!(read(&bytes[..bytes.len() - 1], 0), None);
        }
    }

    #[test]
    fn prefixes_have_the_order_of_words() {
        let mut chance = Chance(1);
        for _ in 0..10_000 {
            let (a, b) = (chance.word(1000), chance.word(1000));
            let order = prefix(&a).cmp(&prefix(&b));
            assert!(order.is_eq() || order == a.cmp(&b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn equals_a_map() {
        for seed in 1..6 {
            let mut chance = Chance(seed);
            let (mut resident, mut map) = (Resident::empty(), Map::new());
            let vocabulary = 200 << (2 * seed);
            for size in [0, 1, 100, 3000, 3000, 1, 5, 9000, 1, 300, 40, 9000] {
                let changes: BTreeMap<_, _> = (0..size)
                    .map(|_| {
                        let total = (chance.below(4) > 0).then(|| chance.total());
                        (chance.word(vocabulary), total)
                    })
                    .collect();
                merge(&mut resident, &mut map, &changes);
                let asked: Vec<_> = changes.into_keys().chain(map.keys().cloned()).collect();
                let asked: std::collections::BTreeSet<_> = asked.into_iter().collect();
                let asked: Vec<_> = asked.into_iter().collect();
                let expected: Vec<_> = asked.iter().map(|word| map.get(word).copied()).collect();
                assert_eq!(find(&resident, &asked), expected);
                assert_eq!(resident.len(), map.len());
                assert_eq!(
                    resident
                        .blocks
                        .iter()
                        .map(super::Block::words)
                        .sum::<usize>(),
                    map.len()
                );
                let bytes: usize = resident.blocks.iter().map(|block| block.bytes.len()).sum();
                assert_eq!(resident.bytes, bytes);
                assert!(resident.blocks.iter().all(|block| !block.bytes.is_empty()));
                let firsts: Vec<_> = resident
                    .blocks
                    .iter()
                    .map(super::Block::first_word)
                    .collect();
                assert!(firsts.windows(2).all(|two| two[0] < two[1]));
            }
            let all: BTreeMap<_, _> = map.keys().map(|word| (word.clone(), None)).collect();
            merge(&mut resident, &mut map, &all);
            assert_eq!((resident.len(), resident.memory()), (0, 0));
        }
    }

    #[test]
    fn is_the_same_when_packed_and_unpacked() {
        let (mut resident, mut map) = (Resident::empty(), Map::new());
        let mut chance = Chance(7);
        let words: BTreeMap<_, _> = (0..3000)
            .map(|_| (chance.word(9000), Some(chance.total())))
            .collect();
        merge(&mut resident, &mut map, &words);
        let asked: Vec<_> = map.keys().cloned().collect();
        let packed = resident.packed();
        let last = [asked.last().expect("there are some"), &[0][..]].concat();
        for frontier in [None, Some(&last[..])] {
            let mut same = Resident::unpacked(&packed, frontier).expect("it is whole");
            assert_eq!(same.frontier(), frontier);
            assert_eq!((same.len(), same.bytes), (map.len(), packed.len()));
            assert_eq!(find(&same, &asked), find(&resident, &asked));
            assert_eq!(same.packed(), packed);
            let changes = [(asked[5].clone(), Some(-1)), (b"!".to_vec(), Some(-1))];
            let changes = BTreeMap::from(changes);
            merge(&mut same, &mut map.clone(), &changes);
            let words: Vec<_> = changes.into_keys().collect();
            assert_eq!(find(&same, &words), [Some(-1), Some(-1)]);
        }
        assert_eq!(
            Resident::unpacked(&[], Some(&[])).map(|none| none.len()),
            Some(0)
        );
        // What is damaged is none
        assert!(Resident::unpacked(&packed[..packed.len() - 1], None).is_none());
        assert!(Resident::unpacked(&packed, Some(&asked[2000])).is_none());
        assert!(Resident::unpacked(&[&packed[..], &packed[..]].concat(), None).is_none());
        assert!(Resident::unpacked(&[200, 1, 3], None).is_none());
        assert!(Resident::unpacked(&[0xff; 40], None).is_none());
    }

    #[test]
    fn is_cut_from_its_end() {
        let (mut resident, mut map) = (Resident::empty(), Map::new());
        let words: BTreeMap<_, _> = (0..5000_i64)
            .map(|number| (format!("{number:04}").into_bytes(), Some(number)))
            .collect();
        merge(&mut resident, &mut map, &words);
        let whole = resident.memory();
        assert!(whole < 5000 * 10);
        resident.cut(whole);
        assert_eq!(resident.frontier(), None);
        resident.cut(whole / 3);
        assert!(resident.memory() <= whole / 3 && resident.memory() > whole / 4);
        let frontier = resident.frontier().expect("some are gone").to_vec();
        let known = words.keys().filter(|word| **word < frontier).count();
        assert_eq!(resident.len(), known);
        for word in words.keys() {
            assert_eq!(resident.knows(word), *word < frontier);
        }
        // What is not known is passed over.
        merge(
            &mut resident,
            &mut map,
            &BTreeMap::from([(b"9".to_vec(), Some(1))]),
        );
        assert_eq!(resident.len(), known);
        merge(
            &mut resident,
            &mut map,
            &BTreeMap::from([(b"0".to_vec(), Some(1))]),
        );
        assert_eq!(resident.len(), known + 1);
        resident.cut(0);
        assert_eq!((resident.len(), resident.frontier()), (0, Some(&b"0"[..])));
        resident.cut(0);
    }

    #[test]
    fn many_words_take_few_bytes() {
        let (mut resident, mut map) = (Resident::empty(), Map::new());
        for start in 0..10_i64 {
            let words = (start..200_000).step_by(10);
            let words = words.map(|number| (number.to_string().into_bytes(), Some(number % 200)));
            merge(&mut resident, &mut map, &words.collect());
        }
        assert_eq!(resident.len(), 200_000);
        assert!(resident.memory() < 200_000 * 10);
    }
}
