//! A batch: records taken in, and what was counted of them. What holds records' counts between two commits may enter;
//! bytes of a record's value are read and written in [`wire`](crate::wire), and what outlives a commit is in
//! [`totals`](crate::totals).
//!
//! [`input`] has what a batch is given, [`offsets`] decides whether it belongs to the batch. [`combine`] is a mapper's
//! batch, [`aggregate`] a reducer's; they count in a [`table`] of words, or in one for each partition
//! ([`by_partition`]). [`ages`] has how old the lines of a reducer's words are.

pub mod ages;
pub mod aggregate;
pub mod by_partition;
pub mod combine;
pub mod input;
pub mod offsets;
pub mod table;
