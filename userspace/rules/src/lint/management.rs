//! Rules that let everybody reach what devices are managed through.
//!
//! "Everybody" is a stranger: an address of the public unicast space that no rule singles out. A rule whose sources
//! are half of that space or more, and that lets a stranger by to a management port whom no earlier rule has stopped,
//! opens that port.

use std::collections::{BTreeSet, HashMap};

use super::cover::{Budget, Exhausted, Row, Rows, SERVICE, SOURCE, ZONE, shared};
use super::space::{FAMILIES, STRANGERS};
use super::{Lint, STEPS_PER_RULE, listed};
use crate::diagnostic::Diagnostic;
use crate::ruleset::{Rule, RuleAction, RuleSet, zone_number};
use crate::service::{Ports, Service};

/// A port devices are managed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Management {
    /// What it is called.
    pub name: &'static str,
    /// Whether it is a UDP port, else a TCP port.
    pub udp: bool,
    /// Its number.
    pub port: u16,
}

impl Management {
    const fn tcp(name: &'static str, port: u16) -> Self {
        Self { name, udp: false, port }
    }

    const fn udp(name: &'static str, port: u16) -> Self {
        Self { name, udp: true, port }
    }

    pub(super) const fn service(self) -> Service {
        let ports = Ports { to: self.port..=self.port, from: 1..=u16::MAX };
        if self.udp { Service::Udp(ports) } else { Service::Tcp(ports) }
    }

    const fn transport(self) -> &'static str {
        if self.udp { "udp" } else { "tcp" }
    }
}

/// The management ports, and why each is one.
pub const MANAGEMENT: [Management; 10] = [
    // Shells. CUCM's platform, IOS and whatever runs Linux are administered over SSH; Telnet in clear text besides.
    Management::tcp("ssh", 22),
    Management::tcp("telnet", 23),
    // Web pages: IOS, phones, gateways and PBXs are configured over either, CUCM over HTTPS, with its Tomcat on 8443
    // (Unified CM Administration, Serviceability, OS Administration, AXL).
    Management::tcp("http", 80),
    Management::tcp("https", 443),
    Management::tcp("cucm-admin", 8443),
    // Reading and, with a write community, changing anything; traps tell a listener what is inside.
    Management::udp("snmp", 161),
    Management::udp("snmp-trap", 162),
    // Consoles: Windows-based voice servers (Unity, contact centres), and virtual machines' screens.
    Management::tcp("rdp", 3389),
    Management::tcp("vnc", 5900),
    // IPMI and iLO consoles of the machines below.
    Management::udp("ipmi", 623),
];

/// Most ports or zones that are named in one warning.
const SHOWN: usize = 4;

pub(super) fn warnings(set: &RuleSet, rows: &Rows, budget: &Budget) -> Vec<Diagnostic> {
    let zones: Vec<u8> = (0..set.zones().len()).filter_map(zone_number).collect();
    let mut strangers = Strangers { rows, known: HashMap::new() };
    let mut warnings = Vec::new();
    for same in rows.rows().chunk_by(|a, b| a.rule == b.rule) {
        let Some(rule) = same.first().and_then(|row| set.rules().get(row.rule)) else { continue };
        if !matches!(rule.action, RuleAction::Pass | RuleAction::Track | RuleAction::Inspect(_)) {
            continue;
        }
        let mut open = Open::default();
        // What was found until the steps were used up is true.
        let _ = budget.part(STEPS_PER_RULE, |budget| {
            same.iter().try_for_each(|row| open.by(row, &zones, &mut strangers, budget))
        });
        if !open.ports.is_empty() {
            warnings.push(warning(set, rule, &open));
        }
    }
    warnings
}

/// What a rule lets everybody do.
#[derive(Debug, Default)]
struct Open {
    /// Reach these, as places in [`MANAGEMENT`].
    ports: BTreeSet<usize>,
    /// From these zones.
    zones: BTreeSet<u8>,
}

impl Open {
    /// With what a row of the rule opens.
    fn by(
        &mut self,
        row: &Row,
        zones: &[u8],
        strangers: &mut Strangers<'_>,
        budget: &Budget,
    ) -> Result<(), Exhausted> {
        let rows = strangers.rows;
        let is_in = |few: &[u32], many: &[u32]| few.iter().all(|class| many.binary_search(class).is_ok());
        for family in 0..FAMILIES {
            let region = rows.region(row, family);
            for port in 0..MANAGEMENT.len() {
                let service = rows.field(SERVICE).list(port as u32);
                if !is_in(service, region[SERVICE]) {
                    continue;
                }
                let Some(stranger) = strangers.admitted_by(row.lists[SOURCE], family) else { break };
                for zone in zones {
                    let origin = rows.field(ZONE).list((*zone).into());
                    let mut asked = region;
                    (asked[SOURCE], asked[SERVICE], asked[ZONE]) = (&stranger, service, origin);
                    let one = asked.iter().all(|classes| !classes.is_empty()) && is_in(origin, region[ZONE]);
                    if one && rows.covering(&asked, row.rule, budget)?.is_none() {
                        self.ports.insert(port);
                        self.zones.insert(*zone);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The strangers that sources admit.
struct Strangers<'r> {
    rows: &'r Rows,
    /// By list of sources and family.
    known: HashMap<(u32, usize), Option<u32>>,
}

impl Strangers<'_> {
    /// The class of a stranger, where the sources are half of the public addresses of their family or more.
    fn admitted_by(&mut self, sources: u32, family: usize) -> Option<[u32; 1]> {
        let field = self.rows.field(SOURCE);
        let find = || {
            let public = field.list_in(STRANGERS, family);
            let size = |classes: &[u32]| classes.iter().map(|class| field.size(*class)).sum::<u128>();
            let admitted: Vec<u32> = shared(field.list_in(sources, family), public).collect();
            let most = admitted.iter().copied().max_by_key(|class| field.size(*class))?;
            (size(&admitted) >= size(public) / 2).then_some(most)
        };
        self.known.entry((sources, family)).or_insert_with(find).map(|class| [class])
    }
}

fn warning(set: &RuleSet, rule: &Rule, open: &Open) -> Diagnostic {
    let port = |place: &usize| {
        let Management { name, port, .. } = MANAGEMENT[*place];
        format!("{name} ({}/{port})", MANAGEMENT[*place].transport())
    };
    let zone = |zone: &u8| set.zone_name(*zone).map_or_else(String::new, |name| format!("`{name}`"));
    let ports = listed(open.ports.iter().map(port).collect(), SHOWN);
    let zones = listed(open.zones.iter().map(zone).collect(), SHOWN);
    let word = if open.zones.len() == 1 { "zone" } else { "zones" };
    let message = format!("rule `{}` opens {ports} to everybody in {word} {zones}", rule.name);
    let suggestion = "name the management stations in its `from`".to_owned();
    set.warning_at(rule, message, Some(suggestion)).of(Lint::OpenManagement)
}
