//! SIP as a datagram and as a stream.

#![no_main]

use callgate_fuzz::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = decode::sip(bytes);
});
