//! What the call policy says of what a phone dials, and of the calls that come to it.
//!
//! A number comes key by key, or at once, or is told by the call manager (a speed dial, a redial). The key that makes
//! it one that cannot be permitted any more, whatever follows, reaches the call manager as an OnHook: the call manager
//! ends the call, and the phone goes on hook.
//!
//! What is known only from the call manager's own words (a speed dial; who calls the phone) is refused when the phone
//! has nothing to say that could be replaced. So it is asked something: those words reach it as a CapabilitiesReq, which
//! phones answer at once, and the answer reaches the call manager as the OnHook of that call; where the call comes to
//! the phone, as its key EndCall, since the phone may be off hook for another one. A call manager that goes on with it
//! is told so again; one that still does so after a moment loses the connection.

use callgate_policy::Why;
use callgate_protocols::refuse;
use callgate_protocols::sccp::{Body, Keypad, Open, Start};
use callgate_shared::Reason;

use super::Tracker;
use super::media::{MAX_DIGITS, name_parties, on_line};
use super::session::{Held, Refused, Session};
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
            Body::Dialed(dialed) => {
                self.told(core, context, session, dialed.call, &text(dialed.number), frame)
            }
            Body::CallInfo(info) if comes(core, session, info.call) => {
                let parties = [text(info.calling), text(info.called)];
                self.arrives(core, context, session, info.call, &parties, frame)
            }
            Body::CallInfo(info) if is_dialling(core, session, info.call) => {
                let digits = session.digits.get(&info.call).cloned();
                let number = digits.unwrap_or_else(|| text(info.called));
                self.told(core, context, session, info.call, &number, frame)
            }
            Body::CallState(state)
                if matches!(state.state, on_line::PROCEEDING | on_line::RING_OUT | on_line::CONNECTED) =>
            {
                if session.has_refused(state.call) {
                    // Nothing opens by it: one question is enough.
                    let told = session.is_being_told(state.call, context.now);
                    return Err(if told {
                        Verdict::Pass
                    } else {
                        goes_on(context, session, state.call, frame)
                    });
                }
                if comes(core, session, state.call) && state.state == on_line::CONNECTED {
                    return self.arrives(core, context, session, state.call, &Default::default(), frame);
                }
                if !is_dialling(core, session, state.call) {
                    return Ok(());
                }
                let digits = session.digits.get(&state.call).cloned().unwrap_or_default();
                self.told(core, context, session, state.call, &digits, frame)
            }
            Body::OpenReceive(Open { channel, .. }) | Body::StartTransmission(Start { channel, .. }) => {
                if let Some(call) = session.refused_channel(channel.call) {
                    return Err(goes_on(context, session, call, frame));
                }
                if comes(core, session, channel.call) {
                    return self.arrives(core, context, session, channel.call, &Default::default(), frame);
                }
                Ok(())
            }
            Body::CallState(state) if matches!(state.state, on_line::OFF_HOOK | on_line::RING_IN) => {
                session.begins(state.call, state.state == on_line::RING_IN);
                if session.has_refused(state.call) { Err(Verdict::Pass) } else { Ok(()) }
            }
            Body::CallState(state) if state.state == on_line::ON_HOOK => {
                session.is_over(state.call);
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
        frame: &[u8],
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
        Err(goes_on(context, session, reference, frame))
    }

    /// The call manager says who calls the phone, or that it has answered: may that call come to it?
    fn arrives(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &mut Session,
        reference: u32,
        [calling, called]: &[String; 2],
        frame: &[u8],
    ) -> Result<(), Verdict> {
        let Some(held) = session.calls.get(&reference).copied() else { return Ok(()) };
        let of_manager = session.connection.context(context, false);
        let own = core.call(held.id).map(|call| call.parties[Party::Callee as usize].clone());
        let own = own.unwrap_or_default();
        let names: Vec<&str> = [&own, called, &session.name]
            .into_iter()
            .map(String::as_str)
            .filter(|name| !name.is_empty())
            .collect();
        let party = names.first().copied().unwrap_or_default();
        let asking = Asking {
            names: &[calling],
            device: None,
            called: &names,
            key: &session.name,
            parties: [calling, party],
        };
        let Err(why) = core.receive_call(&of_manager, held.id, &asking) else { return Ok(()) };
        name_parties(core, session, reference, [calling.as_bytes(), party.as_bytes()]);
        let from = if calling.is_empty() { "nobody known" } else { calling };
        tell(core, context, session, &format!("from {from}"), why);
        self.over(core, session, reference);
        Err(goes_on(context, session, reference, frame))
    }

    /// A call was refused.
    fn over(&mut self, core: &mut Core, session: &mut Session, reference: u32) {
        let held = session.calls.get(&reference).copied();
        if held.is_some() {
            self.end_call(core, session, reference, EndReason::Refused);
        }
        let line = held.map_or(0, |held| held.line);
        session.refuse(reference, line, held.is_some_and(|held| held.phone == Party::Callee));
    }
}

/// The phone answers what it was asked for the sake of its answer: the call manager reads that it has ended the call.
pub(super) fn answers(session: &mut Session, frame: &[u8]) -> Option<Verdict> {
    let Refused { call, line, comes, .. } = session.answered()?;
    let octets = match comes {
        // On hook is a phone that rings; and if it is not, then for the sake of another call.
        true => refuse::sccp_end_call_for(frame, line, call),
        false => refuse::sccp_on_hook_for(frame, line, call),
    };
    octets.map(|octets| replaced(octets, Verdict::Pass))
}

/// The phone is to ring for a call that was refused: it does not.
pub(super) fn hushes(session: &Session, frame: &[u8]) -> Option<Verdict> {
    let call = frame.get(24..28).and_then(|octets| octets.try_into().ok()).map_or(0, u32::from_le_bytes);
    let octets = refuse::sccp_ring_off_of(frame).filter(|_| session.rings_in_vain(call))?;
    Some(replaced(octets, Verdict::Pass))
}

/// The call manager goes on with a call that was refused: the phone is asked something instead, for a moment; then the
/// connection ends.
fn goes_on(context: &Context, session: &mut Session, call: u32, frame: &[u8]) -> Verdict {
    let reset = Verdict::Reset(Reason::AlgRefused);
    match refuse::sccp_capabilities_of(frame).filter(|_| session.question(call, context.now)) {
        Some(octets) => replaced(octets, reset),
        None => reset,
    }
}

fn replaced(octets: Vec<u8>, otherwise: Verdict) -> Verdict {
    Verdict::Replace(Box::new(Replacement { patches: vec![(0, octets)], otherwise: Box::new(otherwise) }))
}

/// A limit has ended the phone's call, or a phone does not answer what it was asked to end one: the next sign of life it
/// gives reaches the call manager as an OnHook, and the call manager ends the call. Not where the phone has other calls:
/// without a name the OnHook could be meant for any of them.
pub(super) fn leaves(
    core: &mut Core,
    context: &Context,
    session: &mut Session,
    frame: &[u8],
) -> Option<Verdict> {
    if !session.calls.is_empty() {
        return None;
    }
    if session.limited.take().is_some() {
        core.tell(Event::new(
            context,
            EventKind::LimitReached,
            &session.name,
            "its call manager reads that it is on hook",
        ));
    } else if !session.gives_up(context.now) {
        return None;
    }
    refuse::sccp_on_hook_of(frame).map(|octets| replaced(octets, Verdict::Pass))
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
        Some(octets) => replaced(octets, reset),
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

/// Whether it comes to the phone, and nobody has been asked for it yet.
fn comes(core: &Core, session: &Session, reference: u32) -> bool {
    let held = session.calls.get(&reference).filter(|held| held.phone == Party::Callee);
    let call = held.and_then(|held| core.call(held.id));
    call.is_some_and(|call| call.granted.is_none() && call.state != State::Connected)
}

fn text(number: &[u8]) -> String {
    String::from_utf8_lossy(number).chars().filter(|c| !c.is_control()).take(MAX_DIGITS).collect()
}
