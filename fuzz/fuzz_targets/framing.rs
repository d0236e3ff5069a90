//! Any bytes as a file: what the reader gives lies within them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millibar::source::Memory;
use millibar::tgm::{File, Limits};
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    let source = Arc::new(Memory::new("fuzz.tgm", bytes.to_vec()));
    let Ok(file) = File::open(source.clone(), &Limits::default()) else { return };
    for message in file.messages.iter().flatten() {
        assert!(message.span.end <= bytes.len() as u64);
        assert_eq!(message.metadata.base.len(), message.objects.len());
        for object in &message.objects {
            let payload = object.payload();
            assert!(message.span.start <= object.frame.start && object.frame.end <= message.span.end);
            assert!(object.frame.start <= object.region.start && object.region.end <= object.frame.end);
            assert!(payload.start <= payload.end && payload.end <= object.region.end);
            let _ = (object.descriptor.len(), object.descriptor.pipeline());
            let _ = millibar::tgm::verify(object, &*source);
        }
    }
});
