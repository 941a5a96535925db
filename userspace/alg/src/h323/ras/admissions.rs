//! Addresses that RAS, or a Facility, has told somebody to call: each is open for call signalling from there.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use callgate_protocols::h225::Guid;
use callgate_shared::policy::Inspect;

use crate::action::{Context, EndReason};
use crate::call::{Call, CallId, Medium, Party, State, Stream};
use crate::core::Core;
use crate::h323::leg;

/// Most of them, and most that one host was told.
const MAX_ADMISSIONS: usize = 16_384;
const MAX_OF_HOST: usize = 1_024;
/// Most calls that may share one.
const MAX_CALLS: usize = 256;
/// How the keys of calls begin that stand for such an address.
const KEY: &str = "ras-";

/// Addresses by who may call there.
#[derive(Debug, Default)]
pub(in crate::h323) struct Admissions {
    hosts: HashMap<IpAddr, Vec<Admission>>,
    count: usize,
}

#[derive(Debug)]
struct Admission {
    address: SocketAddr,
    /// The call that stands for it in the core.
    id: CallId,
    medium: Medium,
    /// The calls it was opened for; none where any will do.
    calls: Vec<Guid>,
}

impl Admissions {
    /// Opens `address` for `from`, who was told of it by the sender of `context`. Whether that could name it.
    pub(in crate::h323) fn open(
        &mut self,
        core: &mut Core,
        context: &Context,
        from: SocketAddr,
        call: Option<Guid>,
        (address, medium): (SocketAddr, Medium),
    ) -> bool {
        let known = self.at(from.ip(), address).map(|admission| admission.id);
        let of_host = self.hosts.get(&from.ip()).map_or(0, Vec::len);
        if known.is_none() && (self.count >= MAX_ADMISSIONS || of_host >= MAX_OF_HOST) {
            return false;
        }
        let asker = Context { source: from, destination: context.source, protocol: Inspect::Ras, ..*context };
        let key = call.map_or_else(|| format!("{KEY}{address}"), |call| format!("{KEY}{call}"));
        let Some(id) = known.or_else(|| core.start_call(&asker, &key)) else { return false };
        if medium == Medium::Ras {
            // It lasts as long as the endpoint refreshes its registration there.
            core.set_state(context.now, id, State::Connected);
        }
        core.announce(context, id, leg::signalling(medium, Party::Callee), Party::Callee, |stream| {
            stream.medium = medium;
            stream.held = medium == Medium::Ras;
            stream.ends[Party::Callee as usize].media = Some(address);
        });
        if known.is_none()
            && core.call(id).is_none_or(|call| call.streams.values().all(|s| receiver(s).is_none()))
        {
            core.end_call(id, EndReason::Refused);
            return false;
        }
        if known.is_none() {
            self.put(from.ip(), Admission { address, id, medium, calls: Vec::new() });
        }
        if let Some(admission) = self.at_mut(from.ip(), address)
            && let Some(call) = call.filter(|call| !admission.calls.contains(call))
            && admission.calls.len() < MAX_CALLS
        {
            admission.calls.push(call);
        }
        true
    }

    /// Whether `from` may make this call there.
    pub(in crate::h323) fn has(&self, from: IpAddr, address: SocketAddr, call: Guid) -> bool {
        self.at(from, address).is_some_and(|admission| admission.calls.contains(&call))
    }

    /// Whether an endpoint among `parties` was admitted to a call.
    pub(super) fn knows(&self, parties: [IpAddr; 2], call: Guid) -> bool {
        let theirs = parties.iter().filter_map(|party| self.hosts.get(party)).flatten();
        theirs.into_iter().any(|admission| admission.calls.contains(&call))
    }

    /// A call from `from` to `address` is over; `last` if it was the only one there.
    pub(in crate::h323) fn used(
        &mut self,
        core: &mut Core,
        (from, address): (IpAddr, SocketAddr),
        call: Option<Guid>,
        last: bool,
    ) {
        let over = self.at_mut(from, address).is_some_and(|admission| {
            admission.calls.retain(|known| Some(*known) != call);
            last && admission.calls.is_empty() && admission.medium == Medium::H225
        });
        if over {
            self.end(core, from, EndReason::ReleaseComplete, |admission| admission.address == address);
        }
    }

    /// A call that was admitted to an endpoint among `parties` is over.
    pub(super) fn disengage(&mut self, core: &mut Core, parties: [IpAddr; 2], call: Guid) {
        for party in parties {
            self.end(core, party, EndReason::ReleaseComplete, |admission| admission.calls == [call]);
            for admission in self.hosts.get_mut(&party).into_iter().flatten() {
                admission.calls.retain(|known| *known != call);
            }
        }
    }

    /// An endpoint is registered with a gatekeeper no more: it need not reach it at another RAS address.
    pub(super) fn leave(&mut self, core: &mut Core, endpoint: IpAddr, gatekeeper: IpAddr) {
        self.end(core, endpoint, EndReason::Unregistered, |admission| {
            admission.medium == Medium::Ras && admission.address.ip() == gatekeeper
        });
    }

    /// The core has ended the call that stands for one.
    pub(in crate::h323) fn ended(&mut self, call: &Call) {
        let from = call.signalling[Party::Caller as usize].ip();
        self.take(from, |admission| admission.id == call.id);
    }

    /// Takes up one of an earlier run.
    pub(in crate::h323) fn restore(&mut self, call: &Call) {
        let calls = call.key.strip_prefix(KEY).and_then(leg::guid).into_iter().collect();
        let from = call.signalling[Party::Caller as usize].ip();
        let told = call.streams.values().find_map(|stream| Some((receiver(stream)?, stream.medium)));
        if let Some((address, medium)) = told {
            self.put(from, Admission { address, id: call.id, medium, calls });
        }
    }

    fn at(&self, from: IpAddr, address: SocketAddr) -> Option<&Admission> {
        self.hosts.get(&from)?.iter().find(|admission| admission.address == address)
    }

    fn at_mut(&mut self, from: IpAddr, address: SocketAddr) -> Option<&mut Admission> {
        self.hosts.get_mut(&from)?.iter_mut().find(|admission| admission.address == address)
    }

    fn put(&mut self, from: IpAddr, admission: Admission) {
        self.hosts.entry(from).or_default().push(admission);
        self.count += 1;
    }

    /// Takes out those of a host that `over` picks.
    fn take(&mut self, from: IpAddr, over: impl Fn(&Admission) -> bool) -> Vec<CallId> {
        let Some(host) = self.hosts.get_mut(&from) else { return Vec::new() };
        let gone: Vec<_> = host.extract_if(.., |admission| over(admission)).map(|one| one.id).collect();
        if host.is_empty() {
            self.hosts.remove(&from);
        }
        self.count -= gone.len();
        gone
    }

    /// Takes out those of a host that `over` picks, and ends what stands for them.
    fn end(&mut self, core: &mut Core, from: IpAddr, reason: EndReason, over: impl Fn(&Admission) -> bool) {
        for id in self.take(from, over) {
            core.end_call(id, reason);
        }
    }
}

/// Where the callee receives.
fn receiver(stream: &Stream) -> Option<SocketAddr> {
    stream.ends[Party::Callee as usize].media
}
