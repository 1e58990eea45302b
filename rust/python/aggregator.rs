//! `Aggregator`.

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::inbox::{Inbox, RejectedRecord};
use super::records::Records;
use super::state::{State, found_totals, missing, old_totals, totals_error};
use super::totals::Totals;
use super::{first_offset, number_of_partitions};
use crate::batch::aggregate;
use crate::batch::input::Times;

#[pyclass(module = "wcsup._core")]
pub struct Aggregator {
    batch: aggregate::Aggregator,
    rejected: Vec<RejectedRecord>,
}

#[pymethods]
impl Aggregator {
    #[new]
    fn new(partitions: i64) -> PyResult<Self> {
        Ok(Self {
            batch: aggregate::Aggregator::new(number_of_partitions(partitions)?),
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
        let rejected = inbox.empty(py, Times::OfLines, |events| self.batch.add(events))?;
        self.rejected.extend(rejected);
        Ok(())
    }

    fn partitions(&self) -> Vec<i32> {
        self.batch.partitions()
    }

    #[pyo3(signature = (partition, state = None))]
    fn words<'py>(
        &mut self,
        py: Python<'py>,
        partition: i32,
        state: Option<&Bound<'py, State>>,
    ) -> PyResult<Bound<'py, PyList>> {
        py.detach(|| self.batch.words(partition).len());
        missing(py, self.batch.words(partition), state)
    }

    #[pyo3(signature = (partition, old, state = None))]
    fn totals(
        &mut self,
        py: Python<'_>,
        partition: i32,
        old: &Bound<'_, PyAny>,
        state: Option<&Bound<'_, State>>,
    ) -> PyResult<Totals> {
        let found = found_totals(old)?;
        let mut state = state.map(Bound::try_borrow_mut).transpose()?;
        let state = state.as_deref_mut();
        let totals = py.detach(|| {
            let old = old_totals(self.batch.words(partition), found, state)?;
            self.batch.totals(partition, &old)
        });
        totals
            .map(Totals::from)
            .map_err(|error| totals_error(&error))
    }

    fn forwarded(&mut self, py: Python<'_>, limit: usize) -> Records {
        py.detach(|| self.batch.forwarded(limit)).into()
    }

    fn line_times(&mut self) -> Vec<(i64, u64)> {
        self.batch.line_times()
    }

    fn offsets(&self) -> Vec<(i32, i64)> {
        self.batch.offsets()
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
    fn counted(&mut self) -> i128 {
        self.batch.counted()
    }

    #[getter]
    fn mixed(&self) -> bool {
        self.batch.tally().mixed
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
