//! Uses the clients that Python made out of librdkafka, without a Python object for each record. What calls librdkafka or
//! is called by it may enter, and nothing that knows Python.
//!
//! confluent-kafka makes a `Message` of every record that is read, a third of all that a line of prose costs, and takes
//! a dict for each one that is written. Its clients give no handle out, but librdkafka gives one to plugins
//! (`plugin.library.paths` in its CONFIGURATION.md), and this library is one: `conf_init` has `on_new` called with each
//! client that is made with it, and `on_destroy` before that client ends.
//!
//! Python keeps all else: rebalances, transactions, callbacks, errors. [`consumer`] reads, [`producer`] writes, [`heap`]
//! gives librdkafka a heap of its own.
//!
//! # What it relies on
//!
//! `rdkafka.h` is librdkafka's public interface, and what it declares does not change within a major version: the
//! functions in `api!`, the interceptors' types, `rd_kafka_message_t`, `rd_kafka_vu_t`, `rd_kafka_plugin_f_conf_init_t`, and
//! the numbers of errors. The rest is known of the source alone. It was read in 2.15.0, and the tests run with 2.16.1.
//!
//! | what | where in librdkafka | who relies on it |
//! |---|---|---|
//! | a client calls `on_new` in the thread that makes it, before it has threads | `rd_kafka_new`, `rdkafka.c` | `NEWEST` |
//! | it calls `on_destroy` once, while the brokers' threads may still run; where it could not be made, too | `rd_kafka_destroy_internal`, `rd_kafka_new`, `rdkafka.c` | `on_destroy`, `hear` |
//! | `log.queue` is set after the callback for errors | `common_conf_setup`, `confluent_kafka.c` of confluent-kafka | `on_conf_set` |
//! | the value of `error_cb` is its address, written by `%p` | `rd_kafka_anyconf_get0`, `rdkafka_conf.c` | `hears_errors` |
//! | outdated records are dropped in any queue | `rd_kafka_q_serve_rkmessages`, `rdkafka_queue.c` | [`consumer`] |
//! | a request without an answer is told | see the page of [`producer`] | `unanswered` |
//! | a lost connection is `DOWN` | `rd_kafka_broker_state_names`, `rdkafka_broker.c` | `broke` |
//! | it frees by `free` what it has of `strdup`, `strndup` and `realpath` | `rd.h` | [`heap`] |
//!
//! # What is checked, and what happens where it fails
//!
//! | check | when | where it fails |
//! |---|---|---|
//! | the version is one that was tested | before the first client (`python/wcsup/kafka/libraries.py`) | one refusal that says what to install, exit status 3 |
//! | each function of `api!` is there | `link`, at the same time | the same refusal |
//! | there is no client yet | `separate` | `RuntimeError`: a mistake in wcsup |
//! | the loader's tables are understood, the system lets them be changed | `separate` | a line in the log; librdkafka keeps the C library's heap, and records take longer |
//! | `link` came first | `conf_init` | librdkafka refuses the configuration with the reason |
//! | the callback for errors is `on_error` | with each consumer | `RuntimeError`: a consumer without a logger |
//! | the client is a consumer, or a producer | `Consumer::newest`, `Producer::newest` | `RuntimeError`: a mistake in wcsup |
//!
//! # Why it is sound
//!
//! **Threads.** librdkafka lets any thread use a client, a queue, a topic or a message. Each client's parts are behind one
//! lock ([`lifetime::Parts`]), which is held while they are used, and never while a thread waits for time
//! to pass or for Python's lock (GIL). What librdkafka's threads tell ([`Deliveries`], [`Heartbeats`]) is behind another
//! lock, which is held for a few instructions: an acknowledgement may come in the midst of `rd_kafka_produce_batch`, in
//! the same thread.
//!
//! **The end of a client.** `on_destroy` takes the parts out under their lock, and lets go of all of them, before
//! librdkafka frees the client. A batch that is being counted is counted to its end first. A call that comes later finds
//! no parts and returns none. What librdkafka's threads may still write to stays in memory (`hear`). `model.rs` goes
//! through all ways in which threads can meet in [`lifetime`] and [`deliveries`].
//!
//! **Who owns what.** A [`Message`] that was taken is ours until `rd_kafka_message_destroy`; key and value are
//! librdkafka's, and every slice of them borrows from the lock's guard. Records that are written are ours, and librdkafka
//! copies them (`COPY`). Queues and topics are references that were counted for us, given back once, in `Drop`. The `Arc`
//! that `on_new` gives to librdkafka is taken back by `on_destroy`, which librdkafka calls once. No panic leaves a
//! callback: one would end the process, for the callbacks are `extern "C"`.
//!
//! **What crosses the heaps.** With a heap of its own, librdkafka makes memory by `malloc`, `calloc` and `realloc` of
//! mimalloc, and by nothing else:
//!
//! | memory | made by | freed by |
//! |---|---|---|
//! | most of librdkafka's | mimalloc | librdkafka's `free`: goes to mimalloc |
//! | what librdkafka made before | the C library | librdkafka's `free`: sees that it is none of mimalloc's, and goes to the C library |
//! | texts of `strdup`, `strndup`, `realpath` | the C library | librdkafka's `free`: as above |
//! | the text of `rd_kafka_clusterid` | the C library, by `strdup` | confluent-kafka, by the C library's `free` (`list_topics` in `Metadata.c`) |
//! | the text of `rd_kafka_memberid` | librdkafka | confluent-kafka, by `rd_kafka_mem_free`: librdkafka's `free` |
//!
//! So `strdup` has to stay as it is: confluent-kafka would free memory of mimalloc by the C library's `free`.
//! `tests/fast/test_heap.py` dies if it is changed. confluent-kafka 2.16.1 frees nothing else that librdkafka made.

mod consumer;
mod deliveries;
// As in Cargo.toml, where the reason is.
#[cfg_attr(
    not(all(
        target_os = "linux",
        target_env = "gnu",
        any(target_arch = "x86_64", target_arch = "aarch64"),
        target_pointer_width = "64"
    )),
    path = "no_heap.rs"
)]
mod heap;
mod lifetime;
mod producer;

use std::cell::RefCell;
use std::cmp::min;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Arc, OnceLock};

use libloading::os::unix::{Library, RTLD_NOW};

use consumer::Heartbeats;
pub use consumer::{Consumer, Notice};
use deliveries::Deliveries;
use lifetime::{Client, Parts, User};
use producer::Outcomes;
pub use producer::{Producer, Taken, Written};

const NAME: &CStr = c"wcsup";
const NO_ERROR: c_int = 0;
const ERR_STATE: c_int = -172;
const CONF_UNKNOWN: c_int = -2;
/// `RD_KAFKA_PRODUCER`.
const PRODUCER: c_int = 0;

enum Handle {}
enum Conf {}
enum Queue {}
enum Topic {}
enum Headers {}
enum Error {}
enum Partitions {}
enum AdminOptions {}

/// `rd_kafka_message_t`.
#[repr(C)]
struct Message {
    error: c_int,
    topic: *mut Topic,
    partition: i32,
    /// The text of the error where there is one.
    value: *const u8,
    value_len: usize,
    key: *const u8,
    key_len: usize,
    offset: i64,
    private: *mut c_void,
}

/// `rd_kafka_vu_t`: one thing of a record that is sent by itself.
#[repr(C)]
struct Part {
    kind: c_int,
    what: What,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Bytes {
    start: *const u8,
    length: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    name: *const c_char,
    value: *const u8,
    length: isize,
}

#[repr(C)]
union What {
    topic: *mut Topic,
    partition: i32,
    flags: c_int,
    bytes: Bytes,
    header: Header,
    /// Room for what may come.
    _pad: [u64; 8],
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
type OnAcknowledgement = unsafe extern "C" fn(*mut Handle, *mut Message, *mut c_void) -> c_int;
type OnRequestSent = unsafe extern "C" fn(
    *mut Handle,
    c_int,
    *const c_char,
    i32,
    i16,
    i16,
    i32,
    usize,
    *mut c_void,
) -> c_int;
type OnResponseReceived = unsafe extern "C" fn(
    *mut Handle,
    c_int,
    *const c_char,
    i32,
    i16,
    i16,
    i32,
    usize,
    i64,
    c_int,
    *mut c_void,
) -> c_int;
type OnBrokerStateChange = unsafe extern "C" fn(
    *mut Handle,
    i32,
    *const c_char,
    *const c_char,
    c_int,
    *const c_char,
    *mut c_void,
) -> c_int;
type OnDestroy = unsafe extern "C" fn(*mut Handle, *mut c_void) -> c_int;

/// Declares the functions of librdkafka that are called, and looks them up.
macro_rules! api {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        #[expect(non_snake_case, reason = "librdkafka's own names")]
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
    rd_kafka_conf_set: fn(*mut Conf, *const c_char, *const c_char, *mut c_char, usize) -> c_int;
    rd_kafka_type: fn(*const Handle) -> c_int;
    rd_kafka_conf: fn(*mut Handle) -> *const Conf;
    rd_kafka_conf_get: fn(*const Conf, *const c_char, *mut c_char, *mut usize) -> c_int;
    rd_kafka_interceptor_add_on_acknowledgement: fn(*mut Handle, *const c_char, OnAcknowledgement, *mut c_void) -> c_int;
    rd_kafka_interceptor_add_on_request_sent: fn(*mut Handle, *const c_char, OnRequestSent, *mut c_void) -> c_int;
    rd_kafka_interceptor_add_on_response_received: fn(*mut Handle, *const c_char, OnResponseReceived, *mut c_void) -> c_int;
    rd_kafka_interceptor_add_on_broker_state_change: fn(*mut Handle, *const c_char, OnBrokerStateChange, *mut c_void) -> c_int;
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
    rd_kafka_message_timestamp: fn(*const Message, *mut c_int) -> i64;
    rd_kafka_message_headers: fn(*const Message, *mut *mut Headers) -> c_int;
    rd_kafka_header_get_last: fn(*const Headers, *const c_char, *mut *const u8, *mut usize) -> c_int;
    rd_kafka_message_status: fn(*const Message) -> c_int;
    rd_kafka_topic_new: fn(*mut Handle, *const c_char, *mut c_void) -> *mut Topic;
    rd_kafka_topic_name: fn(*const Topic) -> *const c_char;
    rd_kafka_topic_destroy: fn(*mut Topic);
    rd_kafka_topic_partition_list_new: fn(c_int) -> *mut Partitions;
    rd_kafka_topic_partition_list_add: fn(*mut Partitions, *const c_char, i32) -> *mut c_void;
    rd_kafka_topic_partition_list_set_offset: fn(*mut Partitions, *const c_char, i32, i64) -> c_int;
    rd_kafka_topic_partition_list_destroy: fn(*mut Partitions);
    rd_kafka_ListOffsets: fn(*mut Handle, *mut Partitions, *const AdminOptions, *mut Queue);
    rd_kafka_last_error: fn() -> c_int;
    rd_kafka_thread_cnt: fn() -> c_int;
    rd_kafka_produce_batch: fn(*mut Topic, i32, c_int, *mut Message, c_int) -> c_int;
    rd_kafka_produceva: fn(*mut Handle, *const Part, usize) -> *mut Error;
    rd_kafka_error_code: fn(*const Error) -> c_int;
    rd_kafka_error_destroy: fn(*mut Error);
}

static API: OnceLock<Api> = OnceLock::new();

thread_local! {
    /// The client that this thread made last.
    static NEWEST: RefCell<Option<Arc<Client<Made>>>> = const { RefCell::new(None) };
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

/// Gives librdkafka a heap of its own, as `heap` says. False where it goes on with what it has: on machines that `heap`
/// does not know, and where the system refuses.
///
/// # Errors
///
/// Why it is too late, or too early.
pub fn separate() -> Result<bool, &'static str> {
    let api = API.get().ok_or("librdkafka was not linked")?;
    // SAFETY: it has no conditions.
    if unsafe { (api.rd_kafka_thread_cnt)() } > 0 {
        return Err("librdkafka has clients already");
    }
    Ok(heap::replace(api.rd_kafka_thread_cnt as *const c_void))
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
    name: *const c_char,
    _value: *const c_char,
    text: *mut c_char,
    size: usize,
    _opaque: *mut c_void,
) -> c_int {
    let Some(api) = API.get() else {
        return CONF_UNKNOWN;
    };
    // SAFETY: `conf` is librdkafka's, and `name` ends with a zero.
    unsafe {
        (api.rd_kafka_conf_set_error_cb)(conf, on_error);
        if CStr::from_ptr(name) == c"transactional.id" {
            // Only a producer has it. confluent-kafka itself keeps this setting from librdkafka.
            let [name, value] = [c"delivery.report.only.error", c"true"];
            (api.rd_kafka_conf_set)(conf, name.as_ptr(), value.as_ptr(), text, size);
        }
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
    let Some(api) = API.get() else {
        return ERR_STATE;
    };
    // SAFETY: `handle` is librdkafka's.
    let is_producer = unsafe { (api.rd_kafka_type)(handle) } == PRODUCER;
    let hearing = if is_producer {
        Outcomes::of(api, handle).map(Heard::Producer)
    } else {
        Heartbeats::of(api, handle).map(Heard::Consumer)
    };
    let heard = match hearing {
        Ok(heard) => heard,
        Err(error) => return error,
    };
    let client = Arc::new(Client::new(Made { api, handle, heard }));
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
    let client = unsafe { Arc::from_raw(opaque.cast_const().cast::<Client<Made>>()) };
    client.end();
    NO_ERROR
}

/// A client that was made with the plugin.
#[derive(Clone, Copy)]
struct Made {
    api: &'static Api,
    handle: *mut Handle,
    heard: Heard,
}

// SAFETY: librdkafka's clients may be used by any thread.
unsafe impl Send for Made {}

/// What librdkafka's threads tell of a client.
#[derive(Clone, Copy)]
enum Heard {
    Producer(&'static Outcomes),
    Consumer(&'static Heartbeats),
}

/// Makes what librdkafka's threads are to tell of a client, which `add` gives to an interceptor; or returns its error.
///
/// They may tell it until all of them have ended, which nothing tells: so it stays in memory. A process makes a client
/// when it starts, and another one after a transaction that was aborted or disturbed.
fn hear<T: Default>(add: impl FnOnce(*mut c_void) -> c_int) -> Result<&'static T, c_int> {
    let heard: &'static T = Box::leak(Box::default());
    match add(ptr::from_ref(heard).cast_mut().cast()) {
        NO_ERROR => Ok(heard),
        error => Err(error),
    }
}

/// Gives the client that this thread made last, once, to what `open` makes of it.
fn newest<T: User + 'static>(
    open: impl FnOnce(Made) -> Result<T, &'static str>,
) -> Result<Arc<T>, &'static str> {
    let client = NEWEST.take();
    let claimed = client.and_then(|client| client.claim(open));
    claimed.unwrap_or(Err("this thread has made no client with the plugin since"))
}
