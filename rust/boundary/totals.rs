//! `Totals` and `Top`.

use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};

use super::records::{self, Records};
use crate::known;
use crate::top;
use crate::totals::{self, TotalsError, parse_total};

#[pyclass(module = "wcsup._core", frozen)]
pub struct Totals {
    new: Arc<totals::Totals>,
}

impl From<totals::Totals> for Totals {
    fn from(new: totals::Totals) -> Self {
        Self { new: new.into() }
    }
}

impl Totals {
    pub fn shared(&self) -> Arc<totals::Totals> {
        self.new.clone()
    }
}

#[pymethods]
impl Totals {
    fn append_to(&self, py: Python<'_>, records: &mut Records, partition: i32) {
        let records = records.get_mut();
        py.detach(|| records.put_words(partition, self.new.entries(0, None)));
    }

    #[pyo3(signature = (start = 0, stop = None))]
    fn pairs<'py>(
        &self,
        py: Python<'py>,
        start: usize,
        stop: Option<usize>,
    ) -> PyResult<Bound<'py, PyList>> {
        records::pairs(py, self.new.entries(start, stop))
    }

    fn deleted<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(
            py,
            self.new.deleted().iter().map(|word| PyBytes::new(py, word)),
        )
    }

    fn refused<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let refused = self.new.refused().iter();
        records::pairs(py, refused.map(|(word, count)| (&**word, *count)))
    }

    #[getter]
    fn new_words(&self) -> i64 {
        self.new.new_words()
    }

    #[getter]
    fn added(&self) -> i128 {
        self.new.added()
    }

    fn __len__(&self) -> usize {
        self.new.len()
    }
}

#[pyclass(module = "wcsup._core")]
pub struct Top {
    top: top::Top,
}

#[pymethods]
impl Top {
    #[new]
    #[pyo3(signature = (size, words = Vec::new()), text_signature = "(size, words=())")]
    fn new(size: usize, words: Vec<(PyBackedBytes, i64)>) -> Self {
        Self {
            top: top::Top::new(size, words),
        }
    }

    fn merge(&mut self, py: Python<'_>, totals: &Totals) -> bool {
        py.detach(|| self.top.merge(&totals.new))
    }

    fn merged(&self, py: Python<'_>, totals: &Totals) -> Self {
        let top = py.detach(|| self.top.merged(&totals.new));
        Self { top }
    }

    #[pyo3(signature = (most = None))]
    fn words<'py>(&self, py: Python<'py>, most: Option<usize>) -> Vec<(Bound<'py, PyBytes>, i64)> {
        let words = self.top.words(most.unwrap_or(usize::MAX)).into_iter();
        words
            .map(|(word, total)| (PyBytes::new(py, word), total))
            .collect()
    }
}

#[pyclass(module = "wcsup._core")]
#[derive(Default)]
pub struct Known {
    pub known: known::Known,
}

#[pymethods]
impl Known {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn merge(&mut self, py: Python<'_>, totals: &Totals) -> bool {
        py.detach(|| self.known.merge(&totals.new))
    }

    #[getter]
    fn memory(&self) -> usize {
        self.known.memory()
    }
}

/// The old totals of a store, as it has them.
pub fn old_totals(old: &Bound<'_, PyAny>) -> PyResult<Vec<Option<i64>>> {
    let mut totals = Vec::with_capacity(old.len()?);
    for old in old.try_iter()? {
        let old = old?;
        totals.push(if old.is_none() {
            None
        } else {
            let bytes = old
                .cast::<PyBytes>()
                .map_err(|_| PyTypeError::new_err("an old total must be bytes or None"))?;
            let bytes = bytes.as_bytes();
            let length = bytes.len();
            let wrong =
                || PyValueError::new_err(format!("an old total has {length} bytes, not 8 or 4"));
            Some(parse_total(bytes).ok_or_else(wrong)?)
        });
    }
    Ok(totals)
}

pub fn totals_error(error: &TotalsError) -> PyErr {
    PyValueError::new_err(error.to_string())
}
