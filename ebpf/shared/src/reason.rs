//! Why a packet passed or was dropped.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident = $value:literal $text:literal;)*) => {
        /// The reason of a verdict, counted per interface. Values are never used again for another meaning.
        ///
        /// Below [`Reason::FIRST_DROP`] the packet passed, from there on it was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason { $($(#[doc = $doc])* $name = $value,)* }

        impl Reason {
            /// Every reason, in order of value.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name shown to people and programs, such as `no-pinhole`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// What it means, in a sentence or two.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii()),* }
            }

            /// The reason with this value, if there is one.
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value { $($value => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    /// ARP, neighbour discovery (ICMPv6 133–136), packet-too-big, fragmentation-needed: always let by.
    PassBuiltin = 1 "builtin";
    /// Admitted by a pinhole.
    PassPinhole = 2 "pinhole";
    /// Belongs to a known flow.
    PassFlow = 3 "flow";
    /// Permitted by a rule.
    PassRule = 4 "rule";
    /// Permitted by the default of its zone.
    PassDefault = 5 "default-pass";
    /// A later fragment of a datagram whose first fragment was let by.
    PassFragment = 6 "fragment-of-passed";
    /// An ICMP error about a packet of a known flow or stream.
    PassRelated = 7 "related";
    /// Admitted by a pinhole whose rule says `media = "observe"`: it breaks what was agreed of its stream, and would
    /// else have been dropped.
    PassObserved = 8 "pinhole-observed";

    /// The frame ends before the header it announces.
    Truncated = 64 "truncated";
    /// Neither IPv4, IPv6, ARP nor a link-layer protocol Callgate knows.
    EtherType = 65 "ether-type";
    /// More than two VLAN tags.
    VlanDepth = 66 "vlan-depth";
    /// IPv4: version, header length or total length contradict the frame.
    BadIpv4 = 67 "bad-ipv4";
    /// IPv6: version or payload length contradict the frame.
    BadIpv6 = 68 "bad-ipv6";
    /// More than six IPv6 extension headers, or one that is malformed.
    Ipv6Extensions = 69 "ipv6-extensions";
    /// TCP: data offset below 5 or beyond the packet.
    BadTcp = 70 "bad-tcp";
    /// UDP: length below 8 or beyond the packet.
    BadUdp = 71 "bad-udp";
    /// TCP flags that no honest stack sends: none, SYN+FIN, SYN+RST, FIN without ACK.
    TcpFlags = 72 "tcp-flags";
    /// Port 0 as source or destination.
    ZeroPort = 73 "zero-port";
    /// An IPv6 packet carrying an IPv4-mapped address.
    MappedAddress = 74 "mapped-address";
    /// Source and destination address are the same.
    Land = 75 "land";
    /// Source address that cannot be a sender: multicast, broadcast, loopback, unspecified.
    BadSource = 76 "bad-source";
    /// A source address of the zone's own networks or of this machine, arriving from outside.
    Spoofed = 77 "spoofed";
    /// A first fragment too short to hold the transport header.
    TinyFragment = 78 "tiny-fragment";
    /// A later fragment whose first fragment was not let by.
    Fragment = 79 "fragment";
    /// A fragment that overlaps the first one, or a second first one that differs.
    FragmentOverlap = 80 "fragment-overlap";
    /// A fragment, in a zone that takes none.
    FragmentRefused = 81 "fragment-refused";
    /// IPv4 source routing options, or an IPv6 routing header of type 0 (RFC 5095).
    SourceRoute = 82 "source-route";
    /// IPv4 or TCP options that contradict their length.
    BadOptions = 83 "bad-options";
    /// A link protocol the zone refuses: CDP or LLDP.
    LinkProtocol = 84 "link-protocol";
    /// A source address this machine has no route back to.
    NoRouteBack = 85 "no-route-back";

    /// Media to a port no call has announced.
    NoPinhole = 96 "no-pinhole";
    /// The pinhole exists, but not for this sender.
    PinholeSender = 97 "pinhole-sender";
    /// The pinhole's life is over.
    PinholeExpired = 98 "pinhole-expired";
    /// The pinhole was to learn its sender's port, and has learnt another.
    SecondSource = 99 "second-source";
    /// Where only RTP and RTCP are let by: neither.
    NotRtp = 100 "not-rtp";
    /// RTP whose list of contributing sources, header extension or padding does not fit the packet.
    RtpHeader = 101 "rtp-header";
    /// RTP of a payload type that was not agreed for its stream.
    PayloadType = 102 "payload-type";
    /// RTP of another SSRC than that of its stream, which has been signalled or was heard within two seconds.
    Ssrc = 103 "ssrc";
    /// RTP whose sequence number is too far from that of the packet before.
    RtpSequence = 104 "rtp-sequence";
    /// RTCP that does not begin with a sender or receiver report.
    RtcpCompound = 105 "rtcp-compound";
    /// RTCP whose lengths do not add up to the packet's.
    RtcpLength = 106 "rtcp-length";
    /// RTCP of a type nobody knows.
    RtcpType = 107 "rtcp-type";
    /// STUN, DTLS or ZRTP that signalling has not announced.
    NotAnnounced = 108 "not-announced";
    /// More than twice what the stream's codec sends, or RTCP above its share.
    MediaRate = 109 "media-rate";
    /// A pinhole for faxes, and no UDPTL.
    NotUdptl = 110 "not-udptl";

    /// Refused by a rule.
    Rule = 112 "rule-drop";
    /// Refused by the default of its zone.
    Default = 113 "default-drop";
    /// Permitted by a rule, but above its limit.
    Limit = 114 "limit";
    /// No policy has been loaded.
    NoPolicy = 115 "no-policy";
    /// A TCP segment that belongs to no known connection and opens none.
    NoConnection = 117 "no-connection";
    /// Refused by a rule, and told so.
    Reject = 118 "reject";
    /// The source is blocked.
    Blocked = 119 "blocked";
    /// A reset, or an answer to a connection's opening, that does not fit the connection's window.
    TcpWindow = 120 "tcp-window";
    /// An ICMP error about a packet of no known flow.
    IcmpUnrelated = 121 "icmp-unrelated";
    /// Above the budget of new flows.
    NewFlowBudget = 122 "new-flow-budget";
    /// Too many connections half-open, of the source or to the destination.
    HalfOpen = 123 "half-open";
    /// Above the budget of new flows: a stranger was asked to prove its address.
    Challenge = 124 "challenge";
    /// The proof of an address.
    ChallengeAnswer = 125 "challenge-answer";

    /// Signalling while the daemon is away and `on_alg_down = "drop"`.
    AlgDown = 128 "alg-down";
    /// The ALG refused the message.
    AlgRefused = 129 "alg-refused";
    /// The ALG could not read the message.
    AlgMalformed = 130 "alg-malformed";
    /// A retransmitted TCP byte that differs from the first copy.
    AlgOverlap = 131 "alg-overlap";
    /// A bound of the ALG's memory was reached.
    AlgMemory = 132 "alg-memory";
    /// Signalling with a wrong checksum: the far end would not read it, so neither may the ALG.
    AlgChecksum = 133 "alg-checksum";
}

impl Reason {
    /// The least value that means a drop.
    pub const FIRST_DROP: u8 = 64;

    /// Whether the packet was dropped.
    pub const fn is_drop(self) -> bool {
        self as u8 >= Self::FIRST_DROP
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_reason_is_found_by_its_value_and_named_once() {
        for (i, &reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_u8(reason as u8), Some(reason));
            assert!(Reason::ALL[i + 1..].iter().all(|other| other.name() != reason.name()));
        }
        assert_eq!(Reason::from_u8(0), None);
    }
}
