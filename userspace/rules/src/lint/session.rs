//! Rules that would refuse the session they are being checked from.

use std::net::SocketAddr;

use callgate_shared::Reason;
use callgate_shared::flow::TCP;
use callgate_shared::packet::{Kind, NO_SCALE, Packet, tcp};
use callgate_shared::policy::{NO_SLOT, ZONE_SELF};

use super::Lint;
use crate::compile::Compiled;
use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::model::{Bounds, Model};
use crate::ruleset::RuleSet;

/// Monotonic time at which the packets arrive, in ns: any but the beginning of time.
const NOW: u64 = 1 << 40;

/// A TCP session with this machine: of the shell the rules are checked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Where the person sits.
    pub client: SocketAddr,
    /// This machine.
    pub server: SocketAddr,
    /// The VLAN it comes by; 0 where untagged.
    pub vlan: u16,
}

/// A warning where a session that comes in from one of these zones could not be begun anew with the rules in force:
/// from none of them. `compiled` is what `set` was compiled to for the machine the session goes to.
///
/// Says nothing where there are no zones: what comes in by an interface Callgate does not stand on is not judged.
pub fn locked_out(set: &RuleSet, compiled: &Compiled, session: &Session, zones: &[u8]) -> Option<Diagnostic> {
    let refusals = zones.iter().map(|zone| refusal(compiled, session, *zone));
    let first = refusals.collect::<Option<Vec<Refusal>>>()?.into_iter().next()?;
    let zone = set.zone_name(first.zone).unwrap_or_default();
    let Session { client, server, .. } = session;
    let (from, to, port) = (client.ip(), server.ip(), server.port());
    let what = match first.zone {
        ZONE_SELF => format!("the answers of the session you are on ({to} → {from}, from tcp/{port})"),
        _ => format!("the session you are on ({from} → {to}, tcp/{port}, from zone `{zone}`)"),
    };
    let permit = match first.zone {
        ZONE_SELF => "permit it by `action = \"track\"`, which lets its answers by".to_owned(),
        _ => {
            format!("above, add a rule `from = \"{from}\"`, `service = \"tcp/{port}\"`, `action = \"track\"`")
        }
    };
    let rule = compiled.slots.iter().position(|slot| first.slot != NO_SLOT && *slot == first.slot);
    let rule = rule.and_then(|place| set.rules().get(place));
    let (message, suggestion) = match (rule, first.reason) {
        (Some(rule), _) => (format!("rule `{}` refuses {what}", rule.name), permit),
        (None, Reason::Default) => (format!("the default of zone `{zone}` refuses {what}"), permit),
        (None, Reason::Spoofed) => (
            format!("these rules refuse {what}: {from} may not send from that zone"),
            "look at the zone's `networks`, `anti_spoof` and `bogons`".to_owned(),
        ),
        (None, reason) => (format!("these rules refuse {what}: {}", reason.name()), permit),
    };
    let warning = match rule {
        Some(rule) => set.warning_at(rule, message, Some(suggestion)),
        None => {
            set.diagnostic_at(&Place { file: 0, span: 0..0 }, Severity::Warning, message, Some(suggestion))
        }
    };
    Some(warning.of(Lint::LockedOut))
}

/// Why a session cannot begin.
struct Refusal {
    reason: Reason,
    /// The counter slot of the rule that says so; [`NO_SLOT`] where none does.
    slot: u32,
    /// Where the packet comes from that is refused: the asked zone, or this machine for the answer.
    zone: u8,
}

/// What refuses the first two packets of the session's handshake.
fn refusal(compiled: &Compiled, session: &Session, zone: u8) -> Option<Refusal> {
    let Session { client, server, vlan } = *session;
    let mut model = Model::new(compiled.clone(), Bounds::default());
    let opens =
        segment(client, server, Packet { tcp_flags: tcp::SYN, sequence: 1, vlan, ..Packet::default() });
    let answer =
        Packet { tcp_flags: tcp::SYN | tcp::ACK, sequence: 1, acknowledgment: 2, vlan, ..Packet::default() };
    let answers = segment(server, client, answer);
    [(opens, zone), (answers, ZONE_SELF)].into_iter().find_map(|(packet, zone)| {
        let verdict = model.judge(&packet, zone, NOW);
        verdict.reason.is_drop().then_some(Refusal { reason: verdict.reason, slot: verdict.slot, zone })
    })
}

fn segment(from: SocketAddr, to: SocketAddr, packet: Packet) -> Packet {
    Packet {
        kind: Kind::Ip,
        protocol: TCP,
        source: from.ip().to_canonical().into(),
        destination: to.ip().to_canonical().into(),
        source_port: from.port(),
        destination_port: to.port(),
        window: u16::MAX,
        window_scale: NO_SCALE,
        hop_limit: 64,
        length: 60,
        ..packet
    }
}
