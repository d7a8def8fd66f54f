//! The slot of a key in a cluster.

/// The cluster slot of a key: by what is in its first braces, if there is anything.
pub(super) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % 16_384
}

/// CRC16-CCITT (XMODEM), as Redis Cluster hashes keys; the polynomial is in its cluster specification.
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn slots_are_those_that_a_server_computes() {
        // By CLUSTER KEYSLOT.
        for (key, expected) in [("foo", 12_182), ("{foo}.x", 12_182), ("a{}b", 13_694)] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }
}
