//! `Combiner`.

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::messages::{Messages, Parts, RejectedMessages};
use super::{number_of_partitions, parse_rule, position, records};
use crate::combine;

#[pyclass(module = "wcsup._core")]
pub struct Combiner {
    batch: combine::Combiner,
    rejected: RejectedMessages,
}

#[pymethods]
impl Combiner {
    #[new]
    fn new(rule: &str, partitions: i64) -> PyResult<Self> {
        let batch = combine::Combiner::new(parse_rule(rule)?, number_of_partitions(partitions)?);
        Ok(Self {
            batch,
            rejected: RejectedMessages::default(),
        })
    }

    fn own(&mut self, partition: i32, offset: i64) -> PyResult<()> {
        let (partition, offset) = position(partition, offset)?;
        self.batch.positions.own(partition, offset);
        Ok(())
    }

    fn disown(&mut self, partition: i32) {
        self.batch.positions.disown(partition);
    }

    fn add<'py>(&mut self, messages: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let messages = Messages::read(messages, Parts::Value)?;
        let rejected = messages.detached(|events| self.batch.add(events));
        self.rejected.extend(&messages, &rejected)?;
        messages.into_errors()
    }

    fn records<'py>(&mut self, py: Python<'py>, partition: u32) -> PyResult<Bound<'py, PyList>> {
        py.detach(|| self.batch.in_order(partition).len());
        records::of_words(py, self.batch.in_order(partition))
    }

    fn packed<'py>(
        &mut self,
        py: Python<'py>,
        partition: u32,
        limit: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let values = py.detach(|| self.batch.packed(partition, limit));
        records::of_packed(py, &values)
    }

    fn offsets(&self) -> Vec<(i32, i64)> {
        self.batch.positions.moved()
    }

    fn rejected<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.rejected.list(py)
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
