//! What is owned and which offset is expected next.
//!
//! A consumer's queues may still hold records of a partition that was revoked, or from before a seek. Here is
//! the one place that decides whether a record belongs to the batch, so that none is taken twice.

/// The input partitions that a batch owns, with the offset expected next of each.
#[derive(Debug, Default)]
pub struct Offsets {
    /// Sorted by partition. A worker owns a few dozen at most, so that a binary search beats a hash map.
    owned: Vec<Owned>,
    /// Where the last record was found: records come in runs of one partition.
    last: usize,
}

#[derive(Debug, Clone, Copy)]
struct Owned {
    partition: i32,
    next: i64,
    moved: bool,
}

impl Offsets {
    /// Takes records of `partition` from `offset` on; -1 stands for whatever comes first.
    pub fn own(&mut self, partition: i32, offset: i64) {
        let owned = Owned {
            partition,
            next: offset,
            moved: false,
        };
        match self
            .owned
            .binary_search_by_key(&partition, |owned| owned.partition)
        {
            Ok(index) => self.owned[index] = owned,
            Err(index) => self.owned.insert(index, owned),
        }
    }

    /// Takes no more records of `partition`.
    pub fn disown(&mut self, partition: i32) {
        self.owned.retain(|owned| owned.partition != partition);
    }

    /// Whether a record belongs to the batch. If so, the offset expected next is the one behind it.
    pub fn take(&mut self, partition: i32, offset: i64) -> bool {
        match self.find(partition) {
            Some(owned) if offset >= owned.next => {
                owned.next = offset.saturating_add(1);
                owned.moved = true;
                true
            }
            _ => false,
        }
    }

    /// The partition ends at `offset`: what lies between the last record and it are control records.
    pub fn end(&mut self, partition: i32, offset: i64) {
        match self.find(partition) {
            Some(owned) if offset > owned.next => {
                owned.next = offset;
                owned.moved = true;
            }
            _ => {}
        }
    }

    /// The offset expected next of an owned partition.
    #[must_use]
    pub fn next(&self, partition: i32) -> Option<i64> {
        let index = self
            .owned
            .binary_search_by_key(&partition, |owned| owned.partition)
            .ok()?;
        Some(self.owned[index].next)
    }

    /// Whether a partition is owned.
    #[must_use]
    pub fn owns(&self, partition: i32) -> bool {
        self.next(partition).is_some()
    }

    /// Partitions and their next offsets, of those that moved since `clear`.
    #[must_use]
    pub fn moved(&self) -> Vec<(i32, i64)> {
        self.of(|owned| owned.moved)
    }

    /// The same of all that are owned.
    #[must_use]
    pub fn all(&self) -> Vec<(i32, i64)> {
        self.of(|_| true)
    }

    fn of(&self, wanted: impl Fn(&Owned) -> bool) -> Vec<(i32, i64)> {
        let wanted = self.owned.iter().filter(|owned| wanted(owned));
        wanted.map(|owned| (owned.partition, owned.next)).collect()
    }

    /// Starts a new batch: nothing has moved; what is owned and expected stays.
    pub fn clear(&mut self) {
        for owned in &mut self.owned {
            owned.moved = false;
        }
    }

    fn find(&mut self, partition: i32) -> Option<&mut Owned> {
        if self
            .owned
            .get(self.last)
            .is_none_or(|owned| owned.partition != partition)
        {
            self.last = self
                .owned
                .binary_search_by_key(&partition, |owned| owned.partition)
                .ok()?;
        }
        self.owned.get_mut(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::Offsets;

    #[test]
    fn takes_each_owned_record_once() {
        let mut offsets = Offsets::default();
        offsets.own(3, 10);
        assert!(!offsets.take(3, 9));
        assert!(offsets.take(3, 10));
        assert!(!offsets.take(3, 10));
        assert!(
            offsets.take(3, 15),
            "compaction and control records leave gaps"
        );
        assert!(!offsets.take(2, 0));
        assert_eq!(offsets.moved(), [(3, 16)]);
    }

    #[test]
    fn minus_one_takes_whatever_comes_first() {
        let mut offsets = Offsets::default();
        offsets.own(0, -1);
        assert!(offsets.moved().is_empty());
        assert!(offsets.take(0, 77));
        assert!(!offsets.take(0, 76));
    }

    #[test]
    fn an_end_only_moves_forward() {
        let mut offsets = Offsets::default();
        offsets.own(0, 5);
        offsets.end(0, 5);
        offsets.end(1, 9);
        assert!(offsets.moved().is_empty());
        offsets.end(0, 8);
        offsets.end(0, 6);
        assert_eq!(offsets.moved(), [(0, 8)]);
        assert_eq!(offsets.next(0), Some(8));
        assert_eq!(offsets.next(1), None);
    }

    #[test]
    fn clear_keeps_what_is_expected_and_own_sets_it_anew() {
        let mut offsets = Offsets::default();
        offsets.own(1, 0);
        offsets.own(0, 0);
        assert!(offsets.take(1, 4));
        offsets.clear();
        assert!(offsets.moved().is_empty());
        assert!(!offsets.take(1, 4));
        offsets.own(1, 4);
        assert!(offsets.take(1, 4));
        offsets.disown(1);
        assert!(!offsets.take(1, 5));
        assert!(offsets.take(0, 0));
    }

    #[test]
    fn the_last_offset_there_can_be_does_not_overflow() {
        let mut offsets = Offsets::default();
        offsets.own(0, 0);
        assert!(offsets.take(0, i64::MAX));
        assert_eq!(offsets.next(0), Some(i64::MAX));
    }
}
