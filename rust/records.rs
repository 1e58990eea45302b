//! Records of one partition on their way to a producer.

use std::ops::Range;

/// Keys and values, one behind the other.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    /// Where each key and each value ends.
    ends: Vec<[usize; 2]>,
}

impl Records {
    /// Appends a record.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push([key, self.bytes.len()]);
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

    /// Key and value of the record at a place.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<(&[u8], &[u8])> {
        let [key, value] = *self.ends.get(place)?;
        let start = place
            .checked_sub(1)
            .map_or(0, |before| self.ends[before][1]);
        Some((&self.bytes[start..key], &self.bytes[key..value]))
    }

    /// Keys and values of the records at these places, as far as there are any.
    pub fn entries(&self, places: Range<usize>) -> impl Iterator<Item = (&[u8], &[u8])> {
        places.map_while(|place| self.get(place))
    }
}

impl<'a> FromIterator<(&'a [u8], i64)> for Records {
    /// Words with their counts or totals, which have 8 bytes.
    fn from_iter<T: IntoIterator<Item = (&'a [u8], i64)>>(words: T) -> Self {
        let mut records = Self::default();
        for (word, number) in words {
            records.put(word, &number.to_be_bytes());
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::Records;

    #[test]
    fn records_are_where_they_were_put() {
        let mut records: Records = [(&b"a"[..], 1), (b"", -1)].into_iter().collect();
        records.put(b"key", b"");
        assert_eq!(records.len(), 3);
        assert_eq!(
            records.get(0),
            Some((&b"a"[..], &[0, 0, 0, 0, 0, 0, 0, 1][..]))
        );
        assert_eq!(records.get(1), Some((&b""[..], &[0xff; 8][..])));
        assert_eq!(records.get(2), Some((&b"key"[..], &b""[..])));
        assert_eq!(records.get(3), None);
        let keys: Vec<_> = records.entries(1..9).map(|(key, _)| key).collect();
        assert_eq!(keys, [&b""[..], b"key"]);
    }
}
