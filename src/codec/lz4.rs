//! LZ4 payloads: one raw block behind its size (u32, little-endian). They can only be decoded from the start.

/// Decodes a payload, which must fill `out` exactly. The size in front is the writer's capacity: it may be larger than
/// what comes out.
pub(super) fn decode(payload: &[u8], out: &mut [u8]) -> Result<(), String> {
    let Some((size, block)) = payload.split_first_chunk::<4>() else {
        return Err(format!("{} bytes are too few for a size", payload.len()));
    };
    let capacity = u32::from_le_bytes(*size) as usize;
    if capacity < out.len() {
        return Err(format!("the payload says {capacity} bytes, wanted {}", out.len()));
    }
    match lz4_flex::block::decompress_into(block, out) {
        Ok(got) if got == out.len() => Ok(()),
        Ok(got) => Err(format!("{got} bytes came out, wanted {}", out.len())),
        Err(error) => Err(format!("{error} (wanted {} bytes)", out.len())),
    }
}

/// Appends the payload of `bytes`, fewer than 2^32.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let size = u32::try_from(bytes.len()).map_err(|_| format!("{} bytes leave 32 bits", bytes.len()))?;
    out.extend_from_slice(&size.to_le_bytes());
    let start = out.len();
    out.resize(start + lz4_flex::block::get_maximum_output_size(bytes.len()), 0);
    let len = lz4_flex::block::compress_into(bytes, &mut out[start..]).map_err(|e| e.to_string())?;
    out.truncate(start + len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let data: Vec<u8> = (0..5000).map(|i| (i / 7 % 251) as u8 ^ (i % 3) as u8).collect();
        let mut payload = Vec::new();
        encode(&data, &mut payload).unwrap();
        let with_size = |size: u32| [&size.to_le_bytes()[..], &payload[4..]].concat();
        assert_eq!(payload, with_size(5000));
        let mut out = vec![0; 5000];
        assert!(decode(&payload, &mut out).is_ok() && out == data);
        assert!(decode(&with_size(9000), &mut out).is_ok(), "the size is a capacity");
        assert!(decode(&with_size(4999), &mut out).is_err());
        assert!(decode(&payload, &mut out[..4999]).is_err());
        assert!(decode(&with_size(6000), &mut vec![0; 5001]).is_err());
        assert!(decode(&[1, 2], &mut []).is_err());
        assert!(decode(&[0, 0, 0, 0, 0], &mut []).is_ok(), "no values");
    }

    #[test]
    fn vector_of_the_format() {
        let data: Vec<u8> = (0..4_u32).flat_map(u32::to_le_bytes).collect();
        let mut payload = Vec::new();
        encode(&data, &mut payload).unwrap();
        let want = [16, 0, 0, 0, 0xf0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0];
        assert_eq!(payload, want);
    }
}
