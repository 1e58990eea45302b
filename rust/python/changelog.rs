//! `Changelog`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::first_offset;
use super::inbox::Inbox;
use super::state::{State, found_totals, missing, old_totals, totals_error};
use super::totals::Totals;
use crate::batch::input::Times;
use crate::totals::changelog;

#[pyclass(module = "wcsup._core")]
#[derive(Default)]
pub struct Changelog {
    log: changelog::Changelog,
}

#[pymethods]
impl Changelog {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn own(&mut self, partition: i32, offset: i64) -> PyResult<()> {
        let (partition, offset) = first_offset(partition, offset)?;
        self.log.offsets.own(partition, offset);
        Ok(())
    }

    fn disown(&mut self, partition: i32) {
        self.log.disown(partition);
    }

    fn add(&mut self, py: Python<'_>, inbox: &mut Inbox) -> PyResult<()> {
        inbox.empty(py, Times::Unread, |events| {
            self.log.add(events);
            Vec::new()
        })?;
        Ok(())
    }

    fn next_offset(&self, partition: i32) -> PyResult<i64> {
        let next = self.log.offsets.next(partition);
        next.ok_or_else(|| PyValueError::new_err(format!("partition {partition} is not owned")))
    }

    #[pyo3(signature = (partition, state = None))]
    fn words<'py>(
        &mut self,
        py: Python<'py>,
        partition: i32,
        state: Option<&Bound<'py, State>>,
    ) -> PyResult<Bound<'py, PyList>> {
        py.detach(|| self.log.words(partition).len());
        missing(py, self.log.words(partition), state)
    }

    #[pyo3(signature = (partition, old, state = None))]
    fn totals(
        &mut self,
        py: Python<'_>,
        partition: i32,
        old: Option<&Bound<'_, PyAny>>,
        state: Option<&Bound<'_, State>>,
    ) -> PyResult<Totals> {
        let Some(old) = old else {
            return py
                .detach(|| self.log.totals(partition, None))
                .map(Totals::from)
                .map_err(|error| totals_error(&error));
        };
        let found = found_totals(old)?;
        let mut state = state.map(Bound::try_borrow_mut).transpose()?;
        let state = state.as_deref_mut();
        let totals = py.detach(|| {
            let old = old_totals(self.log.words(partition), found, state)?;
            self.log.totals(partition, Some(&old))
        });
        totals
            .map(Totals::from)
            .map_err(|error| totals_error(&error))
    }

    #[getter]
    fn taken(&self) -> u64 {
        self.log.taken()
    }

    #[getter]
    fn malformed(&self) -> u64 {
        self.log.malformed()
    }

    #[getter]
    fn memory(&self) -> usize {
        self.log.memory()
    }
}
