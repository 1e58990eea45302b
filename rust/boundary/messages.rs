//! Reads messages: the only place that calls methods of Python objects for each of them.
//!
//! Performance notes (nanoseconds for a `confluent_kafka.Message`, of which four methods are called):
//! - By name, 100: each call makes a bound method first, since the stable ABI of Python 3.11 has no vectorcall. A
//!   list comprehension in Python is 86.
//! - The C functions behind the methods, looked up once for each type and call of `add`, 48. Half of that is the
//!   message's own making of numbers.
//! - Building the message costs `consume` some 1,500: there is nothing more to gain here.

use std::ptr;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyType};
use pyo3::{PyTypeInfo, ffi};

use super::records::list_of;
use crate::input::{Event, Rejected};

/// librdkafka's `RD_KAFKA_RESP_ERR__PARTITION_EOF`.
const PARTITION_EOF: i64 = -191;

/// Which parts of a record a batch reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// The value alone.
    Value,
    /// Key and value.
    KeyAndValue,
}

/// Messages that were read: events with the bytes that they point into.
pub struct Messages<'py> {
    /// A copy of the caller's sequence: its own may change while the GIL is released.
    list: Bound<'py, PyList>,
    /// The bytes objects whose memory `events` points into. They are immutable and live as long as this does.
    kept: Vec<Bound<'py, PyBytes>>,
    events: Vec<Event<'static>>,
    errors: Vec<Bound<'py, PyAny>>,
}

impl<'py> Messages<'py> {
    /// Reads all messages of a sequence, or none: whatever raises here, no batch has seen any of them.
    pub fn read(messages: &Bound<'py, PyAny>, parts: Parts) -> PyResult<Self> {
        let list = list_of(messages)?;
        let length = list.len();
        let mut read = Self {
            list,
            kept: Vec::with_capacity(length),
            events: Vec::with_capacity(length),
            errors: Vec::new(),
        };
        let mut methods: Option<Methods<'py>> = None;
        for index in 0..length {
            let message = read.list.get_item(index)?;
            let methods = match &methods {
                Some(methods) if methods.serve(&message) => methods,
                _ => methods.insert(Methods::of(&message)?),
            };
            let event = read.event(&message, methods, parts)?;
            read.events.push(event);
        }
        Ok(read)
    }

    fn event(
        &mut self,
        message: &Bound<'py, PyAny>,
        methods: &Methods<'py>,
        parts: Parts,
    ) -> PyResult<Event<'static>> {
        let py = message.py();
        let error = methods.error.call(message)?;
        if !error.is_none() {
            if error.call_method0(intern!(py, "code"))?.extract::<i64>()? != PARTITION_EOF {
                self.errors.push(message.clone());
                return Ok(Event::Other);
            }
            return Ok(Event::End {
                partition: methods.partition.call(message)?.extract()?,
                offset: methods.offset.call(message)?.extract()?,
            });
        }
        let key = match parts {
            Parts::KeyAndValue => self.bytes(methods.key.call(message)?, "key")?,
            Parts::Value => None,
        };
        Ok(Event::Record {
            partition: methods.partition.call(message)?.extract()?,
            offset: methods.offset.call(message)?.extract()?,
            key,
            value: self.bytes(methods.value.call(message)?, "value")?,
        })
    }

    fn bytes(&mut self, object: Bound<'py, PyAny>, what: &str) -> PyResult<Option<&'static [u8]>> {
        if object.is_none() {
            return Ok(None);
        }
        let Ok(bytes) = object.cast_into::<PyBytes>() else {
            return Err(PyTypeError::new_err(format!(
                "a message's {what} must be bytes or None"
            )));
        };
        let slice: *const [u8] = bytes.as_bytes();
        self.kept.push(bytes);
        // SAFETY: a bytes object never changes or moves and `kept` holds it until `self` is dropped; `events`
        // gives the slice out with a lifetime bound to `self` alone.
        Ok(Some(unsafe { &*slice }))
    }

    /// Runs a batch's work on the events, with the GIL released.
    pub fn detached<T: Send>(&self, work: impl Send + FnOnce(&[Event<'_>]) -> T) -> T {
        let events = self.events.as_slice();
        self.list.py().detach(|| work(events))
    }

    /// The messages with errors that are no end of a partition, in order.
    pub fn into_errors(self) -> PyResult<Bound<'py, PyList>> {
        PyList::new(self.list.py(), self.errors)
    }
}

/// Messages that can't be processed, with the reasons.
#[derive(Default)]
pub struct RejectedMessages(Vec<(Py<PyAny>, String)>);

impl RejectedMessages {
    /// Adds those of the messages that a batch rejected.
    pub fn extend(&mut self, messages: &Messages<'_>, rejected: &[Rejected]) -> PyResult<()> {
        for Rejected { index, reason } in rejected {
            self.0
                .push((messages.list.get_item(*index)?.unbind(), reason.to_string()));
        }
        Ok(())
    }

    /// All of them.
    pub fn list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.0.iter().map(|(message, reason)| (message, reason)))
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// How to call the methods of messages of one type.
struct Methods<'py> {
    of: Bound<'py, PyType>,
    error: Method<'py>,
    partition: Method<'py>,
    offset: Method<'py>,
    key: Method<'py>,
    value: Method<'py>,
}

impl<'py> Methods<'py> {
    fn of(message: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = message.py();
        Ok(Self {
            of: message.get_type(),
            error: Method::of(message, intern!(py, "error"))?,
            partition: Method::of(message, intern!(py, "partition"))?,
            offset: Method::of(message, intern!(py, "offset"))?,
            key: Method::of(message, intern!(py, "key"))?,
            value: Method::of(message, intern!(py, "value"))?,
        })
    }

    fn serve(&self, message: &Bound<'py, PyAny>) -> bool {
        message.get_type_ptr() == self.of.as_type_ptr()
    }
}

/// A method without arguments.
enum Method<'py> {
    /// The C function behind a method of a built-in type, such as `confluent_kafka.Message`: one indirect call.
    Native(ffi::PyCFunction),
    /// Any other, by name.
    Named(Bound<'py, PyString>),
}

impl<'py> Method<'py> {
    fn of(message: &Bound<'py, PyAny>, name: &Bound<'py, PyString>) -> PyResult<Self> {
        Ok(native(message, name)?.map_or_else(|| Self::Named(name.clone()), Self::Native))
    }

    fn call(&self, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            // SAFETY: the function takes the object and a null pointer and returns a new reference or null with
            // an exception set, as METH_NOARGS says. `message` has the type that it was looked up on.
            Self::Native(function) => unsafe {
                Bound::from_owned_ptr_or_err(
                    message.py(),
                    function(message.as_ptr(), ptr::null_mut()),
                )
            },
            Self::Named(name) => message.call_method0(name),
        }
    }
}

/// The C function of a method of the message's type, if it has one that takes no arguments and the type says
/// alone what the method is (no `__dict__` in its objects).
fn native<'py>(
    message: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<ffi::PyCFunction>> {
    let py = message.py();
    let of = message.get_type();
    let dict_offset: isize = of.getattr(intern!(py, "__dictoffset__"))?.extract()?;
    let Ok(descriptor) = of.getattr(name) else {
        return Ok(None);
    };
    let list_append = PyList::type_object(py).getattr(intern!(py, "append"))?;
    if dict_offset != 0 || !descriptor.is_exact_instance(&list_append.get_type()) {
        return Ok(None);
    }
    let bound = descriptor.call_method1(intern!(py, "__get__"), (message,))?;
    // SAFETY: binding a method descriptor gives a built-in method object (`PyCFunction`); that is checked.
    unsafe {
        if ffi::PyCFunction_Check(bound.as_ptr()) == 0
            || ffi::PyCFunction_GetSelf(bound.as_ptr()) != message.as_ptr()
            || ffi::PyCFunction_GetFlags(bound.as_ptr()) != ffi::METH_NOARGS
        {
            return Ok(None);
        }
        Ok(ffi::PyCFunction_GetFunction(bound.as_ptr()))
    }
}
