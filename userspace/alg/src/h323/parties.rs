//! Who takes part in a call, by number and name, and what else people want to know of it.

use callgate_protocols::h225::{Aliases, Guid};
use callgate_protocols::q931::MessageType;

use super::leg::Leg;
use super::{H460_18, H460_19, Signal};
use crate::action::Context;
use crate::call::Party;
use crate::core::Core;
use crate::event::{self, Event, EventKind};

/// Most aliases remembered of a party, and most bytes of each.
const MAX_ALIASES: usize = 8;
const MAX_ALIAS: usize = 64;

/// What a Setup calls one party.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Q.931 party number; empty where there is none.
    pub number: String,
    /// Aliases; at most 8.
    pub aliases: Vec<String>,
}

/// Which of H.460's traversal procedures a message speaks of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traversal {
    /// H.460.18: of signalling.
    pub signalling: bool,
    /// H.460.19: of media.
    pub media: bool,
}

/// What is known of a call beside its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// Call reference value, 15 bits.
    pub reference: u16,
    /// callIdentifier; old endpoints have none.
    pub identifier: Option<Guid>,
    /// The parties, by [`Party`].
    pub parties: [Names; 2],
    /// H.245 is tunnelled.
    pub tunnelled: bool,
    /// What it uses of H.460.
    pub traversal: Traversal,
}

impl Names {
    fn of(number: Option<&[u8]>, aliases: Option<&Aliases<'_>>) -> Self {
        let number = number.map(|number| clip(&String::from_utf8_lossy(number)));
        let aliases =
            aliases.into_iter().flat_map(|aliases| aliases.iter()).map(|alias| clip(&alias.to_string()));
        Self {
            number: number.unwrap_or_default(),
            aliases: aliases.filter(|alias| !alias.is_empty()).take(MAX_ALIASES).collect(),
        }
    }

    /// Each of them, the number first.
    pub(super) fn all(&self) -> Vec<String> {
        let number = Some(&self.number).filter(|number| !number.is_empty());
        number.into_iter().chain(&self.aliases).cloned().collect()
    }

    /// The one to show: an alias, or else the number.
    pub(super) fn shown(&self) -> &str {
        self.aliases.first().unwrap_or(&self.number)
    }
}

impl Traversal {
    pub(super) const fn any(self) -> bool {
        self.signalling || self.media
    }

    /// What either of two says.
    const fn or(self, other: Self) -> Self {
        Self { signalling: self.signalling || other.signalling, media: self.media || other.media }
    }

    fn text(self) -> &'static str {
        match (self.signalling, self.media) {
            (true, true) => "H.460.18, H.460.19",
            (true, false) => "H.460.18",
            _ => "H.460.19",
        }
    }
}

impl Details {
    pub(super) fn of(leg: &Leg) -> Self {
        Self {
            reference: leg.reference,
            identifier: leg.guid,
            parties: leg.parties.clone(),
            tunnelled: leg.tunnelled,
            traversal: leg.traversal,
        }
    }
}

impl Signal<'_> {
    /// The called party, by each of its names, and the digits of a keypad: those may be dialled too.
    pub(super) fn called(&self) -> Vec<String> {
        let h225 = self.h225.as_ref();
        // None is left out and none cut, as each may be dialled.
        let aliases =
            h225.into_iter().flat_map(|h225| h225.destination.iter()).map(|alias| alias.to_string());
        let numbers = [self.q931.called, self.q931.keypad];
        let numbers =
            numbers.into_iter().flatten().map(|number| String::from_utf8_lossy(number).into_owned());
        let mut called: Vec<String> = Vec::new();
        for name in numbers.chain(aliases).filter(|name| !name.is_empty()) {
            if !called.contains(&name) {
                called.push(name);
            }
        }
        called
    }

    /// Digits of the called number in a message behind the Setup.
    pub(super) fn more_digits(&self) -> String {
        let digits = [self.q931.called, self.q931.keypad].into_iter().flatten();
        digits.map(|digits| String::from_utf8_lossy(digits)).collect()
    }

    /// The parties, by [`Party`].
    pub(super) fn parties(&self) -> [Names; 2] {
        let h225 = self.h225.as_ref();
        [
            Names::of(self.q931.calling, h225.map(|h225| &h225.source)),
            Names::of(self.q931.called, h225.map(|h225| &h225.destination)),
        ]
    }

    /// What an event calls it.
    pub(super) fn subject(&self) -> String {
        let [calling, called] = self.parties();
        match (calling.shown(), called.shown()) {
            ("", "") => self.guid().map_or_else(String::new, |guid| guid.to_string()),
            (calling, called) => format!("{calling} → {called}"),
        }
    }

    /// What it says of H.460.
    pub(super) fn traversal(&self) -> Traversal {
        let has = |feature| self.h225.as_ref().is_some_and(|h225| h225.features.has(feature));
        Traversal { signalling: has(H460_18), media: has(H460_19) }
    }
}

impl Leg {
    /// Takes what a message says of the parties and of the ways the call uses, and tells what is new.
    pub(super) fn introduce(
        &mut self,
        core: &mut Core,
        context: &Context,
        signal: &Signal<'_>,
        tell_tunnel: bool,
    ) {
        if signal.q931.kind == MessageType::Setup {
            let started = self.parties == <[Names; 2]>::default() && !self.begun;
            self.parties = signal.parties();
            let shown = self.parties.clone().map(|names| names.shown().to_owned());
            core.change_call(self.id, |call| call.parties = shown);
            if started {
                self.begun = true;
                self.tell(core, context, EventKind::CallStarted, "");
            }
        }
        if !signal.tunnelled.is_empty() && !self.tunnelled {
            self.tunnelled = true;
            if tell_tunnel {
                self.tell(core, context, EventKind::H245Tunnelled, "");
            }
        }
        let traversal = self.traversal.or(signal.traversal());
        if traversal != self.traversal {
            self.traversal = traversal;
            self.tell(core, context, EventKind::Traversal, traversal.text());
        }
    }

    fn tell(&self, core: &mut Core, context: &Context, kind: EventKind, text: &str) {
        let Some(call) = core.call(self.id) else { return };
        let caller = call.signalling[Party::Caller as usize];
        let text = if text.is_empty() { call.key.clone() } else { format!("{text}, {}", call.key) };
        let subject = event::parties(call);
        core.tell(Event::at(context.now, kind, context.protocol, caller, &subject, &text));
    }
}

/// As much of a name as is remembered.
fn clip(name: &str) -> String {
    name[..name.floor_char_boundary(MAX_ALIAS)].to_owned()
}
