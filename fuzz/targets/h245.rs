//! H.245: control messages, and the channels of fast start.

#![no_main]

use callgate_protocols::h245::{Message, OpenLogicalChannel};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|encoding: &[u8]| {
    if let Ok(message) = Message::parse(encoding) {
        assert!(!message.name().is_empty());
    }
    let _ = OpenLogicalChannel::parse(encoding);
});
