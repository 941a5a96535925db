//! What `[inspect.h323]` forbids, and what it lets by: for each key a call or a request that must not come
//! through, and one that must.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use callgate_api::Peer;
use callgate_lab::daemon::Firewall;
use callgate_lab::fixture::{GATEWAY, GATEWAY_V6, Shared, Turn};
use callgate_lab::h323::ras::{self, Registration, kind};
use callgate_lab::h323::session::{self, Dialogue, Host, Listener, QUIET, Ras, Side, released};
use callgate_lab::h323::wire::{self, Data, Setup};
use callgate_lab::h323::{new_call, own};
use callgate_lab::lab::Family;
use callgate_lab::policy::Policy;
use callgate_lab::root_or_skip;
use callgate_protocols::build::{self, Parts};

/// Causes (Q.850) a refused call is released with.
mod cause {
    pub(super) const REJECTED: u8 = 21;
    pub(super) const CONGESTION: u8 = 42;
}

/// A phone, another one, and two terminals inside that wait for calls; RAS is spoken with either.
struct Stage<'a> {
    turn: &'a Turn,
    phone: Host,
    other: Host,
    gatekeeper: Host,
    terminal: Host,
    /// The gatekeeper's, and the terminal's.
    desks: [Listener; 2],
}

impl Stage<'_> {
    fn firewall(&self) -> &Firewall {
        &self.turn.firewall
    }

    /// A call that the policy forbids: nothing of its Setup arrives, and the caller reads why.
    fn forbidden(&self, caller: &Host, desk: &Listener, setup: &Setup<'_>, cause: u8) -> Result<()> {
        let (before, last) = (self.firewall().counters()?, self.firewall().last_event()?);
        let calls = self.firewall().calls()?.len();
        let (call, mut line) = (new_call(), caller.connect(desk)?);
        let [near, far] = line.withheld(&setup.encode(&call))?;
        ensure!(far.is_empty(), "{far:02x?} arrives");
        ensure!(released(&near) == Some((call.reference, true, Some(cause))), "the caller reads {near:02x?}");
        ensure!(line.near.is_closed() && line.far.is_closed(), "the connection goes on");
        let dropped = self.firewall().counters()?.dropped_since(&before);
        ensure!(dropped.get("alg-refused") == Some(&1) && dropped.len() == 1, "{dropped:?}");
        let events = self.firewall().events(last)?;
        ensure!(
            events.iter().any(|row| row.kind.name() == "refused" && row.protocol == "h225"),
            "{events:?}"
        );
        ensure!(self.firewall().calls()?.len() == calls, "it is listed as a call");
        Ok(())
    }

    /// A call that the policy permits; it is answered, and goes on.
    fn permitted(&self, caller: &Host, desk: &Listener, setup: &Setup<'_>) -> Result<Dialogue> {
        let mut dialogue = Dialogue::connect(caller, desk)?;
        dialogue.line.forth(&setup.encode(&dialogue.call))?;
        dialogue.line.back(&build::connect(&dialogue.call, &Parts::default()))?;
        Ok(dialogue)
    }

    /// A call that the policy permits, from its Setup to its end.
    fn comes_and_goes(&self, caller: &Host, desk: &Listener, setup: &Setup<'_>) -> Result<()> {
        self.permitted(caller, desk, setup)?.release()
    }

    fn registration(&self, ras: &Ras, token: bool) -> Result<Registration<'static>> {
        Ok(Registration {
            call_signal: self.phone.at(17_300),
            ras: ras.address()?,
            life: 60,
            keep_alive: false,
            alias: "1000",
            token,
            feature: None,
        })
    }
}

/// Runs a test under the lab's rules with these keys in `[inspect.h323]`.
fn under(test: &str, keys: &str, run: impl FnOnce(&Stage<'_>) -> Result<()>) -> Result<()> {
    if !root_or_skip(test) {
        return Ok(());
    }
    // Two stands, so that two tests run at a time; both are held for the tests to come.
    static STANDS: [&Shared; 2] = [&GATEWAY, &GATEWAY_V6];
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let _stands = [STANDS[0].stand()?, STANDS[1].stand()?];
    let turn = STANDS[NEXT.fetch_add(1, Ordering::Relaxed) % 2].turn()?;
    govern(&turn, keys)?;
    let family = Family::V4;
    let gatekeeper = Host::new(turn.lab.inside(), family.call_manager(0));
    let terminal = Host::new(turn.lab.inside(), family.call_manager(1));
    let stage = Stage {
        turn: &turn,
        phone: Host::new(turn.lab.outside(), family.phone(0)),
        other: Host::new(turn.lab.outside(), family.phone(1)),
        desks: [session::desk(&gatekeeper)?, session::desk(&terminal)?],
        gatekeeper,
        terminal,
    };
    run(&stage).with_context(|| keys.to_owned())?;
    turn.firewall.settled()
}

/// Puts the lab's rules in force with these keys in `[inspect.h323]`.
fn govern(turn: &Turn, keys: &str) -> Result<()> {
    amend(turn, "[inspect.mgcp]\n", &format!("[inspect.h323]\n{keys}\n\n[inspect.mgcp]\n"))
}

/// Puts the lab's rules in force with these keys in the rule that admits H.323.
fn govern_rule(turn: &Turn, keys: &str) -> Result<()> {
    const LAST: &str = "inspect = \"h323\"\n";
    amend(turn, LAST, &format!("{LAST}{keys}\n"))
}

/// Puts the lab's rules in force with one passage written otherwise.
fn amend(turn: &Turn, passage: &str, instead: &str) -> Result<()> {
    let text = Policy::default().text(&turn.lab);
    ensure!(text.contains(passage), "the lab's rules have no {passage}");
    fs::write(turn.firewall.rules_file(), text.replacen(passage, instead, 1))?;
    let output = turn.firewall.fwctl(&["reload"])?;
    ensure!(output.status.success(), "{instead}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The request is answered by a rejection of this kind, under its own number.
fn rejected(answer: Option<Vec<u8>>, kind: u8, sequence: u16) -> Result<()> {
    let read = answer.as_deref().and_then(ras::read);
    ensure!(read == Some((kind, sequence)), "{read:?} instead of {kind}, {sequence}: {answer:02x?}");
    Ok(())
}

#[test]
fn gatekeepers() -> Result<()> {
    under("gatekeepers", "gatekeepers = \"10.1.1.10\"", |stage| {
        let mut stranger = Ras::between(&stage.phone, &stage.terminal)?;
        let (address, registration) = (stranger.address()?, stage.registration(&stranger, false)?);
        let sequence = stranger.number();
        let answer = stranger.ask_in_vain(&ras::gatekeeper_request(sequence, address))?;
        rejected(answer, kind::GATEKEEPER_REJECT, sequence)?;
        let sequence = stranger.number();
        let answer = stranger.ask_in_vain(&ras::registration_request(sequence, &registration))?;
        rejected(answer, kind::REGISTRATION_REJECT, sequence)?;
        let sequence = stranger.number();
        let answer =
            stranger.ask_in_vain(&ras::admission_request(sequence, [7; 16], "2000", "1000", false))?;
        rejected(answer, kind::ADMISSION_REJECT, sequence)?;
        let sequence = stranger.number();
        let answer = stranger.ask_in_vain(&ras::location_request(sequence, "2000", address))?;
        rejected(answer, kind::LOCATION_REJECT, sequence)?;
        drop(stranger);

        let mut known = Ras::between(&stage.phone, &stage.gatekeeper)?;
        known.exchange(
            |sequence| ras::registration_request(sequence, &registration),
            |sequence| ras::registration_confirm(sequence, 60),
        )?;
        let place = registration.call_signal;
        known.exchange(|sequence| ras::unregistration_request(sequence, place), ras::unregistration_confirm)
    })
}

#[test]
fn routed_only() -> Result<()> {
    under("routed_only", "gatekeepers = \"10.1.1.10\"\nrouted_only = true", |stage| {
        let [gatekeeper, terminal] = &stage.desks;
        stage.forbidden(&stage.phone, terminal, &Setup::default(), cause::REJECTED)?;
        stage.comes_and_goes(&stage.phone, gatekeeper, &Setup::default())?;

        // An admission to a terminal itself becomes a rejection.
        let mut known = Ras::between(&stage.phone, &stage.gatekeeper)?;
        let sequence = known.number();
        known.ask(&ras::admission_request(sequence, new_call().id, "2000", "1000", false))?;
        let answer = known.tell_in_vain(&ras::admission_confirm(sequence, false, terminal.address))?;
        rejected(answer, kind::ADMISSION_REJECT, sequence)?;
        let id = new_call().id;
        known.exchange(
            |sequence| ras::admission_request(sequence, id, "2000", "1000", false),
            |sequence| ras::admission_confirm(sequence, true, gatekeeper.address),
        )?;
        known.exchange(|sequence| ras::disengage_request(sequence, id), ras::disengage_confirm)
    })
}

#[test]
fn require_admission() -> Result<()> {
    under("require_admission", "require_admission = true", |stage| {
        let [desk, elsewhere] = &stage.desks;
        stage.forbidden(&stage.phone, desk, &Setup::default(), cause::REJECTED)?;
        let mut known = Ras::between(&stage.phone, &stage.gatekeeper)?;
        let mut dialogue = Dialogue::connect(&stage.phone, desk)?;
        let call = dialogue.call;
        known.exchange(
            |sequence| ras::admission_request(sequence, call.id, "2000", "1000", false),
            |sequence| ras::admission_confirm(sequence, false, desk.address),
        )?;
        // Another call, another caller, or another callee were not admitted.
        stage.forbidden(&stage.phone, desk, &Setup::default(), cause::REJECTED)?;
        for (caller, callee) in [(&stage.other, desk), (&stage.phone, elsewhere)] {
            let mut line = caller.connect(callee)?;
            let [near, far] = line.withheld(&Setup::default().encode(&call))?;
            ensure!(far.is_empty(), "{far:02x?} arrives");
            ensure!(released(&near).is_some_and(|(.., cause)| cause == Some(cause::REJECTED)), "{near:02x?}");
        }
        dialogue.line.forth(&Setup::default().encode(&call))?;
        dialogue.line.back(&build::connect(&call, &Parts::default()))?;
        dialogue.release()?;
        known.exchange(|sequence| ras::disengage_request(sequence, call.id), ras::disengage_confirm)
    })
}

#[test]
fn tunnelling() -> Result<()> {
    under("tunnelling", "tunnelling = \"block\"", |stage| {
        let [desk, _] = &stage.desks;
        let mut dialogue = stage.permitted(&stage.phone, desk, &Setup::default())?;
        let message = dialogue.carried(Side::Caller, build::terminal_capability_set(false));
        let ends = dialogue.line.withheld(&message)?;
        for (end, flag) in ends.iter().zip([true, false]) {
            let read = released(end);
            ensure!(
                read.is_some_and(|(reference, of, _)| (reference, of) == (dialogue.call.reference, flag)),
                "{end:02x?}"
            );
        }
        ensure!(dialogue.line.near.is_closed() && dialogue.line.far.is_closed(), "the connection goes on");
        stage.firewall().settled()?;
        let mut separate = Dialogue::separate(&stage.phone, desk)?;
        separate.open(1, Data::Audio)?.whole()?;
        separate.release()?;

        govern(stage.turn, "tunnelling = \"log\"")?;
        let last = stage.firewall().last_event()?;
        let mut dialogue = Dialogue::tunnelled(&stage.phone, desk)?;
        dialogue.open(1, Data::Audio)?.whole()?;
        dialogue.release()?;
        let events = stage.firewall().events(last)?;
        let told = events.iter().filter(|row| row.kind.name() == "h245-tunnelled").count();
        ensure!(told == 1, "{events:?}");
        Ok(())
    })
}

#[test]
fn state() -> Result<()> {
    under("state", "state = \"refuse\"", |stage| {
        let [desk, _] = &stage.desks;
        let (near, far) = (stage.phone.media()?, stage.terminal.media()?);
        let h245 = Parts { h245_address: Some(stage.phone.at(20_245)), ..Parts::default() };
        let fast = Parts { fast_start: build::acceptance(own(&far), near.rtp()), ..Parts::default() };
        type Message = fn(&build::Call, &Parts) -> Vec<u8>;
        let early: [(&str, Message, &Parts); 4] = [
            ("Connect with fastStart", build::connect, &fast),
            ("Connect with an H.245 address", build::connect, &h245),
            ("Alerting", build::alerting, &Parts::default()),
            ("Facility", |call, parts| build::facility(call, true, parts), &h245),
        ];
        for (what, message, parts) in early {
            let (call, mut line) = (new_call(), stage.phone.connect(desk)?);
            let before = stage.firewall().counters()?;
            let [near, far] = line.withheld(&message(&call, parts))?;
            ensure!(far.len() < 4 || released(&far).is_some(), "{what}: {far:02x?} arrives");
            let read = released(&near);
            ensure!(read.is_some_and(|(.., cause)| cause == Some(cause::REJECTED)), "{what}: {near:02x?}");
            let dropped = stage.firewall().counters()?.dropped_since(&before);
            ensure!(dropped.get("alg-refused") == Some(&1), "{what}: {dropped:?}");
            ensure!(stage.firewall().pinholes()?.is_empty(), "{what}: {:?}", stage.firewall().pinholes()?);
        }

        // In its turn everything is heard; after the release nothing is.
        let mut dialogue = Dialogue::tunnelled(&stage.phone, desk)?;
        dialogue.open(1, Data::Audio)?.whole()?;
        dialogue.release()?;
        let late = dialogue.carried(Side::Caller, wire::open(2, Data::Audio, None, own(&near).rtcp));
        let [_, heard] = dialogue.line.withheld(&late)?;
        ensure!(heard.is_empty() || released(&heard).is_some(), "{heard:02x?} arrives after the release");
        Ok(())
    })
}

#[test]
fn numbers() -> Result<()> {
    let calling = |calling| Setup { calling, ..Setup::default() };
    let called = |called| Setup { called, ..Setup::default() };
    let named = |name| Setup { name, ..Setup::default() };
    let cases = [
        ("calling_allow = \"49*\"", calling("1000"), calling("4930")),
        ("calling_deny = [\"0900*\", \"1???\"]", calling("1000"), calling("10000")),
        ("calling_deny = \"Mal*\"", named("Mallory"), named("Ada")),
        ("called_allow = [\"2*\", \"112\"]", called("3000"), called("112")),
        ("called_deny = \"00*\"", called("0049301"), called("0301")),
    ];
    for (keys, forbidden, permitted) in cases {
        under("numbers", keys, |stage| {
            let [desk, _] = &stage.desks;
            stage.forbidden(&stage.phone, desk, &forbidden, cause::REJECTED)?;
            stage.comes_and_goes(&stage.phone, desk, &permitted)?;
            // Their admission is refused, too.
            if forbidden.name.is_empty() {
                let mut known = Ras::between(&stage.phone, &stage.gatekeeper)?;
                let sequence = known.number();
                let id = new_call().id;
                let request =
                    ras::admission_request(sequence, id, forbidden.called, forbidden.calling, false);
                rejected(known.ask_in_vain(&request)?, kind::ADMISSION_REJECT, sequence)?;
                let sequence = known.number();
                known.ask(&ras::admission_request(
                    sequence,
                    id,
                    permitted.called,
                    permitted.calling,
                    false,
                ))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn media_types() -> Result<()> {
    let cases = [
        ("media_types = [\"audio\", \"data\", \"t38\", \"h239\"]", Data::Video, Data::Presentation),
        ("media_types = [\"audio\", \"video\", \"t38\"]", Data::Presentation, Data::Video),
        ("media_types = [\"video\", \"data\"]", Data::Audio, Data::Video),
        ("media_types = [\"audio\", \"data\", \"video\", \"h239\"]", Data::Fax, Data::Audio),
    ];
    for (keys, forbidden, permitted) in cases {
        under("media_types", keys, |stage| {
            let [desk, _] = &stage.desks;
            let count = || -> Result<u64> {
                Ok(stage.firewall().status()?.alg.refusals.get("media-type").copied().unwrap_or(0))
            };
            let before = count()?;
            let mut dialogue = Dialogue::tunnelled(&stage.phone, desk)?;
            let stream = dialogue.open(1, permitted)?;
            let media = build::Media { rtp: stage.gatekeeper.at(20_000), rtcp: stage.gatekeeper.at(20_001) };
            dialogue.grant(Side::Caller, 2, forbidden, stage.phone.at(20_003), media)?;
            let open = stage.firewall().pinholes()?;
            ensure!(!open.iter().any(|row| row.to == media.rtp || row.to == media.rtcp), "{open:?}");
            ensure!(count()? > before, "not counted");
            stream.whole()?;
            dialogue.release()
        })?;
    }
    Ok(())
}

#[test]
fn data_among_media_types() -> Result<()> {
    for (keys, permitted) in [("media_types = [\"audio\", \"t38\"]", false), ("media_types = \"data\"", true)]
    {
        under("data_among_media_types", keys, |stage| {
            let [desk, _] = &stage.desks;
            let stack = stage.gatekeeper.listen(20_120)?;
            let mut dialogue = Dialogue::tunnelled(&stage.phone, desk)?;
            dialogue.control(Side::Callee, build::open_data_channel(9, stack.address))?;
            if permitted {
                stage.phone.connect(&stack)?.forth(b"T.120")?;
            } else {
                ensure!(stage.phone.is_kept_from(&stack), "connected");
            }
            dialogue.release()
        })?;
    }
    Ok(())
}

/// Octets of one TPKT: whether they are a ReleaseComplete of this call to the called party, as long as what it stands for.
fn stands_in(octets: &[u8], length: usize, reference: u16) -> Result<()> {
    ensure!(octets.len() == length, "{length} octets arrive as {octets:02x?}");
    ensure!(released(octets) == Some((reference, false, Some(cause::REJECTED))), "{octets:02x?}");
    Ok(())
}

#[test]
fn a_refused_call_leaves_the_others_of_its_connection_alone() -> Result<()> {
    let keys = "called_deny = \"0900*\"";
    under("a_refused_call_leaves_the_others_of_its_connection_alone", keys, |stage| {
        let [desk, _] = &stage.desks;
        let denied = Setup { called: "0900123", ..Setup::default() };
        let (mut dialogue, stream) = Dialogue::fast(&stage.phone, desk)?;
        let before = stage.firewall().counters()?;

        // The called party reads of its end, and the caller nothing.
        let (first, refused) = (dialogue.call, new_call());
        let setup = denied.encode(&refused);
        let [near, far] = dialogue.line.withheld(&setup)?;
        ensure!(near.is_empty(), "the caller reads {near:02x?}");
        stands_in(&far, setup.len(), refused.reference)?;

        // Between others in one segment.
        dialogue.call = new_call();
        let refused = new_call();
        let wanted = Setup::default().encode(&dialogue.call);
        let facility = build::facility(&first, false, &Parts::default());
        let setup = denied.encode(&refused);
        let [near, far] = dialogue.line.withheld(&[&wanted[..], &setup, &facility].concat())?;
        ensure!(near.is_empty(), "the caller reads {near:02x?}");
        let (head, rest) = far.split_at_checked(wanted.len()).context("nothing arrives")?;
        let (middle, tail) = rest.split_at_checked(setup.len()).context("no more arrives")?;
        ensure!(head == wanted && tail == facility, "{far:02x?}");
        stands_in(middle, setup.len(), refused.reference)?;
        dialogue.line.back(&build::connect(&dialogue.call, &Parts::default()))?;

        // So with what cannot be read; and nothing of it is a lost packet.
        let damaged = build::tpkt(&[&[0x08, 0x02, 0x7f, 0x01, 5, 0x7e, 0, 40, 5][..], &[0xff; 39]].concat());
        let [_, far] = dialogue.line.withheld(&damaged)?;
        stands_in(&far, damaged.len(), 0x7f01)?;
        ensure!(stage.firewall().calls()?.len() == 2, "{:?}", stage.firewall().calls()?);
        let dropped = stage.firewall().counters()?.dropped_since(&before);
        ensure!(dropped.is_empty(), "{dropped:?}");

        stream.whole()?;
        dialogue.release()?;
        // What is refused of a call ends that call alone.
        govern(stage.turn, "tunnelling = \"block\"")?;
        dialogue.call = new_call();
        dialogue.line.forth(&Setup::default().encode(&dialogue.call))?;
        let message = dialogue.carried(Side::Caller, build::terminal_capability_set(false));
        let [near, far] = dialogue.line.withheld(&message)?;
        ensure!(near.is_empty(), "the caller reads {near:02x?}");
        stands_in(&far, message.len(), dialogue.call.reference)?;
        ensure!(stage.firewall().calls()?.len() == 1, "{:?}", stage.firewall().calls()?);

        // The last call of a connection is refused aloud, and takes it along.
        dialogue.call = first;
        let message = dialogue.carried(Side::Caller, build::terminal_capability_set(false));
        let [near, _] = dialogue.line.withheld(&message)?;
        ensure!(released(&near).is_some_and(|(reference, ..)| reference == first.reference), "{near:02x?}");
        ensure!(dialogue.line.near.is_closed() && dialogue.line.far.is_closed(), "the connection goes on");
        Ok(())
    })
}

/// A part of it has gone on already: nothing can stand in for it.
#[test]
fn a_refused_call_in_pieces_takes_its_connection_along() -> Result<()> {
    let keys = "called_deny = \"0900*\"";
    under("a_refused_call_in_pieces_takes_its_connection_along", keys, |stage| {
        let [desk, _] = &stage.desks;
        let (mut dialogue, stream) = Dialogue::fast(&stage.phone, desk)?;
        let (refused, denied) = (new_call(), Setup { called: "0900123", ..Setup::default() });
        let setup = denied.encode(&refused);
        let (head, tail) = setup.split_at(20);
        dialogue.line.forth(head)?;
        let [near, far] = dialogue.line.withheld(tail)?;
        ensure!(far.is_empty(), "{far:02x?} arrives");
        ensure!(released(&near) == Some((refused.reference, true, Some(cause::REJECTED))), "{near:02x?}");
        ensure!(dialogue.line.near.is_closed() && dialogue.line.far.is_closed(), "the connection goes on");
        // The call that had been answered does not need it.
        stream.whole()?;
        ensure!(stage.firewall().calls()?.len() == 1, "{:?}", stage.firewall().calls()?);
        let mut line = stage.phone.connect(desk)?;
        line.forth(&build::release_complete(&dialogue.call, false, &Parts::default()))
    })
}

#[test]
fn calls_at_a_time() -> Result<()> {
    for (keys, everybody) in [("calls_max = 2", true), ("calls_per_source = 2", false)] {
        under("calls_at_a_time", keys, |stage| {
            let [desk, _] = &stage.desks;
            let setup = Setup::default();
            let mut first = stage.permitted(&stage.phone, desk, &setup)?;
            let mut second = stage.permitted(&stage.phone, desk, &setup)?;
            stage.forbidden(&stage.phone, desk, &setup, cause::CONGESTION)?;
            if everybody {
                stage.forbidden(&stage.other, desk, &setup, cause::CONGESTION)?;
            } else {
                stage.comes_and_goes(&stage.other, desk, &setup)?;
            }
            first.release()?;
            stage.comes_and_goes(&stage.phone, desk, &setup)?;
            second.release()
        })?;
    }
    Ok(())
}

#[test]
fn call_rate() -> Result<()> {
    under("call_rate", "call_rate = \"3/min\"", |stage| {
        let [desk, _] = &stage.desks;
        let setup = Setup::default();
        for _ in 0..3 {
            stage.comes_and_goes(&stage.phone, desk, &setup)?;
        }
        stage.forbidden(&stage.phone, desk, &setup, cause::CONGESTION)?;
        stage.comes_and_goes(&stage.other, desk, &setup)
    })
}

#[test]
fn call_max() -> Result<()> {
    under("call_max", "call_max = \"2s\"", |stage| {
        let [desk, _] = &stage.desks;
        let (mut dialogue, stream) = Dialogue::fast(&stage.phone, desk)?;
        let [near, far] = stream.ends();
        stream.whole()?;
        // It is over within a tick of its time.
        thread::sleep(Duration::from_millis(1_500));
        stage.firewall().settled()?;
        let (phone, callee) = (stage.phone.udp(near.port())?, stage.gatekeeper.udp(far.port())?);
        ensure!(
            session::through(session::Carried::Rtp, &phone, &callee, 3)? == [0, 0],
            "media passes after the call's time"
        );
        // Nor does it open anything again.
        let message =
            dialogue.carried(Side::Caller, wire::open(2, Data::Audio, None, stage.phone.at(20_001)));
        let _ = dialogue.line.near.send(&message);
        thread::sleep(QUIET);
        ensure!(stage.firewall().pinholes()?.is_empty(), "opened after the call's time");
        let _ = dialogue.line.forth(&build::release_complete(&dialogue.call, false, &Parts::default()));
        Ok(())
    })
}

#[test]
fn ras_rate() -> Result<()> {
    under("ras_rate", "ras_rate = \"5/min\"", |stage| {
        let mut known = Ras::between(&stage.phone, &stage.gatekeeper)?;
        let address = known.address()?;
        for _ in 0..5 {
            let request = ras::gatekeeper_request(known.number(), address);
            known.ask(&request)?;
        }
        let request = ras::gatekeeper_request(known.number(), address);
        ensure!(known.ask_in_vain(&request)?.is_none(), "an answer to a request above the rate");
        drop(known);
        let mut other = Ras::between(&stage.other, &stage.gatekeeper)?;
        let (sequence, address) = (other.number(), other.address()?);
        other.ask(&ras::gatekeeper_request(sequence, address))
    })
}

#[test]
fn require_tokens() -> Result<()> {
    under("require_tokens", "require_tokens = true", |stage| {
        let [desk, _] = &stage.desks;
        stage.forbidden(&stage.phone, desk, &Setup::default(), cause::REJECTED)?;
        stage.comes_and_goes(&stage.phone, desk, &Setup { token: true, ..Setup::default() })?;
        let mut known = Ras::between(&stage.phone, &stage.gatekeeper)?;
        let (plain, token) = (stage.registration(&known, false)?, stage.registration(&known, true)?);
        let sequence = known.number();
        let answer = known.ask_in_vain(&ras::registration_request(sequence, &plain))?;
        rejected(answer, kind::REGISTRATION_REJECT, sequence)?;
        let sequence = known.number();
        let request = ras::admission_request(sequence, new_call().id, "2000", "1000", false);
        rejected(known.ask_in_vain(&request)?, kind::ADMISSION_REJECT, sequence)?;
        let sequence = known.number();
        known.ask(&ras::registration_request(sequence, &token))
    })
}

#[test]
fn unknown() -> Result<()> {
    for (keys, passes) in [("unknown = \"drop\"", false), ("unknown = \"pass\"", true)] {
        under("unknown", keys, |stage| {
            let [desk, _] = &stage.desks;
            let mut known = Ras::between(&stage.phone, &stage.gatekeeper)?;
            let request = ras::unknown(known.number());
            let mut separate = Dialogue::separate(&stage.phone, desk)?;
            let control = build::tpkt(&wire::unknown_control());
            let body = wire::unknown_body(&separate.call, 40);
            if passes {
                known.ask(&request)?;
                separate.control(Side::Caller, wire::unknown_control())?;
                separate.line.forth(&body)?;
                return separate.release();
            }
            known.ask_in_vain(&request)?;
            let Some((link, _)) = &mut separate.control else { bail!("no H.245 connection") };
            let [_, heard] = link.withheld(&control)?;
            ensure!(!heard.windows(control.len()).any(|window| window == control), "H.245 arrives");
            let [_, heard] = separate.line.withheld(&body)?;
            ensure!(!heard.windows(body.len()).any(|window| window == body), "H.225 arrives");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn undecodable() -> Result<()> {
    for (keys, passes) in [("undecodable = \"drop\"", false), ("undecodable = \"pass\"", true)] {
        under("undecodable", keys, |stage| {
            let [desk, _] = &stage.desks;
            let octets = build::tpkt(&[&[0x08, 0x02, 0, 7, 5, 0x7e, 0, 12, 5][..], &[0xff; 11]].concat());
            let datagram = [0x0c, 0xff, 0xff];
            let mut line = stage.phone.connect(desk)?;
            let known = Ras::between(&stage.phone, &stage.gatekeeper)?;
            if passes {
                known.ask(&datagram)?;
                return line.forth(&octets);
            }
            known.ask_in_vain(&datagram)?;
            let [_, heard] = line.withheld(&octets)?;
            ensure!(heard.is_empty() && line.far.is_closed(), "{heard:02x?}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_rule_may_have_its_own() -> Result<()> {
    under("a_rule_may_have_its_own", "called_deny = \"2000\"", |stage| {
        let [desk, _] = &stage.desks;
        stage.forbidden(&stage.phone, desk, &Setup::default(), cause::REJECTED)?;
        govern_rule(stage.turn, "h323 = { called_deny = \"3000\" }")?;
        stage.comes_and_goes(&stage.phone, desk, &Setup::default())?;
        stage.forbidden(&stage.phone, desk, &Setup { called: "3000", ..Setup::default() }, cause::REJECTED)
    })
}

#[test]
fn media() -> Result<()> {
    under("media", "", |stage| {
        let [desk, _] = &stage.desks;
        let group: SocketAddr = "239.1.2.3:20300".parse()?;
        let third = build::Media { rtp: stage.terminal.at(20_000), rtcp: stage.terminal.at(20_001) };
        for (authority, of_group, of_all) in
            [("\"signaller\"", false, false), ("\"callmanagers\"", true, false), ("\"any\"", true, true)]
        {
            govern_rule(stage.turn, &format!("media = {authority}"))?;
            let mut dialogue = Dialogue::tunnelled(&stage.phone, desk)?;
            dialogue.grant(Side::Caller, 1, Data::Audio, stage.phone.at(20_003), third)?;
            let to_all = wire::open(2, Data::Video, Some(group), stage.phone.at(20_301));
            dialogue.control(Side::Caller, to_all)?;
            let open = stage.firewall().pinholes()?;
            let sender = |to| open.iter().find(|row| row.to == to).map(|row| row.from.clone());
            ensure!(sender(third.rtp).is_some() == of_group, "{authority}: {open:?}");
            ensure!(sender(third.rtcp).is_some() == of_group, "{authority}: {open:?}");
            ensure!(sender(group).is_some() == of_all, "{authority}: {open:?}");
            // Nobody but who has announced the group may send to it.
            let announcer = |peers: Vec<Peer>| peers.iter().all(|peer| peer.ip == stage.phone.ip);
            ensure!(sender(group).is_none_or(announcer), "{authority}: {open:?}");
            dialogue.release()?;
        }
        Ok(())
    })
}
