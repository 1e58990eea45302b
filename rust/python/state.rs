//! `State`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::records;
use super::totals::{Totals, old_total};
use crate::totals::resident::Resident;
use crate::totals::top::Top;
use crate::totals::{self, TotalsError};

#[pyclass(module = "wcsup._core")]
pub struct State(pub totals::State);

#[pymethods]
impl State {
    #[new]
    #[pyo3(signature = (listed, top = Vec::new(), *, empty), text_signature = "(listed, top=(), *, empty)")]
    fn new(listed: usize, top: Vec<(PyBackedBytes, i64)>, empty: bool) -> Self {
        Self(totals::State::new(Top::new(listed, top), empty))
    }

    fn take(&mut self, py: Python<'_>, totals: &Totals) -> bool {
        py.detach(|| self.0.take(totals.shared()))
    }

    #[pyo3(signature = (most = None, totals = None))]
    fn top<'py>(
        &self,
        py: Python<'py>,
        most: Option<usize>,
        totals: Option<&Totals>,
    ) -> Vec<(Bound<'py, PyBytes>, i64)> {
        let merged = totals.map(|totals| py.detach(|| self.0.top.merged(&totals.shared())));
        let top = merged.as_ref().unwrap_or(&self.0.top);
        let words = top.words(most.unwrap_or(usize::MAX)).into_iter();
        words
            .map(|(word, total)| (PyBytes::new(py, word), total))
            .collect()
    }

    fn behind(&mut self, py: Python<'_>) -> Totals {
        py.detach(|| self.0.unwritten.totals()).into()
    }

    fn written(&mut self) {
        self.0.unwritten.clear();
    }

    #[getter]
    fn unwritten(&mut self) -> usize {
        self.0.unwritten.len()
    }

    fn scan(&mut self, entries: &Bound<'_, PyAny>, bytes: usize) -> PyResult<bool> {
        let Some(mut scan) = self.0.scan() else {
            return Ok(true);
        };
        let bytes = bytes.min(self.0.room());
        let mut entries = entries.try_iter()?;
        let ended = loop {
            if scan.memory() >= bytes {
                break false;
            }
            let Some(entry) = entries.next() else {
                break true;
            };
            let entry = entry?;
            let entry = entry.cast::<PyTuple>()?;
            let (word, total) = (entry.get_borrowed_item(0)?, entry.get_borrowed_item(1)?);
            let total = old_total(&total)?;
            scan.push(word.cast::<PyBytes>()?.as_bytes(), total)
                .map_err(|_| PyValueError::new_err("the store's words are not in order"))?;
        };
        self.0.scanned(&scan);
        Ok(ended)
    }

    fn packed<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let packed = py.detach(|| self.0.resident().packed());
        PyBytes::new(py, &packed)
    }

    fn unpack(&mut self, py: Python<'_>, packed: &[u8], frontier: Option<&[u8]>) -> PyResult<()> {
        let resident = py.detach(|| Resident::unpacked(packed, frontier));
        let malformed = || PyValueError::new_err("the words are damaged or not in order");
        self.0.restore(resident.ok_or_else(malformed)?);
        Ok(())
    }

    fn complete(&mut self) {
        self.0.complete();
    }

    fn limit(&mut self, bytes: usize) {
        self.0.limit(bytes);
    }

    #[getter]
    fn has_room(&self) -> bool {
        self.0.room() > 0
    }

    #[getter]
    fn frontier<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let frontier = self.0.resident().frontier()?;
        Some(PyBytes::new(py, frontier))
    }

    #[getter]
    fn resident(&self) -> usize {
        self.0.resident().len()
    }

    #[getter]
    fn memory(&self) -> usize {
        self.0.resident().memory()
    }
}

/// The words that are to be looked up: all, or those that a state does not know.
pub fn missing<'a, 'py>(
    py: Python<'py>,
    words: impl ExactSizeIterator<Item = &'a [u8]>,
    state: Option<&Bound<'py, State>>,
) -> PyResult<Bound<'py, PyList>> {
    match state {
        Some(state) => {
            let missing = state.try_borrow_mut()?.0.missing(words);
            records::words(py, missing.into_iter())
        }
        None => records::words(py, words),
    }
}

/// The old totals of words, from a state where there is one and as they were found in the store.
pub fn old_totals<'a>(
    words: impl Iterator<Item = &'a [u8]>,
    found: Vec<Option<i64>>,
    state: Option<&mut State>,
) -> Result<Vec<Option<i64>>, TotalsError> {
    match state {
        Some(state) => state.0.totals(words, &found),
        None => Ok(found),
    }
}

/// Totals as a store has them.
pub fn found_totals(found: &Bound<'_, PyAny>) -> PyResult<Vec<Option<i64>>> {
    let mut totals = Vec::with_capacity(found.len()?);
    for total in found.try_iter()? {
        let total = total?;
        totals.push((!total.is_none()).then(|| old_total(&total)).transpose()?);
    }
    Ok(totals)
}

pub fn totals_error(error: &TotalsError) -> PyErr {
    PyValueError::new_err(error.to_string())
}
