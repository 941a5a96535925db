//! What operators see of H.323: calls with their names, registrations, events.

use anyhow::{Context, Result, ensure};
use callgate_lab::daemon::Firewall;
use callgate_lab::fixture::{self, GATEWAY, GATEWAY_V6, Turn};
use callgate_lab::h323::ras::{self, Registration};
use callgate_lab::h323::session::{self, Dialogue, Host, Ras};
use callgate_lab::h323::wire::{Data, Setup};
use callgate_lab::lab::Family;
use callgate_lab::root_or_skip;
use callgate_protocols::build::{self, Parts};
use serde_json::{Value, json};

/// Rows of a listing as programs read it.
fn rows(firewall: &Firewall, listing: &[&str]) -> Result<Vec<Value>> {
    let output = firewall.fwctl(&[listing, &["--json"]].concat())?;
    ensure!(output.status.success(), "{listing:?}: {}", String::from_utf8_lossy(&output.stderr));
    let page: Value = serde_json::from_slice(&output.stdout)?;
    page["rows"].as_array().cloned().with_context(|| format!("{listing:?} has no rows: {page}"))
}

/// What a listing prints for people.
fn table(firewall: &Firewall, listing: &[&str]) -> Result<String> {
    let output = firewall.fwctl(listing)?;
    ensure!(output.status.success(), "{listing:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a test with each family.
fn each_family(test: &str, run: impl Fn(&Turn, Family) -> Result<()> + Sync) -> Result<()> {
    if !root_or_skip(test) {
        return Ok(());
    }
    fixture::each_family([&GATEWAY, &GATEWAY_V6], run)
}

#[test]
fn a_call_is_listed_under_its_names() -> Result<()> {
    each_family("a_call_is_listed_under_its_names", |turn, family| {
        let firewall = &turn.firewall;
        let phone = Host::new(turn.lab.outside(), family.phone(0));
        let desk = session::desk(&Host::new(turn.lab.inside(), family.call_manager(0)))?;
        let last = firewall.last_event()?;
        let parts = Parts { tunnelling: true, ..Parts::default() };
        let setup = Setup { calling: "4930123", name: "Ada", feature: Some(18), parts, ..Setup::default() };
        let mut dialogue = Dialogue::connect(&phone, &desk)?;
        let call = dialogue.call;
        dialogue.line.forth(&setup.encode(&call))?;
        dialogue.line.back(&build::connect(&call, &Parts { tunnelling: true, ..Parts::default() }))?;
        dialogue.agree()?;
        let stream = dialogue.open(1, Data::Audio)?;

        let calls = rows(firewall, &["calls"])?;
        let [row] = &calls[..] else { panic!("one call expected: {calls:?}") };
        let identifier: String = call.id.iter().map(|octet| format!("{octet:02x}")).collect();
        let h323 = &row["h323"];
        assert_eq!(h323["crv"], json!(call.reference), "{row}");
        assert_eq!(h323["identifier"], json!(identifier), "{row}");
        assert_eq!(h323["numbers"], json!(["4930123", "2000"]), "{row}");
        assert_eq!(h323["aliases"], json!([["4930123", "Ada"], ["2000"]]), "{row}");
        assert_eq!(h323["tunnelled"], json!(true), "{row}");
        assert_eq!(h323["traversal"], json!(["h460.18"]), "{row}");
        assert_eq!(row["state"], json!("connected"), "{row}");
        let audio =
            row["streams"].as_array().and_then(|rows| rows.iter().find(|row| row["medium"] == "audio"));
        assert_eq!(audio.map(|row| row["codec"].clone()), Some(json!("PCMU")), "{row}");
        let text = table(firewall, &["calls", "--long"])?;
        assert!(text.contains("4930123") && text.contains("2000") && text.contains("PCMU"), "{text}");

        stream.whole()?;
        dialogue.release()?;
        firewall.settled()?;
        let events = firewall.events(last)?;
        let count = |kind: &str| events.iter().filter(|row| row.kind.name() == kind).count();
        assert_eq!([count("call-started"), count("call-ended"), count("traversal")], [1, 1, 1], "{events:?}");
        Ok(())
    })
}

#[test]
fn a_registration_is_listed() -> Result<()> {
    each_family("a_registration_is_listed", |turn, family| {
        let firewall = &turn.firewall;
        let phone = Host::new(turn.lab.outside(), family.phone(0));
        let gatekeeper = Host::new(turn.lab.inside(), family.call_manager(0));
        let mut ras = Ras::between(&phone, &gatekeeper)?;
        let last = firewall.last_event()?;
        let registration = Registration {
            call_signal: phone.at(1720),
            ras: ras.address()?,
            life: 120,
            keep_alive: false,
            alias: "4930123",
            token: false,
            feature: Some(18),
        };
        let sequence = ras.number();
        ras.ask(&ras::registration_request(sequence, &registration))?;
        assert_eq!(rows(firewall, &["h323", "registrations"])?, [] as [Value; 0], "not confirmed yet");
        ras.tell(&ras::registration_confirm(sequence, 60))?;

        let listed = rows(firewall, &["h323", "registrations"])?;
        let [row] = &listed[..] else { panic!("one registration expected: {listed:?}") };
        assert_eq!(row["endpoint"], json!(ras.address()?.to_string()), "{row}");
        assert_eq!(row["gatekeeper"], json!(gatekeeper.at(session::RAS_PORT).to_string()), "{row}");
        assert_eq!(row["aliases"], json!(["4930123"]), "{row}");
        assert_eq!(row["call_signal"], json!([phone.at(1720).to_string()]), "{row}");
        assert_eq!(row["ras"], json!([ras.address()?.to_string()]), "{row}");
        assert_eq!(row["life_s"], json!(60), "{row}");
        assert!(row["left_s"].as_u64().is_some_and(|left| (30..=60).contains(&left)), "{row}");
        assert_eq!(row["traversal"], json!(true), "{row}");
        let text = table(firewall, &["h323", "registrations"])?;
        assert!(text.contains("4930123"), "{text}");

        ras.exchange(
            |sequence| ras::unregistration_request(sequence, registration.call_signal),
            ras::unregistration_confirm,
        )?;
        assert_eq!(rows(firewall, &["h323", "registrations"])?, [] as [Value; 0], "unregistered");
        let events = firewall.events(last)?;
        for kind in ["registered", "unregistered"] {
            let told = events.iter().filter(|row| row.kind.name() == kind && row.protocol == "ras").count();
            assert_eq!(told, 1, "{kind}: {events:?}");
        }
        Ok(())
    })
}
