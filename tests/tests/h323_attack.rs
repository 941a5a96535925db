//! H.323 endpoints that mean harm: what they announce for others, say out of turn, or cannot be read.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use callgate_lab::fixture::{self, GATEWAY, GATEWAY_V6, Turn};
use callgate_lab::h323::ledger::Ledger;
use callgate_lab::h323::session::{self, Dialogue, Host, Listener, QUIET, Side};
use callgate_lab::h323::wire::{self, Data};
use callgate_lab::h323::{new_call, own, ras};
use callgate_lab::lab::Family;
use callgate_lab::root_or_skip;
use callgate_protocols::build::{self, Parts};

/// An attacker with a phone's address, the terminal it may call, and a third host it may not.
struct Scene<'a> {
    turn: &'a Turn,
    attacker: Host,
    terminal: Host,
    victim: Host,
    desk: Listener,
    ledger: Ledger<'a>,
}

impl<'a> Scene<'a> {
    fn of(turn: &'a Turn, family: Family) -> Result<Self> {
        let terminal = Host::new(turn.lab.inside(), family.call_manager(0));
        Ok(Self {
            turn,
            attacker: Host::new(turn.lab.outside(), family.phone(0)),
            victim: Host::new(turn.lab.inside(), family.call_manager(1)),
            desk: session::desk(&terminal)?,
            terminal,
            ledger: Ledger::open(&turn.firewall)?,
        })
    }

    fn is_open(&self, to: SocketAddr) -> Result<bool> {
        Ok(self.turn.firewall.pinholes()?.iter().any(|row| row.to == to))
    }

    fn keep_out(&mut self, who: &Host, from: &Listener) -> Result<()> {
        ensure!(who.is_kept_from(from), "{} has connected to {}", who.ip, from.address);
        self.ledger.dropped("default-drop", 1);
        Ok(())
    }
}

/// Runs a test with each family.
fn each_family(test: &str, run: impl Fn(Scene<'_>) -> Result<()> + Sync) -> Result<()> {
    if !root_or_skip(test) {
        return Ok(());
    }
    fixture::each_family([&GATEWAY, &GATEWAY_V6], |turn, family| run(Scene::of(turn, family)?))
}

#[test]
fn an_h245_address_opens_no_third_host() -> Result<()> {
    each_family("an_h245_address_opens_no_third_host", |mut scene| {
        let (attacker, terminal) = (scene.attacker.clone(), scene.terminal.clone());
        let (ssh, other) = (scene.victim.listen(22)?, scene.victim.listen(20_245)?);
        for (target, refusal) in [(&ssh, "privileged-port"), (&other, "not-the-announcers")] {
            let address = Some(target.address);
            let announce = Parts { h245_address: address, ..Parts::default() };
            // By the caller in its Setup, by the callee in its Connect, by either in a Facility.
            let mut dialogue = Dialogue::answered(&attacker, &scene.desk, announce.clone(), &announce)?;
            dialogue.line.forth(&build::facility(&dialogue.call, false, &announce))?;
            dialogue.line.back(&build::facility(&dialogue.call, true, &announce))?;
            ensure!(!scene.is_open(target.address)?, "{} is open", target.address);
            scene.ledger.refused(refusal, 4);
            scene.keep_out(&attacker, target)?;
            dialogue.release()?;
        }
        // Its own port 22 is not its to give either.
        let own = Some(attacker.at(22));
        let announce = Parts { h245_address: own, ..Parts::default() };
        let mut dialogue = Dialogue::answered(&attacker, &scene.desk, announce, &Parts::default())?;
        scene.ledger.refused("privileged-port", 1);
        let listener = attacker.listen(22)?;
        scene.keep_out(&terminal, &listener)?;
        dialogue.release()?;
        scene.ledger.close()
    })
}

#[test]
fn media_opens_no_third_host() -> Result<()> {
    each_family("media_opens_no_third_host", |scene| {
        let victim = scene.victim.udp(20_000)?;
        let media = build::Media { rtp: scene.victim.at(20_000), rtcp: scene.victim.at(20_001) };
        // By fast start.
        let setup = Parts { fast_start: build::proposals(media), ..Parts::default() };
        let answer = Parts { fast_start: build::acceptance(media, media.rtp), ..Parts::default() };
        let mut dialogue = Dialogue::answered(&scene.attacker, &scene.desk, setup, &answer)?;
        ensure!(!scene.is_open(media.rtp)? && !scene.is_open(media.rtcp)?, "opened by fast start");
        dialogue.release()?;
        let by_fast_start = scene.turn.firewall.status()?.alg.refusals;
        ensure!(
            by_fast_start.get("not-the-announcers").is_some_and(|count| *count >= 2),
            "{by_fast_start:?}"
        );

        // By OpenLogicalChannelAck, and RTCP alone by OpenLogicalChannel.
        let mut ledger = Ledger::open(&scene.turn.firewall)?;
        let mut dialogue = Dialogue::tunnelled(&scene.attacker, &scene.desk)?;
        dialogue.grant(Side::Callee, 1, Data::Audio, scene.terminal.at(20_001), media)?;
        ledger.refused("not-the-announcers", 1);
        dialogue.control(Side::Caller, wire::open(2, Data::Video, None, media.rtcp))?;
        ledger.refused("not-the-announcers", 1);
        ensure!(!scene.is_open(media.rtp)? && !scene.is_open(media.rtcp)?, "opened by H.245");
        scene.attacker.stray(20_000, media.rtp, 10)?;
        ledger.dropped("no-pinhole", 10);
        victim.set_read_timeout(Some(QUIET))?;
        ensure!(victim.recv(&mut [0; 64]).is_err(), "RTP has arrived");
        dialogue.release()?;
        ledger.close()
    })
}

#[test]
fn what_another_call_has_opened_is_not_the_attackers() -> Result<()> {
    each_family("what_another_call_has_opened_is_not_the_attackers", |mut scene| {
        let honest = Host::new(
            scene.turn.lab.outside(),
            match scene.attacker.ip {
                IpAddr::V4(_) => Family::V4,
                IpAddr::V6(_) => Family::V6,
            }
            .phone(1),
        );
        let (mut good, stream) = Dialogue::fast(&honest, &scene.desk)?;
        let [near, far] = stream.ends();
        // It tells the honest call's ports in a call of its own …
        let theirs = build::Media { rtp: near, rtcp: SocketAddr::new(near.ip(), near.port() + 1) };
        let mut evil = Dialogue::tunnelled(&scene.attacker, &scene.desk)?;
        evil.grant(Side::Callee, 1, Data::Audio, scene.terminal.at(21_001), theirs)?;
        scene.ledger.refused("not-the-announcers", 1);
        // … sends to its callee's …
        scene.attacker.stray(20_000, far, 10)?;
        scene.ledger.dropped("pinhole-sender", 10);
        // … and ends the honest call under its names, on its own connection.
        let release = build::release_complete(&good.call, false, &Parts::default());
        evil.line.near.send(&release)?;
        evil.line.far.rest(QUIET);
        ensure!(scene.turn.firewall.calls()?.iter().any(|row| row.caller.signalling.ip() == honest.ip));
        scene.ledger.media(&stream.whole()?);
        evil.release()?;
        good.release()?;
        scene.ledger.close()
    })
}

#[test]
fn nothing_opens_after_the_release() -> Result<()> {
    each_family("nothing_opens_after_the_release", |mut scene| {
        let mut dialogue = Dialogue::tunnelled(&scene.attacker, &scene.desk)?;
        let stream = dialogue.open(1, Data::Audio)?;
        scene.ledger.media(&stream.whole()?);
        dialogue.release()?;
        scene.turn.firewall.settled()?;
        let (near, far) = (scene.attacker.media()?, scene.terminal.media()?);
        let messages = [
            (Side::Callee, wire::open(2, Data::Audio, None, own(&far).rtcp)),
            (Side::Caller, build::open_logical_channel_ack(2, 1, own(&near))),
            (Side::Caller, wire::open(2, Data::Audio, None, own(&near).rtcp)),
            (Side::Callee, build::open_logical_channel_ack(2, 1, own(&far))),
        ];
        for (side, message) in messages {
            let message = dialogue.carried(side, message);
            let from = if side == Side::Caller { &mut dialogue.line.near } else { &mut dialogue.line.far };
            // Whether it passes or the connection ends is the policy's business.
            let _ = from.send(&message);
            std::thread::sleep(QUIET / 4);
            ensure!(
                scene.turn.firewall.pinholes()?.is_empty(),
                "{side:?}: {:?}",
                scene.turn.firewall.pinholes()?
            );
        }
        scene.ledger.refused("released", 4);
        scene.ledger.close()
    })
}

/// Messages that cannot be read, by what is wrong with them.
fn crafted(attacker: &Host) -> Vec<(&'static str, Vec<u8>)> {
    let (call, none) = (new_call(), Parts::default());
    let setup = wire::Setup::default().encode(&call);
    let with = |place: usize, octet: u8| {
        let mut octets = setup.clone();
        octets[place] = octet;
        octets
    };
    let tpkt = |payload: &[u8]| build::tpkt(payload);
    let uuie = |content: &[u8]| {
        let mut payload = vec![0x08, 0x02, 0x12, 0x34, 0x05, 0x7e];
        payload.extend((content.len() as u16).to_be_bytes());
        payload.extend(content);
        tpkt(&payload)
    };
    let within = Parts { tunnelling: true, h245_control: vec![vec![0x03, 0xff]], ..none.clone() };
    let channel = Parts { fast_start: vec![vec![0xff; 12]], ..none.clone() };
    let truncated = {
        let address = Parts { h245_address: Some(attacker.at(20_245)), ..none.clone() };
        let whole = wire::Setup { parts: address, ..wire::Setup::default() }.encode(&call);
        // Cut in the middle of its User-User element, whose length is put right.
        let at = whole.windows(1).position(|octet| octet == [0x7e]).map_or(0, |at| at + 3);
        let cut = (whole.len() - at) / 3;
        let mut payload = whole[4..at + cut].to_vec();
        payload[at - 6..at - 4].copy_from_slice(&(cut as u16).to_be_bytes());
        tpkt(&payload)
    };
    let mut fragmented = vec![0x05, 0x20, 0x80, 0xc4];
    fragmented.extend([0xba; 64]);
    vec![
        ("a TPKT of another version", with(0, 4)),
        ("a TPKT shorter than its header", vec![3, 0, 0, 3, 0x08]),
        ("another protocol discriminator", with(4, 0x41)),
        ("a call reference of 1 octet", with(5, 0x01)),
        ("a User-User element of length 0", uuie(&[])),
        ("a User-User element beyond the message", {
            let mut octets = uuie(&[0x05, 0x20, 0x80]);
            octets[10] = 0x40;
            octets
        }),
        ("two User-User elements", {
            let one = &uuie(&[0x05, 0x20, 0x80])[9..];
            tpkt(&[&[0x08, 0x02, 0x12, 0x34, 0x05], one, one].concat())
        }),
        ("a truncated Setup", truncated),
        ("a fragmented length", uuie(&fragmented)),
        ("noise in the User-User element", uuie(&[&[0x05][..], &[0xff; 40]].concat())),
        ("tunnelled H.245 that cannot be read", build::facility(&call, false, &within)),
        (
            "fastStart that cannot be read",
            wire::Setup { parts: channel, ..wire::Setup::default() }.encode(&call),
        ),
    ]
}

#[test]
fn what_cannot_be_read_never_arrives() -> Result<()> {
    each_family("what_cannot_be_read_never_arrives", |scene| {
        for (fault, octets) in crafted(&scene.attacker) {
            let before = scene.turn.firewall.counters()?;
            let mut line = scene.attacker.connect(&scene.desk)?;
            let [_, far] = line.withheld(&octets)?;
            ensure!(far.is_empty(), "{fault}: {far:02x?} arrives");
            ensure!(line.near.is_closed() && line.far.is_closed(), "{fault}: the connection goes on");
            let dropped = scene.turn.firewall.counters()?.dropped_since(&before);
            ensure!(dropped == [("alg-malformed".to_owned(), 1)].into(), "{fault}: {dropped:?}");
        }
        Ok(())
    })
}

#[test]
fn a_ras_datagram_that_cannot_be_read_never_arrives() -> Result<()> {
    each_family("a_ras_datagram_that_cannot_be_read_never_arrives", |mut scene| {
        let mut endpoint = session::Ras::between(&scene.attacker, &scene.terminal)?;
        let address = endpoint.address()?;
        let whole = ras::gatekeeper_request(endpoint.number(), address);
        for octets in [&whole[..whole.len() / 2], &[0xff; 40], &[0x0c]] {
            ensure!(endpoint.ask_in_vain(octets)?.is_none(), "an answer to noise");
            scene.ledger.dropped("alg-malformed", 1);
        }
        endpoint.ask(&whole)?;
        scene.ledger.close()
    })
}
