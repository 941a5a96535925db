//! SIP as a datagram and as a stream.

#![no_main]

use callgate_protocols::{sdp, sip};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = sip::is_keep_alive(bytes);
    read(bytes);
    let mut stream = bytes;
    while !stream.is_empty() {
        let length = match sip::frame_length(stream) {
            sip::Framing::Message(length) => {
                read(&stream[..length]);
                length
            }
            sip::Framing::KeepAlive(length) => length,
            sip::Framing::Incomplete | sip::Framing::Invalid(_) => return,
        };
        assert!(length > 0, "a stream goes on");
        stream = &stream[length..];
    }
});

fn read(bytes: &[u8]) {
    let Ok(message) = sip::Message::parse(bytes) else { return };
    let _ = (message.method(), message.status(), message.expires(), message.session_expires());
    let _ = message.contacts().count();
    if let Some(Ok(session)) = message.sdp().map(sdp::Session::parse) {
        session.bundle().for_each(|_| ());
    }
}
