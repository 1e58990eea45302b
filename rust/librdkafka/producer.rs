//! Gives records to a producer, many at a time, and hears what was acknowledged and what had no answer.
//!
//! A commit of a light load has a dozen small requests that are answered one after another, and confluent-kafka's thread
//! would wake up for each to serve its delivery reports. Here librdkafka's own threads take note of acknowledgements, and
//! who waits for them is woken once. Reports of what was delivered are not made (`on_conf_set`).
//!
//! A request without an answer may reach its broker later, in the middle of another transaction. `unanswered` tells that
//! there was one. That rests on how librdkafka 2.16 calls the interceptor `on_response_received`:
//!
//! - Whenever a request ends, `rd_kafka_buf_callback` calls it before all else, whatever is logged. The error is 0 for an
//!   answer, also for one that tells of an error (`rd_kafka_req_response`). There is an error where the connection breaks
//!   (`rd_kafka_broker_fail`), where time is up, even if the connection is kept (`rd_kafka_broker_bufq_timeout_scan`,
//!   `socket.max.fails`), and where the answer can't be read.
//! - Only then is the request sent again, and only then does the call return that waits for it. So when a commit has
//!   succeeded, each request that was sent for its transaction has an answer, or was noted here.
//! - Requests that wait to be sent, or were sent in part, when the connection breaks end in the same way. No broker has
//!   them, but nothing tells them from the others. They cost a new producer at most.
//! - An answer to a request whose time was up comes without the request's kind (-1), and changes nothing.
//!
//! `broke` tells that a connection was lost, with or without a request under way: a broker that died may have dropped
//! what it was to tell of a transaction that it had answered for. librdkafka calls `on_broker_state_change` with each
//! state of a connection, from the thread that changes it (`rd_kafka_broker_set_state`).
//!
//! Requests that were sent can't be counted against answers: for an answer that librdkafka's main thread handles, which
//! is each but that to `Produce`, the interceptor is called twice (`rd_kafka_buf_handle_op`), and neither call has the
//! number of the request (`rkbuf_reshdr.CorrId` of the request is not set).

use std::cmp::max;
use std::ffi::{CStr, CString, NulError, c_char, c_int, c_void};
use std::ops::Range;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{
    API, Api, Bytes, Deliveries, Handle, Header, Heard, Made, Message, NAME, NO_ERROR, Part, Parts,
    Topic, User, What, hear, newest,
};
use crate::wire::line_time;
use crate::wire::records::Records;

/// librdkafka copies key and value (`RD_KAFKA_MSG_F_COPY`).
const COPY: c_int = 2;
/// `rd_kafka_vtype_t` of the parts of a record: `RD_KAFKA_VTYPE_RKT`, `_PARTITION`, `_VALUE`, `_KEY`, `_MSGFLAGS` and
/// `_HEADER`.
const TOPIC: c_int = 2;
const PARTITION: c_int = 3;
const VALUE: c_int = 4;
const KEY: c_int = 5;
const FLAGS: c_int = 7;
const HEADER: c_int = 9;
/// `Produce`, `AddPartitionsToTxn`, `AddOffsetsToTxn`, `EndTxn` and `TxnOffsetCommit` of Kafka's protocol: what changes
/// a transaction, and is refused where it is of an earlier epoch. `InitProducerId` is not: whenever it arrives it fences
/// the producer, be that new or not.
const CHANGES: [i16; 5] = [0, 24, 25, 26, 28];

/// `rd_kafka_broker_state_names` of a connection that was lost, or could not be made.
const DOWN: &CStr = c"DOWN";

/// Of records that were dropped with their transaction: queued, and under way.
const PURGED: [c_int; 2] = [-152, -151];

/// `RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED`: it was sent, and no answer told what came of it.
const IN_DOUBT: c_int = 1;

/// A producer that was made with the plugin.
pub struct Producer {
    open: Parts<Open>,
    heard: &'static Outcomes,
}

struct Open {
    api: &'static Api,
    handle: *mut Handle,
    /// There are a few.
    topics: Vec<(CString, *mut Topic)>,
}

// SAFETY: librdkafka's clients and topics may be used by any thread.
unsafe impl Send for Open {}

/// What came of a producer's records and requests.
#[derive(Default)]
pub struct Outcomes {
    deliveries: Deliveries<Told>,
    /// Whether a request that changes a transaction had no answer.
    unanswered: AtomicBool,
    /// Whether a connection was lost since that was asked last.
    broke: AtomicBool,
}

/// What acknowledgements told of a producer's records.
#[derive(Default)]
struct Told {
    /// Those that failed and may be in their topics all the same.
    in_doubt: usize,
    /// The topic of the first that failed by itself, and the error.
    failed: Option<(CString, c_int)>,
    /// In no order: there are a few dozen.
    written: Vec<(CString, i32, i64)>,
    /// The place in it of the record that was acknowledged last, with its topic: they come in runs of one partition.
    last: Option<(usize, *const Topic)>,
}

// SAFETY: the topic is compared and nothing else.
unsafe impl Send for Told {}

/// Topic, partition and offset.
pub type Written = (String, i32, i64);

/// How many records were taken, and the error of the first that was not: 0 where all were.
pub type Taken = (usize, c_int);

impl Producer {
    /// The producer that this thread made last, once.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn newest() -> Result<Arc<Self>, &'static str> {
        newest(|Made { api, handle, heard }| {
            let Heard::Producer(heard) = heard else {
                return Err("the client is no producer");
            };
            let open = Open {
                api,
                handle,
                topics: Vec::new(),
            };
            Ok(Self {
                open: Parts::new(open),
                heard,
            })
        })
    }

    /// Has librdkafka take the records at these places for their partitions. None where the producer was closed.
    ///
    /// Where its queue is full it takes the first ones. Behind a record that it refuses it may have taken others.
    pub fn produce(
        &self,
        topic: &str,
        records: &Records,
        places: Range<usize>,
    ) -> Result<Option<Taken>, NulError> {
        let topic = CString::new(topic)?;
        let given = places.len();
        self.heard.deliveries.give(given);
        let taken = self.open.with(|open| open.produce(topic, records, places));
        let refused = given - taken.map_or(0, |(taken, _)| taken);
        self.heard.deliveries.take_back(refused);
        Ok(taken)
    }

    /// Begins to count anew: what was acknowledged before is forgotten.
    pub fn begin(&self) {
        self.heard.deliveries.begin();
    }

    /// Waits until no more than `left` of the records given since `begin` are yet to be acknowledged or failed, or for so
    /// long.
    pub fn settle(&self, left: usize, time: Duration) {
        self.heard.deliveries.settle(left, time);
    }

    /// The highest offset acknowledged since `begin`, by topic and partition.
    pub fn written(&self) -> Vec<Written> {
        let named = |(topic, partition, offset): &(CString, i32, i64)| {
            (topic.to_string_lossy().into_owned(), *partition, *offset)
        };
        let told = |told: &Told| told.written.iter().map(named).collect();
        self.heard.deliveries.told(told)
    }

    /// Whether a connection was lost since this was asked last.
    pub fn broke(&self) -> bool {
        self.heard.broke.swap(false, Ordering::Relaxed)
    }

    /// Whether a request that changes a transaction had no answer, ever.
    pub fn unanswered(&self) -> bool {
        // librdkafka's locks are between what its threads tell and the end of the call that waited for it.
        self.heard.unanswered.load(Ordering::Relaxed)
    }

    /// How many records failed since `begin` and may be in their topics all the same.
    pub fn in_doubt(&self) -> usize {
        self.heard.deliveries.told(|told| told.in_doubt)
    }

    /// The topic and the error of the first record that failed since `begin`, not counting those that were dropped.
    pub fn failed(&self) -> Option<(String, c_int)> {
        let named =
            |(topic, error): &(CString, c_int)| (topic.to_string_lossy().into_owned(), *error);
        let told = |told: &Told| told.failed.as_ref().map(named);
        self.heard.deliveries.told(told)
    }
}

impl Outcomes {
    /// Has what comes of a producer's records and requests told, from before it has any; or returns librdkafka's error.
    pub fn of(api: &Api, handle: *mut Handle) -> Result<&'static Self, c_int> {
        let add_acknowledgement = api.rd_kafka_interceptor_add_on_acknowledgement;
        let add_response = api.rd_kafka_interceptor_add_on_response_received;
        let add_state = api.rd_kafka_interceptor_add_on_broker_state_change;
        // SAFETY: the handle is librdkafka's, and what the interceptors are given lives on.
        hear(|heard| unsafe {
            let name = NAME.as_ptr();
            match add_acknowledgement(handle, name, on_acknowledgement, heard) {
                NO_ERROR => match add_response(handle, name, on_response_received, heard) {
                    NO_ERROR => add_state(handle, name, on_broker_state_change, heard),
                    error => error,
                },
                error => error,
            }
        })
    }
}

/// A record was acknowledged, or failed.
unsafe extern "C" fn on_acknowledgement(
    _handle: *mut Handle,
    message: *mut Message,
    opaque: *mut c_void,
) -> c_int {
    let Some(api) = API.get() else {
        return NO_ERROR;
    };
    // SAFETY: `Outcomes::of` gave what lives on, and the message is librdkafka's, with its topic.
    let (status, heard, message, topic) = unsafe {
        let status = (api.rd_kafka_message_status)(message);
        let message = &*message;
        let name = (api.rd_kafka_topic_name)(message.topic);
        (
            status,
            &*opaque.cast_const().cast::<Outcomes>(),
            message,
            CStr::from_ptr(name),
        )
    };
    heard.deliveries.acknowledge(|told| {
        if message.error == NO_ERROR {
            told.write(message, topic);
        } else {
            told.in_doubt += usize::from(status == IN_DOUBT);
            if !PURGED.contains(&message.error) && told.failed.is_none() {
                told.failed = Some((topic.to_owned(), message.error));
            }
        }
    });
    NO_ERROR
}

/// A request has ended, with an answer or without; the module's page says when.
unsafe extern "C" fn on_response_received(
    _handle: *mut Handle,
    _socket: c_int,
    _broker: *const c_char,
    _broker_id: i32,
    request: i16,
    _version: i16,
    _correlation: i32,
    _size: usize,
    _time: i64,
    error: c_int,
    opaque: *mut c_void,
) -> c_int {
    if error != NO_ERROR && CHANGES.contains(&request) {
        // SAFETY: `Outcomes::of` gave what lives on.
        let heard = unsafe { &*opaque.cast_const().cast::<Outcomes>() };
        heard.unanswered.store(true, Ordering::Relaxed);
    }
    NO_ERROR
}

/// A connection is in another state.
unsafe extern "C" fn on_broker_state_change(
    _handle: *mut Handle,
    _broker_id: i32,
    _protocol: *const c_char,
    _broker: *const c_char,
    _port: c_int,
    state: *const c_char,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: the state is one of librdkafka's names, and `Outcomes::of` gave what lives on.
    let (state, heard) = unsafe {
        (
            CStr::from_ptr(state),
            &*opaque.cast_const().cast::<Outcomes>(),
        )
    };
    if state == DOWN {
        heard.broke.store(true, Ordering::Relaxed);
    }
    NO_ERROR
}

impl Told {
    fn write(&mut self, message: &Message, topic: &CStr) {
        let (partition, offset) = (message.partition, message.offset);
        let place = match self.last {
            Some((place, last))
                if ptr::eq(last, message.topic) && self.written[place].1 == partition =>
            {
                place
            }
            _ => {
                let mut written = self.written.iter();
                written
                    .position(|(name, number, _)| (&**name, *number) == (topic, partition))
                    .unwrap_or_else(|| {
                        self.written.push((topic.to_owned(), partition, offset));
                        self.written.len() - 1
                    })
            }
        };
        self.last = Some((place, message.topic));
        let highest = &mut self.written[place].2;
        *highest = max(*highest, offset);
    }
}

impl User for Producer {
    fn end(&self) {
        self.open.end();
    }
}

impl Open {
    fn produce(&mut self, topic: CString, records: &Records, places: Range<usize>) -> Taken {
        let topic = match self.topic(topic) {
            Ok(topic) => topic,
            Err(error) => return (0, error),
        };
        let mut all = 0;
        for (partition, run) in records.runs(places) {
            let (taken, error) = match records.line_time() {
                Some(time) => self.give_with(line_time::write(time), topic, partition, run),
                None => self.give(topic, partition, run.map(message).collect()),
            };
            all += taken;
            if error != NO_ERROR {
                return (all, error);
            }
        }
        (all, NO_ERROR)
    }

    fn give(&self, topic: *mut Topic, partition: i32, mut messages: Vec<Message>) -> Taken {
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

    /// Gives records one by one, as a header needs it: those of lines are few, since one has many words.
    fn give_with<'a>(
        &self,
        line_time: [u8; 8],
        topic: *mut Topic,
        partition: i32,
        records: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Taken {
        let header = Header {
            name: line_time::NAME.as_ptr(),
            value: line_time.as_ptr(),
            length: 8,
        };
        let mut given = 0;
        for (key, value) in records {
            let parts = [
                (TOPIC, What { topic }),
                (PARTITION, What { partition }),
                (FLAGS, What { flags: COPY }),
                (KEY, What { bytes: key.into() }),
                (
                    VALUE,
                    What {
                        bytes: value.into(),
                    },
                ),
                (HEADER, What { header }),
            ];
            let parts = parts.map(|(kind, what)| Part { kind, what });
            // SAFETY: the producer is not destroyed yet, nor is the topic; there are so many parts, and what they point
            // to is copied.
            let error = unsafe {
                let error = (self.api.rd_kafka_produceva)(self.handle, parts.as_ptr(), parts.len());
                let code = (self.api.rd_kafka_error_code)(error); // 0 for null
                (self.api.rd_kafka_error_destroy)(error); // nothing for null
                code
            };
            if error != NO_ERROR {
                return (given, error);
            }
            given += 1;
        }
        (given, NO_ERROR)
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

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self {
            start: bytes.as_ptr(),
            length: bytes.len(),
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
