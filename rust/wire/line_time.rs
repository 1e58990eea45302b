//! The time of the lines that a record of `words` comes from: a header, so that the time from a line to its totals can be
//! told by who writes these.
//!
//! The record's own time can't be it: that is the broker's, so that neither a clock nor the age of a line has a broker
//! refuse or delete records of `words` before they are counted. Nor can the value, which an older wcsup would not read; it
//! passes the header over.

use std::ffi::CStr;

/// The header's name.
pub const NAME: &CStr = c"line-time";

/// The value for a time in milliseconds since 1970.
#[must_use]
pub fn write(time: i64) -> [u8; 8] {
    time.to_be_bytes()
}

/// The time in a value, which another program may have written; none where it can't be one.
#[must_use]
pub fn read(value: &[u8]) -> Option<i64> {
    let time = i64::from_be_bytes(value.try_into().ok()?);
    (time >= 0).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::{read, write};

    #[test]
    fn a_time_is_read_as_it_was_written() {
        for time in [0, 1, 1_764_547_200_000, i64::MAX] {
            assert_eq!(read(&write(time)), Some(time));
        }
        for value in [&b""[..], b"1234567", b"123456789", &write(-1)] {
            assert_eq!(read(value), None);
        }
    }
}
