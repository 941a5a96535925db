//! Messages that the builders of the decoders' crate do not have: written by the encoder of the end-to-end tests,
//! which shares nothing with the decoders.

#[path = "../../../../../tests/src/h323/wire.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unfulfilled_lint_expectations,
    reason = "it is a library of its own there"
)]
mod messages;
#[path = "../../../../../tests/src/h323/per.rs"]
mod per;
#[path = "../../../../../tests/src/h323/ras.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unfulfilled_lint_expectations,
    reason = "it is a library of its own there"
)]
pub(super) mod ras;

// Where the encoder looks for it.
use messages as wire;
pub(super) use messages::*;

/// CommunicationModeCommand: audio (G.711 µ-law) of session 1 is to be sent to this group.
pub(super) fn communication_mode(group: std::net::Ipv4Addr, port: u16) -> Vec<u8> {
    per::encoded(|e| {
        // command: the first alternative behind its extension marker
        e.root(2, 2).beyond(0, |e| {
            e.preamble(false, &[]).octets(&[0]); // one entry
            e.preamble(false, &[false, false, false, true, false, true, false]);
            e.octets(&[0]).octets(&[0]).octets(&[0, b'a']); // sessionID 1; sessionDescription
            e.root(1, 2).root(3, 4).octets(&[19]); // dataType: audioData, g711Ulaw64k
            for port in [port, port + 1] {
                e.root(1, 1).root(0, 1).preamble(false, &[]).octets(&group.octets()).two(port);
            }
        });
    })
}
