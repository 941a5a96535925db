//! H.225.0 call signalling.

#![no_main]

use callgate_fuzz::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = decode::h225(bytes);
});
