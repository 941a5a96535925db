//! Which phones may register by SCCP through a gateway in enforce mode.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use callgate_alg::event::EventKind;
use callgate_alg::sccp::Standing;
use callgate_api::PhoneRow;
use callgate_lab::daemon::Firewall;
use callgate_lab::fixture::GATEWAY;
use callgate_lab::lab::{Family, Lab};
use callgate_lab::policy::Policy;
use callgate_lab::root_or_skip;
use callgate_lab::sccp::wire::{self, Version, id};
use callgate_lab::sccp::{self, CallManager, Session};

/// Silence after which nothing more is expected on a connection.
const QUIET: Duration = Duration::from_millis(150);

/// The version phones speak where it makes no difference.
const VERSION: Version = Version(17);

/// A key of `[inspect.sccp]`, and what it makes of two messages and their senders.
struct Control {
    key: String,
    reason: &'static str,
    refused: (IpAddr, Vec<u8>),
    passed: (IpAddr, Vec<u8>),
}

/// Every control that has no test of its own. The first phone is registered, under its own name; `on_link` is
/// the name that belongs to the frames of all phones.
fn controls(on_link: &str) -> Vec<Control> {
    let [owner, first, second] = [0, 1, 2].map(|n| Family::V4.phone(n));
    let register = |ip, name: &str| (ip, wire::register(VERSION, name, ip));
    let own = |ip| register(ip, &sccp::name_of(ip));
    let message = |id, length: u32| (first, wire::raw(length, 0, id, &vec![0; length as usize - 4]));
    let other_mac = {
        let (ip, mut bytes) = own(first);
        bytes[wire::MAC] ^= 1;
        (ip, bytes)
    };
    let other_address = (first, wire::register(VERSION, &sccp::name_of(first), second));
    let twice = own(first).1.repeat(2);
    let control =
        |key: &str, refused, passed| Control { key: key.to_owned(), reason: "alg-refused", refused, passed };
    let known = format!("unknown_phones = \"refuse\"\nphones = \"{}\"", sccp::name_of(second));
    vec![
        control("allow = \"SEP*\"", register(first, "ATA0011AABBCCDD"), own(first)),
        control(&known, own(first), own(second)),
        control("mismatch = \"refuse\"", other_mac, own(first)),
        control("mismatch = \"refuse\"", other_address, own(first)),
        control("match_ethernet = \"refuse\"", own(first), register(first, on_link)),
        control("registrations_per_source = 1", register(owner, "SEP0A0A0A0A0001"), own(first)),
        control("registrations_per_second = 1", (first, twice), own(second)),
        control("message_id_max = 0x0170", message(0x0171, 16), message(0x0170, 16)),
        Control {
            reason: "alg-malformed",
            ..control("length_max = 512", message(id::KEEP_ALIVE, 513), message(id::KEEP_ALIVE, 512))
        },
    ]
}

#[test]
fn a_denied_name_never_reaches_the_call_manager() -> Result<()> {
    if !root_or_skip("a_denied_name_never_reaches_the_call_manager") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for family in [Family::V4, Family::V6] {
        let manager = CallManager::listen(lab.inside(), family.call_manager(0))?;
        let phone = family.phone(0);
        let (before, last) = (firewall.counters()?, firewall.last_event()?);
        let mut session = Session::connect(lab.outside(), phone, &manager, Version(17))?;
        session.phone.send(&wire::register(Version(17), "SEP00DEADBEEF00", phone))?;
        assert!(session.manager.rest(QUIET).is_empty(), "{family:?}");
        assert!(
            session.manager.is_closed(),
            "{family:?}: the call manager waits for a phone that may not come"
        );
        let dropped = firewall.counters()?.dropped_since(&before);
        assert_eq!(dropped, [("alg-refused".to_owned(), 1)].into(), "{family:?}");
        let events = firewall.events(last)?;
        assert!(events.iter().any(|row| row.kind == EventKind::Refused && row.subject == "SEP00DEADBEEF00"));
        Session::registered(lab.outside(), phone, &manager, Version(17))?.leave()?;
    }
    Ok(())
}

#[test]
fn a_name_is_one_phones_while_it_is_registered() -> Result<()> {
    if !root_or_skip("a_name_is_one_phones_while_it_is_registered") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let manager = CallManager::listen(lab.inside(), Family::V4.call_manager(0))?;
    let (phone, thief) = (Family::V4.phone(0), Family::V4.phone(1));
    let (name, version) = (sccp::name_of(phone), Version(20));
    let owner = Session::registered(lab.outside(), phone, &manager, version)?;

    let before = firewall.counters()?;
    let mut session = Session::connect(lab.outside(), thief, &manager, version)?;
    session.phone.send(&wire::register(version, &name, thief))?;
    assert!(session.manager.rest(QUIET).is_empty());
    let dropped = firewall.counters()?.dropped_since(&before);
    assert_eq!(dropped, [("alg-refused".to_owned(), 1)].into());

    owner.leave()?;
    let mut session = Session::connect(lab.outside(), thief, &manager, version)?;
    session.register(&name)?;
    session.leave()
}

#[test]
fn each_control_refuses_one_message_and_passes_another() -> Result<()> {
    if !root_or_skip("each_control_refuses_one_message_and_passes_another") {
        return Ok(());
    }
    // Its rules change from control to control.
    let lab = Lab::gateway()?;
    let mut firewall = Firewall::start(&lab, &Policy::default().text(&lab))?;
    let manager = CallManager::listen(lab.inside(), Family::V4.call_manager(0))?;
    let owner = Session::registered(lab.outside(), Family::V4.phone(0), &manager, VERSION)?;
    for control in controls(&sccp::name_on(lab.outside())?) {
        let Control { key, .. } = control;
        let text = Policy::default().text(&lab);
        let governed = text.replace("[inspect.sccp]\n", &format!("[inspect.sccp]\n{key}\n"));
        ensure!(governed != text, "the lab's rules have no [inspect.sccp]");
        fs::write(firewall.rules_file(), governed)?;
        let output = firewall.fwctl(&["reload"])?;
        ensure!(output.status.success(), "{key}: {}", String::from_utf8_lossy(&output.stderr));

        let before = firewall.counters()?;
        let (phone, message) = control.refused;
        let mut session = Session::connect(lab.outside(), phone, &manager, VERSION)?;
        session.phone.send(&message)?;
        let arrived = session.manager.rest(QUIET);
        assert!(arrived.is_empty(), "{key}: {arrived:02x?}");
        let dropped = firewall.counters()?.dropped_since(&before);
        assert!(dropped.contains_key(control.reason) && dropped.len() == 1, "{key}: {dropped:?}");
        session.cut()?;

        let (phone, message) = control.passed;
        let mut session = Session::connect(lab.outside(), phone, &manager, VERSION)?;
        session.phone.send(&message)?;
        let arrived = session.manager.rest(QUIET);
        assert_eq!(arrived, message, "{key}");
        session.cut()?;
    }
    owner.leave()?;
    firewall.stop()
}

#[test]
fn a_registered_phone_is_listed() -> Result<()> {
    if !root_or_skip("a_registered_phone_is_listed") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for (family, version) in [(Family::V4, Version(11)), (Family::V6, Version(22))] {
        let (phone, far) = (family.phone(0), family.call_manager(0));
        let manager = CallManager::listen(lab.inside(), far)?;
        let session = Session::registered(lab.outside(), phone, &manager, version)?;
        let listed = || -> Result<Option<PhoneRow>> {
            Ok(firewall.phones()?.into_iter().find(|row| row.name == sccp::name_of(phone)))
        };
        let row = listed()?.context("the phone is not listed")?;
        assert_eq!((row.address.ip(), row.manager.ip()), (phone, far));
        assert_eq!((row.model.as_str(), row.version, row.lines), ("7970", Some(version.0), Some(8)));
        assert_eq!((row.load.as_str(), row.state), ("SCCP70.9-4-2SR3-1S", Standing::Registered));
        assert!(!row.picked_up && !row.unknown, "{row:?}");
        session.leave()?;
        assert!(listed()?.is_none_or(|row| row.state != Standing::Registered), "{family:?}");
    }
    Ok(())
}

#[test]
fn coming_and_going_is_told() -> Result<()> {
    if !root_or_skip("coming_and_going_is_told") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let manager = CallManager::listen(lab.inside(), Family::V4.call_manager(0))?;
    for (version, name) in [(Version(3), "SEP0A0A0A0A0003"), (Version(22), "SEP0A0A0A0A0022")] {
        let last = firewall.last_event()?;
        let told = |kind| -> Result<bool> {
            Ok(firewall.events(last)?.iter().any(|row| row.kind == kind && row.subject == name))
        };
        let phone = Family::V4.phone(2);
        let mut session = Session::connect(lab.outside(), phone, &manager, version)?;
        session.register(name)?;
        assert!(told(EventKind::Registered)? && told(EventKind::NewlySeen)?, "{version:?}");
        session.leave()?;
        assert!(told(EventKind::Unregistered)?, "{version:?}");

        let mut session = Session::connect(lab.outside(), phone, &manager, version)?;
        session.register(name)?;
        assert!(!told(EventKind::UnregisteredAbnormally)?, "{version:?}");
        session.cut()?.rest(QUIET);
        assert!(told(EventKind::UnregisteredAbnormally)?, "{version:?}");
    }
    Ok(())
}
