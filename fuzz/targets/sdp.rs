//! Session descriptions.

#![no_main]

use callgate_protocols::sdp::Session;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(session) = Session::parse(text) else { return };
    session.bundle().for_each(|_| ());
    for media in &session.media {
        let _ = media.codec();
        for candidate in media.candidates() {
            let _ = candidate.address();
        }
    }
});
