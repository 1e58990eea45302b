//! A table of words for each partition, changed by a batch of records at a time.

use crate::batch::table::{Hashed, Key, Order, Table, WordsInOrder};

/// Records whose slots are asked for before the first of them is changed. Among 900,000 words a record costs
/// 54 ns with 8, 44 with 32, 49 with 64 and 55 with 256.
const AHEAD: usize = 32;

/// Words with values, by partition.
#[derive(Debug)]
pub struct WordsByPartition<V> {
    /// In the order in which they came, so that places stay valid while records wait. There are a few dozen.
    words: Vec<Words<V>>,
    /// Where the last record went: records come in runs of one partition.
    last: usize,
    /// The order that was asked for last, and its partition's place; none after a change. It has a copy of each word.
    order: Option<(usize, Order<V>)>,
}

#[derive(Debug)]
struct Words<V> {
    partition: i32,
    table: Table<V>,
}

impl<V> Default for WordsByPartition<V> {
    fn default() -> Self {
        Self {
            words: Vec::new(),
            last: 0,
            order: None,
        }
    }
}

impl<V: Copy + Default> WordsByPartition<V> {
    /// Calls `change` with the value of each word and what the record says of it. A new word's value is the
    /// default. The records of one word come in their order.
    pub fn change<'a, T>(
        &mut self,
        records: impl Iterator<Item = (i32, &'a [u8], T)>,
        mut change: impl FnMut(&mut V, T),
    ) {
        self.order = None;
        let mut records = records.peekable();
        let mut waiting: Vec<(usize, Hashed, T)> = Vec::with_capacity(AHEAD);
        while records.peek().is_some() {
            for (partition, word, what) in records.by_ref().take(AHEAD) {
                let place = self.place(partition);
                let table = &mut self.words[place].table;
                if let Some(key) = Key::of(word) {
                    let hashed = table.hashed(key);
                    table.prefetch(&hashed);
                    waiting.push((place, hashed, what));
                } else {
                    change(table.value(word), what);
                }
            }
            for (place, hashed, what) in waiting.drain(..) {
                change(self.words[place].table.short(&hashed), what);
            }
        }
    }

    fn place(&mut self, partition: i32) -> usize {
        if self
            .words
            .get(self.last)
            .is_none_or(|words| words.partition != partition)
        {
            self.last = self
                .words
                .iter()
                .position(|words| words.partition == partition)
                .unwrap_or_else(|| {
                    self.words.push(Words {
                        partition,
                        table: Table::default(),
                    });
                    self.words.len() - 1
                });
        }
        self.last
    }

    /// The value of a word of a partition, if it is here.
    #[must_use]
    pub fn get(&self, partition: i32, word: &[u8]) -> Option<V> {
        let mut words = self.words.iter();
        words
            .find(|words| words.partition == partition)
            .and_then(|words| words.table.get(word))
    }

    /// The words of a partition with their values, in byte order.
    pub fn in_order(&mut self, partition: i32) -> WordsInOrder<'_, V> {
        let mut words = self.words.iter();
        let Some(place) = words.position(|words| words.partition == partition) else {
            return WordsInOrder::default();
        };
        let table = &self.words[place].table;
        if self.order.as_ref().is_none_or(|(of, _)| *of != place) {
            self.order = None; // before the next one is made
        }
        let (_, order) = self.order.get_or_insert_with(|| (place, table.order()));
        table.words(order)
    }

    /// Partitions that have words, in order.
    #[must_use]
    pub fn numbers(&self) -> Vec<i32> {
        let with_words = self.words.iter().filter(|words| !words.table.is_empty());
        let mut numbers: Vec<_> = with_words.map(|words| words.partition).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Words of all partitions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.iter().map(|words| words.table.len()).sum()
    }

    /// Whether there are no words.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        let order = self.order.as_ref().map_or(0, |(_, order)| order.memory());
        let tables = self.words.iter().map(|words| words.table.memory());
        tables.sum::<usize>() + order
    }

    /// Forgets all words. The tables that had some are kept for the next batch.
    pub fn clear(&mut self) {
        self.words.retain(|words| !words.table.is_empty());
        for words in &mut self.words {
            words.table.clear();
        }
        self.order = None;
    }

    /// Forgets a partition with its table.
    pub fn remove(&mut self, partition: i32) {
        self.words.retain(|words| words.partition != partition);
        self.order = None;
    }
}
