//! Any bytes as an AEC stream: RSIs decoded alone are slices of the whole, whatever the hints say.

use millibar::codec::szip::{Aec, Samples};

/// Bits, block size (in twos), RSI, flags, and the number of samples in two bytes; then the stream.
const HEAD: usize = 6;

pub fn szip(bytes: &[u8]) {
    let Some((head, stream)) = bytes.split_first_chunk::<HEAD>() else { return };
    let [bits, block, rsi, flags, samples @ ..] = head.map(u32::from);
    let Ok(aec) = Aec::try_new(bits, 2 * block, rsi, flags) else { return };
    let samples = (samples[0] << 8 | samples[1]) as usize;

    let mut whole = vec![0; samples * aec.sample_bytes()];
    let end = aec.decode_all(stream, Samples::Bytes(&mut whole));
    let mut numbers = vec![0; samples];
    assert_eq!(end, aec.decode_all(stream, Samples::U32(&mut numbers)));
    if end.is_ok() {
        assert!(samples as u64 <= aec.max_samples(stream.len() as u64));
    }

    let index = aec.index(stream, samples as u64, None);
    // Hints: some right, some made of the stream.
    let made_up = |rsi: u64| stream.get(rsi as usize).copied().filter(|byte| byte & 7 == 0).map(u64::from);
    let hints: Vec<u64> = (0..index.count())
        .map(|rsi| made_up(rsi).or(index.bits(rsi..rsi).ok().map(|bits| bits.start)).unwrap_or_default())
        .collect();
    let hinted = aec.index(stream, samples as u64, Some(&hints));
    let width = aec.sample_bytes();
    for rsi in 0..index.count() {
        let first = (rsi * aec.rsi_samples()) as usize;
        let count = (samples - first).min(aec.rsi_samples() as usize);
        let mut part = vec![0; count * width];
        let decoded = aec.decode_rsis(stream, &index, rsi..rsi + 1, Samples::Bytes(&mut part));
        if end.is_ok() {
            assert_eq!(decoded.as_ref().ok(), index.bits(rsi..rsi + 1).ok().map(|bits| bits.end).as_ref());
            assert_eq!(part, whole[first * width..(first + count) * width]);
        }
        assert_eq!(index.bits(rsi..rsi + 1), hinted.bits(rsi..rsi + 1));
    }
}
