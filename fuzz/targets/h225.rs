//! H.225.0 call signalling: as a stream of TPKTs, as one Q.931 message, and as the User-User element alone.

#![no_main]

use callgate_protocols::{h225, h245, q931, tpkt};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut stream = bytes;
    while let Ok(Some(frame)) = tpkt::split(stream) {
        assert!(frame.rest.len() < stream.len(), "a stream goes on");
        q931(frame.payload);
        stream = frame.rest;
    }
    q931(bytes);
    user_user(bytes);
});

fn q931(payload: &[u8]) {
    if let Ok(q931::Message { user_user: Some(element), .. }) = q931::Message::parse(payload) {
        user_user(element);
    }
}

fn user_user(element: &[u8]) {
    let Ok(message) = h225::Message::parse(element) else { return };
    for channel in message.fast_start {
        let _ = h245::OpenLogicalChannel::parse(channel);
    }
    for tunnelled in message.h245_control.chain(message.parallel_h245_control) {
        let _ = h245::Message::parse(tunnelled);
    }
}
