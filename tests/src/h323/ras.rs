//! RAS messages (H.225.0 §7.7 on), each a whole datagram, and what is read of answers.

use std::net::SocketAddr;

use super::per::{Encoder, encoded};
use super::wire::{H225, aliases, features, identifier, terminal, tokens, transport};

/// The RAS messages by their place in RasMessage.
pub mod kind {
    #![expect(missing_docs, reason = "the standard's own names")]
    pub const GATEKEEPER_REJECT: u8 = 2;
    pub const REGISTRATION_REJECT: u8 = 5;
    pub const ADMISSION_CONFIRM: u8 = 10;
    pub const ADMISSION_REJECT: u8 = 11;
    pub const LOCATION_REJECT: u8 = 20;
}

/// A registration.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// callSignalAddress.
    pub call_signal: SocketAddr,
    /// rasAddress.
    pub ras: SocketAddr,
    /// timeToLive in seconds; 0 for none.
    pub life: u32,
    /// A light refresh.
    pub keep_alive: bool,
    /// terminalAlias, digits.
    pub alias: &'a str,
    /// With an H.235 token.
    pub token: bool,
    /// A feature of H.460 that is supported.
    pub feature: Option<u8>,
}

/// GRQ.
pub fn gatekeeper_request(sequence: u16, ras: SocketAddr) -> Vec<u8> {
    encoded(|e| {
        begin(e, 0, false, 4, sequence).string(&H225);
        transport(e, ras);
        terminal(e);
    })
}

/// GCF.
pub fn gatekeeper_confirm(sequence: u16, ras: SocketAddr) -> Vec<u8> {
    encoded(|e| {
        begin(e, 1, false, 2, sequence).string(&H225);
        transport(e, ras);
    })
}

/// RRQ.
pub fn registration_request(sequence: u16, registration: &Registration<'_>) -> Vec<u8> {
    let Registration { call_signal, ras, life, keep_alive, alias, token, feature } = *registration;
    let mut additions = Vec::new();
    if life > 0 {
        additions.push((1, encoded(|e| _ = e.four(life - 1))));
    }
    if token {
        additions.push((2, tokens()));
    }
    additions.push((5, encoded(|e| _ = e.bool(keep_alive))));
    if keep_alive {
        additions.push((6, encoded(endpoint)));
    }
    if let Some(number) = feature {
        // FeatureSet: replacementFeatureSet, then supportedFeatures.
        let supported = features(number);
        additions.push((
            19,
            encoded(|e| _ = e.preamble(false, &[false, false, true]).bool(false).octets(&supported)),
        ));
    }
    encoded(|e| {
        e.root(3, 5).preamble(true, &[false, !keep_alive, false]).two(sequence - 1).string(&H225);
        e.bool(true).length(1); // discoveryComplete; callSignalAddress
        transport(e, call_signal);
        e.length(1);
        transport(e, ras);
        terminal(e);
        if !keep_alive {
            aliases(e, alias, "");
        }
        // endpointVendor: country 181 (United States), manufacturer 18
        e.preamble(false, &[false; 2]).preamble(false, &[]).octets(&[181, 0]).two(18);
        e.additions(20, &additions);
    })
}

/// RCF for `life` seconds; 0 tells none.
pub fn registration_confirm(sequence: u16, life: u32) -> Vec<u8> {
    encoded(|e| {
        begin(e, 4, life > 0, 3, sequence).string(&H225).length(0); // callSignalAddress
        endpoint(e);
        if life > 0 {
            e.additions(6, &[(1, encoded(|e| _ = e.four(life - 1)))]);
        }
    })
}

/// URQ of the endpoint, or of its gatekeeper.
pub fn unregistration_request(sequence: u16, call_signal: SocketAddr) -> Vec<u8> {
    encoded(|e| {
        begin(e, 6, false, 3, sequence).length(1);
        transport(e, call_signal);
    })
}

/// UCF.
pub fn unregistration_confirm(sequence: u16) -> Vec<u8> {
    encoded(|e| _ = begin(e, 7, false, 1, sequence))
}

/// ARQ of the caller, or (`answer`) of the callee.
pub fn admission_request(
    sequence: u16,
    call: [u8; 16],
    called: &str,
    calling: &str,
    answer: bool,
) -> Vec<u8> {
    encoded(|e| {
        e.root(9, 5).preamble(true, &[false, true, false, false, false, false, false]).two(sequence - 1);
        e.root(0, 2); // callType: pointToPoint
        endpoint(e);
        aliases(e, called, "");
        aliases(e, calling, "");
        e.four(1280).two(7).octets(&call); // bandWidth, callReferenceValue, conferenceID
        e.bool(false).bool(answer); // activeMC, answerCall
        e.additions(2, &[(0, encoded(|e| _ = e.bool(true))), (1, identifier(call))]);
    })
}

/// ACF: the call is to be made to `destination`, the callee itself or (`routed`) the gatekeeper.
pub fn admission_confirm(sequence: u16, routed: bool, destination: SocketAddr) -> Vec<u8> {
    encoded(|e| {
        begin(e, 10, false, 2, sequence).four(1280).root(routed.into(), 1); // bandWidth, callModel
        transport(e, destination);
    })
}

/// LRQ.
pub fn location_request(sequence: u16, called: &str, reply: SocketAddr) -> Vec<u8> {
    encoded(|e| {
        begin(e, 18, false, 2, sequence);
        aliases(e, called, "");
        transport(e, reply);
    })
}

/// LCF.
pub fn location_confirm(sequence: u16, call_signal: SocketAddr, ras: SocketAddr) -> Vec<u8> {
    encoded(|e| {
        begin(e, 19, false, 1, sequence);
        transport(e, call_signal);
        transport(e, ras);
    })
}

/// BRQ.
pub fn bandwidth_request(sequence: u16, call: [u8; 16], bandwidth: u32) -> Vec<u8> {
    encoded(|e| {
        begin(e, 12, true, 2, sequence);
        endpoint(e);
        e.octets(&call).two(7).four(bandwidth); // conferenceID, callReferenceValue, bandWidth
        e.additions(1, &[(0, identifier(call))]);
    })
}

/// BCF.
pub fn bandwidth_confirm(sequence: u16, bandwidth: u32) -> Vec<u8> {
    encoded(|e| _ = begin(e, 13, false, 1, sequence).four(bandwidth))
}

/// DRQ.
pub fn disengage_request(sequence: u16, call: [u8; 16]) -> Vec<u8> {
    encoded(|e| {
        begin(e, 15, true, 1, sequence);
        endpoint(e);
        e.octets(&call).two(7).root(1, 2); // conferenceID, callReferenceValue, disengageReason: normalDrop
        e.additions(1, &[(0, identifier(call))]);
    })
}

/// DCF.
pub fn disengage_confirm(sequence: u16) -> Vec<u8> {
    encoded(|e| _ = begin(e, 16, false, 1, sequence))
}

/// IRQ: how does the call stand?
pub fn info_request(sequence: u16, reference: u16) -> Vec<u8> {
    encoded(|e| _ = begin(e, 21, false, 2, sequence).two(reference))
}

/// IRR: the endpoint is there, and says nothing of its calls.
pub fn info_request_response(sequence: u16, call_signal: SocketAddr, ras: SocketAddr) -> Vec<u8> {
    encoded(|e| {
        begin(e, 22, false, 3, sequence);
        terminal(e);
        endpoint(e);
        transport(e, ras);
        e.length(1);
        transport(e, call_signal);
    })
}

/// RIP: the answer takes `delay` ms more.
pub fn request_in_progress(sequence: u16, delay: u16) -> Vec<u8> {
    encoded(|e| {
        e.beyond(0, |e| _ = e.preamble(false, &[false; 4]).two(sequence - 1).two(delay - 1));
    })
}

/// A message of a kind that no standard has yet.
pub fn unknown(sequence: u16) -> Vec<u8> {
    encoded(|e| _ = e.beyond(40, |e| _ = e.preamble(false, &[]).two(sequence - 1)))
}

/// Which message of RasMessage's root a datagram is, and its requestSeqNum.
///
/// None of the root's preambles but those of RRQ and the like are longer than what fills the first two octets.
pub fn read(datagram: &[u8]) -> Option<(u8, u16)> {
    let sequence = callgate_protocols::ras::Message::parse(datagram).ok()?.sequence;
    let first = datagram.first()?;
    (first & 0x80 == 0).then_some((first >> 2 & 0x1f, sequence))
}

/// The choice, a preamble without any of its `optional` fields, and requestSeqNum.
fn begin(e: &mut Encoder, index: u32, extended: bool, optional: usize, sequence: u16) -> &mut Encoder {
    e.root(index, 5).preamble(extended, &vec![false; optional]).two(sequence - 1)
}

/// EndpointIdentifier: one character.
fn endpoint(e: &mut Encoder) {
    e.bits(0, 7).two(b'E'.into());
}

#[cfg(test)]
mod tests {
    use callgate_protocols::ras::{Body, Message};

    use super::*;

    #[test]
    fn a_registration_reads_as_it_was_meant() {
        let call_signal = "192.0.2.1:17300".parse().expect("address");
        let ras = "192.0.2.1:1719".parse().expect("address");
        let mut registration = Registration {
            call_signal,
            ras,
            life: 70_000,
            keep_alive: false,
            alias: "1000",
            token: true,
            feature: Some(18),
        };
        for keep_alive in [false, true] {
            registration.keep_alive = keep_alive;
            let bytes = registration_request(515, &registration);
            let Message { sequence, body, .. } = Message::parse(&bytes).expect("RAS");
            let Body::RegistrationRequest { call_signal: read, time_to_live, .. } = body else {
                panic!("{body:?}");
            };
            assert_eq!((sequence, time_to_live), (515, Some(70_000)));
            assert_eq!(read.iter().collect::<Vec<_>>(), [call_signal]);
        }
    }

    #[test]
    fn an_admission_reads_as_it_was_meant() {
        let destination = "[2001:db8::1]:17200".parse().expect("address");
        for routed in [false, true] {
            let bytes = admission_confirm(9, routed, destination);
            assert_eq!(read(&bytes), Some((kind::ADMISSION_CONFIRM, 9)));
            let Body::AdmissionConfirm(told) = Message::parse(&bytes).expect("RAS").body else {
                panic!("no ACF");
            };
            assert_eq!(told.destination, Some(destination));
        }
    }
}
