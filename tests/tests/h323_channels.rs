//! H.323 channels through a gateway in enforce mode: held and resumed, moved, a second video, fax, T.120, RTCP
//! and multicast where they are announced.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use callgate_alg::call::Medium;
use callgate_lab::fixture::{self, GATEWAY, GATEWAY_V6, Turn};
use callgate_lab::h323::ledger::Ledger;
use callgate_lab::h323::session::{self, Carried, Dialogue, Host, Listener, QUIET, Side};
use callgate_lab::h323::wire::{self, Data};
use callgate_lab::lab::Family;
use callgate_lab::root_or_skip;
use callgate_protocols::build;

/// How a call's H.245 travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Separate,
    Tunnelled,
}

/// What a test of one way has.
struct Scene<'a> {
    turn: &'a Turn,
    phone: Host,
    terminal: Host,
    ledger: Ledger<'a>,
    dialogue: Dialogue,
    _desk: Listener,
}

impl<'a> Scene<'a> {
    /// An answered call without channels.
    fn of(turn: &'a Turn, family: Family, control: Control) -> Result<Self> {
        let phone = Host::new(turn.lab.outside(), family.phone(0));
        let terminal = Host::new(turn.lab.inside(), family.call_manager(0));
        let desk = session::desk(&terminal)?;
        let mut ledger = Ledger::open(&turn.firewall)?;
        let dialogue = match control {
            Control::Separate => {
                ledger.admitted(1);
                Dialogue::separate(&phone, &desk)?
            }
            Control::Tunnelled => Dialogue::tunnelled(&phone, &desk)?,
        };
        Ok(Self { turn, phone, terminal, ledger, dialogue, _desk: desk })
    }

    /// Where a stream of the call is open, and what it carries.
    fn media(&self) -> Result<Vec<Medium>> {
        let calls = self.turn.firewall.calls()?;
        let [call] = &calls[..] else { anyhow::bail!("one call expected: {calls:?}") };
        let media = call.streams.iter().filter(|row| row.caller.is_some() && row.callee.is_some());
        Ok(media.map(|row| row.medium).collect())
    }

    fn open_ports(&self) -> Result<Vec<SocketAddr>> {
        Ok(self.turn.firewall.pinholes()?.into_iter().map(|row| row.to).collect())
    }

    fn end(mut self) -> Result<()> {
        self.dialogue.release()?;
        self.ledger.close()
    }
}

/// Runs a test with each family, and each way of H.245.
fn every_way(test: &str, run: impl Fn(Scene<'_>) -> Result<()> + Sync) -> Result<()> {
    if !root_or_skip(test) {
        return Ok(());
    }
    fixture::each_family([&GATEWAY, &GATEWAY_V6], |turn, family| {
        let control = if family == Family::V4 { Control::Separate } else { Control::Tunnelled };
        run(Scene::of(turn, family, control)?)
    })
}

#[test]
fn a_held_call_is_resumed() -> Result<()> {
    every_way("a_held_call_is_resumed", |mut scene| {
        let stream = scene.dialogue.open(1, Data::Audio)?;
        scene.ledger.media(&stream.whole()?);

        // An empty capability set (H.323 §8.4.6): the phone's channel is closed, and is not to be used meanwhile.
        scene.dialogue.control(Side::Callee, build::terminal_capability_set(true))?;
        scene.dialogue.control(Side::Caller, build::terminal_capability_set_ack())?;
        let calls = scene.turn.firewall.calls()?;
        let held = calls.iter().flat_map(|call| &call.streams).filter(|row| row.medium == Medium::Audio);
        ensure!(held.clone().count() == 1 && held.clone().all(|row| row.held), "{calls:?}");
        scene.dialogue.close(1)?;
        ensure!(!scene.media()?.contains(&Medium::Audio), "closed");

        scene.dialogue.control(Side::Callee, build::terminal_capability_set(false))?;
        scene.dialogue.control(Side::Caller, build::terminal_capability_set_ack())?;
        let stream = scene.dialogue.open(2, Data::Audio)?;
        let calls = scene.turn.firewall.calls()?;
        ensure!(calls.iter().flat_map(|call| &call.streams).all(|row| !row.held), "{calls:?}");
        scene.ledger.media(&stream.whole()?);
        scene.end()
    })
}

#[test]
fn a_presentation_runs_beside_audio_and_video() -> Result<()> {
    every_way("a_presentation_runs_beside_audio_and_video", |mut scene| {
        let audio = scene.dialogue.open(1, Data::Audio)?;
        let video = scene.dialogue.open(2, Data::Video)?;
        let slides = scene.dialogue.open(3, Data::Presentation)?;
        let mut media = scene.media()?;
        media.sort_by_key(|medium| format!("{medium:?}"));
        ensure!(media == [Medium::Audio, Medium::Video, Medium::Video], "{media:?}");

        let ends = slides.ends();
        scene.ledger.media(&slides.whole()?);
        scene.dialogue.close(3)?;
        let open = scene.open_ports()?;
        ensure!(ends.iter().all(|to| !open.contains(to)), "closed, yet open: {open:?}");
        for stream in [audio, video] {
            let ends = stream.ends();
            ensure!(ends.iter().all(|to| open.contains(to)), "closed with the presentation: {open:?}");
            scene.ledger.media(&stream.whole()?);
        }
        scene.end()
    })
}

#[test]
fn a_closed_channel_carries_nothing() -> Result<()> {
    every_way("a_closed_channel_carries_nothing", |mut scene| {
        let stream = scene.dialogue.open(1, Data::Audio)?;
        let [near, far] = stream.ends();
        scene.ledger.media(&stream.whole()?);
        let (near, far) = (scene.phone.udp(near.port())?, scene.terminal.udp(far.port())?);
        // From the caller to the callee, that is; the other one stays.
        scene.dialogue.control(Side::Caller, build::close_logical_channel(1))?;
        ensure!(session::through(Carried::Rtp, &near, &far, 5)? == [0, 5]);
        scene.ledger.admitted(5);
        scene.dialogue.control(Side::Callee, build::close_logical_channel(1))?;
        ensure!(session::through(Carried::Rtp, &near, &far, 5)? == [0, 0]);
        scene.ledger.dropped("no-pinhole", 15);
        scene.end()
    })
}

#[test]
fn media_moves_within_a_call() -> Result<()> {
    every_way("media_moves_within_a_call", |mut scene| {
        let first = scene.dialogue.open(1, Data::Audio)?;
        let moved = scene.phone.media()?;
        let [_, far] = first.ends();
        let old = first.near.local();
        scene.ledger.media(&first.whole()?);
        // The callee's channel ends, and another one is received elsewhere (H.323 §8.4.6, rerouting).
        scene.dialogue.control(Side::Callee, build::close_logical_channel(1))?;
        scene.dialogue.control(Side::Caller, build::close_logical_channel_ack(1))?;
        let (new, rtcp) = (moved.rtp(), moved.rtcp());
        ensure!(new != old, "the first port is still taken");
        scene.dialogue.grant(
            Side::Callee,
            2,
            Data::Audio,
            SocketAddr::new(far.ip(), far.port() + 1),
            build::Media { rtp: new, rtcp },
        )?;
        let open = scene.open_ports()?;
        ensure!(open.contains(&new) && open.contains(&far) && !open.contains(&old), "{open:?}");
        drop(moved);
        let (new, old) = (scene.phone.udp(new.port())?, scene.phone.udp(old.port())?);
        let far = scene.terminal.udp(far.port())?;
        let arrived = session::through(Carried::Rtp, &new, &far, 5)?;
        ensure!(arrived == [5, 5], "lost: {arrived:?}");
        // A phone may send from any port of its own, but from one only.
        ensure!(session::through(Carried::Rtp, &old, &far, 5)? == [0, 0], "the first port is still open");
        scene.ledger.admitted(10);
        scene.ledger.dropped("second-source", 5);
        scene.ledger.dropped("no-pinhole", 5);
        scene.end()
    })
}

#[test]
fn a_fax_passes() -> Result<()> {
    every_way("a_fax_passes", |mut scene| {
        let (near, far) = (scene.phone.udp(20_000)?, scene.terminal.udp(20_002)?);
        // UDPTL has no RTCP, but its channel has a port for it nevertheless.
        let media = |host: &Host, port| build::Media { rtp: host.at(port), rtcp: host.at(port + 1) };
        let ends = (media(&scene.phone, 20_000), media(&scene.terminal, 20_002));
        scene.dialogue.grant(Side::Caller, 5, Data::Fax, ends.0.rtcp, ends.1)?;
        scene.dialogue.grant(Side::Callee, 5, Data::Fax, ends.1.rtcp, ends.0)?;
        ensure!(scene.media()? == [Medium::Image], "{:?}", scene.media()?);
        ensure!(session::through(Carried::Udptl, &near, &far, 8)? == [8, 8], "T.38 is lost");
        scene.ledger.admitted(16);
        ensure!(session::through(Carried::Rtp, &near, &far, 3)? == [0, 0], "audio passes as T.38");
        scene.ledger.dropped("not-udptl", 6);
        scene.dialogue.close(5)?;
        ensure!(session::through(Carried::Udptl, &near, &far, 3)? == [0, 0], "T.38 passes after its channel");
        scene.ledger.dropped("no-pinhole", 6);
        scene.end()
    })
}

#[test]
fn rtcp_goes_wherever_it_is_announced() -> Result<()> {
    every_way("rtcp_goes_wherever_it_is_announced", |mut scene| {
        let (near, far) = (scene.phone.udp(21_777)?, scene.terminal.udp(21_999)?);
        let beside = scene.terminal.udp(22_001)?;
        let media = |host: &Host, rtcp| build::Media { rtp: host.at(22_000), rtcp: host.at(rtcp) };
        let ends = (media(&scene.phone, 21_777), media(&scene.terminal, 21_999));
        scene.dialogue.grant(Side::Caller, 7, Data::Audio, ends.0.rtcp, ends.1)?;
        scene.dialogue.grant(Side::Callee, 7, Data::Audio, ends.1.rtcp, ends.0)?;
        ensure!(session::through(Carried::Rtcp, &near, &far, 8)? == [8, 8], "RTCP is lost");
        scene.ledger.admitted(16);
        // Not to where it usually is, nor from there, now that it has come from elsewhere.
        ensure!(session::through(Carried::Rtcp, &near, &beside, 4)? == [0, 0], "RTP's next port");
        scene.ledger.dropped("no-pinhole", 4);
        scene.ledger.dropped("second-source", 4);
        scene.end()
    })
}

#[test]
fn t120_is_connected_where_it_is_announced() -> Result<()> {
    every_way("t120_is_connected_where_it_is_announced", |mut scene| {
        let stack = scene.terminal.listen(20_120)?;
        let stranger = Host::new(scene.turn.lab.outside(), Family::V4.phone(1));
        ensure!(scene.phone.is_kept_from(&stack), "connected before anybody has said so");
        scene.ledger.dropped("default-drop", 1);
        scene.dialogue.control(Side::Callee, build::open_data_channel(9, stack.address))?;
        if stack.address.is_ipv4() {
            ensure!(stranger.is_kept_from(&stack), "the stack was not for this one");
            scene.ledger.dropped("default-drop", 1);
        }
        let mut link = scene.phone.connect(&stack)?;
        scene.ledger.admitted(1);
        link.forth(&[0xd0; 4_000])?;
        link.back(&[0x0d; 4_000])?;
        drop(link);
        scene.end()
    })
}

#[test]
fn multicast_needs_the_rules_leave() -> Result<()> {
    every_way("multicast_needs_the_rules_leave", |mut scene| {
        let group: SocketAddr = if scene.phone.ip.is_ipv4() {
            "239.1.2.3:20300".parse()?
        } else {
            "[ff15::1:2]:20300".parse()?
        };
        let open = wire::open(11, Data::Audio, Some(group), scene.phone.at(20_301));
        scene.dialogue.control(Side::Caller, open)?;
        ensure!(!scene.open_ports()?.contains(&group), "opened");
        scene.ledger.refused("not-unicast", 1);
        scene.end()
    })
}

#[test]
fn the_end_of_a_session_ends_its_media() -> Result<()> {
    every_way("the_end_of_a_session_ends_its_media", |mut scene| {
        let stream = scene.dialogue.open(1, Data::Audio)?;
        let [near, far] = stream.ends();
        scene.ledger.media(&stream.whole()?);
        scene.dialogue.control(Side::Callee, build::end_session())?;
        std::thread::sleep(QUIET);
        scene.phone.stray(near.port(), far, 5)?;
        scene.terminal.stray(far.port(), near, 5)?;
        scene.ledger.dropped("no-pinhole", 10);
        scene.dialogue.control(Side::Caller, build::end_session())?;
        scene.dialogue.control = None;
        scene.end()
    })
}
