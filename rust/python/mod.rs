//! The classes that Python sees. Conversion, release of the GIL and errors may enter, nothing else. What each name does
//! is said in `python/wcsup/_core.pyi`, which `mypy.stubtest` holds against this.

mod aggregator;
mod changelog;
mod combiner;
mod inbox;
mod outlet;
mod records;
mod state;
mod totals;

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::wire::partitioner;
use crate::words::tokenize::Rule;

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::{
        aggregator::Aggregator,
        changelog::Changelog,
        combiner::Combiner,
        inbox::{Inbox, plugin, separate_heap},
        outlet::Outlet,
        partition_of,
        records::Records,
        state::State,
        tokens,
        totals::Totals,
    };

    #[pymodule_export]
    const MAX_WORD_BYTES: usize = crate::words::tokenize::MAX_WORD_BYTES;
}

#[pyfunction]
#[pyo3(name = "partition")]
fn partition_of(key: &[u8], partitions: i64) -> PyResult<u32> {
    Ok(partitioner::partition(
        key,
        number_of_partitions(partitions)?,
    ))
}

#[pyfunction]
#[pyo3(name = "tokenize")]
fn tokens<'py>(py: Python<'py>, line: &[u8], rule: &str) -> PyResult<Bound<'py, PyList>> {
    let mut words = Vec::new();
    parse_rule(rule)?.words(line, |word| words.push(PyBytes::new(py, word)));
    PyList::new(py, words)
}

fn parse_rule(name: &str) -> PyResult<Rule> {
    name.parse().map_err(|_| {
        PyValueError::new_err(format!(
            "the rules are \"ascii\" and \"unicode\", not {name:?}"
        ))
    })
}

fn number_of_partitions(number: i64) -> PyResult<u32> {
    i32::try_from(number)
        .ok()
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| PyValueError::new_err(format!("{number} is no number of partitions")))
}

/// What Python waits, cut so that its end is a time that there is.
fn duration(seconds: f64) -> PyResult<Duration> {
    const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);
    Duration::try_from_secs_f64(seconds)
        .map(|time| time.min(LONGEST))
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Refuses what librdkafka's special offsets would stand for: a batch must know where it starts.
fn first_offset(partition: i32, offset: i64) -> PyResult<(i32, i64)> {
    if partition < 0 || offset < -1 {
        return Err(PyValueError::new_err(format!(
            "no record is at offset {offset} of partition {partition}"
        )));
    }
    Ok((partition, offset))
}
