//! Records as they go to Kafka. The bytes of keys and values and the choice of a partition may enter: what another
//! program that reads or writes the topics has to do in the same way.

pub mod line_time;
pub mod packed;
pub mod partitioner;
pub mod records;
