//! The partition of a key, as Java's default partitioner has it.
//!
//! librdkafka's `murmur2_random` does the same for a key that is not empty. It is done here so that a batch
//! can be grouped by partition before it reaches the producer.

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;

/// `org.apache.kafka.common.utils.Utils.murmur2`.
#[must_use]
pub fn murmur2(key: &[u8]) -> u32 {
    // Java's length is an int; a longer key can't be a record's.
    #[expect(clippy::cast_possible_truncation)]
    let mut hash = SEED ^ key.len() as u32;
    let words = key.chunks_exact(4);
    let tail = words.remainder();
    for word in words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !tail.is_empty() {
        for (index, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key among `partitions`: murmur2, sign bit cleared, modulo.
///
/// # Panics
///
/// If `partitions` is 0.
#[must_use]
pub fn partition(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

#[cfg(test)]
mod tests {
    use super::{murmur2, partition};

    /// The cases of Kafka's own `UtilsTest.testMurmur2`, and the empty key.
    const CASES: [(&[u8], i32); 7] = [
        (b"21", -973_932_308),
        (b"foobar", -790_332_482),
        (b"a-little-bit-long-string", -985_981_536),
        (b"a-little-bit-longer-string", -1_486_304_829),
        (
            b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
            -58_897_971,
        ),
        (b"abc", 479_470_107),
        (b"", 275_646_681),
    ];

    #[test]
    fn hashes_as_java_does() {
        for (key, expected) in CASES {
            assert_eq!(
                i32::from_le_bytes(murmur2(key).to_le_bytes()),
                expected,
                "{key:?}"
            );
        }
    }

    #[test]
    fn clears_the_sign_before_the_remainder() {
        assert_eq!(partition(b"foobar", 6), 1_357_151_166 % 6);
        assert_eq!(partition(b"anything", 1), 0);
    }
}
