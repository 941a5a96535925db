//! Which phones may register by SCCP through a gateway in enforce mode.

use std::time::Duration;

use anyhow::{Context, Result};
use callgate_alg::event::EventKind;
use callgate_alg::sccp::Standing;
use callgate_api::PhoneRow;
use callgate_lab::fixture::GATEWAY;
use callgate_lab::lab::Family;
use callgate_lab::root_or_skip;
use callgate_lab::sccp::wire::{self, Version};
use callgate_lab::sccp::{self, CallManager, Session};

/// Silence after which nothing more is expected on a connection.
const QUIET: Duration = Duration::from_millis(150);

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
