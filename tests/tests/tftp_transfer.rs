//! TFTP through a gateway in enforce mode: Debian's server inside, its client and a scripted one outside.

use std::time::Duration;

use anyhow::Result;
use callgate_alg::event::EventKind;
use callgate_lab::fixture::GATEWAY;
use callgate_lab::lab::Family;
use callgate_lab::root_or_skip;
use callgate_lab::sccp::wire::Version;
use callgate_lab::sccp::{self, CallManager, Session};
use callgate_lab::tftp::{self, BLOCK, Client, Server};

/// Silence after which a datagram is not expected any more.
const QUIET: Duration = Duration::from_millis(200);

#[test]
fn files_are_fetched_whole() -> Result<()> {
    if !root_or_skip("files_are_fetched_whole") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for family in [Family::V4, Family::V6] {
        let server = Server::start(lab, family.call_manager(0))?;
        let before = firewall.counters()?;
        for length in [0, 100, BLOCK, 20_000] {
            let text = server.offer("XMLDefault.cnf.xml", length)?;
            assert_eq!(server.get("XMLDefault.cnf.xml")?, text, "{family:?}, {length} bytes");
            firewall.settled()?;
        }
        for size in ["8", "1024", "1428"] {
            let text = server.offer("SCCP70.9-4-2SR3-1S.loads", 5_000)?;
            let mut client = Client::new(lab.outside(), family.phone(0), server.address())?;
            client.ask("SCCP70.9-4-2SR3-1S.loads", &[("blksize", size), ("tsize", "0"), ("timeout", "2")])?;
            while client.advance()? {}
            assert_eq!(client.text, text, "{family:?}, blocks of {size}");
            firewall.settled()?;
        }
        assert_eq!(firewall.counters()?.dropped_since(&before), [].into(), "{family:?}");
    }
    Ok(())
}

#[test]
fn a_transfer_is_its_servers_alone() -> Result<()> {
    if !root_or_skip("a_transfer_is_its_servers_alone") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for family in [Family::V4, Family::V6] {
        let server = Server::start(lab, family.call_manager(0))?;
        let text = server.offer("RINGLIST.XML", 3 * BLOCK)?;
        let mut client = Client::new(lab.outside(), family.phone(0), server.address())?;
        client.ask("RINGLIST.XML", &[])?;
        let before = firewall.counters()?;
        // The server's other ports, the port it was asked at, and another host.
        for from in
            [(family.call_manager(0), 0), (family.call_manager(0), 40_069), (family.call_manager(1), 0)]
        {
            tftp::intrude(lab.inside(), from.into(), client.local()?, 2)?;
            assert!(!client.hears_anything(QUIET)?, "{family:?}: {from:?} is let in");
        }
        let dropped = firewall.counters()?.dropped_since(&before);
        assert_eq!(dropped, [("default-drop".to_owned(), 3)].into(), "{family:?}");
        while client.advance()? {}
        assert_eq!(client.text, text, "{family:?}");
        firewall.settled()?;
        // Nothing is left of it: not even the server's own port is let in.
        let peer = client.peer().unwrap_or(server.address());
        tftp::intrude(lab.inside(), (peer.ip(), 0).into(), client.local()?, 9)?;
        assert!(!client.hears_anything(QUIET)?, "{family:?}: after the transfer");
    }
    Ok(())
}

#[test]
fn a_missing_file_ends_the_transfer() -> Result<()> {
    if !root_or_skip("a_missing_file_ends_the_transfer") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let server = Server::start(lab, Family::V4.call_manager(0))?;
    let mut client = Client::new(lab.outside(), Family::V4.phone(0), server.address())?;
    let error = client.ask("missing.loads", &[]).expect_err("there is no such file").to_string();
    assert!(error.starts_with("error 1"), "{error}");
    firewall.settled()
}

#[test]
fn writing_is_refused() -> Result<()> {
    if !root_or_skip("writing_is_refused") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let server = Server::start(lab, Family::V4.call_manager(0))?;
    let (before, last) = (firewall.counters()?, firewall.last_event()?);
    server.put("planted.xml", b"planted")?;
    assert_eq!(server.written("planted.xml"), None);
    let events = firewall.events(last)?;
    assert!(!events.is_empty());
    assert!(events.iter().all(|row| (row.kind, row.subject.as_str()) == (EventKind::Refused, "planted.xml")));
    let dropped = firewall.counters()?.dropped_since(&before);
    assert!(dropped.len() == 1 && dropped.get("alg-refused") > Some(&0), "{dropped:?}");
    firewall.settled()
}

#[test]
fn a_phone_fetches_its_own_configuration_alone() -> Result<()> {
    if !root_or_skip("a_phone_fetches_its_own_configuration_alone") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let server = Server::start(lab, Family::V4.call_manager(0))?;
    let manager = CallManager::listen(lab.inside(), Family::V4.call_manager(0))?;
    let (phone, other) = (Family::V4.phone(0), Family::V4.phone(1));
    let session = Session::registered(lab.outside(), phone, &manager, Version(17))?;
    for (owner, allowed) in [(phone, true), (other, false)] {
        let name = format!("{}.cnf.xml", sccp::name_of(owner));
        server.offer(&name, 100)?;
        let mut client = Client::new(lab.outside(), phone, server.address())?;
        let (before, last) = (firewall.counters()?, firewall.last_event()?);
        assert_eq!(client.ask(&name, &[]).is_ok(), allowed, "{name}");
        if allowed {
            while client.advance()? {}
        }
        let events = firewall.events(last)?;
        let kinds: Vec<_> = events.iter().map(|row| row.kind).collect();
        if allowed {
            assert_eq!(kinds, [EventKind::FileAsked, EventKind::FileFetched], "{name}");
        } else {
            assert_eq!(kinds, [EventKind::Refused], "{name}");
        }
        assert!(events.iter().all(|row| row.subject == name), "{events:?}");
        let expected = if allowed { [].into() } else { [("alg-refused".to_owned(), 1)].into() };
        assert_eq!(firewall.counters()?.dropped_since(&before), expected, "{name}");
    }
    session.leave()?;
    firewall.settled()
}
