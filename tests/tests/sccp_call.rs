//! SCCP phones through a gateway in enforce mode: calls in every version's layout, and messages no phone sends.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use callgate_lab::checks::{clean_call, listed};
use callgate_lab::daemon::{Counters, Firewall};
use callgate_lab::fixture::GATEWAY;
use callgate_lab::lab::{Family, Lab};
use callgate_lab::policy::Policy;
use callgate_lab::sccp::wire::{self, Version, id, state};
use callgate_lab::sccp::{self, CallManager, Session, Stream};
use callgate_lab::{root_or_skip, rtp};

/// How long media runs between two steps.
const MEDIA: Duration = Duration::from_millis(300);
/// Silence after which nothing more is expected on a connection.
const QUIET: Duration = Duration::from_millis(150);

#[test]
fn media_flows_both_ways_in_every_version() -> Result<()> {
    if !root_or_skip("media_flows_both_ways_in_every_version") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for family in [Family::V4, Family::V6] {
        let manager = CallManager::listen(lab.inside(), family.call_manager(0))?;
        for version in Version::ALL.into_iter().filter(|version| family == Family::V4 || version.is_typed()) {
            let place = || sccp::place(lab.outside(), family.phone(0), &manager, version);
            let outcome = clean_call(firewall, place)
                .map_err(|error| error.context(format!("{family:?} {version:?}")))?;
            assert!(outcome.forth.sent > 20 && outcome.back.sent > 20, "{outcome}");
        }
    }
    Ok(())
}

#[test]
fn video_runs_beside_audio() -> Result<()> {
    if !root_or_skip("video_runs_beside_audio") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for (family, version) in [(Family::V4, Version(11)), (Family::V4, Version(17)), (Family::V6, Version(20))]
    {
        let far = family.call_manager(0);
        let manager = CallManager::listen(lab.inside(), far)?;
        let before = firewall.counters()?;
        let mut session = Session::registered(lab.outside(), family.phone(0), &manager, version)?;
        let channel = session.dial()?;
        let audio = session.open(channel, far)?;
        let video = session.open(channel.video(), far)?;
        assert_eq!(firewall.calls()?.len(), 1, "{family:?} {version:?}");
        let picture = video.near.local();
        run(video)?;
        session.close(channel.video())?;
        let pinholes = firewall.pinholes()?;
        assert!(pinholes.iter().all(|row| row.to != picture), "{family:?} {version:?}: {pinholes:?}");
        run(audio)?;
        session.close(channel)?;
        session.call_state(state::ON_HOOK, channel)?;
        session.leave()?;
        firewall.settled()?;
        assert_eq!(dropped(firewall, &before)?, [].into(), "{family:?} {version:?}");
    }
    Ok(())
}

#[test]
fn a_held_call_has_no_media_until_it_is_resumed() -> Result<()> {
    if !root_or_skip("a_held_call_has_no_media_until_it_is_resumed") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let (phone, far) = (Family::V4.phone(0), Family::V4.call_manager(0));
    let manager = CallManager::listen(lab.inside(), far)?;
    for version in Version::ALL {
        let before = firewall.counters()?;
        let mut session = Session::registered(lab.outside(), phone, &manager, version)?;
        let channel = session.dial()?;
        let stream = session.open(channel, far)?;
        let (near_rtp, far_rtp) = (stream.near.local(), stream.far.local());
        run(stream)?;

        session.close(channel)?;
        session.call_state(state::HOLD, channel)?;
        assert_eq!(firewall.pinholes()?, [], "{version:?}, held");
        assert_eq!(firewall.calls()?.len(), 1, "{version:?}, held");
        rtp::stray(lab.outside(), near_rtp, far_rtp, 10)?;
        rtp::stray(lab.inside(), far_rtp, near_rtp, 10)?;
        assert_eq!(dropped(firewall, &before)?, [("no-pinhole".to_owned(), 20)].into(), "{version:?}, held");

        run(session.open(channel, far)?)?;
        session.close(channel)?;
        session.call_state(state::ON_HOOK, channel)?;
        session.leave()?;
        firewall.settled()?;
        assert_eq!(dropped(firewall, &before)?, [("no-pinhole".to_owned(), 20)].into(), "{version:?}");
    }
    Ok(())
}

#[test]
fn a_transfer_admits_the_new_end_alone() -> Result<()> {
    if !root_or_skip("a_transfer_admits_the_new_end_alone") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for (family, version) in [(Family::V4, Version(3)), (Family::V4, Version(17)), (Family::V6, Version(22))]
    {
        let (phone, far) = (family.phone(0), family.call_manager(0));
        let manager = CallManager::listen(lab.inside(), far)?;
        let before = firewall.counters()?;
        let mut session = Session::registered(lab.outside(), phone, &manager, version)?;
        let channel = session.dial()?;
        let stream = session.open(channel, far)?;
        let (near_rtp, old_rtp) = (stream.near.local(), stream.far.local());
        run(stream)?;

        let stream = session.redirect(channel, near_rtp, family.call_manager(1))?;
        // What got through would be a copy of a number the new end sends.
        rtp::stray(lab.inside(), old_rtp, near_rtp, 10)?;
        rtp::stray(lab.outside(), SocketAddr::new(phone, 20_000), old_rtp, 10)?;
        run(stream)?;
        let expected = [("no-pinhole".to_owned(), 10), ("pinhole-sender".to_owned(), 10)].into();
        assert_eq!(dropped(firewall, &before)?, expected, "{family:?} {version:?}");

        session.close(channel)?;
        session.call_state(state::ON_HOOK, channel)?;
        session.leave()?;
        firewall.settled()?;
    }
    Ok(())
}

#[test]
fn a_conference_loses_one_party_and_keeps_the_other() -> Result<()> {
    if !root_or_skip("a_conference_loses_one_party_and_keeps_the_other") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for (family, version) in [(Family::V4, Version(3)), (Family::V4, Version(17)), (Family::V6, Version(22))]
    {
        let manager = CallManager::listen(lab.inside(), family.call_manager(0))?;
        let before = firewall.counters()?;
        let mut session = Session::registered(lab.outside(), family.phone(0), &manager, version)?;
        let leaving = session.dial()?;
        let gone = session.open(leaving, family.call_manager(0))?;
        let staying = session.dial()?;
        let kept = session.open(staying, family.call_manager(1))?;
        assert_eq!(firewall.calls()?.len(), 2, "{family:?} {version:?}");
        let [near, far] = [gone.near.local(), gone.far.local()];
        let of_kept = [kept.near.local(), kept.far.local()];
        run(gone)?;

        session.close(leaving)?;
        session.call_state(state::ON_HOOK, leaving)?;
        assert_eq!(firewall.calls()?.len(), 1, "{family:?} {version:?}");
        let open: Vec<_> = firewall.pinholes()?.into_iter().map(|row| row.to).collect();
        let rtcp = of_kept.map(|rtp| SocketAddr::new(rtp.ip(), rtp.port() + 1));
        let expected = [of_kept, rtcp].concat();
        assert!(
            open.len() == 4 && expected.iter().all(|to| open.contains(to)),
            "{family:?} {version:?}: {open:?}"
        );
        rtp::stray(lab.outside(), near, far, 10)?;
        rtp::stray(lab.inside(), far, near, 10)?;
        run(kept)?;
        let dropped = dropped(firewall, &before)?;
        assert_eq!(dropped, [("no-pinhole".to_owned(), 20)].into(), "{family:?} {version:?}");

        session.close(staying)?;
        session.call_state(state::ON_HOOK, staying)?;
        session.leave()?;
        firewall.settled()?;
    }
    Ok(())
}

#[test]
fn media_outlives_its_signalling_connection() -> Result<()> {
    if !root_or_skip("media_outlives_its_signalling_connection") {
        return Ok(());
    }
    // A call whose signalling is lost is kept until it falls silent: longer than another test would wait.
    let lab = Lab::gateway()?;
    let mut firewall = Firewall::start(&lab, &Policy::default().text(&lab))?;
    let (phone, far) = (Family::V4.phone(0), Family::V4.call_manager(0));
    let manager = CallManager::listen(lab.inside(), far)?;
    for version in [Version(3), Version(17)] {
        let mut session = Session::registered(lab.outside(), phone, &manager, version)?;
        let channel = session.dial()?;
        let stream = session.open(channel, far)?;
        let receivers = [stream.near.local(), stream.far.local()];
        thread::sleep(MEDIA);
        let mut line = session.cut()?;
        assert!(line.rest(QUIET).is_empty() && line.is_closed(), "the call manager hears of the loss");
        let before = firewall.counters()?;
        thread::sleep(2 * MEDIA);
        let pinholes = firewall.pinholes()?;
        assert!(receivers.iter().all(|rtp| pinholes.iter().any(|row| row.to == *rtp)), "{pinholes:?}");
        run(stream)?;
        assert_eq!(dropped(&firewall, &before)?, [].into(), "{version:?}");
    }
    firewall.stop()
}

#[test]
fn an_sccp_call_outlives_the_daemon() -> Result<()> {
    if !root_or_skip("an_sccp_call_outlives_the_daemon") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let mut firewall = Firewall::start(&lab, &Policy::default().text(&lab))?;
    let manager = CallManager::listen(lab.inside(), Family::V4.call_manager(0))?;
    let call = sccp::place(lab.outside(), Family::V4.phone(0), &manager, Version(17))?;
    thread::sleep(MEDIA);
    firewall.kill()?;
    thread::sleep(Duration::from_millis(1_300));
    firewall.restart()?;
    listed(&firewall, &call)?;
    let outcome = call.finish(MEDIA)?;
    assert!(outcome.is_whole(), "{outcome}");
    firewall.settled()?;
    firewall.stop()
}

#[test]
fn a_phone_announces_nothing_but_its_own_media_ports() -> Result<()> {
    if !root_or_skip("a_phone_announces_nothing_but_its_own_media_ports") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let manager = CallManager::listen(lab.inside(), Family::V4.call_manager(0))?;
    let (phone, other) = (Family::V4.phone(0), Family::V4.phone(1));
    for version in [Version(11), Version(17)] {
        let mut session = Session::registered(lab.outside(), phone, &manager, version)?;
        for foreign in
            [SocketAddr::new(other, 20_000), SocketAddr::new(phone, 22), SocketAddr::new(phone, 8_500)]
        {
            let channel = session.dial()?;
            let invitation = wire::open_receive_channel(version, channel, Family::V4.call_manager(0));
            session.manager.send(&invitation)?;
            session.phone.expect(id::OPEN_RECEIVE_CHANNEL)?;
            session.phone.send(&wire::open_receive_channel_ack(version, channel, foreign))?;
            session.manager.rest(QUIET);
            assert_eq!(firewall.pinholes()?, [], "{version:?}, {foreign}");
            session.close(channel)?;
            session.call_state(state::ON_HOOK, channel)?;
        }
        session.leave()?;
        firewall.settled()?;
    }
    Ok(())
}

#[test]
fn no_crafted_byte_reaches_the_call_manager() -> Result<()> {
    if !root_or_skip("no_crafted_byte_reaches_the_call_manager") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let manager = CallManager::listen(lab.inside(), Family::V4.call_manager(0))?;
    let phone = Family::V4.phone(1);
    let call = sccp::place(lab.outside(), Family::V4.phone(0), &manager, Version(17))?;
    for version in [Version(3), Version(17), Version(22)] {
        for crafted in sccp::crafted(version, phone) {
            let fault = format!("{version:?}, {}", crafted.fault);
            let mut session = Session::connect(lab.outside(), phone, &manager, version)?;
            if crafted.registered {
                session.register(&sccp::name_of(phone))?;
            }
            let before = firewall.counters()?;
            session.phone.send(&crafted.bytes)?;
            let arrived = session.manager.rest(QUIET);
            assert!(arrived.is_empty(), "{fault}: {} bytes arrive: {arrived:02x?}", arrived.len());
            let dropped = dropped(firewall, &before)?;
            let by_reader = dropped.keys().all(|reason| reason.starts_with("alg-"));
            assert!(!dropped.is_empty() && by_reader, "{fault}: {dropped:?}");
            // What was not acknowledged would be sent again, into other tests.
            session.cut()?;
        }
    }
    let outcome = call.finish(Duration::ZERO)?;
    assert!(outcome.is_whole(), "{outcome}");
    firewall.settled()
}

#[test]
fn a_crafted_message_in_pieces_never_becomes_whole() -> Result<()> {
    if !root_or_skip("a_crafted_message_in_pieces_never_becomes_whole") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let lab = &turn.lab;
    let manager = CallManager::listen(lab.inside(), Family::V4.call_manager(0))?;
    let (phone, version) = (Family::V4.phone(1), Version(17));
    for crafted in sccp::crafted(version, phone) {
        let mut session = Session::connect(lab.outside(), phone, &manager, version)?;
        if crafted.registered {
            session.register(&sccp::name_of(phone))?;
        }
        for piece in crafted.bytes.chunks(5) {
            // A refused piece resets the connection under the next.
            if session.phone.send(piece).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let arrived = session.manager.rest(QUIET);
        assert!(crafted.bytes.starts_with(&arrived), "{}: {arrived:02x?}", crafted.fault);
        // Less than a header's worth of the message at fault can have gone before it is known for what it is,
        // or all but its end where only the whole tells.
        assert!(arrived.len() < crafted.bytes.len(), "{}: it arrives whole", crafted.fault);
        session.cut()?;
    }
    Ok(())
}

/// Lets media run for a while and checks that none of it is lost.
fn run(stream: Stream) -> Result<()> {
    thread::sleep(MEDIA);
    let outcome = stream.finish()?;
    assert!(outcome.is_whole(), "{outcome}");
    Ok(())
}

/// What has been dropped since, by reason.
fn dropped(firewall: &Firewall, before: &Counters) -> Result<std::collections::BTreeMap<String, u64>> {
    Ok(firewall.counters()?.dropped_since(before))
}
