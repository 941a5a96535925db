//! What a rules file would change, and which of the calls and flows there are it would refuse.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use callgate_api::{Change, Diff, Difference, ErrorReply, RefusedCall, RefusedFlow};
use callgate_rules::diff::{self, Verdicts};
use callgate_shared::packet::{Kind, Packet};
use jiff::Zoned;

use crate::firewall::Firewall;
use crate::kernel::FlowRow;
use crate::rulesfile;
use crate::views::protocol_name;

/// The main loop reads signalling: it is not kept from it for longer.
const BUDGET: Duration = Duration::from_millis(300);

impl Firewall {
    /// What a file would change; without one, what the file in force would, as it now is on disk.
    pub(crate) fn compare(&self, file: Option<&Path>) -> Result<Diff, ErrorReply> {
        let path = file.unwrap_or(&self.rules_file);
        let wanted = rulesfile::read(path).map_err(|error| error.reply())?;
        let now = Zoned::now();
        let (old, new) = (Verdicts::at(&self.rules, &now), Verdicts::at(&wanted, &now));
        let mut found = Diff {
            file: path.display().to_string(),
            rules: rows(diff::rules(&self.rules, &wanted)),
            groups: rows(diff::groups(&self.rules, &wanted)),
            tables: diff::tables(&self.rules, &wanted),
            ..Diff::default()
        };
        let begun = Instant::now();
        let mut refused: HashMap<[SocketAddr; 2], String> = HashMap::new();
        for flow in self.kernel.flows() {
            if begun.elapsed() > BUDGET {
                found.unjudged += 1;
                continue;
            }
            let zone = self.rules.zone_name(flow.zone).unwrap_or("none");
            let packet = first_packet(&flow);
            // What a pinhole has let by, no rule has: it is not the rules' to refuse.
            let Some(by) = new.refusal(zone, &packet).filter(|_| old.refusal(zone, &packet).is_none()) else {
                continue;
            };
            found.flows_total += 1;
            refused.insert(flow.ends, by.clone());
            if found.flows.len() < Diff::SHOWN {
                let [from, to] = flow.ends;
                found.flows.push(RefusedFlow { protocol: protocol_name(flow.protocol), from, to, by });
            }
        }
        for call in self.shown_calls() {
            let [caller, callee] = call.signalling;
            let by = refused.get(&[caller, callee]).or_else(|| refused.get(&[callee, caller]));
            let Some(by) = by else { continue };
            found.calls_total += 1;
            if found.calls.len() < Diff::SHOWN {
                let (parties, key) = (call.parties.clone(), call.key.clone());
                found.calls.push(RefusedCall { call: call.id.0, key, parties, by: by.clone() });
            }
        }
        Ok(found)
    }
}

/// The packet that began a flow, as far as the flow still tells.
fn first_packet(flow: &FlowRow) -> Packet {
    let [from, to] = flow.ends;
    Packet {
        kind: Kind::Ip,
        protocol: flow.protocol,
        source: from.ip().into(),
        destination: to.ip().into(),
        source_port: from.port(),
        destination_port: to.port(),
        ..Packet::default()
    }
}

fn rows(found: Vec<diff::Difference>) -> Vec<Difference> {
    let row = |(name, change, text)| {
        let change = match change {
            diff::Change::Added => Change::Added,
            diff::Change::Removed => Change::Removed,
            diff::Change::Changed => Change::Changed,
            diff::Change::Moved => Change::Moved,
        };
        Difference { name, change, text }
    };
    found.into_iter().map(row).collect()
}
