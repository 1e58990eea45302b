//! Gives records to a producer, a batch of one partition at a time.
//!
//! Transactions and delivery reports stay Python's. What is given here has no callback: confluent-kafka passes over the
//! reports of such records.

use std::ffi::{CString, NulError, c_int};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Api, Client, Handle, Message, NO_ERROR, Topic, User};

/// librdkafka copies key and value (`RD_KAFKA_MSG_F_COPY`).
const COPY: c_int = 2;
/// `RD_KAFKA_PRODUCER`.
const PRODUCER: c_int = 0;

/// A producer that was made with the plugin.
pub struct Producer {
    /// None once it was destroyed: no pointer into it outlives it.
    open: Mutex<Option<Open>>,
}

struct Open {
    api: &'static Api,
    handle: *mut Handle,
    /// There are a few.
    topics: Vec<(CString, *mut Topic)>,
}

// SAFETY: librdkafka's clients and topics may be used by any thread.
unsafe impl Send for Open {}

/// How many records were taken, and the error of the first that was not: 0 where all were.
pub type Taken = (usize, c_int);

impl Producer {
    /// The producer that this thread made last, once.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn newest() -> Result<Arc<Self>, &'static str> {
        Client::newest(|api, handle| {
            // SAFETY: the client is not destroyed yet.
            if unsafe { (api.rd_kafka_type)(handle) } != PRODUCER {
                return Err("the client is no producer");
            }
            let open = Open {
                api,
                handle,
                topics: Vec::new(),
            };
            Ok(Self {
                open: Mutex::new(Some(open)),
            })
        })
    }

    /// Has librdkafka take records, keys and values, for a partition. None where the producer was closed.
    ///
    /// Where its queue is full it takes the first ones. Behind a record that it refuses it may have taken others.
    pub fn produce<'a>(
        &self,
        topic: &str,
        partition: i32,
        records: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Option<Taken>, NulError> {
        let topic = CString::new(topic)?;
        let mut open = self.lock();
        Ok(open
            .as_mut()
            .map(|open| open.produce(topic, partition, records.map(message).collect())))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl User for Producer {
    fn end(&self) {
        self.lock().take();
    }
}

impl Open {
    fn produce(&mut self, topic: CString, partition: i32, mut messages: Vec<Message>) -> Taken {
        let topic = match self.topic(topic) {
            Ok(topic) => topic,
            Err(error) => return (0, error),
        };
        let most = c_int::try_from(messages.len()).unwrap_or(c_int::MAX);
        // SAFETY: the producer is not destroyed yet, nor is the topic; there are so many messages, whose bytes are
        // copied.
        let taken = unsafe {
            let messages = messages.as_mut_ptr();
            (self.api.rd_kafka_produce_batch)(topic, partition, COPY, messages, most)
        };
        let mut errors = messages.iter().map(|message| message.error);
        let error = errors.find(|error| *error != NO_ERROR);
        (
            usize::try_from(taken).unwrap_or(0),
            error.unwrap_or(NO_ERROR),
        )
    }

    fn topic(&mut self, name: CString) -> Result<*mut Topic, c_int> {
        if let Some((_, topic)) = self.topics.iter().find(|(known, _)| *known == name) {
            return Ok(*topic);
        }
        // SAFETY: the producer is not destroyed yet. Null: the settings for topics are the producer's.
        let topic = unsafe {
            let topic = (self.api.rd_kafka_topic_new)(self.handle, name.as_ptr(), ptr::null_mut());
            if topic.is_null() {
                return Err((self.api.rd_kafka_last_error)());
            }
            topic
        };
        self.topics.push((name, topic));
        Ok(topic)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        for (_, topic) in self.topics.drain(..) {
            // SAFETY: the producer is not destroyed yet, and each topic is let go of once.
            unsafe { (self.api.rd_kafka_topic_destroy)(topic) };
        }
    }
}

fn message<'a>((key, value): (&'a [u8], &'a [u8])) -> Message {
    Message {
        error: NO_ERROR,
        topic: ptr::null_mut(),
        partition: 0,
        value: value.as_ptr(),
        value_len: value.len(),
        key: key.as_ptr(),
        key_len: key.len(),
        offset: 0,
        private: ptr::null_mut(),
    }
}
