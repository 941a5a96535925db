//! The packet parser: whatever it accepts lies in the frame.

#![no_main]

use callgate_shared::packet::{Fragment, Kind, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    let Ok(packet) = parse(&frame) else { return };
    if packet.kind == Kind::Link {
        return;
    }
    let end = usize::from(packet.payload_at) + usize::from(packet.payload_length);
    assert!(end <= frame.len() && packet.length as usize <= frame.len());
    assert!(packet.network_at < packet.transport_at && packet.transport_at <= packet.payload_at);
    assert_eq!(packet.source.is_v4(), packet.destination.is_v4());
    if packet.fragment == Fragment::Later {
        assert_eq!((packet.source_port, packet.destination_port, packet.tcp_flags), (0, 0, 0));
    }
    // What is behind the packet says nothing of it.
    let mut padded = frame.to_vec();
    padded.extend([0xff; 64]);
    assert_eq!(parse(&padded.as_slice()), Ok(packet));
});
