//! What the call policy says of what a phone dials.
//!
//! A number comes key by key, or at once, or is told by the call manager (a speed dial, a redial). The key that makes
//! it one that cannot be permitted any more, whatever follows, reaches the call manager as an OnHook: the call manager
//! ends the call, and the phone goes on hook. What is known only once the call manager has begun the call ends with
//! the connection: the phone registers anew, and its call manager drops what it had begun.

use callgate_policy::Why;
use callgate_protocols::refuse;
use callgate_protocols::sccp::{Body, Keypad};
use callgate_shared::Reason;

use super::Tracker;
use super::media::{MAX_DIGITS, on_line};
use super::session::{Held, Session};
use crate::action::{Context, EndReason, Replacement, Verdict};
use crate::call::{CallId, Party, State};
use crate::core::Core;
use crate::core::gate::Asking;
use crate::event::{Event, EventKind};
use crate::media::Refusal;

/// Most calls of a connection that are being dialled.
const MAX_DIALLING: usize = 1_024;

impl Tracker {
    /// Whether a message may go on that dials, or tells what was dialled, and what becomes of it if not.
    pub(super) fn dialled(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &mut Session,
        body: &Body<'_>,
        frame: &[u8],
    ) -> Result<(), Verdict> {
        let begins = match *body {
            Body::Keypad(key) => {
                key.digit.is_some() && !session.calls.contains_key(&dialling(core, session, key.call))
            }
            Body::Enbloc(_) => true,
            _ => false,
        };
        // With a policy what is dialled may become an emergency number.
        if begins && session.whole && !core.has_room(core.has_policy()) {
            core.tally(Refusal::TableFull);
            let of_phone = session.connection.context(context, true);
            let text = "there is no room for another call";
            core.tell(Event::new(&of_phone, EventKind::Refused, &session.name, text));
            return Err(on_hook(frame));
        }
        if !core.has_policy() {
            return Ok(());
        }
        match *body {
            Body::Keypad(key) => self.key(core, context, session, key, frame),
            Body::Enbloc(number) => {
                let number = text(number);
                core.give_back(session.granted.take(), context.now);
                match ask(core, context, session, &number) {
                    Ok(granted) => session.granted = granted,
                    Err(why) => return Err(hang_up(core, context, session, &number, why, frame)),
                }
                Ok(())
            }
            Body::Dialed(dialed) => self.told(core, context, session, dialed.call, &text(dialed.number)),
            Body::CallInfo(info) if is_dialling(core, session, info.call) => {
                let digits = session.digits.get(&info.call).cloned();
                self.told(core, context, session, info.call, &digits.unwrap_or_else(|| text(info.called)))
            }
            Body::CallState(state)
                if matches!(state.state, on_line::PROCEEDING | on_line::RING_OUT | on_line::CONNECTED) =>
            {
                if session.has_refused(state.call) {
                    return Err(Verdict::Reset(Reason::AlgRefused));
                }
                if !is_dialling(core, session, state.call) {
                    return Ok(());
                }
                let digits = session.digits.get(&state.call).cloned().unwrap_or_default();
                self.told(core, context, session, state.call, &digits)
            }
            // A call that is over, for the call policy: it gets no media any more.
            Body::OpenReceive(open) if session.has_refused(open.channel.call) => {
                Err(Verdict::Reset(Reason::AlgRefused))
            }
            Body::StartTransmission(start) if session.has_refused(start.channel.call) => {
                Err(Verdict::Reset(Reason::AlgRefused))
            }
            // The number is used again.
            Body::CallState(state) if matches!(state.state, on_line::OFF_HOOK | on_line::RING_IN) => {
                session.refused.retain(|refused| *refused != state.call);
                session.limited.take_if(|limited| *limited == state.call);
                session.digits.remove(&0);
                Ok(())
            }
            Body::CallState(state) if state.state == on_line::ON_HOOK => {
                session.limited.take_if(|limited| *limited == state.call);
                session.digits.remove(&0);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A key was pressed.
    fn key(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &mut Session,
        key: Keypad,
        frame: &[u8],
    ) -> Result<(), Verdict> {
        let Some(digit) = key.digit else { return Ok(()) };
        if session.has_refused(key.call) {
            return Err(on_hook(frame));
        }
        let reference = dialling(core, session, key.call);
        let held = session.calls.get(&reference).copied();
        // Behind the number keys are no digits of it, but tones.
        if held.is_some_and(|held| !dials(core, &held)) || session.digits.len() >= MAX_DIALLING {
            return Ok(());
        }
        let digits = session.digits.entry(reference).or_default();
        if digits.len() >= MAX_DIGITS {
            return Ok(());
        }
        let ends = digit == '#' && !digits.is_empty();
        if !ends {
            digits.push(digit);
        }
        let number = digits.clone();
        let of_phone = session.connection.context(context, true);
        let why = with_asking(core, session, held.map(|held| held.id), &number, |core, asking| {
            core.hopeless(&of_phone, asking)
        });
        if why.is_none() && !ends {
            return Ok(());
        }
        let refused = match held {
            Some(held) => ask_of(core, context, session, held.id, &number).err(),
            None => match ask(core, context, session, &number) {
                Ok(granted) => {
                    core.give_back(granted, context.now);
                    None
                }
                Err(why) => Some(why),
            },
        };
        let Some(why) = refused else { return Ok(()) };
        session.digits.remove(&reference);
        self.over(core, session, reference);
        Err(hang_up(core, context, session, &number, why, frame))
    }

    /// The call manager says what was dialled, or goes on with what was: now it is known whether that may be.
    fn told(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &mut Session,
        reference: u32,
        number: &str,
    ) -> Result<(), Verdict> {
        let (number, reference) = (number.trim_end_matches('#'), dialling(core, session, reference));
        let Some(held) = session.calls.get(&reference).copied().filter(|held| held.phone == Party::Caller)
        else {
            return Ok(());
        };
        let granted = core.call(held.id).and_then(|call| call.granted.as_deref());
        let same = granted.is_some_and(|granted| granted.called == number || granted.emergency);
        if number.is_empty() || same {
            return Ok(());
        }
        let Err(why) = ask_of(core, context, session, held.id, number) else { return Ok(()) };
        tell(core, context, session, number, why);
        self.over(core, session, reference);
        Err(Verdict::Reset(Reason::AlgRefused))
    }

    /// A call was refused.
    fn over(&mut self, core: &mut Core, session: &mut Session, reference: u32) {
        if session.calls.contains_key(&reference) {
            self.end_call(core, session, reference, EndReason::Refused);
        }
        session.refuse(reference);
    }
}

/// A limit has ended the phone's call: the next sign of life it gives reaches the call manager as an OnHook, and the call
/// manager ends the call. Not where it has other calls: without a name the OnHook could be meant for any of them.
pub(super) fn leaves(
    core: &mut Core,
    context: &Context,
    session: &mut Session,
    frame: &[u8],
) -> Option<Verdict> {
    if !session.calls.is_empty() {
        return None;
    }
    session.limited.take()?;
    let octets = refuse::sccp_on_hook_of(frame)?;
    core.tell(Event::new(
        context,
        EventKind::LimitReached,
        &session.name,
        "its call manager reads that it is on hook",
    ));
    let otherwise = Box::new(Verdict::Pass);
    Some(Verdict::Replace(Box::new(Replacement { patches: vec![(0, octets)], otherwise })))
}

/// The phone hangs up, as its call manager reads it.
fn hang_up(
    core: &mut Core,
    context: &Context,
    session: &Session,
    number: &str,
    why: Why,
    frame: &[u8],
) -> Verdict {
    tell(core, context, session, number, why);
    on_hook(frame)
}

fn on_hook(frame: &[u8]) -> Verdict {
    let reset = Verdict::Reset(Reason::AlgRefused);
    match refuse::sccp_on_hook_of(frame) {
        Some(octets) => {
            Verdict::Replace(Box::new(Replacement { patches: vec![(0, octets)], otherwise: Box::new(reset) }))
        }
        None => reset,
    }
}

fn tell(core: &mut Core, context: &Context, session: &Session, number: &str, why: Why) {
    let of_phone = session.connection.context(context, true);
    let text = format!("{number}: {} ({})", why.text(), why.name());
    core.tell(Event::new(&of_phone, EventKind::Refused, &session.name, &text));
}

/// Asks whether a number may be called, for a call that the call manager has not begun.
fn ask(
    core: &mut Core,
    context: &Context,
    session: &Session,
    number: &str,
) -> Result<Option<Box<crate::call::Granted>>, Why> {
    let of_phone = session.connection.context(context, true);
    with_asking(core, session, None, number, |core, asking| core.ask(&of_phone, asking))
}

/// Asks whether a call may be to this number.
fn ask_of(
    core: &mut Core,
    context: &Context,
    session: &Session,
    id: CallId,
    number: &str,
) -> Result<(), Why> {
    let of_phone = session.connection.context(context, true);
    with_asking(core, session, Some(id), number, |core, asking| core.ask_again(&of_phone, id, asking))
}

fn with_asking<T>(
    core: &mut Core,
    session: &Session,
    call: Option<CallId>,
    number: &str,
    ask: impl FnOnce(&mut Core, &Asking<'_>) -> T,
) -> T {
    // The line's number, where the call manager has told it.
    let own = call.and_then(|id| core.call(id)).map(|call| call.parties[Party::Caller as usize].clone());
    let own = own.filter(|own| !own.is_empty()).or_else(|| session.lines.values().next().cloned());
    let own = own.unwrap_or_default();
    let names = [own.as_str(), session.name.as_str()];
    let names = if own.is_empty() { &names[1..] } else { &names };
    let asking = Asking {
        names,
        device: Some(session.name.as_str()).filter(|name| !name.is_empty()),
        called: &[number],
        key: &session.name,
        parties: [&session.name, number],
    };
    ask(core, &asking)
}

/// The call that is meant: the oldest phones have one at a time, and do not name it.
fn dialling(core: &Core, session: &Session, reference: u32) -> u32 {
    match reference {
        0 => session.calls.iter().rev().find(|(_, held)| dials(core, held)).map_or(0, |(call, _)| *call),
        reference => reference,
    }
}

/// Whether a phone calls on it, and the call manager has reached nobody yet.
fn dials(core: &Core, held: &Held) -> bool {
    held.phone == Party::Caller && core.call(held.id).is_some_and(|call| call.state == State::Calling)
}

/// Whether nobody has been asked for it yet.
fn is_dialling(core: &Core, session: &Session, reference: u32) -> bool {
    let held = session.calls.get(&reference);
    held.is_some_and(|held| core.call(held.id).is_some_and(|call| call.granted.is_none()))
}

fn text(number: &[u8]) -> String {
    String::from_utf8_lossy(number).chars().filter(|c| !c.is_control()).take(MAX_DIGITS).collect()
}
