//! A call policy, compiled: tries for numbers, tables for callers. Never changes once it is made.

mod callers;
mod emergency;

use std::sync::Arc;

use crate::number::Number;
use crate::spec::{Spec, Unmatched};
use crate::trie::{Builder, Trie};

pub(crate) use callers::Callers;
pub use emergency::{Proof, Shadow, ShadowedBy};

/// The name under which emergency calls are shown in place of a permission.
pub const EMERGENCY: &str = "emergency";

/// A call policy, ready to be asked.
#[derive(Debug)]
pub struct Plan {
    spec: Spec,
    emergency: Trie,
    /// Values are places of the permissions.
    destinations: Trie,
    /// Values are places of [`Spec::normalise`].
    rewrites: Trie,
    blocks: Vec<BlockTries>,
    pins: Trie,
    callers: Callers,
    emergency_name: Arc<str>,
}

#[derive(Debug)]
struct BlockTries {
    patterns: Trie,
    allow: Trie,
}

/// A number in both its forms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialled {
    pub(crate) raw: Number,
    pub(crate) normal: Number,
}

impl Default for Plan {
    fn default() -> Self {
        Self::new(Spec::default())
    }
}

impl Plan {
    /// Compiles a policy. Where two patterns stand for the same numbers, the first counts.
    pub fn new(spec: Spec) -> Self {
        let mut destinations = Builder::default();
        for (place, permission) in (0..).zip(&spec.permissions) {
            for pattern in permission.patterns.iter() {
                // What is taken already was first.
                let _ = destinations.insert(pattern, place);
            }
        }
        let tries = |block: &crate::spec::Block| BlockTries {
            patterns: trie(&block.patterns),
            allow: trie(&block.allow),
        };
        Self {
            emergency: trie(&spec.emergency),
            destinations: destinations.build(),
            rewrites: trie(spec.normalise.iter().map(|rewrite| &rewrite.pattern)),
            blocks: spec.blocks.iter().map(tries).collect(),
            pins: trie(&spec.pins),
            callers: Callers::new(&spec.callers),
            emergency_name: EMERGENCY.into(),
            spec,
        }
    }

    /// What it was compiled from.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Whether a refusal is meant for all who could be asked.
    pub fn declines(&self) -> bool {
        self.spec.decline
    }

    /// Whether a call to a party of these names is an emergency call: no refusal of any kind may meet it.
    pub fn is_emergency(&self, called: &[&str]) -> bool {
        if self.emergency.is_empty() {
            return false;
        }
        let mut numbers = called.iter().filter_map(|name| self.dialled(name)).peekable();
        match numbers.peek() {
            Some(_) => numbers.all(|number| self.has_emergency(&number)),
            None => called.iter().any(|name| is_emergency_service(name)),
        }
    }

    /// The same, where the first number among the names has been read already.
    pub(crate) fn is_emergency_call(&self, first: Option<&Dialled>, called: &[&str]) -> bool {
        first.is_none_or(|number| self.has_emergency(number)) && self.is_emergency(called)
    }

    /// The normalised form of a number; `None` where the text is a name.
    pub fn normalise(&self, text: &str) -> Option<Number> {
        self.dialled(text).map(|number| number.normal)
    }

    /// The name of the permission that a number needs; `None` where no pattern has it.
    pub fn permission_of(&self, text: &str) -> Option<&str> {
        let place = self.permission(&self.dialled(text)?)?;
        self.spec.permissions.get(place).map(|permission| &*permission.name)
    }

    /// Whether what is dialled after this number can make a difference.
    pub(crate) fn goes_on(&self, number: &Dialled) -> bool {
        let blocks = self.blocks.iter().flat_map(|block| [&block.patterns, &block.allow]);
        self.rewrites.goes_on(&number.raw)
            || self.pins.goes_on(&number.raw)
            || [&self.emergency, &self.destinations]
                .into_iter()
                .chain(blocks)
                .any(|trie| number.any(|form| trie.goes_on(form)))
    }

    /// Bytes its tries take.
    pub fn memory(&self) -> usize {
        let blocks = self.blocks.iter().flat_map(|block| [&block.patterns, &block.allow]);
        let tries = [&self.emergency, &self.destinations, &self.rewrites, &self.pins];
        tries.into_iter().chain(blocks).map(Trie::memory).sum()
    }

    pub(crate) fn callers(&self) -> &Callers {
        &self.callers
    }

    pub(crate) fn emergency_name(&self) -> &Arc<str> {
        &self.emergency_name
    }

    pub(crate) fn dialled(&self, text: &str) -> Option<Dialled> {
        let raw = Number::read(text)?;
        let rewrite = self.rewrites.best(&raw).and_then(|place| self.spec.normalise.get(place as usize));
        let normal =
            rewrite.map_or(raw, |rewrite| raw.rewritten(usize::from(rewrite.strip), &rewrite.prefix));
        Some(Dialled { raw, normal })
    }

    pub(crate) fn has_emergency(&self, number: &Dialled) -> bool {
        number.any(|form| self.emergency.best(&form.without_end()).is_some())
    }

    pub(crate) fn is_pin(&self, number: &Dialled) -> bool {
        self.pins.best(&number.raw).is_some()
    }

    /// The place of the permission a number needs. Patterns that begin with `+` are of the number itself, and
    /// come before those of how it is dialled.
    pub(crate) fn permission(&self, number: &Dialled) -> Option<usize> {
        let normal = self.destinations.best(&number.normal);
        let place = match normal {
            Some(place) if number.normal.is_international() => Some(place),
            _ => self.destinations.best(&number.raw).or(normal),
        };
        place.map(|place| place as usize)
    }

    /// The place of the permission that is needed for a number, or for a name where there is none; `Err`
    /// where nobody may call it, `Ok(None)` where everybody may.
    pub(crate) fn needs(&self, number: Option<&Dialled>) -> Result<Option<usize>, ()> {
        match (number.and_then(|number| self.permission(number)), self.spec.unmatched) {
            (Some(place), _) | (None, Unmatched::Needs(place)) => Ok(Some(place)),
            (None, Unmatched::Permit) => Ok(None),
            (None, Unmatched::Refuse) => Err(()),
        }
    }

    /// Whether a block has a number among its own, whatever the time.
    pub(crate) fn blocks(&self, block: usize, number: &Dialled) -> bool {
        let Some(tries) = self.blocks.get(block) else { return false };
        number.any(|form| tries.patterns.best(form).is_some())
            && !number.any(|form| tries.allow.best(form).is_some())
    }
}

impl Dialled {
    fn any(&self, has: impl Fn(&Number) -> bool) -> bool {
        has(&self.raw) || self.raw != self.normal && has(&self.normal)
    }
}

/// The service URN of emergency calls (RFC 5031, section 4.2), and those below it.
fn is_emergency_service(name: &str) -> bool {
    const SOS: &str = "urn:service:sos";
    let head = name.get(..SOS.len()).is_some_and(|head| head.eq_ignore_ascii_case(SOS));
    head && matches!(name.as_bytes().get(SOS.len()), None | Some(b'.'))
}

fn trie<'p>(patterns: impl IntoIterator<Item = &'p crate::pattern::DialPattern>) -> Trie {
    let mut builder = Builder::default();
    for (place, pattern) in (0..).zip(patterns) {
        // What is taken already was first.
        let _ = builder.insert(pattern, place);
    }
    builder.build()
}
