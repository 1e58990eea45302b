//! `Inbox`.

use std::mem;
use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};

use super::duration;
use crate::batch::input::{Event, Rejected, Times};
use crate::librdkafka::{self, Consumer, Notice};

fn link(py: Python<'_>) -> PyResult<()> {
    let client: std::ffi::OsString = py
        .import("confluent_kafka.cimpl")?
        .getattr("__file__")?
        .extract()?;
    librdkafka::link(&client).map_err(|error| PyOSError::new_err(error.to_string()))
}

#[pyfunction]
pub fn separate_heap(py: Python<'_>) -> PyResult<bool> {
    link(py)?;
    librdkafka::separate().map_err(PyRuntimeError::new_err)
}

/// Finds librdkafka; returns what `plugin.library.paths` has to say.
#[pyfunction]
pub fn plugin(py: Python<'_>) -> PyResult<String> {
    link(py)?;
    py.import("wcsup._core")?.getattr("__file__")?.extract()
}

#[pyclass(module = "wcsup._core")]
pub struct Inbox(Source);

enum Source {
    Consumer(Arc<Consumer>),
    Given(Vec<Given>),
}

/// What a caller put in.
#[derive(FromPyObject)]
enum Given {
    Record(i32, i64, Option<PyBackedBytes>, Option<PyBackedBytes>),
    Timed(
        i32,
        i64,
        Option<PyBackedBytes>,
        Option<PyBackedBytes>,
        Option<i64>,
    ),
    End(i32, i64),
}

#[pymethods]
impl Inbox {
    #[new]
    #[pyo3(signature = (records = None))]
    fn new(records: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let given = records
            .map(|records| records.try_iter()?.map(|each| each?.extract()).collect())
            .transpose()?;
        Ok(Self(Source::Given(given.unwrap_or_default())))
    }

    #[staticmethod]
    fn of_newest_consumer() -> PyResult<Self> {
        let consumer = Consumer::newest().map_err(PyRuntimeError::new_err)?;
        Ok(Self(Source::Consumer(consumer)))
    }

    fn divert(&self, topic: &str, partition: i32) -> PyResult<()> {
        let diverted = self.consumer()?.divert(topic, partition);
        let diverted = diverted.map_err(|error| PyValueError::new_err(error.to_string()))?;
        diverted.ok_or_else(closed)
    }

    fn wake(&self, partitions: Vec<(String, i32)>) -> PyResult<()> {
        let woken = self.consumer()?.wake(partitions);
        let woken = woken.map_err(|error| PyValueError::new_err(error.to_string()))?;
        woken.ok_or_else(closed)
    }

    fn since_heartbeat(&self) -> PyResult<Option<f64>> {
        let since = self.consumer()?.since_heartbeat();
        Ok(since.map(|since| since.as_secs_f64()))
    }

    fn wait(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let time = duration(seconds)?;
        let consumer = self.consumer()?;
        py.detach(|| consumer.wait(time)).ok_or_else(closed)
    }

    fn take(&self, py: Python<'_>, records: usize, bytes: usize) -> PyResult<Vec<Notice>> {
        let consumer = self.consumer()?;
        py.detach(|| consumer.take(records, bytes))
            .ok_or_else(closed)
    }

    fn __len__(&self) -> usize {
        match &self.0 {
            Source::Consumer(consumer) => consumer.len(),
            Source::Given(given) => given.len(),
        }
    }
}

impl Inbox {
    fn consumer(&self) -> PyResult<&Consumer> {
        match &self.0 {
            Source::Consumer(consumer) => Ok(consumer),
            Source::Given(_) => Err(PyRuntimeError::new_err("the inbox has no consumer")),
        }
    }

    /// Gives what is there to a batch, with the times that it asks for and the GIL released, and lets go of it.
    ///
    /// Returns copies of the records that the batch rejected.
    pub fn empty(
        &mut self,
        py: Python<'_>,
        times: Times,
        work: impl Send + FnOnce(&[Event<'_>]) -> Vec<Rejected>,
    ) -> PyResult<Vec<RejectedRecord>> {
        let work = |events: &[Event<'_>]| {
            let rejected = work(events);
            rejected
                .iter()
                .filter_map(|rejected| RejectedRecord::of(rejected, &events[rejected.index]))
                .collect()
        };
        match &mut self.0 {
            Source::Consumer(consumer) => {
                py.detach(|| consumer.hand(times, work)).ok_or_else(closed)
            }
            Source::Given(given) => {
                let given = mem::take(given);
                let events: Vec<Event<'_>> = given.iter().map(Given::event).collect();
                Ok(py.detach(|| work(&events)))
            }
        }
    }
}

fn closed() -> PyErr {
    PyRuntimeError::new_err("the consumer is closed")
}

impl Given {
    fn event(&self) -> Event<'_> {
        match self {
            Self::Record(partition, offset, key, value) => Event::Record {
                partition: *partition,
                offset: *offset,
                key: key.as_deref(),
                value: value.as_deref(),
                time: None,
            },
            Self::Timed(partition, offset, key, value, time) => Event::Record {
                partition: *partition,
                offset: *offset,
                key: key.as_deref(),
                value: value.as_deref(),
                time: *time,
            },
            Self::End(partition, offset) => Event::End {
                partition: *partition,
                offset: *offset,
            },
        }
    }
}

/// A record that can't be processed, and why.
pub struct RejectedRecord {
    partition: i32,
    offset: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    reason: String,
}

impl RejectedRecord {
    fn of(rejected: &Rejected, event: &Event<'_>) -> Option<Self> {
        match *event {
            Event::Record {
                partition,
                offset,
                key,
                value,
                ..
            } => Some(Self {
                partition,
                offset,
                key: key.map(<[u8]>::to_vec),
                value: value.map(<[u8]>::to_vec),
                reason: rejected.reason.to_string(),
            }),
            Event::End { .. } | Event::Other => None,
        }
    }

    /// All of them as tuples.
    pub fn list<'py>(py: Python<'py>, rejected: &[Self]) -> PyResult<Bound<'py, PyList>> {
        let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| PyBytes::new(py, bytes));
        PyList::new(
            py,
            rejected.iter().map(|each| {
                (
                    each.partition,
                    each.offset,
                    bytes(&each.key),
                    bytes(&each.value),
                    &each.reason,
                )
            }),
        )
    }
}
