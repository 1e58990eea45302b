//! Reads the records of a consumer.
//!
//! Of the consumer we take no more than the queues of its partitions, which librdkafka lets an application forward
//! where it wants them (`rd_kafka_queue_forward`). Rebalances, errors of the group and callbacks stay in the consumer's
//! own queue, and Python goes on polling that. Records of partitions that were revoked, sought or paused since they were
//! fetched are dropped by librdkafka in either queue alike.
//!
//! One callback is called from a partition's queue, too: that for errors. confluent-kafka's own asserts that it is
//! called from within one of its methods, so `on_conf_set` puts one in its place that does nothing: such errors heal by
//! themselves (connections), or come as what `take` and `poll` return.

use std::cmp::{max, min};
use std::ffi::{CStr, CString, NulError, c_char, c_int, c_void};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{
    Api, Handle, Headers, Heard, Made, Message, NAME, NO_ERROR, OnError, Parts, Queue, User, hear,
    newest, on_error,
};
use crate::batch::input::{Event, Times};
use crate::wire::line_time;

const CONF_OK: c_int = 0;
/// The end of a partition was reached.
const ERR_PARTITION_EOF: c_int = -191;
/// `RD_KAFKA_OFFSET_SPEC_EARLIEST`.
const EARLIEST: i64 = -2;
/// `Heartbeat` and `ConsumerGroupHeartbeat` of Kafka's protocol.
const HEARTBEATS: [i16; 2] = [12, 68];

/// How many records a turn takes at once, at first and at most: the bound on its bytes is looked at in between. They are
/// doubled, for how large the next ones are can't be told from those of before: a light load's come just before a
/// backlog's, and of the end of a partition, which has no size, there is one for each.
const CHUNKS: [usize; 2] = [4, 500];

/// A consumer that was made with the plugin.
pub struct Consumer {
    open: Parts<Open>,
    /// Gets a byte where something has come into an empty queue.
    woken: UnixStream,
    heartbeats: &'static Heartbeats,
}

/// When a consumer sent its group a heartbeat last.
#[derive(Default)]
pub struct Heartbeats(Mutex<Option<Instant>>);

struct Open {
    api: &'static Api,
    handle: *mut Handle,
    queues: Queues,
    /// Records that were taken out of the queue.
    taken: Vec<NonNull<Message>>,
    /// What librdkafka writes to: the other end of `woken`.
    _wake: UnixStream,
}

struct Queues {
    /// The consumer's own.
    group: *mut Queue,
    /// Where the partitions' records go.
    records: *mut Queue,
}

// SAFETY: librdkafka's clients, queues and messages may be used by any thread.
unsafe impl Send for Open {}

/// Something else than a record: its code, the partition and a text.
pub type Notice = (c_int, i32, String);

impl Consumer {
    /// The consumer that this thread made last, once.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn newest() -> Result<Arc<Self>, &'static str> {
        newest(|Made { api, handle, heard }| {
            let Heard::Consumer(heartbeats) = heard else {
                return Err("the client is no consumer");
            };
            if !hears_errors(api, handle) {
                return Err("the consumer needs a logger, so that the plugin hears of errors");
            }
            let no_socket = |_| "there is no socket for the consumer to wake its reader";
            let (wake, woken) = UnixStream::pair().map_err(no_socket)?;
            wake.set_nonblocking(true).map_err(no_socket)?;
            let open = Open::new(api, handle, wake).ok_or("the client is no consumer")?;
            Ok(Self {
                open: Parts::new(open),
                woken,
                heartbeats,
            })
        })
    }

    /// Has the records of a partition come here from now on. None where the consumer was closed.
    pub fn divert(&self, topic: &str, partition: i32) -> Result<Option<()>, NulError> {
        let topic = CString::new(topic)?;
        Ok(self.open.with(|open| open.divert(&topic, partition)))
    }

    /// Wakes the threads that fetch from the leaders of partitions. None where the consumer was closed.
    ///
    /// A request to the same broker does; any will do. Nobody waits for its answer: the broker gives it after that of a
    /// fetch that is under way, which it may keep back for some time.
    pub fn wake(&self, partitions: Vec<(String, i32)>) -> Result<Option<()>, NulError> {
        let partitions = partitions
            .into_iter()
            .map(|(topic, partition)| Ok((CString::new(topic)?, partition)))
            .collect::<Result<Vec<_>, NulError>>()?;
        Ok(self.open.with(|open| open.wake(&partitions)))
    }

    /// How long ago the last heartbeat was sent to the group; none where none was.
    pub fn since_heartbeat(&self) -> Option<Duration> {
        self.heartbeats.lock().map(|at| at.elapsed())
    }

    /// Waits until there is something to take or to poll. None where the consumer was closed.
    pub fn wait(&self, time: Duration) -> Option<()> {
        let end = Instant::now() + time;
        while self.open.with(|open| open.is_empty())? {
            let left = end.saturating_duration_since(Instant::now());
            // A byte may be of what was taken before: then there is more to wait for. A signal ends the wait.
            if left.is_zero()
                || self.woken.set_read_timeout(Some(left)).is_err()
                || (&self.woken).read(&mut [0; 64]).is_err()
            {
                break;
            }
        }
        Some(())
    }

    /// Takes records out of the queue, up to about these bounds. None where the consumer was closed.
    pub fn take(&self, records: usize, bytes: usize) -> Option<Vec<Notice>> {
        self.open.with(|open| open.take(records, bytes))
    }

    /// How many were taken, everything else than records included.
    pub fn len(&self) -> usize {
        self.open.with(|open| open.taken.len()).unwrap_or(0)
    }

    /// Gives what was taken to `work`, with these times, and lets go of it. None where the consumer was closed.
    pub fn hand<T>(&self, times: Times, work: impl FnOnce(&[Event<'_>]) -> T) -> Option<T> {
        self.open.with(|open| {
            let result = work(&open.events(times));
            open.release();
            result
        })
    }
}

impl User for Consumer {
    fn end(&self) {
        self.open.end();
    }
}

impl Heartbeats {
    /// Has a consumer's heartbeats told, from before it sends any; or returns librdkafka's error.
    pub fn of(api: &Api, handle: *mut Handle) -> Result<&'static Self, c_int> {
        // SAFETY: the handle is librdkafka's, and what `on_request_sent` is given lives on.
        hear(|heartbeats| unsafe {
            let add = api.rd_kafka_interceptor_add_on_request_sent;
            add(handle, NAME.as_ptr(), on_request_sent, heartbeats)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request was written to a broker's connection.
unsafe extern "C" fn on_request_sent(
    _handle: *mut Handle,
    _socket: c_int,
    _broker: *const c_char,
    _broker_id: i32,
    request: i16,
    _version: i16,
    _correlation: i32,
    _size: usize,
    opaque: *mut c_void,
) -> c_int {
    if HEARTBEATS.contains(&request) {
        // SAFETY: `Heartbeats::of` gave what lives on.
        let heartbeats = unsafe { &*opaque.cast_const().cast::<Heartbeats>() };
        *heartbeats.lock() = Some(Instant::now());
    }
    NO_ERROR
}

/// Whether the callback for errors is `on_error`.
fn hears_errors(api: &Api, handle: *mut Handle) -> bool {
    let (mut text, mut size) = ([0_u8; 64], 64);
    let name = c"error_cb";
    // SAFETY: the client is not destroyed yet. librdkafka writes no more than `size` bytes, with a zero at the end.
    let known = unsafe {
        let conf = (api.rd_kafka_conf)(handle);
        let text = text.as_mut_ptr().cast();
        (api.rd_kafka_conf_get)(conf, name.as_ptr(), text, &raw mut size)
    };
    let ours = format!("{:p}", on_error as OnError);
    known == CONF_OK
        && CStr::from_bytes_until_nul(&text).is_ok_and(|text| text.to_bytes() == ours.as_bytes())
}

impl Open {
    fn new(api: &'static Api, handle: *mut Handle, wake: UnixStream) -> Option<Self> {
        // SAFETY: the handle is that of a client which is not destroyed yet.
        let group = unsafe { (api.rd_kafka_queue_get_consumer)(handle) };
        if group.is_null() {
            return None;
        }
        // SAFETY: as above. The socket outlives the queues, see `Drop`. The byte is copied.
        let records = unsafe {
            let records = (api.rd_kafka_queue_new)(handle);
            for queue in [group, records] {
                let byte: *const u8 = &1;
                (api.rd_kafka_queue_io_event_enable)(queue, wake.as_raw_fd(), byte.cast(), 1);
            }
            records
        };
        Some(Self {
            api,
            handle,
            queues: Queues { group, records },
            taken: Vec::new(),
            _wake: wake,
        })
    }

    fn divert(&mut self, topic: &CStr, partition: i32) {
        let api = self.api;
        // SAFETY: the client is not destroyed yet, nor are its queues.
        unsafe {
            let queue = (api.rd_kafka_queue_get_partition)(self.handle, topic.as_ptr(), partition);
            if !queue.is_null() {
                (api.rd_kafka_queue_forward)(queue, self.queues.records);
                (api.rd_kafka_queue_destroy)(queue);
            }
        }
    }

    fn wake(&self, partitions: &[(CString, i32)]) {
        let api = self.api;
        // SAFETY: the client is not destroyed yet. The names end with a zero, and are copied, as is the list. What comes
        // for a queue that is destroyed is dropped.
        unsafe {
            let list = (api.rd_kafka_topic_partition_list_new)(0);
            for (topic, partition) in partitions {
                (api.rd_kafka_topic_partition_list_add)(list, topic.as_ptr(), *partition);
                (api.rd_kafka_topic_partition_list_set_offset)(
                    list,
                    topic.as_ptr(),
                    *partition,
                    EARLIEST,
                );
            }
            let nobody = (api.rd_kafka_queue_new)(self.handle);
            (api.rd_kafka_ListOffsets)(self.handle, list, ptr::null(), nobody);
            (api.rd_kafka_queue_destroy)(nobody);
            (api.rd_kafka_topic_partition_list_destroy)(list);
        }
    }

    fn is_empty(&self) -> bool {
        [self.queues.group, self.queues.records]
            .iter()
            // SAFETY: the queues are not destroyed yet.
            .all(|queue| unsafe { (self.api.rd_kafka_queue_length)(*queue) } == 0)
    }

    fn take(&mut self, records: usize, bytes: usize) -> Vec<Notice> {
        let mut notices = Vec::new();
        let (mut size, mut largest, first) = (0, 0, self.taken.len());
        let [mut chunk, most] = CHUNKS;
        while size < bytes && self.taken.len() - first < records {
            let before = self.taken.len();
            let fitting = (bytes - size) / (largest + 1) + 1;
            let room = min(min(chunk, fitting), records + first - before);
            chunk = min(2 * chunk, most);
            self.taken.reserve(room);
            let free = self.taken.spare_capacity_mut().as_mut_ptr().cast();
            // SAFETY: `free` has room for so many pointers; those returned were written.
            let got = unsafe {
                let got =
                    (self.api.rd_kafka_consume_batch_queue)(self.queues.records, 0, free, room);
                let got = usize::try_from(got).unwrap_or(0);
                self.taken.set_len(before + got);
                got
            };
            for message in &self.taken[before..] {
                // SAFETY: it is ours until it is destroyed.
                let message = unsafe { message.as_ref() };
                let length = message.value_len + message.key_len;
                (size, largest) = (size + length, max(largest, length));
                notices.extend(message.notice());
            }
            if got < room {
                break;
            }
        }
        notices
    }

    fn events(&self, times: Times) -> Vec<Event<'_>> {
        self.taken
            .iter()
            // SAFETY: the messages are not destroyed before `release`.
            .map(|message| unsafe { message.as_ref() }.event(self.api, times))
            .collect()
    }

    fn release(&mut self) {
        for message in self.taken.drain(..) {
            // SAFETY: it is destroyed once, and nothing points into it any more: `events` borrowed `self`.
            unsafe { (self.api.rd_kafka_message_destroy)(message.as_ptr()) };
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.release();
        let api = self.api;
        // SAFETY: each queue is destroyed once. Without the first call, librdkafka would go on writing to the
        // socket, whose number may be another file's by then.
        unsafe {
            for queue in [self.queues.group, self.queues.records] {
                (api.rd_kafka_queue_io_event_enable)(queue, -1, ptr::null(), 0);
                (api.rd_kafka_queue_destroy)(queue);
            }
        }
    }
}

impl Message {
    fn event(&self, api: &Api, times: Times) -> Event<'_> {
        match self.error {
            NO_ERROR => Event::Record {
                partition: self.partition,
                offset: self.offset,
                // SAFETY: librdkafka's pointers and lengths belong together; null means null.
                key: unsafe { bytes(self.key, self.key_len) },
                // SAFETY: as above.
                value: unsafe { bytes(self.value, self.value_len) },
                time: match times {
                    Times::Unread => None,
                    Times::Own => self.time(api),
                    Times::OfLines => self.line_time(api),
                },
            },
            ERR_PARTITION_EOF => Event::End {
                partition: self.partition,
                offset: self.offset,
            },
            _ => Event::Other,
        }
    }

    fn time(&self, api: &Api) -> Option<i64> {
        // SAFETY: the message is librdkafka's; the kind of time, which may be null, is not asked for.
        let time = unsafe { (api.rd_kafka_message_timestamp)(self, ptr::null_mut()) };
        (time >= 0).then_some(time) // -1 where there is none
    }

    fn line_time(&self, api: &Api) -> Option<i64> {
        let (mut headers, mut value, mut length) = (ptr::null_mut::<Headers>(), ptr::null(), 0);
        // SAFETY: the message is librdkafka's, and has its headers as long as it lives. What is written to is ours.
        unsafe {
            let name = line_time::NAME.as_ptr();
            let found = (api.rd_kafka_message_headers)(self, &raw mut headers) == NO_ERROR
                && (api.rd_kafka_header_get_last)(headers, name, &raw mut value, &raw mut length)
                    == NO_ERROR;
            let value = found.then(|| bytes(value, length)).flatten();
            value.and_then(line_time::read)
        }
    }

    fn notice(&self) -> Option<Notice> {
        if self.error == NO_ERROR {
            return None;
        }
        // SAFETY: as in `event`.
        let text = unsafe { bytes(self.value, self.value_len) }.unwrap_or_default();
        let text = String::from_utf8_lossy(text).into_owned();
        Some((self.error, self.partition, text))
    }
}

unsafe fn bytes<'a>(start: *const u8, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start, length) })
}
