//! `Kept`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::records;
use super::totals::Totals;
use crate::kept;

#[pyclass(module = "wcsup._core")]
#[derive(Default)]
pub struct Kept(kept::Kept);

#[pymethods]
impl Kept {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn keep(&mut self, totals: &Totals) -> PyResult<()> {
        self.0
            .keep(totals.shared())
            .then_some(())
            .ok_or_else(|| PyValueError::new_err("there are words to delete"))
    }

    fn get<'py>(&mut self, py: Python<'py>, word: &[u8]) -> Option<Bound<'py, PyBytes>> {
        let total = self.0.get(word)?;
        Some(PyBytes::new(py, &total.to_be_bytes()))
    }

    fn pairs<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.0.all(|words| records::pairs(py, words))
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn __len__(&mut self) -> usize {
        self.0.len()
    }
}
