//! `Records`, and lists of many small objects that the stores take.
//!
//! Sharing the bytes of small numbers makes a list of pairs a quarter cheaper: most counts of a batch are small.

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::wire::records;

#[pyclass(module = "wcsup._core")]
pub struct Records(records::Records);

impl From<records::Records> for Records {
    fn from(records: records::Records) -> Self {
        Self(records)
    }
}

#[pymethods]
impl Records {
    #[new]
    #[pyo3(signature = (records = Vec::new()), text_signature = "(records=())")]
    fn new(records: Vec<(i32, PyBackedBytes, PyBackedBytes)>) -> PyResult<Self> {
        let mut made = records::Records::default();
        for (partition, key, value) in records {
            // librdkafka takes -1 for "any", and has no partition of its own to give the records to.
            if partition < 0 {
                return Err(PyValueError::new_err(format!(
                    "there is no partition {partition}"
                )));
            }
            made.put(partition, &key, &value);
        }
        Ok(Self(made))
    }

    #[getter]
    fn line_time(&self) -> Option<i64> {
        self.0.line_time()
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        place: usize,
    ) -> PyResult<(i32, Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let found = self.0.get(place);
        let (partition, key, value) = found.ok_or_else(|| PyIndexError::new_err(place))?;
        Ok((partition, PyBytes::new(py, key), PyBytes::new(py, value)))
    }
}

impl Records {
    pub fn get(&self) -> &records::Records {
        &self.0
    }

    pub fn get_mut(&mut self) -> &mut records::Records {
        &mut self.0
    }
}

/// Words as bytes objects.
pub fn words<'a, 'py>(
    py: Python<'py>,
    words: impl ExactSizeIterator<Item = &'a [u8]>,
) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, words.map(|word| PyBytes::new(py, word)))
}

/// Pairs of words and totals.
pub fn pairs<'a, 'py>(
    py: Python<'py>,
    words: impl Iterator<Item = (&'a [u8], i64)>,
) -> PyResult<Bound<'py, PyList>> {
    let numbers = Numbers::new(py);
    let pairs: Vec<_> = words
        .map(|(word, total)| PyTuple::new(py, [PyBytes::new(py, word), numbers.bytes(py, total)]))
        .collect::<PyResult<_>>()?;
    PyList::new(py, pairs)
}

/// Numbers as 8 bytes, big endian; the small ones exist once.
struct Numbers<'py>(&'py [Py<PyBytes>]);

impl<'py> Numbers<'py> {
    fn new(py: Python<'py>) -> Self {
        static SMALL: PyOnceLock<Vec<Py<PyBytes>>> = PyOnceLock::new();
        let new = |number: i64| PyBytes::new(py, &number.to_be_bytes()).unbind();
        Self(SMALL.get_or_init(py, || (0..256).map(new).collect()))
    }

    fn bytes(&self, py: Python<'py>, number: i64) -> Bound<'py, PyBytes> {
        match usize::try_from(number)
            .ok()
            .and_then(|number| self.0.get(number))
        {
            Some(bytes) => bytes.bind(py).clone(),
            None => PyBytes::new(py, &number.to_be_bytes()),
        }
    }
}
