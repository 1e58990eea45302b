//! Reads the records of a consumer that Python made out of librdkafka, without a Python object for each.
//!
//! confluent-kafka makes a `Message` of every record: a third of all that a line of prose costs. Its consumers give no
//! handle out, but librdkafka gives one to plugins (`plugin.library.paths` in its CONFIGURATION.md), and this library is
//! one: `conf_init` has `on_new` called with each client that is made with it, and `on_destroy` before that client ends.
//!
//! Of the consumer we take no more than the queues of its partitions, which librdkafka lets an application forward
//! where it wants them (`rd_kafka_queue_forward`). Rebalances, errors of the group and callbacks stay in the consumer's
//! own queue, and Python goes on polling that. Records of partitions that were revoked, sought or paused since they were
//! fetched are dropped by librdkafka in either queue alike.
//!
//! One callback is called from a partition's queue, too: that for errors. confluent-kafka's own asserts that it is
//! called from within one of its methods, so `on_conf_set` puts one in its place that does nothing: such errors heal by
//! themselves (connections), or come as what `take` and `poll` return.

use std::cell::RefCell;
use std::cmp::{max, min};
use std::ffi::{CStr, CString, NulError, OsStr, c_char, c_int, c_void};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use libloading::os::unix::{Library, RTLD_NOW};

use crate::input::Event;

const NAME: &CStr = c"wcsup";
const NO_ERROR: c_int = 0;
const ERR_STATE: c_int = -172;
const CONF_OK: c_int = 0;
const CONF_UNKNOWN: c_int = -2;
/// The end of a partition was reached.
const ERR_PARTITION_EOF: c_int = -191;

/// How many records a turn takes at once, at first and at most: the bound on its bytes is looked at in between. They are
/// doubled, for how large the next ones are can't be told from those of before: a light load's come just before a
/// backlog's, and of the end of a partition, which has no size, there is one for each.
const CHUNKS: [usize; 2] = [4, 500];

/// What a wait is cut to, so that its end is a time that there is.
const LONGEST_WAIT: Duration = Duration::from_secs(u32::MAX as u64);

enum Handle {}
enum Conf {}
enum Queue {}

/// `rd_kafka_message_t`.
#[repr(C)]
struct Message {
    error: c_int,
    topic: *mut c_void,
    partition: i32,
    /// The text of the error where there is one.
    value: *const u8,
    value_len: usize,
    key: *const u8,
    key_len: usize,
    offset: i64,
    private: *mut c_void,
}

type OnNew =
    unsafe extern "C" fn(*mut Handle, *const Conf, *mut c_void, *mut c_char, usize) -> c_int;
type OnConfSet = unsafe extern "C" fn(
    *mut Conf,
    *const c_char,
    *const c_char,
    *mut c_char,
    usize,
    *mut c_void,
) -> c_int;
type OnError = unsafe extern "C" fn(*mut Handle, c_int, *const c_char, *mut c_void);
type OnDestroy = unsafe extern "C" fn(*mut Handle, *mut c_void) -> c_int;

/// Declares the functions of librdkafka that are called, and looks them up.
macro_rules! api {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        struct Api {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            /// Keeps the functions where they are.
            _library: Library,
        }

        impl Api {
            fn of(library: Library) -> Result<Self, libloading::Error> {
                Ok(Self {
                    // SAFETY: the types are those of rdkafka.h, whose interface is stable.
                    $($name: unsafe { *library.get(concat!(stringify!($name), "\0").as_bytes())? },)*
                    _library: library,
                })
            }
        }
    };
}

api! {
    rd_kafka_conf_interceptor_add_on_new: fn(*mut Conf, *const c_char, OnNew, *mut c_void) -> c_int;
    rd_kafka_conf_interceptor_add_on_conf_set: fn(*mut Conf, *const c_char, OnConfSet, *mut c_void) -> c_int;
    rd_kafka_conf_set_error_cb: fn(*mut Conf, OnError);
    rd_kafka_conf: fn(*mut Handle) -> *const Conf;
    rd_kafka_conf_get: fn(*const Conf, *const c_char, *mut c_char, *mut usize) -> c_int;
    rd_kafka_interceptor_add_on_destroy: fn(*mut Handle, *const c_char, OnDestroy, *mut c_void) -> c_int;
    rd_kafka_queue_new: fn(*mut Handle) -> *mut Queue;
    rd_kafka_queue_get_consumer: fn(*mut Handle) -> *mut Queue;
    rd_kafka_queue_get_partition: fn(*mut Handle, *const c_char, i32) -> *mut Queue;
    rd_kafka_queue_forward: fn(*mut Queue, *mut Queue);
    rd_kafka_queue_length: fn(*mut Queue) -> usize;
    rd_kafka_queue_io_event_enable: fn(*mut Queue, c_int, *const c_void, usize);
    rd_kafka_queue_destroy: fn(*mut Queue);
    rd_kafka_consume_batch_queue: fn(*mut Queue, c_int, *mut NonNull<Message>, usize) -> isize;
    rd_kafka_message_destroy: fn(*mut Message);
}

static API: OnceLock<Api> = OnceLock::new();

thread_local! {
    /// The client that this thread made last.
    static NEWEST: RefCell<Option<Arc<Client>>> = const { RefCell::new(None) };
}

/// Finds librdkafka's functions in a library that is linked with it, as it was loaded already.
pub fn link(library: &OsStr) -> Result<(), libloading::Error> {
    if API.get().is_none() {
        // SAFETY: the library is loaded, so that nothing of it runs here.
        let library = unsafe { Library::open(Some(library), RTLD_NOW)? };
        let _ = API.set(Api::of(library)?);
    }
    Ok(())
}

/// What librdkafka calls when `plugin.library.paths` of a configuration is set to this library.
///
/// # Safety
///
/// For librdkafka alone.
#[unsafe(no_mangle)]
unsafe extern "C" fn conf_init(
    conf: *mut Conf,
    _opaque: *mut *mut c_void,
    text: *mut c_char,
    size: usize,
) -> c_int {
    let Some(api) = API.get() else {
        let why = c"wcsup._core.plugin() was not called";
        let length = min(why.to_bytes_with_nul().len(), size);
        // SAFETY: `text` has room for `size` bytes. What is cut has no end, but librdkafka gives 512.
        unsafe { ptr::copy_nonoverlapping(why.as_ptr(), text, length) };
        return ERR_STATE;
    };
    let (name, opaque) = (NAME.as_ptr(), ptr::null_mut());
    // SAFETY: `conf` is librdkafka's.
    unsafe {
        match (api.rd_kafka_conf_interceptor_add_on_conf_set)(conf, name, on_conf_set, opaque) {
            NO_ERROR => (api.rd_kafka_conf_interceptor_add_on_new)(conf, name, on_new, opaque),
            error => error,
        }
    }
}

/// A setting is being made. confluent-kafka makes one (`log.queue`) after it has set its callback for errors.
unsafe extern "C" fn on_conf_set(
    conf: *mut Conf,
    _name: *const c_char,
    _value: *const c_char,
    _text: *mut c_char,
    _size: usize,
    _opaque: *mut c_void,
) -> c_int {
    if let Some(api) = API.get() {
        // SAFETY: `conf` is librdkafka's.
        unsafe { (api.rd_kafka_conf_set_error_cb)(conf, on_error) };
    }
    CONF_UNKNOWN // to us; librdkafka goes on with it
}

unsafe extern "C" fn on_error(
    _handle: *mut Handle,
    _error: c_int,
    _text: *const c_char,
    _opaque: *mut c_void,
) {
}

/// A client is being made in this thread; none of its parts is there yet.
unsafe extern "C" fn on_new(
    handle: *mut Handle,
    _conf: *const Conf,
    _opaque: *mut c_void,
    _text: *mut c_char,
    _size: usize,
) -> c_int {
    let (Some(api), Ok(client)) = (API.get(), Client::new(handle)) else {
        return ERR_STATE;
    };
    let client = Arc::new(client);
    let opaque = Arc::into_raw(Arc::clone(&client));
    // SAFETY: `handle` is librdkafka's; `on_destroy` takes the reference back.
    let error = unsafe {
        let opaque = opaque.cast_mut().cast();
        (api.rd_kafka_interceptor_add_on_destroy)(handle, NAME.as_ptr(), on_destroy, opaque)
    };
    if error == NO_ERROR {
        NEWEST.replace(Some(client));
    } else {
        // SAFETY: nobody else will take it back.
        drop(unsafe { Arc::from_raw(opaque) });
    }
    error
}

/// A client ends: whatever of it is still held has to go first.
unsafe extern "C" fn on_destroy(_handle: *mut Handle, opaque: *mut c_void) -> c_int {
    // SAFETY: `on_new` gave it, once.
    let client = unsafe { Arc::from_raw(opaque.cast_const().cast::<Client>()) };
    client.lock().take();
    NO_ERROR
}

/// A client that was made with the plugin.
pub struct Client {
    /// None once the client was destroyed: no pointer into it outlives it.
    consumer: Mutex<Option<Consumer>>,
    /// librdkafka writes a byte to the first where something has come into an empty queue.
    wake: UnixStream,
    woken: UnixStream,
}

struct Consumer {
    api: &'static Api,
    handle: *mut Handle,
    queues: Option<Queues>,
    /// Records that were taken out of the queue.
    taken: Vec<NonNull<Message>>,
}

struct Queues {
    /// The consumer's own.
    group: *mut Queue,
    /// Where the partitions' records go.
    records: *mut Queue,
}

// SAFETY: librdkafka's clients, queues and messages may be used by any thread.
unsafe impl Send for Consumer {}

/// Something else than a record: its code, the partition and a text.
pub type Notice = (c_int, i32, String);

impl Client {
    fn new(handle: *mut Handle) -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let consumer = API.get().map(|api| Consumer {
            api,
            handle,
            queues: None,
            taken: Vec::new(),
        });
        Ok(Self {
            consumer: Mutex::new(consumer),
            wake,
            woken,
        })
    }

    /// The consumer that this thread made last, once.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn newest() -> Result<Arc<Self>, &'static str> {
        const NONE: &str = "this thread has made no consumer with the plugin since";
        let client = NEWEST.take().ok_or(NONE)?;
        {
            let mut consumer = client.lock();
            let consumer = consumer.as_mut().ok_or(NONE)?;
            if !consumer.hears_errors() {
                return Err("the consumer needs a logger, so that the plugin hears of errors");
            }
            if !consumer.open(&client.wake) {
                return Err(NONE);
            }
        }
        Ok(client)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Consumer>> {
        self.consumer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the records of a partition come here from now on. None where the consumer was closed.
    pub fn divert(&self, topic: &str, partition: i32) -> Result<Option<()>, NulError> {
        let topic = CString::new(topic)?;
        Ok(self
            .lock()
            .as_mut()
            .map(|consumer| consumer.divert(&topic, partition)))
    }

    /// Waits until there is something to take or to poll. None where the consumer was closed.
    pub fn wait(&self, time: Duration) -> Option<()> {
        let end = Instant::now() + min(time, LONGEST_WAIT);
        while self.lock().as_ref()?.is_empty() {
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
        Some(self.lock().as_mut()?.take(records, bytes))
    }

    /// How many were taken, everything else than records included.
    pub fn len(&self) -> usize {
        self.lock()
            .as_ref()
            .map_or(0, |consumer| consumer.taken.len())
    }

    /// Gives what was taken to `work` and lets go of it. None where the consumer was closed.
    pub fn hand<T>(&self, work: impl FnOnce(&[Event<'_>]) -> T) -> Option<T> {
        let mut consumer = self.lock();
        let consumer = consumer.as_mut()?;
        let result = work(&consumer.events());
        consumer.release();
        Some(result)
    }
}

impl Consumer {
    /// Whether the callback for errors is `on_error`.
    fn hears_errors(&self) -> bool {
        let (mut text, mut size) = ([0_u8; 64], 64);
        let name = c"error_cb";
        // SAFETY: the client is not destroyed yet. librdkafka writes no more than `size` bytes, with a zero at the end.
        let known = unsafe {
            let conf = (self.api.rd_kafka_conf)(self.handle);
            let text = text.as_mut_ptr().cast();
            (self.api.rd_kafka_conf_get)(conf, name.as_ptr(), text, &raw mut size)
        };
        let ours = format!("{:p}", on_error as OnError);
        known == CONF_OK
            && CStr::from_bytes_until_nul(&text)
                .is_ok_and(|text| text.to_bytes() == ours.as_bytes())
    }

    fn open(&mut self, wake: &UnixStream) -> bool {
        let api = self.api;
        // SAFETY: the handle is that of a client which is not destroyed yet.
        let group = unsafe { (api.rd_kafka_queue_get_consumer)(self.handle) };
        if group.is_null() {
            return false;
        }
        // SAFETY: as above. The socket outlives the queues, see `Drop`. The byte is copied.
        unsafe {
            let records = (api.rd_kafka_queue_new)(self.handle);
            for queue in [group, records] {
                let byte: *const u8 = &1;
                (api.rd_kafka_queue_io_event_enable)(queue, wake.as_raw_fd(), byte.cast(), 1);
            }
            self.queues = Some(Queues { group, records });
        }
        true
    }

    fn divert(&mut self, topic: &CStr, partition: i32) {
        let Some(queues) = &self.queues else { return };
        let api = self.api;
        // SAFETY: the client is not destroyed yet, nor are its queues.
        unsafe {
            let queue = (api.rd_kafka_queue_get_partition)(self.handle, topic.as_ptr(), partition);
            if !queue.is_null() {
                (api.rd_kafka_queue_forward)(queue, queues.records);
                (api.rd_kafka_queue_destroy)(queue);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.queues.as_ref().is_none_or(|queues| {
            [queues.group, queues.records]
                .iter()
                // SAFETY: the queues are not destroyed yet.
                .all(|queue| unsafe { (self.api.rd_kafka_queue_length)(*queue) } == 0)
        })
    }

    fn take(&mut self, records: usize, bytes: usize) -> Vec<Notice> {
        let mut notices = Vec::new();
        let Some(queues) = &self.queues else {
            return notices;
        };
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
                let got = (self.api.rd_kafka_consume_batch_queue)(queues.records, 0, free, room);
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

    fn events(&self) -> Vec<Event<'_>> {
        self.taken
            .iter()
            // SAFETY: the messages are not destroyed before `release`.
            .map(|message| unsafe { message.as_ref() }.event())
            .collect()
    }

    fn release(&mut self) {
        for message in self.taken.drain(..) {
            // SAFETY: it is destroyed once, and nothing points into it any more: `events` borrowed `self`.
            unsafe { (self.api.rd_kafka_message_destroy)(message.as_ptr()) };
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.release();
        if let Some(queues) = &self.queues {
            let api = self.api;
            // SAFETY: each queue is destroyed once. Without the first call, librdkafka would go on writing to the
            // socket, whose number may be another file's by then.
            unsafe {
                for queue in [queues.group, queues.records] {
                    (api.rd_kafka_queue_io_event_enable)(queue, -1, ptr::null(), 0);
                    (api.rd_kafka_queue_destroy)(queue);
                }
            }
        }
    }
}

impl Message {
    fn event(&self) -> Event<'_> {
        match self.error {
            NO_ERROR => Event::Record {
                partition: self.partition,
                offset: self.offset,
                // SAFETY: librdkafka's pointers and lengths belong together; null means null.
                key: unsafe { bytes(self.key, self.key_len) },
                // SAFETY: as above.
                value: unsafe { bytes(self.value, self.value_len) },
            },
            ERR_PARTITION_EOF => Event::End {
                partition: self.partition,
                offset: self.offset,
            },
            _ => Event::Other,
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
