//! What a batch is made of: events in the order in which the consumer gave them, and what was refused.

use std::fmt;

use crate::wire::packed::Malformed;

/// Which time of its records a consumer hands over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// None.
    Unread,
    /// The record's own: when it was made, or appended if the topic says so.
    Own,
    /// That of the oldest line whose words the record has ([`crate::wire::line_time`]).
    OfLines,
}

/// One thing that a consumer handed over.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A record.
    Record {
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// Its key, if it has one.
        key: Option<&'a [u8]>,
        /// Its value, if it has one.
        value: Option<&'a [u8]>,
        /// The time that the consumer was asked for ([`Times`]), in milliseconds since 1970, if there is one.
        time: Option<i64>,
    },
    /// The end of a partition was reached.
    End {
        /// The partition.
        partition: i32,
        /// The offset that the next record will have at least.
        offset: i64,
    },
    /// Something that is no business of the batch, such as an error.
    Other,
}

impl Event<'_> {
    /// Bytes that a copy of it holds, with why it was refused, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        const PLACE: usize = 200;
        match self {
            Self::Record { key, value, .. } => {
                PLACE + key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)
            }
            Self::End { .. } | Self::Other => PLACE,
        }
    }
}

/// Why a record can't be processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A word of so many bytes would not fit a record as its key.
    LongWord(usize),
    /// A record that must have a key has none.
    NoKey,
    /// A count must have 8 bytes, this one has so many.
    ValueLength(usize),
    /// The counts of one word in one batch do not fit 8 bytes.
    Overflow,
    /// The packed words can't be read.
    Packed(Malformed),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LongWord(length) => {
                write!(
                    f,
                    "a word of {length} bytes is longer than {}",
                    crate::words::tokenize::MAX_WORD_BYTES
                )
            }
            Self::NoKey => f.write_str("the record has no key"),
            Self::ValueLength(length) => write!(f, "the value has {length} bytes, not 8"),
            Self::Overflow => {
                f.write_str("the counts of the word in this batch do not fit 8 bytes")
            }
            Self::Packed(Malformed::Version(version)) => {
                write!(f, "the words are packed in a form of version {version}")
            }
            Self::Packed(Malformed::Entry(byte)) => {
                write!(f, "the packed words are malformed at byte {byte}")
            }
        }
    }
}

/// A record that can't be processed: its place among the events given, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// Index of the event.
    pub index: usize,
    /// Why.
    pub reason: Reason,
}

impl Rejected {
    /// Bytes that copies of the rejected events hold, about.
    #[must_use]
    pub fn memory(rejected: &[Self], events: &[Event<'_>]) -> usize {
        rejected
            .iter()
            .map(|rejected| events[rejected.index].memory())
            .sum()
    }
}
