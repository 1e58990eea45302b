//! The Rust core of wcsup: the work for each byte and each word.
//!
//! A line of text goes through these modules in order: [`batch::offsets`] says whether it belongs to the batch,
//! [`words::tokenize`] what its words are, [`batch::combine`] adds equal words up and [`wire::partitioner`] says where
//! their records go, one or, [`wire::packed`], many words in one of the [`wire::records`]. There [`batch::aggregate`]
//! adds the records up, [`totals`] has the old totals, what the batch makes of them, and what the store is yet to be
//! given.
//!
//! None of these calls Python or Kafka. `librdkafka`, from which the records come, knows no Python. `python` has the
//! classes that Python sees. Both are there with the feature `python` alone.

pub mod batch;
pub mod totals;
pub mod wire;
pub mod words;

#[cfg(feature = "python")]
mod librdkafka;
#[cfg(feature = "python")]
mod python;
