//! The totals of one partition: what a batch makes of the old ones, and what is in memory of all of them. What knows a
//! word's total may enter.
//!
//! [`new`] has what goes to `counts`, [`state`] what a reducer holds of a partition between two batches: [`resident`]
//! totals, which need no look-up, [`unwritten`] ones, which the store is yet to be given, and the [`top`] words.
//! [`changelog`] folds the records of `counts` into new totals when a store is restored.

pub mod changelog;
pub mod new;
pub mod resident;
pub mod state;
pub mod top;
pub mod unwritten;

pub use new::{Totals, TotalsError, parse_total};
pub use state::State;
