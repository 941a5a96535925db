//! RAS messages.

#![no_main]

use callgate_protocols::ras::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|encoding: &[u8]| {
    if let Ok(message) = Message::parse(encoding) {
        assert!(!message.body.name().is_empty());
    }
});
