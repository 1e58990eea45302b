//! `Outlet`.

use std::sync::Arc;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use super::duration;
use super::records::Records;
use crate::librdkafka::{Producer, Taken, Written};

#[pyclass(module = "wcsup._core", frozen)]
pub struct Outlet(Arc<Producer>);

#[pymethods]
impl Outlet {
    #[staticmethod]
    fn of_newest_producer() -> PyResult<Self> {
        Producer::newest()
            .map(Self)
            .map_err(PyRuntimeError::new_err)
    }

    fn produce(
        &self,
        py: Python<'_>,
        topic: &str,
        records: &Records,
        start: usize,
        stop: usize,
    ) -> PyResult<Taken> {
        let records = records.get();
        py.detach(|| self.0.produce(topic, records, start..stop))
            .map_err(|error| PyValueError::new_err(error.to_string()))?
            .ok_or_else(|| PyRuntimeError::new_err("the producer is closed"))
    }

    fn begin(&self) {
        self.0.begin();
    }

    fn settle(&self, py: Python<'_>, left: usize, seconds: f64) -> PyResult<()> {
        let time = duration(seconds)?;
        py.detach(|| self.0.settle(left, time));
        Ok(())
    }

    fn written(&self) -> Vec<Written> {
        self.0.written()
    }

    fn broke(&self) -> bool {
        self.0.broke()
    }

    fn unanswered(&self) -> bool {
        self.0.unanswered()
    }

    fn in_doubt(&self) -> usize {
        self.0.in_doubt()
    }

    fn failed(&self) -> Option<(String, i32)> {
        self.0.failed()
    }
}
