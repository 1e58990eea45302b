//! `Combiner`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::inbox::{Inbox, RejectedRecord};
use super::records::Records;
use super::{first_offset, number_of_partitions, parse_rule};
use crate::batch::combine;
use crate::batch::input::Times;

#[pyclass(module = "wcsup._core")]
pub struct Combiner {
    batch: combine::Combiner,
    rejected: Vec<RejectedRecord>,
}

#[pymethods]
impl Combiner {
    #[new]
    fn new(rule: &str, partitions: i64) -> PyResult<Self> {
        let batch = combine::Combiner::new(parse_rule(rule)?, number_of_partitions(partitions)?);
        Ok(Self {
            batch,
            rejected: Vec::new(),
        })
    }

    fn own(&mut self, partition: i32, offset: i64) -> PyResult<()> {
        let (partition, offset) = first_offset(partition, offset)?;
        self.batch.offsets.own(partition, offset);
        Ok(())
    }

    fn disown(&mut self, partition: i32) {
        self.batch.offsets.disown(partition);
    }

    fn add(&mut self, py: Python<'_>, inbox: &mut Inbox) -> PyResult<()> {
        let rejected = inbox.empty(py, Times::Own, |events| self.batch.add(events))?;
        self.rejected.extend(rejected);
        Ok(())
    }

    fn records(&self, py: Python<'_>) -> Records {
        py.detach(|| self.batch.records()).into()
    }

    fn packed(&self, py: Python<'_>, limit: usize) -> Records {
        py.detach(|| self.batch.packed(limit)).into()
    }

    #[expect(clippy::needless_pass_by_value)] // it is made of a Python list
    fn mixed(&self, py: Python<'_>, homes: Vec<u32>, limit: usize) -> PyResult<Records> {
        let mixed = py.detach(|| self.batch.mixed(&homes, limit));
        mixed.map(Records::from).ok_or_else(|| {
            PyValueError::new_err(format!("{homes:?} has not a home for each partition"))
        })
    }

    fn offsets(&self) -> Vec<(i32, i64)> {
        self.batch.offsets.moved()
    }

    fn rejected<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        RejectedRecord::list(py, &self.rejected)
    }

    fn clear(&mut self) {
        self.batch.clear();
        self.rejected.clear();
    }

    #[getter]
    fn taken(&self) -> u64 {
        self.batch.tally().taken
    }

    #[getter]
    fn null_lines(&self) -> u64 {
        self.batch.tally().null_lines
    }

    #[getter]
    fn words(&self) -> u64 {
        self.batch.tally().words
    }

    #[getter]
    fn distinct(&self) -> usize {
        self.batch.distinct()
    }

    #[getter]
    fn bytes(&self) -> u64 {
        self.batch.tally().bytes
    }

    #[getter]
    fn memory(&self) -> usize {
        self.batch.memory()
    }
}
