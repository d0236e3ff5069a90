//! Any bytes as a file: what the reader gives lies within them.

use millibar::source::{Memory, Source};
use millibar::tgm::{File, Limits};
use std::sync::Arc;

pub fn framing(bytes: &[u8]) {
    opened(bytes);
}

/// Opens `bytes` and goes through all that the reader gives; whether there is a message.
pub(super) fn opened(bytes: &[u8]) -> bool {
    let source: Arc<dyn Source> = Arc::new(Memory::new("fuzz.tgm", bytes.to_vec()));
    let Ok(file) = File::open(Arc::clone(&source), &Limits::default()) else { return false };
    for message in file.messages.iter().flatten() {
        assert!(message.span.end <= bytes.len() as u64);
        assert_eq!(message.metadata.base.len(), message.objects.len());
        for map in message.metadata.base.iter().chain([&message.metadata.extra, &message.metadata.reserved]) {
            let _ = millibar::tgm::map_to_json(map).to_string();
        }
        for object in &message.objects {
            let payload = object.payload();
            assert!(message.span.start <= object.frame.start && object.frame.end <= message.span.end);
            assert!(object.frame.start <= object.region.start && object.region.end <= object.frame.end);
            assert!(payload.start <= payload.end && payload.end <= object.region.end);
            let _ = (object.descriptor.len(), object.descriptor.pipeline());
            let _ = millibar::tgm::verify(object, &*source);
        }
    }
    true
}
