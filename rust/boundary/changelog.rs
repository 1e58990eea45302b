//! `Changelog`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::inbox::Inbox;
use super::totals::{Known, Totals, old_totals, totals_error};
use super::{position, records};
use crate::changelog;

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
        let (partition, offset) = position(partition, offset)?;
        self.log.positions.own(partition, offset);
        Ok(())
    }

    fn disown(&mut self, partition: i32) {
        self.log.disown(partition);
    }

    fn add(&mut self, py: Python<'_>, inbox: &mut Inbox) -> PyResult<()> {
        inbox.empty(py, |events| {
            self.log.add(events);
            Vec::new()
        })?;
        Ok(())
    }

    fn next_offset(&self, partition: i32) -> PyResult<i64> {
        let next = self.log.positions.next(partition);
        next.ok_or_else(|| PyValueError::new_err(format!("partition {partition} is not owned")))
    }

    fn words<'py>(&mut self, py: Python<'py>, partition: i32) -> PyResult<Bound<'py, PyList>> {
        py.detach(|| self.log.words(partition).len());
        records::words(py, self.log.words(partition))
    }

    fn totals(
        &mut self,
        py: Python<'_>,
        partition: i32,
        old: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Totals> {
        let known = old.and_then(|old| old.cast::<Known>().ok());
        let totals = if let Some(known) = known {
            let known = &known.try_borrow()?.known;
            py.detach(|| {
                let old = known.totals(self.log.words(partition));
                self.log.totals(partition, Some(&old))
            })
        } else {
            let old = old.map(old_totals).transpose()?;
            py.detach(|| self.log.totals(partition, old.as_deref()))
        };
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
