//! Frames as they come from the tap, one per record: fragments, reassembly and call tracking together.

#![no_main]

use callgate_alg::Time;
use callgate_fuzz::{ANY, BOUNDS, capture, check, check_end, engine, records};
use callgate_shared::packet::{Kind, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut engine = engine(BOUNDS);
    let mut now = Time(1_000_000_000);
    for frame in records(input) {
        now = Time(now.0 + 20_000_000);
        let Ok(packet) = parse(&frame) else { continue };
        if packet.kind != Kind::Ip {
            continue;
        }
        engine.packet(now, frame, &packet, capture::protocol(&packet), ANY);
        check(&engine, BOUNDS);
    }
    check_end(&mut engine, now);
});
