//! A guarded lab with parties for scripted SIP, under the lab's rules and what a test adds to them.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use callgate_alg::call::State;
use callgate_api::{CallRow, EventRow};
use serde_json::Value;

use super::Transport;
use super::talk::{Line, Script, audio, session};
use crate::daemon::{Counters, Firewall};
use crate::fixture::{GATEWAY, GATEWAY_V6, Shared, Turn};
use crate::h323::session::Host;
use crate::lab::Family;
use crate::policy::Policy;
use crate::probe::{self, Shape, Socket};
use crate::root_or_skip;

/// Packets of a stream that are sent each way.
pub const PACKETS: u32 = 20;

/// Two phones and an attacker outside, two call managers inside.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The lab and its firewall.
    pub turn: &'a Turn,
    /// A phone.
    pub phone: Host,
    /// Another one.
    pub other: Host,
    /// Nobody whom a rule permits.
    pub attacker: Host,
    /// A call manager.
    pub manager: Host,
    /// The other of its cluster.
    pub second: Host,
}

impl<'a> Stage<'a> {
    /// The parties of one family.
    pub fn new(turn: &'a Turn, family: Family) -> Self {
        let outside = |ip| Host::new(turn.lab.outside(), ip);
        let inside = |ip| Host::new(turn.lab.inside(), ip);
        Self {
            turn,
            phone: outside(family.phone(0)),
            other: outside(family.phone(1)),
            attacker: outside(family.attacker()),
            manager: inside(family.call_manager(0)),
            second: inside(family.call_manager(1)),
        }
    }

    /// The firewall.
    pub fn firewall(&self) -> &Firewall {
        &self.turn.firewall
    }

    /// A line from the phone to the call manager, and a call over it.
    ///
    /// # Errors
    /// As [`Line::open`].
    pub fn line(&self, transport: Transport) -> Result<(Line, Script)> {
        let line = Line::open(&self.phone, &self.manager, transport)?;
        let script = Script::new(&line);
        Ok((line, script))
    }

    /// Free media ports of a party: RTP and RTCP.
    ///
    /// # Errors
    /// When none is free.
    pub fn media(&self, host: &Host) -> Result<[Socket; 2]> {
        Socket::pair(host.ns(), host.ip)
    }

    /// A call of the phone with G.711 both ways, from its INVITE on.
    ///
    /// # Errors
    /// When a message or a packet does not arrive.
    pub fn talk(&self, transport: Transport) -> Result<Talk> {
        let (mut line, mut script) = self.line(transport)?;
        let (near, far) = (self.media(&self.phone)?, self.media(&self.manager)?);
        let offer = session(self.phone.ip, &audio(near[0].local.port(), ""));
        let answer = session(self.manager.ip, &audio(far[0].local.port(), ""));
        script.connect(&mut line, &offer, &answer)?;
        let talk = Talk { line, script, near, far, offer, answer };
        talk.whole()?;
        Ok(talk)
    }

    /// The call of this Call-ID, if there is one.
    ///
    /// # Errors
    /// When fwctl fails.
    pub fn call(&self, key: &str) -> Result<Option<CallRow>> {
        Ok(self.firewall().calls()?.into_iter().find(|row| row.key == key))
    }

    /// The call of this Call-ID, which must be connected.
    ///
    /// # Errors
    /// When it is not.
    pub fn connected(&self, key: &str) -> Result<CallRow> {
        let row = self.call(key)?.with_context(|| format!("{key} is not listed"))?;
        ensure!(row.state == State::Connected && row.protocol == "sip", "{row:?}");
        Ok(row)
    }

    /// `fwctl sip registrations`: its rows.
    ///
    /// # Errors
    /// When fwctl fails.
    pub fn registrations(&self) -> Result<Vec<Value>> {
        self.rows(&["sip", "registrations"])
    }

    /// Addresses that are blocked, by `fwctl blocks`.
    ///
    /// # Errors
    /// When fwctl fails.
    pub fn blocked(&self) -> Result<Vec<IpAddr>> {
        let rows = self.rows(&["blocks"])?;
        Ok(rows.iter().filter_map(|row| row["address"].as_str()?.parse().ok()).collect())
    }

    /// Takes all blocks back.
    ///
    /// # Errors
    /// When fwctl fails.
    pub fn unblock(&self) -> Result<()> {
        for address in self.blocked()? {
            let output = self.firewall().fwctl(&["unblock", &address.to_string()])?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn rows(&self, listing: &[&str]) -> Result<Vec<Value>> {
        let output = self.firewall().fwctl(&[listing, &["--json"]].concat())?;
        ensure!(output.status.success(), "{listing:?}: {}", String::from_utf8_lossy(&output.stderr));
        let page: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{listing:?}"))?;
        Ok(page["rows"].as_array().cloned().unwrap_or_default())
    }

    /// What is dropped, and what happens, from now on.
    ///
    /// # Errors
    /// When fwctl fails.
    pub fn watch(&self) -> Result<Watch<'_>> {
        let firewall = self.firewall();
        Ok(Watch { firewall, counters: firewall.counters()?, event: firewall.last_event()? })
    }
}

/// A connected call whose two ends are scripted.
#[derive(Debug)]
pub struct Talk {
    /// What carries it.
    pub line: Line,
    /// What is said.
    pub script: Script,
    /// The phone's RTP and RTCP.
    pub near: [Socket; 2],
    /// The call manager's.
    pub far: [Socket; 2],
    /// Its description by the phone.
    pub offer: String,
    /// Its description by the call manager.
    pub answer: String,
}

impl Talk {
    /// RTP and RTCP arrive whole, both ways: [`Self::CARRIED`] packets.
    ///
    /// # Errors
    /// With the first packet that does not.
    pub fn whole(&self) -> Result<()> {
        probe::both_ways(&self.near[0], &self.far[0], Shape::Rtp, PACKETS)?;
        probe::both_ways(&self.near[1], &self.far[1], Shape::Rtcp, 2)
    }

    /// Nothing arrives any more.
    ///
    /// # Errors
    /// When something does.
    pub fn shut(&self) -> Result<()> {
        probe::is_shut(&self.near[0], &self.far[0], Shape::Rtp, 5)?;
        probe::is_shut(&self.far[0], &self.near[0], Shape::Rtp, 5)
    }

    /// Packets of one [`Self::whole`].
    pub const CARRIED: u64 = 2 * (PACKETS as u64 + 2);

    /// Hangs up, and the media is shut.
    ///
    /// # Errors
    /// When the BYE is not confirmed, or media still arrives.
    pub fn end(&mut self) -> Result<()> {
        self.script.end(&mut self.line, super::talk::Side::Near)?;
        self.shut()
    }
}

/// Counters and events since a moment.
#[derive(Debug)]
pub struct Watch<'a> {
    firewall: &'a Firewall,
    counters: Counters,
    event: u64,
}

impl Watch<'_> {
    /// Nothing was dropped, and so many packets were admitted by pinhole.
    ///
    /// # Errors
    /// With what was.
    pub fn clean(&self, media: u64) -> Result<()> {
        let now = self.firewall.counters()?;
        let dropped = now.dropped_since(&self.counters);
        ensure!(dropped.is_empty(), "dropped: {dropped:?}");
        let admitted = now.passed_since(&self.counters).get("pinhole").copied().unwrap_or(0);
        ensure!(admitted == media, "{admitted} packets admitted by pinhole, {media} sent");
        Ok(())
    }

    /// What was dropped, by reason.
    ///
    /// # Errors
    /// When fwctl fails.
    pub fn dropped(&self) -> Result<BTreeMap<String, u64>> {
        Ok(self.firewall.counters()?.dropped_since(&self.counters))
    }

    /// Events of a kind since.
    ///
    /// # Errors
    /// When fwctl fails.
    pub fn events(&self, kind: &str) -> Result<Vec<EventRow>> {
        let mut rows = self.firewall.events(self.event)?;
        rows.retain(|row| row.kind.name() == kind);
        Ok(rows)
    }
}

/// Runs a test with what it adds to the lab's rules: keys of `[inspect.sip]`, and keys of the rule that admits SIP.
///
/// # Errors
/// The test's, or what is left over after it.
pub fn under(test: &str, table: &str, rule: &str, run: impl FnOnce(&Stage<'_>) -> Result<()>) -> Result<()> {
    if !root_or_skip(test) {
        return Ok(());
    }
    // Two stands, so that two tests run at a time; both are held for the tests to come.
    static STANDS: [&Shared; 2] = [&GATEWAY, &GATEWAY_V6];
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let _stands = [STANDS[0].stand()?, STANDS[1].stand()?];
    let turn = STANDS[NEXT.fetch_add(1, Ordering::Relaxed) % 2].turn()?;
    govern(&turn, table, rule)?;
    let stage = Stage::new(&turn, Family::V4);
    // Of a test that has failed.
    stage.unblock()?;
    run(&stage).with_context(|| format!("{table} {rule}"))?;
    turn.firewall.settled()
}

/// Puts the lab's rules in force with these keys in `[inspect.sip]`, and these in the rule that admits SIP.
///
/// # Errors
/// With what `fwctl reload` says.
pub fn govern(turn: &Turn, table: &str, rule: &str) -> Result<()> {
    const ADMITS: &str = "inspect = \"sip\"\n";
    const TABLES: &str = "[inspect.sccp]\n";
    let text = Policy::default().text(&turn.lab);
    ensure!(text.contains(ADMITS) && text.contains(TABLES), "the lab's rules are not what they were");
    let text = text.replacen(ADMITS, &format!("{ADMITS}{rule}\n"), 1);
    let text = match table {
        "" => text,
        keys => text.replacen(TABLES, &format!("[inspect.sip]\n{keys}\n\n{TABLES}"), 1),
    };
    fs::write(turn.firewall.rules_file(), text)?;
    let output = turn.firewall.fwctl(&["reload"])?;
    ensure!(output.status.success(), "{table} {rule}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
