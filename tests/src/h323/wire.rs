//! H.225.0 and H.245 messages as the scripted endpoints send them: those that `callgate_protocols::build` does
//! not have, or not with these fields. Shared field encodings serve [`ras`](super::ras) too.

use std::net::{IpAddr, SocketAddr};

use callgate_protocols::build::{Call, Parts, tpkt};

use super::per::{Encoder, encoded};

/// H.225.0 version 4.
pub(super) const H225: [u8; 6] = [0x00, 0x08, 0x91, 0x4a, 0x00, 0x04];
/// H.239's extended video capability: itu-t recommendation h 239 generic-capabilities 2.
const H239: [u8; 6] = [0x00, 0x08, 0x81, 0x6f, 0x01, 0x02];

/// A Setup with everything a policy may look at.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Calling party number and sourceAddress; digits.
    pub calling: &'a str,
    /// Called party number and destinationAddress; digits.
    pub called: &'a str,
    /// A second sourceAddress, an h323-ID; empty for none.
    pub name: &'a str,
    /// With an H.235 token.
    pub token: bool,
    /// A feature of H.460 that is supported, by its number; H.460.18 is 18.
    pub feature: Option<u8>,
    /// The rest.
    pub parts: Parts,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        let parts = Parts::default();
        Self { calling: "1000", called: "2000", name: "", token: false, feature: None, parts }
    }
}

impl Setup<'_> {
    /// The message in its TPKT.
    pub fn encode(&self, call: &Call) -> Vec<u8> {
        let Parts { h245_address, fast_start, .. } = &self.parts;
        let mut additions = vec![(2, identifier(call.id))];
        if self.token {
            additions.push((4, tokens()));
        }
        if !fast_start.is_empty() {
            additions.push((6, strings(fast_start)));
        }
        if let Some(number) = self.feature {
            additions.push((23, features(number)));
        }
        let numbers =
            [number(0x6c, &[0x00, 0x80], self.calling), number(0x70, &[0x81], self.called)].concat();
        message(call, false, 0x05, &numbers, &self.parts, |e| {
            e.root(0, 3).preamble(true, &[h245_address.is_some(), true, true, false, false, false, false]);
            e.string(&H225);
            if let Some(address) = h245_address {
                transport(e, *address);
            }
            aliases(e, self.calling, self.name); // sourceAddress
            terminal(e); // sourceInfo
            aliases(e, self.called, ""); // destinationAddress
            e.bool(false).octets(&call.id); // activeMC, conferenceID
            e.root(0, 2).root(0, 2); // conferenceGoal: create; callType: pointToPoint
            e.additions(25, &additions);
        })
    }
}

/// Facility, callee to caller, that asks for the call to be made to `address`: at a gatekeeper, or (`forwarded`)
/// wherever that is.
pub fn redirect(call: &Call, forwarded: bool, address: SocketAddr) -> Vec<u8> {
    message(call, true, 0x62, &[], &Parts::default(), |e| {
        e.root(6, 3).preamble(true, &[true, false, false]).string(&H225);
        transport(e, address);
        e.root(forwarded.into(), 2); // routeCallToGatekeeper, callForwarded
        e.additions(11, &[(0, identifier(call.id))]);
    })
}

/// The messages that say something of a call and open nothing, each with its name and whether the callee sends it.
pub fn asides(call: &Call) -> Vec<(&'static str, bool, Vec<u8>)> {
    let added = |kind, to_origin, index| {
        message(call, to_origin, kind, &[], &Parts::default(), |e| {
            e.beyond(index, |e| {
                _ = e.preamble(false, &[false; 2]).string(&H225).octets(&identifier(call.id))
            });
        })
    };
    // Keypad facility (Q.931 §4.5.18): a digit more.
    let information = message(call, false, 0x7b, &[0x2c, 0x01, b'7'], &Parts::default(), |e| {
        e.root(4, 3).preamble(true, &[]).string(&H225).additions(1, &[(0, identifier(call.id))]);
    });
    // Call state (Q.931 §4.5.7): call delivered.
    let status =
        message(call, true, 0x7d, &[0x08, 0x02, 0x80, 0x9e, 0x14, 0x01, 0x04], &Parts::default(), |e| {
            e.beyond(2, |e| _ = e.preamble(false, &[false; 2]).string(&H225).octets(&identifier(call.id)));
        });
    vec![
        ("SetupAcknowledge", true, added(0x0d, true, 4)),
        ("Information", false, information),
        ("Progress", true, callgate_protocols::build::progress(call, &Parts::default())),
        ("Notify", true, added(0x6e, true, 5)),
        ("StatusInquiry", false, added(0x75, false, 3)),
        ("Status", true, status),
    ]
}

/// A message of the h323-message-body's `index`th extension, which no standard has yet.
pub fn unknown_body(call: &Call, index: u32) -> Vec<u8> {
    message(call, false, 0x62, &[], &Parts::default(), |e| _ = e.beyond(index, |e| _ = e.octets(&[0xba; 8])))
}

/// An H.245 message of a kind that no standard has yet.
pub fn unknown_control() -> Vec<u8> {
    encoded(|e| _ = e.bool(true).bits(9, 7).string(&[0xba; 8]))
}

/// What a logical channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// G.711 µ-law.
    Audio,
    /// H.261.
    Video,
    /// H.261, as a presentation by H.239.
    Presentation,
    /// T.38 over UDP.
    Fax,
}

impl Data {
    /// The session such a channel belongs to here.
    pub const fn session(self) -> u8 {
        match self {
            Self::Audio => 1,
            Self::Video => 2,
            Self::Presentation => 32,
            Self::Fax => 3,
        }
    }

    /// Payload type of its RTP (RFC 3551 §6).
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Audio | Self::Fax => 0,
            Self::Video | Self::Presentation => 31,
        }
    }

    fn encode(self, e: &mut Encoder) {
        match self {
            Self::Audio => _ = e.root(3, 3).root(3, 4).octets(&[19]),
            Self::Video => h261(e.root(2, 3)),
            Self::Presentation => {
                e.root(2, 3).beyond(1, |e| {
                    e.preamble(false, &[true]).length(1); // videoCapability: one
                    h261(e);
                    e.length(1).preamble(false, &[false; 5]).root(0, 2).string(&H239);
                });
            }
            Self::Fax => {
                e.root(4, 3).preamble(false, &[]);
                e.beyond(2, |e| {
                    e.beyond(6, |_| {}).preamble(false, &[]).bits(0, 3); // udp; T38FaxProfile
                });
                e.four(144); // maxBitRate
            }
        }
    }
}

/// OpenLogicalChannel: the sender takes RTCP at `rtcp`. A `group` is where everybody receives it, by multicast.
pub fn open(number: u16, data: Data, group: Option<SocketAddr>, rtcp: SocketAddr) -> Vec<u8> {
    encoded(|e| {
        e.root(0, 2).root(3, 4); // request: openLogicalChannel
        e.preamble(false, &[false]).two(number - 1).preamble(false, &[false]);
        data.encode(e);
        e.beyond(0, |e| {
            let some = group.is_some();
            e.preamble(false, &[false, false, some, false, true, false, false, false, false, false]);
            e.octets(&[data.session()]);
            if let Some(group) = group {
                channel_address(e, group);
            }
            channel_address(e, rtcp);
        });
    })
}

/// H261VideoCapability behind its CHOICE: QCIF, 64 kbit/s.
fn h261(e: &mut Encoder) {
    e.root(1, 3).preamble(false, &[true, false]).bits(0, 2).bool(false).two(639).bool(false);
}

/// A Q.931 message (with `elements` before its User-User element, whose body is `body`) in its TPKT.
fn message(
    call: &Call,
    to_origin: bool,
    kind: u8,
    elements: &[u8],
    parts: &Parts,
    body: impl FnOnce(&mut Encoder),
) -> Vec<u8> {
    let uuie = encoded(|e| {
        e.preamble(false, &[false]).preamble(true, &[false]);
        body(e);
        let mut additions = vec![(1, encoded(|e| _ = e.bool(parts.tunnelling)))];
        if !parts.h245_control.is_empty() {
            additions.push((2, strings(&parts.h245_control)));
        }
        e.additions(3, &additions);
    });
    let [high, low] = call.reference.to_be_bytes();
    let mut payload = vec![0x08, 0x02, high & 0x7f | u8::from(to_origin) << 7, low, kind];
    payload.extend(elements);
    payload.push(0x7e);
    payload.extend((uuie.len() as u16 + 1).to_be_bytes());
    payload.push(0x05);
    payload.extend(uuie);
    tpkt(&payload)
}

/// A party number element (Q.931 §4.5.8, §4.5.10).
fn number(element: u8, plan: &[u8], digits: &str) -> Vec<u8> {
    let length = (plan.len() + digits.len()) as u8;
    [&[element, length], plan, digits.as_bytes()].concat()
}

/// A SEQUENCE OF OCTET STRING.
fn strings(strings: &[Vec<u8>]) -> Vec<u8> {
    encoded(|e| {
        e.length(strings.len());
        for string in strings {
            e.string(string);
        }
    })
}

/// CallIdentifier on its own.
pub(super) fn identifier(id: [u8; 16]) -> Vec<u8> {
    encoded(|e| _ = e.preamble(false, &[]).octets(&id))
}

/// One H.235 ClearToken that holds nothing but its own object identifier.
pub(super) fn tokens() -> Vec<u8> {
    encoded(|e| _ = e.length(1).preamble(false, &[false; 8]).string(&[0x00, 0x08, 0x81, 0x6b, 0x00, 0x02]))
}

/// One FeatureDescriptor with a standard number.
pub(super) fn features(number: u8) -> Vec<u8> {
    encoded(|e| _ = e.length(1).preamble(false, &[false]).root(0, 2).preamble_of_number(number))
}

impl Encoder {
    /// GenericIdentifier's `standard`: INTEGER (0..16383, …).
    fn preamble_of_number(&mut self, number: u8) -> &mut Self {
        self.bool(false).two(number.into())
    }
}

/// dialedDigits, and an h323-ID unless `name` is empty.
pub(super) fn aliases(e: &mut Encoder, digits: &str, name: &str) {
    e.length(1 + usize::from(!name.is_empty()));
    e.root(0, 1).bits(digits.len() as u32 - 1, 7).octets(&[]);
    for digit in digits.bytes() {
        e.bits(u32::from(digit - b'0') + 3, 4);
    }
    if !name.is_empty() {
        let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
        e.root(1, 1).octets(&[name.encode_utf16().count() as u8 - 1]).octets(&units);
    }
}

/// EndpointType: a terminal.
pub(super) fn terminal(e: &mut Encoder) {
    e.preamble(false, &[false, false, false, false, false, true]).preamble(false, &[false]).bits(0, 2);
}

/// H.225.0's TransportAddress.
pub(super) fn transport(e: &mut Encoder, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => e.root(0, 3).octets(&ip.octets()),
        IpAddr::V6(ip) => e.root(3, 3).preamble(false, &[]).octets(&ip.octets()),
    };
    e.two(address.port());
}

/// H.245's TransportAddress.
fn channel_address(e: &mut Encoder, address: SocketAddr) {
    let multicast = address.ip().is_multicast();
    e.root(multicast.into(), 1);
    match (address.ip(), multicast) {
        (IpAddr::V4(ip), true) => e.root(0, 1).preamble(false, &[]).octets(&ip.octets()),
        (IpAddr::V6(ip), true) => e.root(1, 1).preamble(false, &[]).octets(&ip.octets()),
        (IpAddr::V4(ip), false) => e.root(0, 3).preamble(false, &[]).octets(&ip.octets()),
        (IpAddr::V6(ip), false) => e.root(2, 3).preamble(false, &[]).octets(&ip.octets()),
    };
    e.two(address.port());
}

#[cfg(test)]
mod tests {
    use callgate_protocols::h225::{Body, Message};
    use callgate_protocols::h245::{Class, Message as Control};
    use callgate_protocols::q931;

    use super::*;

    const CALL: Call = Call { reference: 7, id: [0xca; 16] };

    #[test]
    fn a_setup_reads_as_it_was_meant() {
        let setup = Setup {
            calling: "4930123",
            name: "Ada",
            token: true,
            feature: Some(18),
            parts: Parts { tunnelling: true, ..Parts::default() },
            ..Setup::default()
        };
        let bytes = setup.encode(&CALL);
        let outer = q931::Message::parse(&bytes[4..]).expect("Q.931");
        assert_eq!((outer.calling, outer.called), (Some(&b"4930123"[..]), Some(&b"2000"[..])));
        let inner = Message::parse(outer.user_user.expect("User-User")).expect("H.225.0");
        assert_eq!((inner.body, inner.tunnelling), (Body::Setup, true));
        let source: Vec<_> = inner.source.iter().map(|alias| alias.to_string()).collect();
        assert_eq!(source, ["4930123", "Ada"]);
        assert!(inner.tokens.any() && inner.features.has(18));
        assert_eq!(inner.call.map(|call| call.0), Some(CALL.id));
    }

    #[test]
    fn asides_read_as_they_were_meant() {
        for (name, to_origin, bytes) in asides(&CALL) {
            let outer = q931::Message::parse(&bytes[4..]).expect("Q.931");
            let inner = Message::parse(outer.user_user.expect("User-User")).expect("H.225.0");
            assert_eq!((format!("{:?}", outer.kind), outer.to_origin), (name.to_owned(), to_origin));
            assert_eq!(format!("{:?}", inner.body), name);
            assert_eq!(inner.call.map(|call| call.0), Some(CALL.id), "{name}");
        }
    }

    #[test]
    fn channels_read_as_they_were_meant() {
        let rtcp = "192.0.2.1:20001".parse().expect("address");
        for (data, class) in [
            (Data::Audio, Class::Audio),
            (Data::Video, Class::Video),
            (Data::Presentation, Class::Video),
            (Data::Fax, Class::Fax),
        ] {
            let Control::OpenLogicalChannel(read) =
                Control::parse(&open(5, data, None, rtcp)).expect("H.245")
            else {
                panic!("{data:?} is no OpenLogicalChannel");
            };
            let media = read.forward.media.expect("parameters");
            assert_eq!((read.number, read.forward.data.class), (5, class), "{data:?}");
            assert_eq!(
                (media.session, media.media_control_channel),
                (data.session(), Some(rtcp)),
                "{data:?}"
            );
        }
    }
}
