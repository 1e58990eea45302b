//! Stands for `heap` on machines where that is not built.

use std::ffi::c_void;

/// False: the library goes on with the heap that it has.
pub fn replace(_within: *const c_void) -> bool {
    false
}
