//! What the tracker remembers of one call beside its record, and how that outlives a restart.

use std::fmt::Write;
use std::net::SocketAddr;

use callgate_protocols::h225::Guid;

use super::parties::{Names, Traversal};
use crate::call::{Call, CallId, Medium, Party, StreamKey};

/// Most logical channels and proposals remembered of one call.
const MAX_CHANNELS: usize = 64;
/// Bytes a memo may take, see [`Call::memo`].
const MAX_MEMO: usize = 1024;

/// One call on one signalling connection: a call through a gatekeeper is two of them, with one identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leg {
    /// The call.
    pub(super) id: CallId,
    /// Its callIdentifier; old endpoints have none.
    pub(super) guid: Option<Guid>,
    /// Its call reference value, chosen by the caller.
    pub(super) reference: u16,
    /// The signalling connection, by [`Party`].
    pub(super) ends: [SocketAddr; 2],
    /// The H.245 connection, by [`Party`], once there is one.
    pub(super) control: Option<[SocketAddr; 2]>,
    /// Where each party listens for H.245.
    pub(super) listening: [Option<SocketAddr>; 2],
    /// The streams the caller has proposed (fastStart) and the callee has not answered yet.
    pub(super) offer: Vec<StreamKey>,
    /// Channels were accepted by fastStart.
    pub(super) accepted: bool,
    /// Logical channels.
    pub(super) channels: Vec<Channel>,
    /// Counter slot of the rule that admitted it.
    pub(super) slot: u32,
    /// It is the next leg of another one's call.
    pub(super) passed_on: bool,
    /// Its Setup was seen.
    pub(super) begun: bool,
    /// H.245 messages were tunnelled.
    pub(super) tunnelled: bool,
    /// What it uses of H.460.
    pub(super) traversal: Traversal,
    /// What its Setup calls the parties.
    pub(super) parties: [Names; 2],
}

/// A logical channel, from its opener to the other party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Channel {
    /// Who sends.
    pub(super) opener: Party,
    /// Its number, chosen by the opener.
    pub(super) number: u16,
    /// The stream it is part of.
    pub(super) stream: StreamKey,
    /// The rules file does not permit what it carries: it opens nothing.
    pub(super) refused: bool,
}

impl Leg {
    pub(super) fn new(id: CallId, guid: Option<Guid>, reference: u16, ends: [SocketAddr; 2]) -> Self {
        Self {
            id,
            guid,
            reference,
            ends,
            control: None,
            listening: [None; 2],
            offer: Vec::new(),
            accepted: false,
            channels: Vec::new(),
            slot: 0,
            passed_on: false,
            begun: false,
            tunnelled: false,
            traversal: Traversal::default(),
            parties: Default::default(),
        }
    }

    /// The channel of this number that `opener` has opened.
    pub(super) fn channel(&self, opener: Party, number: u16) -> Option<Channel> {
        self.channels.iter().copied().find(|channel| (channel.opener, channel.number) == (opener, number))
    }

    /// Enters a channel in place of an older one of its number. Beyond the bound it is forgotten: it cannot be
    /// closed alone then, only with the call.
    pub(super) fn enter(&mut self, channel: Channel) {
        self.remove(channel.opener, channel.number);
        if self.channels.len() < MAX_CHANNELS {
            self.channels.push(channel);
        }
    }

    /// Forgets a channel.
    pub(super) fn remove(&mut self, opener: Party, number: u16) -> Option<Channel> {
        let place = self.channels.iter().position(|c| (c.opener, c.number) == (opener, number))?;
        Some(self.channels.swap_remove(place))
    }

    /// Whether a channel of this stream is open, from `opener` or (`None`) from anybody.
    pub(super) fn in_use(&self, stream: StreamKey, opener: Option<Party>) -> bool {
        let open = self.channels.iter().filter(|c| !c.refused);
        open.clone().any(|c| c.stream == stream && opener.is_none_or(|opener| opener == c.opener))
    }

    /// The stream of an H.245 session: the one that is in use for it, or its first.
    pub(super) fn stream(&self, session: u8) -> StreamKey {
        let first = StreamKey { branch: 0, index: u32::from(session) };
        let used = |c: &&Channel| !c.refused && c.stream.index == first.index && c.stream.branch < UNASSIGNED;
        self.channels.iter().find(used).map_or(first, |channel| channel.stream)
    }

    /// The memo: items apart by `;`, the longest and least missed last.
    pub(super) fn memo(&self) -> String {
        let mut memo = String::new();
        let mut item = |text: std::fmt::Arguments<'_>| {
            let before = memo.len();
            // Writing to a String cannot fail.
            let _ = write!(memo, "{text};");
            if memo.len() > MAX_MEMO {
                memo.truncate(before);
            }
        };
        item(format_args!("r{}", self.reference));
        if let Some(guid) = self.guid {
            item(format_args!("g{guid}"));
        }
        item(format_args!("s{},{}", self.ends[0], self.ends[1]));
        if let Some([caller, callee]) = self.control {
            item(format_args!("c{caller},{callee}"));
        }
        for (party, address) in self.listening.iter().enumerate() {
            if let Some(address) = address {
                item(format_args!("l{party},{address}"));
            }
        }
        if self.accepted {
            item(format_args!("a"));
        }
        for key in &self.offer {
            item(format_args!("o{},{}", key.branch, key.index));
        }
        for (mark, on) in [('b', self.begun), ('p', self.passed_on), ('t', self.tunnelled)] {
            if on {
                item(format_args!("{mark}"));
            }
        }
        if self.traversal.any() {
            item(format_args!("h{},{}", u8::from(self.traversal.signalling), u8::from(self.traversal.media)));
        }
        for c in &self.channels {
            let mark = if c.refused { 'x' } else { 'k' };
            item(format_args!(
                "{mark}{},{},{},{}",
                c.opener as u8, c.number, c.stream.branch, c.stream.index
            ));
        }
        for (party, names) in self.parties.iter().enumerate() {
            if !names.number.is_empty() {
                item(format_args!("n{party},{}", names.number.replace(';', " ")));
            }
            for alias in &names.aliases {
                item(format_args!("m{party},{}", alias.replace(';', " ")));
            }
        }
        memo
    }

    /// A call's leg from its record; items of the memo that make no sense are left out.
    pub(super) fn restore(call: &Call) -> Self {
        let mut leg = Self { slot: call.slot, ..Self::new(call.id, None, 0, call.signalling) };
        for item in call.memo.split(';') {
            // What an item lacks is as if it were not there.
            let _ = leg.restore_item(item);
        }
        leg
    }

    fn restore_item(&mut self, item: &str) -> Option<()> {
        let rest = item.get(1..)?;
        let mut words = rest.split(',');
        match item.as_bytes().first()? {
            b'r' => self.reference = rest.parse().ok()?,
            b'g' => self.guid = Some(guid(rest)?),
            b's' => self.ends = [words.next()?.parse().ok()?, words.next()?.parse().ok()?],
            b'c' => self.control = Some([words.next()?.parse().ok()?, words.next()?.parse().ok()?]),
            b'l' => {
                let party = party(words.next()?)?;
                self.listening[party as usize] = Some(words.next()?.parse().ok()?);
            }
            b'a' => self.accepted = true,
            b'o' => self.offer.push(key(&mut words)?),
            mark @ (b'k' | b'x') => {
                let (opener, number) = (party(words.next()?)?, words.next()?.parse().ok()?);
                self.enter(Channel { opener, number, stream: key(&mut words)?, refused: *mark == b'x' });
            }
            b'b' => self.begun = true,
            b'p' => self.passed_on = true,
            b't' => self.tunnelled = true,
            b'h' => {
                self.traversal.signalling = words.next()? == "1";
                self.traversal.media = words.next()? == "1";
            }
            mark @ (b'n' | b'm') => {
                let (of, name) = rest.split_once(',')?;
                let names = &mut self.parties[party(of)? as usize];
                match mark {
                    b'n' => name.clone_into(&mut names.number),
                    _ => names.aliases.push(name.to_owned()),
                }
            }
            _ => {}
        }
        Some(())
    }
}

/// From this branch on streams are not of a session: those of channels whose session the master has not
/// assigned yet, by opener, and those that carry signalling.
pub(super) const UNASSIGNED: u32 = u32::MAX - 8;

/// The stream for a channel of no session yet.
pub(super) fn unassigned(opener: Party, number: u16) -> StreamKey {
    StreamKey { branch: UNASSIGNED + opener as u32, index: u32::from(number) }
}

/// The stream that stands for where a party listens for signalling of this kind.
pub(super) fn signalling(medium: Medium, party: Party) -> StreamKey {
    let branch = match medium {
        Medium::H225 => u32::MAX - 1,
        Medium::Ras => u32::MAX - 2,
        _ => u32::MAX,
    };
    StreamKey { branch, index: party as u32 }
}

/// A callIdentifier in hexadecimal digits.
pub(super) fn guid(hex: &str) -> Option<Guid> {
    let mut octets = [0; 16];
    for (place, octet) in octets.iter_mut().enumerate() {
        *octet = u8::from_str_radix(hex.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(Guid(octets))
}

fn party(digit: &str) -> Option<Party> {
    match digit {
        "0" => Some(Party::Caller),
        "1" => Some(Party::Callee),
        _ => None,
    }
}

fn key<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<StreamKey> {
    Some(StreamKey { branch: words.next()?.parse().ok()?, index: words.next()?.parse().ok()? })
}
