//! The hash table of words that every batch is built on.
//!
//! A word of up to 16 bytes is its own key: it lies in its slot, padded with zeros, and is compared and hashed
//! as two numbers. Nearly all words of all languages in use with spaces fit. Longer ones lie one after another
//! in a buffer, so no word has an allocation of its own, and clearing frees nothing: a slot is empty when its
//! epoch is not the table's.
//!
//! Performance notes:
//! - Slots of 32 bytes, linear probing, at most two thirds full: one cache line for nearly every look-up. Indices into
//!   a dense array would be smaller, but cost a second miss where the words do not fit the caches.
//! - A look-up among the 12,000 words of prose is 2.7 ns, about as much as finding where the words are. Doing
//!   without the check of the index that safe Rust makes gains nothing; neither does forcing it all in line. Keeping
//!   the insertion of a new word out of line gains 7 %.
//! - The hash is one multiplication to 128 bits, its halves folded, as in wyhash. The seeds are drawn for each
//!   table, so that nobody can write a text whose words all collide.
//! - Among millions of words a look-up waits for memory: 35 ns. With the words of a piece of text hashed first and
//!   each slot asked for 16 words ahead it is 19. For tables that fit the cache (`IN_CACHE`) asking costs a tenth.

use std::cmp::Ordering;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::mem::size_of;

/// Tables of more bytes than this are to be asked for slots ahead.
const IN_CACHE: usize = 1 << 20;
/// How many words ahead.
const AHEAD: usize = 16;
const FEWEST_SLOTS: usize = 64;
/// At most two of three slots are taken.
const MOST: (usize, usize) = (2, 3);

/// A short word: at most 16 bytes, padded with zeros. One that ends with a zero byte is not short.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    low: u64,
    high: u64,
}

impl Key {
    /// The longest word that is a key.
    pub const LONGEST: usize = 16;

    /// Masks for the words of each length.
    const MASKS: [Self; Self::LONGEST + 1] = {
        let mut masks = [Self { low: 0, high: 0 }; Self::LONGEST + 1];
        let mut length = 1;
        while length <= Self::LONGEST {
            masks[length] = if length <= 8 {
                Self {
                    low: u64::MAX >> (64 - 8 * length),
                    high: 0,
                }
            } else {
                Self {
                    low: u64::MAX,
                    high: u64::MAX >> (128 - 8 * length),
                }
            };
            length += 1;
        }
        masks
    };

    /// The key of a word, if it is short.
    #[must_use]
    #[inline]
    pub fn of(word: &[u8]) -> Option<Self> {
        if word.last() == Some(&0) {
            return None;
        }
        // Two loads that overlap are quicker than a copy of unknown length.
        if let (Some(first), Some(last)) = (word.first_chunk(), word.last_chunk()) {
            let bits = 8 * word.len();
            let high = match bits {
                64 => 0,
                72..=128 => u64::from_le_bytes(*last) >> (128 - bits),
                _ => return None,
            };
            return Some(Self {
                low: u64::from_le_bytes(*first),
                high,
            });
        }
        if let (Some(first), Some(last)) = (word.first_chunk(), word.last_chunk()) {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            let low = u64::from(first) | u64::from(last) << (8 * (word.len() - 4));
            return Some(Self { low, high: 0 });
        }
        let low = word
            .iter()
            .rev()
            .fold(0, |low, byte| low << 8 | u64::from(*byte));
        Some(Self { low, high: 0 })
    }

    /// The key of the first `length` of these bytes, the last of which is not zero, if they are that few.
    #[must_use]
    #[inline]
    pub fn of_prefix(bytes: &[u8; Self::LONGEST], length: usize) -> Option<Self> {
        let mask = Self::MASKS.get(length)?;
        let key = Self::of_bytes(bytes);
        Some(Self {
            low: key.low & mask.low,
            high: key.high & mask.high,
        })
    }

    #[inline]
    fn of_bytes(bytes: &[u8; Self::LONGEST]) -> Self {
        let [low, high] = halves(bytes);
        Self { low, high }
    }

    fn bytes(self) -> [u8; Self::LONGEST] {
        (u128::from(self.low) | u128::from(self.high) << 64).to_le_bytes()
    }
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves are taken apart"
)]
fn halves(bytes: &[u8; 16]) -> [u64; 2] {
    let both = u128::from_le_bytes(*bytes);
    [both as u64, (both >> 64) as u64]
}

/// A key with its hash in one table.
#[derive(Debug, Default, Clone, Copy)]
pub struct Hashed {
    key: Key,
    hash: u64,
}

/// A word with its value, as it lies in the table.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Slot<V> {
    /// A short word, or the first 8 bytes of a long one and its place in the buffer.
    bytes: [u8; 16],
    /// What belongs to the word.
    pub value: V,
    /// The length of a long word; 0 for a short one.
    long: u32,
    epoch: u32,
}

impl<V: Copy + Default> Slot<V> {
    fn empty() -> Self {
        Self {
            bytes: [0; 16],
            value: V::default(),
            long: 0,
            epoch: 0,
        }
    }
}

impl<V> Slot<V> {
    #[inline]
    fn key(&self) -> Key {
        Key::of_bytes(&self.bytes)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "it was a usize when it was stored"
    )]
    fn place(&self) -> usize {
        self.key().high as usize
    }

    /// The word, given the buffer of the table that the slot is from.
    fn word<'a>(&'a self, buffer: &'a [u8]) -> &'a [u8] {
        if self.long > 0 {
            return &buffer[self.place()..][..self.long as usize];
        }
        let padding = u128::from_le_bytes(self.bytes).leading_zeros() / 8;
        &self.bytes[..16 - padding as usize]
    }
}

/// A map from words to values.
#[derive(Debug, Clone)]
pub struct Table<V> {
    /// A power of two of them.
    slots: Vec<Slot<V>>,
    /// Slots of another epoch are empty. Never 0.
    epoch: u32,
    length: usize,
    buffer: Vec<u8>,
    seeds: [u64; 2],
}

impl<V: Copy + Default> Default for Table<V> {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            slots: vec![Slot::empty(); FEWEST_SLOTS],
            epoch: 1,
            length: 0,
            buffer: Vec::new(),
            seeds: [random.hash_one(0), random.hash_one(1)],
        }
    }
}

impl<V: Copy + Default> Table<V> {
    /// How many words there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes that the words need, about. A table that was cleared needs none, though it keeps its memory: a batch
    /// that is bounded by this must not be full before it begins.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.length * MOST.1 / MOST.0 * size_of::<Slot<V>>() + self.buffer.len()
    }

    /// Forgets all words. Memory is kept for the next ones, but a table that has become far too large shrinks
    /// step by step.
    pub fn clear(&mut self) {
        if self.slots.len() > FEWEST_SLOTS && self.length < self.slots.len() / 16 {
            self.slots.truncate(self.slots.len() / 2);
            self.slots.shrink_to_fit();
        }
        self.buffer.clear();
        self.buffer
            .shrink_to(self.slots.len() * size_of::<Slot<V>>());
        self.length = 0;
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.slots.fill(Slot::empty());
            self.epoch = 1;
        }
    }

    /// A key with its hash here.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the halves are folded")]
    pub fn hashed(&self, key: Key) -> Hashed {
        let product = u128::from(key.low ^ self.seeds[0]) * u128::from(key.high ^ self.seeds[1]);
        let hash = product as u64 ^ (product >> 64) as u64;
        Hashed { key, hash }
    }

    /// Asks for the slot of a key, so that it is in the cache a little later.
    #[inline]
    pub fn prefetch(&self, hashed: &Hashed) {
        #[cfg(target_arch = "x86_64")]
        if let Some(slot) = self.slots.get(self.home(hashed.hash)) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a hint that has no effect on what the program computes; SSE is part of x86-64.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(slot).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = hashed;
    }

    /// Whether a look-up needs not be asked for ahead.
    #[must_use]
    #[inline]
    pub fn fits_cache(&self) -> bool {
        self.slots.len() * size_of::<Slot<V>>() <= IN_CACHE
    }

    /// Calls `change` with the value of each key, a new word's being the default, and asks for their slots ahead.
    #[inline]
    pub fn change_all(&mut self, keys: &[Hashed], mut change: impl FnMut(&mut V)) {
        for (index, hashed) in keys.iter().enumerate() {
            if let Some(ahead) = keys.get(index + AHEAD) {
                self.prefetch(ahead);
            }
            change(self.short(hashed));
        }
    }

    /// The value of a word; a new one's is the default.
    pub fn value(&mut self, word: &[u8]) -> &mut V {
        match Key::of(word) {
            Some(key) => self.short(&self.hashed(key)),
            None => self.long(word),
        }
    }

    /// The value of a short word; a new one's is the default.
    #[inline]
    pub fn short(&mut self, hashed: &Hashed) -> &mut V {
        let mask = self.slots.len() - 1;
        let mut index = self.home(hashed.hash);
        loop {
            let slot = &self.slots[index];
            let differs = (slot.key().low ^ hashed.key.low)
                | (slot.key().high ^ hashed.key.high)
                | u64::from(slot.long | (slot.epoch ^ self.epoch));
            if differs == 0 {
                return &mut self.slots[index].value;
            }
            if slot.epoch != self.epoch {
                return self.insert(index, hashed.hash, hashed.key.bytes(), 0);
            }
            index = (index + 1) & mask;
        }
    }

    /// The value of a word, if it is here.
    #[must_use]
    pub fn get(&self, word: &[u8]) -> Option<V> {
        let key = Key::of(word);
        let hash = key.map_or_else(|| self.hash_long(word), |key| self.hashed(key).hash);
        let mask = self.slots.len() - 1;
        let mut index = self.home(hash);
        loop {
            let slot = &self.slots[index];
            if slot.epoch != self.epoch {
                return None;
            }
            if slot.word(&self.buffer) == word {
                return Some(slot.value);
            }
            index = (index + 1) & mask;
        }
    }

    /// The value of a word that is no key; a new one's is the default.
    #[cold]
    fn long(&mut self, word: &[u8]) -> &mut V {
        let hash = self.hash_long(word);
        let mask = self.slots.len() - 1;
        let mut index = self.home(hash);
        loop {
            let slot = &self.slots[index];
            if slot.epoch != self.epoch {
                break;
            }
            if slot.long as usize == word.len() && slot.word(&self.buffer) == word {
                return &mut self.slots[index].value;
            }
            index = (index + 1) & mask;
        }
        let mut bytes = [0; 16];
        let prefix = word.len().min(8);
        bytes[..prefix].copy_from_slice(&word[..prefix]);
        bytes[8..].copy_from_slice(&(self.buffer.len() as u64).to_le_bytes());
        self.buffer.extend_from_slice(word);
        // Kafka's records are far shorter than 4 GiB.
        let long = u32::try_from(word.len()).expect("a word of less than 4 GiB");
        self.insert(index, hash, bytes, long)
    }

    #[inline(never)]
    fn insert(&mut self, mut index: usize, hash: u64, bytes: [u8; 16], long: u32) -> &mut V {
        self.length += 1;
        if self.length > self.slots.len() / MOST.1 * MOST.0 {
            self.grow();
            index = self.vacant(hash);
        }
        self.slots[index] = Slot {
            bytes,
            value: V::default(),
            long,
            epoch: self.epoch,
        };
        &mut self.slots[index].value
    }

    #[cold]
    fn grow(&mut self) {
        let larger = vec![Slot::empty(); self.slots.len() * 2];
        for slot in std::mem::replace(&mut self.slots, larger) {
            if slot.epoch == self.epoch {
                let hash = match slot.long {
                    0 => self.hashed(slot.key()).hash,
                    _ => self.hash_long(slot.word(&self.buffer)),
                };
                let index = self.vacant(hash);
                self.slots[index] = slot;
            }
        }
    }

    fn hash_long(&self, word: &[u8]) -> u64 {
        word.chunks(Key::LONGEST)
            .fold(word.len() as u64, |hash, chunk| {
                let mut bytes = [0; Key::LONGEST];
                bytes[..chunk.len()].copy_from_slice(chunk);
                let [low, high] = halves(&bytes);
                self.hashed(Key {
                    low: low ^ hash,
                    high,
                })
                .hash
            })
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower bits are as good as any"
    )]
    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    fn vacant(&self, hash: u64) -> usize {
        let mut index = self.home(hash);
        while self.slots[index].epoch == self.epoch {
            index = (index + 1) & (self.slots.len() - 1);
        }
        index
    }

    /// The words with their values, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], V)> {
        self.taken()
            .map(|slot| (slot.word(&self.buffer), slot.value))
    }

    fn taken(&self) -> impl Iterator<Item = &Slot<V>> {
        self.slots.iter().filter(|slot| slot.epoch == self.epoch)
    }

    /// The words in byte order.
    #[must_use]
    pub fn order(&self) -> Order<V> {
        self.orders(1, |_| 0).swap_remove(0)
    }

    /// The words in `groups` lists, each in byte order; `group` says which list a word goes to.
    #[must_use]
    pub fn orders(&self, groups: usize, group: impl Fn(&[u8]) -> usize) -> Vec<Order<V>> {
        let mut orders: Vec<_> = (0..groups)
            .map(|_| Order {
                slots: Vec::with_capacity(self.length / groups),
            })
            .collect();
        for slot in self.taken() {
            orders[group(slot.word(&self.buffer))].slots.push(*slot);
        }
        for order in &mut orders {
            order
                .slots
                .sort_unstable_by(|a, b| compare(a, b, &self.buffer));
        }
        orders
    }

    /// The words of an order that this table made since it was cleared, with the values that they had then.
    #[must_use]
    pub fn words<'a>(&'a self, order: &'a Order<V>) -> WordsInOrder<'a, V> {
        WordsInOrder {
            slots: &order.slots,
            buffer: &self.buffer,
        }
    }
}

/// Byte order, found in the slots themselves where words are short or differ early.
fn compare<V>(a: &Slot<V>, b: &Slot<V>, buffer: &[u8]) -> Ordering {
    let (a_key, b_key) = (a.key(), b.key());
    a_key
        .low
        .swap_bytes()
        .cmp(&b_key.low.swap_bytes())
        .then_with(|| {
            if a.long | b.long == 0 {
                a_key.high.swap_bytes().cmp(&b_key.high.swap_bytes())
            } else {
                a.word(buffer).cmp(b.word(buffer))
            }
        })
}

/// Words of a table in byte order. The slots are copies, so that going through them reads memory in order.
#[derive(Debug)]
pub struct Order<V> {
    slots: Vec<Slot<V>>,
}

impl<V> Order<V> {
    /// Bytes held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<V>>()
    }

    /// How many words there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// Words with their values, in byte order.
#[derive(Debug, Clone)]
pub struct WordsInOrder<'a, V> {
    slots: &'a [Slot<V>],
    buffer: &'a [u8],
}

impl<V> Default for WordsInOrder<'_, V> {
    /// No words.
    fn default() -> Self {
        Self {
            slots: &[],
            buffer: &[],
        }
    }
}

impl<'a, V: Copy> Iterator for WordsInOrder<'a, V> {
    type Item = (&'a [u8], V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (slot, rest) = self.slots.split_first()?;
        self.slots = rest;
        Some((slot.word(self.buffer), slot.value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.slots.len(), Some(self.slots.len()))
    }
}

impl<V: Copy> ExactSizeIterator for WordsInOrder<'_, V> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Key, Order, Slot, Table};

    fn words(table: &Table<i64>) -> Vec<(Vec<u8>, i64)> {
        table
            .words(&table.order())
            .map(|(word, value)| (word.to_vec(), value))
            .collect()
    }

    #[test]
    fn keys_hold_what_a_plain_copy_holds() {
        let word: Vec<u8> = (1..=20).collect();
        for length in 0..=20 {
            let word = &word[..length];
            let mut bytes = [0; Key::LONGEST];
            match Key::of(word) {
                Some(key) => {
                    bytes[..length].copy_from_slice(word);
                    assert_eq!(key.bytes(), bytes);
                    bytes[length..].fill(b'x');
                    assert_eq!(Key::of_prefix(&bytes, length), Some(key));
                }
                None => assert!(length > Key::LONGEST),
            }
            assert_eq!(Key::of(&[word, &[0]].concat()), None);
        }
        assert_eq!(Key::of_prefix(&[0; 16], 17), None);
    }

    /// Words of all lengths, some that are equal in their first 8 or 16 bytes, some with zeros.
    fn some_words() -> impl Iterator<Item = Vec<u8>> {
        (0..6000_usize).map(|number| {
            let (length, byte) = (number % 23, [0, 1, b'a', 0xff][number / 23 % 4]);
            let mut word = vec![byte; length];
            word.extend((number % 100).to_string().bytes());
            word.truncate(length.max(1));
            word
        })
    }

    #[test]
    fn equals_a_map() {
        let mut table = Table::default();
        for _ in 0..3 {
            let mut map = BTreeMap::new();
            for (word, value) in some_words().zip(1..) {
                *map.entry(word.clone()).or_insert(0) += value;
                *table.value(&word) += value;
            }
            *map.entry(Vec::new()).or_insert(0) -= 1;
            *table.value(b"") -= 1;
            assert_eq!(table.len(), map.len());
            for (word, value) in &map {
                assert_eq!(table.get(word), Some(*value));
                assert_eq!(table.get(&[word, &b"?"[..]].concat()), None);
            }
            assert_eq!(words(&table), map.into_iter().collect::<Vec<_>>());
            table.clear();
            assert!(words(&table).is_empty());
        }
    }

    #[test]
    fn clearing_gives_back_what_is_far_too_much() {
        let mut table = Table::<i64>::default();
        for number in 0..100_000_u32 {
            *table.value(&number.to_be_bytes()) += 1;
        }
        let slots = table.slots.len();
        assert!((slots / 4..=slots).contains(&(table.memory() / size_of::<Slot<i64>>())));
        table.clear();
        assert_eq!((table.memory(), table.slots.len()), (0, slots));
        for _ in 0..20 {
            *table.value(b"word") += 1;
            assert_eq!(words(&table), [(b"word".to_vec(), 1)]);
            table.clear();
        }
        assert!(table.slots.capacity() < slots / 100);
    }

    #[test]
    fn an_epoch_that_comes_round_finds_no_old_words() {
        let mut table = Table::<i64>::default();
        *table.value(b"old") += 1;
        table.epoch = u32::MAX;
        *table.value(b"new") += 1;
        table.clear();
        assert!(words(&table).is_empty());
        assert_eq!(*table.value(b"old"), 0);
    }

    #[test]
    fn groups_are_each_in_order() {
        let mut table = Table::<i64>::default();
        for word in some_words() {
            table.value(&word);
        }
        let orders = table.orders(2, |word| word.len() % 2);
        for (odd, order) in orders.iter().enumerate() {
            let words: Vec<_> = table.words(order).map(|(word, _)| word).collect();
            assert!(words.iter().all(|word| word.len() % 2 == odd));
            assert!(words.windows(2).all(|two| two[0] < two[1]));
        }
        assert_eq!(orders.iter().map(Order::len).sum::<usize>(), table.len());
    }
}
