//! Records on their way to a producer.

use std::cmp::{max, min};
use std::iter;
use std::ops::Range;

use crate::wire::packed;

/// Keys and values, one behind the other, and the partitions that they are for.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    /// Where each key and each value ends.
    ends: Vec<[usize; 2]>,
    /// Partitions, each with the place behind its records.
    runs: Vec<(i32, usize)>,
    line_time: Option<i64>,
}

impl Records {
    /// No records yet, of words whose oldest line is of this time, in milliseconds since 1970, if that is known: each
    /// record gets it as a header ([`crate::wire::line_time`]).
    #[must_use]
    pub fn of_lines(line_time: Option<i64>) -> Self {
        Self {
            line_time,
            ..Self::default()
        }
    }

    /// The time given to `of_lines`.
    #[must_use]
    pub fn line_time(&self) -> Option<i64> {
        self.line_time
    }

    /// Appends a record.
    pub fn put(&mut self, partition: i32, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push([key, self.bytes.len()]);
        match self.runs.last_mut() {
            Some((last, stop)) if *last == partition => *stop = self.ends.len(),
            _ => self.runs.push((partition, self.ends.len())),
        }
    }

    /// Appends words with their counts or totals, which have 8 bytes.
    pub fn put_words<'a>(
        &mut self,
        partition: i32,
        words: impl IntoIterator<Item = (&'a [u8], i64)>,
    ) {
        for (word, number) in words {
            self.put(partition, word, &number.to_be_bytes());
        }
    }

    /// Appends packed records.
    pub fn put_packed(&mut self, partition: i32, values: Vec<Vec<u8>>) {
        for value in values {
            self.put(partition, packed::KEY, &value);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Partition, key and value of the record at a place.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<(i32, &[u8], &[u8])> {
        let run = self.runs.partition_point(|(_, stop)| *stop <= place);
        let (partition, _) = *self.runs.get(run)?;
        let (key, value) = self.entry(place);
        Some((partition, key, value))
    }

    fn entry(&self, place: usize) -> (&[u8], &[u8]) {
        let [key, value] = self.ends[place];
        let start = place
            .checked_sub(1)
            .map_or(0, |before| self.ends[before][1]);
        (&self.bytes[start..key], &self.bytes[key..value])
    }

    /// Keys and values of the records at these places, as far as there are any, each run of one partition by itself.
    pub fn runs(
        &self,
        places: Range<usize>,
    ) -> impl Iterator<Item = (i32, impl ExactSizeIterator<Item = (&[u8], &[u8])>)> {
        let starts = iter::once(0).chain(self.runs.iter().map(|run| run.1));
        let runs = starts.zip(&self.runs);
        runs.filter_map(move |(start, (partition, stop))| {
            let places = max(start, places.start)..min(*stop, places.end);
            (!places.is_empty()).then(|| (*partition, places.map(|place| self.entry(place))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Records;

    #[test]
    fn records_are_where_they_were_put() {
        let mut records = Records::default();
        assert!(records.is_empty());
        records.put_words(3, [(&b"a"[..], 1), (b"", -1)]);
        records.put(3, b"key", b"");
        records.put(0, b"", b"value");
        assert_eq!(records.len(), 4);
        let one = [0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(records.get(0), Some((3, &b"a"[..], &one[..])));
        assert_eq!(records.get(1), Some((3, &b""[..], &[0xff; 8][..])));
        assert_eq!(records.get(2), Some((3, &b"key"[..], &b""[..])));
        assert_eq!(records.get(3), Some((0, &b""[..], &b"value"[..])));
        assert_eq!(records.get(4), None);
    }

    #[test]
    fn runs_are_cut_to_the_places() {
        let mut records = Records::default();
        assert!(records.runs(0..9).next().is_none());
        for (partition, key) in [(5, "a"), (5, "b"), (0, "c"), (2, "d"), (2, "e"), (5, "f")] {
            records.put(partition, key.as_bytes(), b"value");
        }
        let runs = |places| -> Vec<String> {
            let mut found = Vec::new();
            for (partition, run) in records.runs(places) {
                let keys: Vec<u8> = run.flat_map(|(key, _)| key.to_vec()).collect();
                found.push(format!("{partition}{}", String::from_utf8_lossy(&keys)));
            }
            found
        };
        assert_eq!(runs(0..9), ["5ab", "0c", "2de", "5f"]);
        assert_eq!(runs(1..4), ["5b", "0c", "2d"]);
        assert_eq!(runs(4..5), ["2e"]);
        assert!(runs(3..3).is_empty());
        assert!(runs(6..9).is_empty());
    }
}
