//! From when the lines are whose words a batch has.

use std::collections::BTreeMap;

/// How many words there are of lines of a time. A mapper's commit has one time, that of its oldest line, so there are
/// few times in a batch.
#[derive(Debug, Default)]
pub struct Ages {
    words: BTreeMap<i64, u64>,
    /// The last one, not in `words` yet: records come in runs of one mapper's commit.
    last: Option<(i64, u64)>,
}

impl Ages {
    /// Takes the words of a record, whose oldest line is of this time if it tells one.
    #[inline]
    pub fn add(&mut self, time: Option<i64>, words: i128) {
        let (Some(time), Ok(words)) = (time, u64::try_from(words)) else {
            return;
        };
        match &mut self.last {
            Some((last, sum)) if *last == time => *sum = sum.saturating_add(words),
            _ => {
                self.keep_last();
                self.last = Some((time, words));
            }
        }
    }

    fn keep_last(&mut self) {
        if let Some((time, words)) = self.last.take() {
            let sum = self.words.entry(time).or_default();
            *sum = sum.saturating_add(words);
        }
    }

    /// Times in milliseconds since 1970 with their words, oldest first.
    pub fn all(&mut self) -> Vec<(i64, u64)> {
        self.keep_last();
        self.words
            .iter()
            .map(|(time, words)| (*time, *words))
            .collect()
    }

    /// The oldest time.
    pub fn oldest(&mut self) -> Option<i64> {
        self.keep_last();
        self.words.first_key_value().map(|(time, _)| *time)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.words.clear();
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::Ages;

    #[test]
    fn words_add_up_by_time() {
        let mut ages = Ages::default();
        assert_eq!((ages.oldest(), ages.all()), (None, vec![]));
        for (time, words) in [
            (Some(7), 1),
            (Some(7), 2),
            (None, 100),
            (Some(3), 4),
            (Some(7), 5),
            (Some(9), -1),
        ] {
            ages.add(time, words);
        }
        assert_eq!(ages.oldest(), Some(3));
        assert_eq!(ages.all(), [(3, 4), (7, 8)]);
        ages.clear();
        assert_eq!((ages.oldest(), ages.all()), (None, vec![]));
    }
}
