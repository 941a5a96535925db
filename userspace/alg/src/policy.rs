//! What a rules file says, as the engine takes it.

use std::net::IpAddr;
use std::sync::Arc;

use callgate_rules::ruleset::Tables;
use callgate_rules::{Compiled, InspectPolicies, MediaAuthority, PrefixSet, RuleSet, Settings};

use crate::core::{Bounds, Lifetimes};
use crate::media::{AddressSet, Authority, Policy, RulePolicy};

impl AddressSet for PrefixSet {
    fn contains(&self, ip: IpAddr) -> bool {
        PrefixSet::contains(self, ip)
    }
}

/// Media ports, and whose media the signalling of each rule may announce; `compiled` gives the rules' counter
/// slots.
pub fn media(rules: &RuleSet, compiled: &Compiled) -> Policy {
    let policies = rules.rules().iter().map(|rule| RulePolicy {
        media: match &rule.media {
            MediaAuthority::Signaller => Authority::Signaller,
            MediaAuthority::Group(prefixes) => Authority::Group(Arc::new(prefixes.clone())),
            MediaAuthority::Any => Authority::Any,
        },
        h323: rule.h323.clone(),
        sip: rule.sip.clone(),
        ends: [rule.from.clone(), rule.to.clone()],
    });
    let InspectPolicies { h323, sip, sccp, mgcp, tftp } = rules.inspect().clone();
    Policy {
        ports: rules.settings().media_ports.clone(),
        rules: compiled.slots.iter().copied().zip(policies).collect(),
        h323,
        sip,
        sccp,
        mgcp,
        tftp,
    }
}

/// How long streams and calls may last.
pub fn lifetimes(settings: &Settings) -> Lifetimes {
    Lifetimes {
        idle: settings.media_idle,
        held: settings.media_held,
        call: settings.call_max,
        ..Lifetimes::default()
    }
}

/// How much the engine keeps, as the settings say.
pub fn bounds(settings: &Settings) -> Bounds {
    let Tables { calls, pinholes, registrations } = settings.tables;
    Bounds {
        calls: calls as usize,
        pinholes: pinholes as usize,
        registrations: registrations as usize,
        ..Bounds::default()
    }
}
