//! Frames as they come from the tap, one per record: fragments, reassembly and call tracking together.

#![no_main]

use callgate_alg::Time;
use callgate_fuzz::{ANY, check, check_end, engine, records};
use callgate_shared::flow::TCP;
use callgate_shared::packet::{Kind, parse};
use callgate_shared::policy::Inspect;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut engine = engine();
    let mut now = Time(1_000_000_000);
    for frame in records(input) {
        now = Time(now.0 + 20_000_000);
        let Ok(packet) = parse(&frame) else { continue };
        if packet.kind != Kind::Ip {
            continue;
        }
        let either = |port| packet.source_port == port || packet.destination_port == port;
        let protocol = match packet.protocol {
            TCP if either(1_720) => Inspect::H225,
            TCP if !either(5_060) => Inspect::H245,
            _ if either(1_719) => Inspect::Ras,
            _ => Inspect::Sip,
        };
        engine.packet(now, frame, &packet, protocol, ANY);
        check(&engine);
    }
    check_end(&mut engine, now);
});
