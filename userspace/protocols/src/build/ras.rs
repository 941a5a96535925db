//! RAS messages, each a whole datagram.

use std::net::SocketAddr;

use super::{alias, endpoint_type, h225_address};
use crate::refuse::H225_VERSION;
use crate::writer::{Writer, encode};

/// GRQ.
pub fn gatekeeper_request(sequence: u16, ras: SocketAddr) -> Vec<u8> {
    encode(|w| {
        begin(w, 0, &[false; 4], false, sequence).bytes(&H225_VERSION);
        h225_address(w, ras);
        endpoint_type(w);
    })
}

/// GCF.
pub fn gatekeeper_confirm(sequence: u16, ras: SocketAddr) -> Vec<u8> {
    encode(|w| {
        begin(w, 1, &[false; 2], false, sequence).bytes(&H225_VERSION);
        h225_address(w, ras);
    })
}

/// RRQ for `life` seconds, at most 255.
pub fn registration_request(sequence: u16, call_signal: SocketAddr, ras: SocketAddr, life: u8) -> Vec<u8> {
    encode(|w| {
        begin(w, 3, &[false; 3], true, sequence).bytes(&H225_VERSION);
        w.bool(false); // discoveryComplete
        w.length(1);
        h225_address(w, call_signal);
        w.length(1);
        h225_address(w, ras);
        endpoint_type(w);
        // endpointVendor: country 181 (United States), manufacturer 18
        w.preamble(false, &[false; 2]).preamble(false, &[]).u8(181).u8(0).u16(18);
        w.additions(6, &[(1, seconds(life)), (5, encode(|w| _ = w.bool(false)))]);
    })
}

/// RCF for `life` seconds, at most 255.
pub fn registration_confirm(sequence: u16, life: u8) -> Vec<u8> {
    encode(|w| {
        begin(w, 4, &[false; 3], true, sequence).bytes(&H225_VERSION);
        w.length(0); // callSignalAddress
        identifier(w);
        w.additions(6, &[(1, seconds(life)), (5, encode(|w| _ = w.bool(false)))]);
    })
}

/// URQ.
pub fn unregistration_request(sequence: u16, call_signal: SocketAddr) -> Vec<u8> {
    encode(|w| {
        begin(w, 6, &[false; 3], false, sequence).length(1);
        h225_address(w, call_signal);
    })
}

/// ARQ for a call to `2000`.
pub fn admission_request(sequence: u16, call: [u8; 16]) -> Vec<u8> {
    encode(|w| {
        begin(w, 9, &[false, true, false, false, false, false, false], true, sequence);
        w.choice(0, 2); // callType
        identifier(w);
        alias(w, "2000");
        alias(w, "1000");
        w.bits(1, 2).u16(1280); // bandWidth
        w.u16(7); // callReferenceValue
        w.octets(&call); // conferenceID
        w.bits(0, 2); // activeMC, answerCall
        w.additions(
            2,
            &[(0, encode(|w| _ = w.bool(true))), (1, encode(|w| _ = w.preamble(false, &[]).octets(&call)))],
        );
    })
}

/// BRQ for so many hundreds of bit/s.
pub fn bandwidth_request(sequence: u16, call: [u8; 16], bandwidth: u16) -> Vec<u8> {
    encode(|w| {
        begin(w, 12, &[false; 2], true, sequence);
        identifier(w);
        w.octets(&call).u16(7); // conferenceID, callReferenceValue
        w.bits(1, 2).u16(bandwidth);
        w.additions(1, &[(0, encode(|w| _ = w.preamble(false, &[]).octets(&call)))]);
    })
}

/// ACF: the call is to be made directly, to `destination`.
pub fn admission_confirm(sequence: u16, destination: SocketAddr) -> Vec<u8> {
    encode(|w| {
        begin(w, 10, &[false; 2], false, sequence);
        w.bits(1, 2).u16(1280); // bandWidth
        w.choice(0, 1); // callModel: direct
        h225_address(w, destination);
    })
}

/// LRQ for `2000`.
pub fn location_request(sequence: u16, reply: SocketAddr) -> Vec<u8> {
    encode(|w| {
        begin(w, 18, &[false; 2], false, sequence);
        alias(w, "2000");
        h225_address(w, reply);
    })
}

/// LCF.
pub fn location_confirm(sequence: u16, call_signal: SocketAddr, ras: SocketAddr) -> Vec<u8> {
    encode(|w| {
        begin(w, 19, &[false], false, sequence);
        h225_address(w, call_signal);
        h225_address(w, ras);
    })
}

/// DRQ.
pub fn disengage_request(sequence: u16, call: [u8; 16]) -> Vec<u8> {
    encode(|w| {
        begin(w, 15, &[false], true, sequence);
        identifier(w);
        w.octets(&call).u16(7); // conferenceID, callReferenceValue
        w.choice(1, 2); // disengageReason: normalDrop
        w.additions(1, &[(0, encode(|w| _ = w.preamble(false, &[]).octets(&call)))]);
    })
}

/// The choice, the preamble, and requestSeqNum.
fn begin<'a>(
    w: &'a mut Writer,
    index: u32,
    optional: &[bool],
    extended: bool,
    sequence: u16,
) -> &'a mut Writer {
    w.choice(index, 5).preamble(extended, optional).u16(sequence - 1)
}

/// EndpointIdentifier: one character.
fn identifier(w: &mut Writer) {
    w.bits(0, 7).u16(u16::from(b'E'));
}

/// TimeToLive.
fn seconds(life: u8) -> Vec<u8> {
    encode(|w| _ = w.bits(0, 2).u8(life - 1))
}
