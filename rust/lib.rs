//! The Rust core of wcsup: the work for each byte and each word.
//!
//! A line of text goes through these modules in order: [`positions`] says whether it belongs to the batch,
//! [`tokenize`] what its words are, [`combine`] adds equal words up and [`partition`] says where their records
//! go, one or, [`packed`], many words in one of the [`records`]. There [`aggregate`] adds the records up, [`totals`]
//! has the old totals, what the batch makes of them, and what the store is yet to be given.
//!
//! None of them knows Python or Kafka. The boundary is in `boundary`, behind the feature `python`; the records come
//! from librdkafka there.

pub mod aggregate;
pub mod ascii;
pub mod combine;
pub mod input;
pub mod packed;
pub mod partition;
pub mod partitions;
pub mod positions;
pub mod records;
pub mod table;
pub mod tokenize;
pub mod totals;

#[cfg(feature = "python")]
mod boundary;
