//! What is used of a client, and how that ends with it: no use lasts longer than `Client::end`, and none begins after it.
//!
//! `model.rs` goes through all ways in which threads can meet here.

use std::sync::{Arc, PoisonError};
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};

#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};

/// Parts of a client, which one thread at a time uses.
pub struct Parts<T>(Mutex<Option<T>>);

impl<T> Parts<T> {
    /// Parts of a client that has not ended.
    pub fn new(parts: T) -> Self {
        Self(Mutex::new(Some(parts)))
    }

    /// Uses the parts. None where the client has ended.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.lock().as_mut().map(work)
    }

    /// Lets go of the parts, when nobody uses them any more.
    pub fn end(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who holds parts of a client.
pub trait User: Send + Sync {
    /// Lets go of all of them.
    fn end(&self);
}

/// A client that has a user, or may get one.
pub struct Client<M>(Mutex<Use<M>>);

enum Use<M> {
    /// It was made, and is known by this.
    None(M),
    By(Arc<dyn User>),
    Ended,
}

impl<M: Copy> Client<M> {
    /// A client without a user.
    pub fn new(made: M) -> Self {
        Self(Mutex::new(Use::None(made)))
    }

    /// Gives the client to the user that `open` makes. None where it has one, or has ended.
    pub fn claim<T: User + 'static, E>(
        &self,
        open: impl FnOnce(M) -> Result<T, E>,
    ) -> Option<Result<Arc<T>, E>> {
        let mut what = self.lock();
        let Use::None(made) = *what else {
            return None;
        };
        Some(open(made).map(|user| {
            let user = Arc::new(user);
            let shared: Arc<dyn User> = Arc::<T>::clone(&user);
            *what = Use::By(shared);
            user
        }))
    }

    /// Has the user let go of the client.
    pub fn end(&self) {
        let before = std::mem::replace(&mut *self.lock(), Use::Ended);
        if let Use::By(user) = before {
            user.end();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Use<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
