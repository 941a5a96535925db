//! What would become of a packet in the running firewall, and why.
//!
//! The packet is judged by the kernel's own tables as they are at this moment, through copies of what it meets:
//! nothing is sent, counted, charged or remembered.

use callgate_api::explain::{EngineCalls, from_hex};
use callgate_api::{ErrorReply, ExplainRequest, Explanation};
use callgate_rules::explain::{Names, explain};
use callgate_shared::policy::ZONE_SELF;

use crate::firewall::{Firewall, now};

impl Firewall {
    /// Explains a packet.
    ///
    /// # Errors
    /// What to tell whoever asked: a zone that is not there, a frame that is none.
    pub(crate) fn explain(&self, request: &ExplainRequest) -> Result<Explanation, ErrorReply> {
        let refuse =
            |error: String, hint: &str| ErrorReply { error, hint: hint.to_owned(), details: Vec::new() };
        let frame = from_hex(&request.frame)
            .ok_or_else(|| refuse("the frame is not hexadecimal".to_owned(), "two digits for each byte"))?;
        let zone = self.zone_called(&request.from).ok_or_else(|| {
            refuse(format!("there is no zone or interface {:?}", request.from), "`fwctl status` lists them")
        })?;
        let now = now();
        let mut tables = self.kernel.copies(now).map_err(|error| {
            refuse(format!("the kernel's tables cannot be read: {error}"), "see the daemon's log")
        })?;
        let calls = EngineCalls(&self.engine);
        let names = Names { set: &self.rules, slots: &self.compiled.slots, calls: &calls };
        let policy = *tables.policy();
        Ok(explain(&frame, &mut tables, &policy, &names, zone, now.0).into())
    }

    /// The zone of this name, or the one an interface of this name is in.
    fn zone_called(&self, name: &str) -> Option<u8> {
        let mut zones = (0..self.rules.zone_count()).filter_map(|zone| u8::try_from(zone).ok());
        let named = zones.find(|zone| self.rules.zone_name(*zone) == Some(name));
        named.or_else(|| Some(self.rules.zone_of(name)).filter(|zone| *zone > ZONE_SELF))
    }
}
