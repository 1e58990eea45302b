//! `Totals`.

use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::records::{self, Records};
use crate::totals::{self, parse_total};

#[pyclass(module = "wcsup._core", frozen)]
pub struct Totals {
    new: Arc<totals::Totals>,
}

impl From<totals::Totals> for Totals {
    fn from(new: totals::Totals) -> Self {
        Self { new: new.into() }
    }
}

impl From<Arc<totals::Totals>> for Totals {
    fn from(new: Arc<totals::Totals>) -> Self {
        Self { new }
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
        let deleted = self.new.deleted().iter();
        PyList::new(py, deleted.map(|word| PyBytes::new(py, word)))
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
    fn new_long(&self) -> i64 {
        self.new.new_long()
    }

    #[getter]
    fn added(&self) -> i128 {
        self.new.added()
    }

    fn __len__(&self) -> usize {
        self.new.len()
    }
}

/// An old total, as a store has it.
#[inline]
pub fn old_total(total: &Bound<'_, PyAny>) -> PyResult<i64> {
    let bytes = total
        .cast::<PyBytes>()
        .map_err(|_| PyTypeError::new_err("an old total must be bytes or None"))?
        .as_bytes();
    parse_total(bytes).ok_or_else(|| {
        let length = bytes.len();
        PyValueError::new_err(format!("an old total has {length} bytes, not 8 or 4"))
    })
}
