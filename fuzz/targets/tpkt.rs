//! A stream of TPKTs.

#![no_main]

use callgate_fuzz::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = decode::tpkt(bytes);
});
