//! Counts what was delivered, and wakes who waits for that: once, when enough was.
//!
//! `model.rs` goes through all ways in which threads can meet here.

use std::sync::PoisonError;
#[cfg(not(loom))]
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

#[cfg(loom)]
use loom::sync::{Condvar, Mutex, MutexGuard};

/// How many records were sent and acknowledged, and what else is told of them.
#[derive(Default)]
pub struct Deliveries<T> {
    counts: Mutex<Counts<T>>,
    settled: Condvar,
}

#[derive(Default)]
struct Counts<T> {
    sent: usize,
    /// Records that failed are counted, too, and records that were not given by us.
    acknowledged: usize,
    /// How many have to be acknowledged for the one who waits.
    wanted: Option<usize>,
    told: T,
}

impl<T: Default> Deliveries<T> {
    /// Forgets all, and counts anew.
    pub fn begin(&self) {
        *self.lock() = Counts::default();
    }

    /// Counts records that are about to be sent: they may be acknowledged before that returns.
    pub fn give(&self, records: usize) {
        self.lock().sent += records;
    }

    /// Counts records no more that were to be sent and were not.
    pub fn take_back(&self, records: usize) {
        self.lock().sent -= records;
    }

    /// Takes note of what is told of a record that was acknowledged or failed.
    pub fn acknowledge(&self, tell: impl FnOnce(&mut T)) {
        let mut counts = self.lock();
        tell(&mut counts.told);
        counts.acknowledged += 1;
        let acknowledged = counts.acknowledged;
        let enough = |wanted: &mut usize| acknowledged >= *wanted;
        if counts.wanted.take_if(enough).is_some() {
            self.settled.notify_all();
        }
    }

    /// Waits until no more than `left` records are yet to be acknowledged, or for so long.
    pub fn settle(&self, left: usize, time: Duration) {
        let end = Instant::now() + time;
        let mut counts = self.lock();
        let wanted = counts.sent.saturating_sub(left);
        while counts.acknowledged < wanted {
            let time = end.saturating_duration_since(Instant::now());
            if time.is_zero() {
                break;
            }
            counts.wanted = Some(wanted);
            let woken = self.settled.wait_timeout(counts, time);
            (counts, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        counts.wanted = None;
    }

    /// What was told.
    pub fn told<R>(&self, of: impl FnOnce(&T) -> R) -> R {
        of(&self.lock().told)
    }

    fn lock(&self) -> MutexGuard<'_, Counts<T>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
