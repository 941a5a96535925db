//! Calls that are over for the call policy: how gateway and agent are told, and that nothing opens them again.
//!
//! The gateway reads a DLCX as if from its agent, the agent one as if from the gateway (RFC 3435 sections 2.3.8 and
//! 2.3.9): one for each endpoint. Their answers go no further. What the agent asks of the call's connections later is
//! answered in the gateway's stead.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use callgate_protocols::mgcp::{Message, Start, Verb};
use callgate_protocols::refuse;
use callgate_shared::Reason;

use crate::action::{Carrier, Context, Denial, Saying, Time, Verdict};
use crate::call::{Call, Party};
use crate::core::Core;
use crate::farewell::Farewells;

/// Most calls that are remembered, and for how long: one that a limit has ended, and one that was refused, whose command
/// may come again.
const MAX_OVER: usize = 16_384;
const LIMITED: Duration = Duration::from_secs(24 * 3600);
const REFUSED: Duration = Duration::from_secs(30);
/// The call is not known (RFC 3435 section 2.4).
const UNKNOWN_CALL: u16 = 516;
/// The gateway's reason (section 2.5): somebody has intervened.
const INTERVENED: u16 = 904;
/// Transactions of the firewall's own are numbered from here on: the upper end of what there is (section 3.2.1.2), where
/// those who count are last.
const OWN: u32 = 900_000_000;

/// Calls that are over.
#[derive(Debug, Default)]
pub(super) struct Over {
    /// By gateway and call identifier: what is said of them, and until when that is remembered.
    calls: HashMap<(IpAddr, String), (u16, Time)>,
    /// By who will answer, and the transaction.
    farewells: Farewells<(IpAddr, u32)>,
}

impl Over {
    /// A limit has ended a call that has connections at these endpoints.
    pub(super) fn limited(&mut self, core: &mut Core, call: &Call, endpoints: BTreeSet<String>, now: Time) {
        let [agent, gateway] = call.signalling;
        self.remember((gateway.ip(), call.key.clone()), UNKNOWN_CALL, now + LIMITED);
        for endpoint in endpoints {
            for to in [Party::Callee, Party::Caller] {
                let (from, to) = if to == Party::Callee { (agent, gateway) } else { (gateway, agent) };
                let number = self.farewells.number((call.id, &endpoint, to));
                let number = OWN + (number % u64::from(OWN / 10)) as u32;
                let why = if to == agent {
                    format!("E: {INTERVENED} limit of the call policy\r\n")
                } else {
                    String::new()
                };
                let text = format!("DLCX {number} {endpoint} MGCP 1.0\r\nC: {}\r\n{why}", call.key);
                let saying = Saying {
                    call: call.id,
                    from,
                    to,
                    carrier: Carrier::Datagram,
                    payload: text.into_bytes(),
                };
                self.farewells.say(core, now, (to.ip(), number), saying);
            }
        }
    }

    /// A command that would begin a call was refused: so is its repetition.
    pub(super) fn refused(&mut self, gateway: IpAddr, call: &str, code: u16, now: Time) {
        self.remember((gateway, call.to_owned()), code, now + REFUSED);
    }

    /// What becomes of a message that answers the firewall, or would open a call that is over.
    pub(super) fn read(&mut self, context: &Context, message: &Message) -> Option<Verdict> {
        match message.start {
            Start::Response { code } => {
                let key = (context.source.ip(), message.transaction);
                self.farewells.answered(&key, code >= 200).then_some(Verdict::Absorb)
            }
            Start::Command { verb: Verb::Create | Verb::Modify, .. } => {
                let key = (context.destination.ip(), message.call?.to_owned());
                let (code, until) = self.calls.get(&key)?;
                (*until > context.now).then(|| refusal(message, *code, "Call is over"))
            }
            Start::Command { .. } => None,
        }
    }

    /// Time passes.
    pub(super) fn tick(&mut self, core: &mut Core, now: Time) {
        self.calls.retain(|_, (_, until)| *until > now);
        self.farewells.tick(core, now);
    }

    fn remember(&mut self, key: (IpAddr, String), code: u16, until: Time) {
        if self.calls.len() < MAX_OVER {
            self.calls.insert(key, (code, until));
        }
    }
}

/// What the sender of a command reads instead of its receiver's answer.
pub(super) fn refusal(message: &Message, code: u16, text: &str) -> Verdict {
    let reply = refuse::mgcp(code, message.transaction, text);
    Denial { reason: Reason::AlgRefused, reply: Some(reply), notify: None, sequence: None }.into()
}
