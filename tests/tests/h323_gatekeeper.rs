//! H.323 with a gatekeeper: nothing but RAS is permitted by a rule, so that calls go only where RAS has said.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use callgate_lab::fixture::{self, Shared, Turn};
use callgate_lab::h323::ledger::Ledger;
use callgate_lab::h323::ras::{self, Registration};
use callgate_lab::h323::session::{self, Dialogue, Host, Listener, Ras, Side, Stream};
use callgate_lab::h323::{new_call, own, wire};
use callgate_lab::lab::{Family, Lab};
use callgate_lab::policy::Policy;
use callgate_lab::root_or_skip;
use callgate_protocols::build::{self, Parts};

/// Where terminals listen for calls here: no rule speaks of these ports.
const SIGNALLING: u16 = 17_200;
/// Life of a registration, seconds.
const LIFE: u32 = 60;

/// Phones may speak RAS with the gatekeeper, which may tell them the inside's addresses.
static RAS_ALONE: Shared = Shared::under(Lab::gateway, ras_alone);
static RAS_ALONE_V6: Shared = Shared::under(Lab::gateway, ras_alone);

fn ras_alone(lab: &Lab) -> String {
    let text = Policy::default().text(lab);
    text.replace(r#"service = ["h225", "ras"]"#, "service = \"ras\"\nmedia   = \"callmanagers\"")
}

/// A phone outside, and a gatekeeper and a terminal inside.
struct Zone<'a> {
    phone: Host,
    stranger: Host,
    gatekeeper: Host,
    terminal: Host,
    ras: Ras,
    ledger: Ledger<'a>,
}

impl<'a> Zone<'a> {
    fn of(turn: &'a Turn, family: Family) -> Result<Self> {
        let phone = Host::new(turn.lab.outside(), family.phone(0));
        let gatekeeper = Host::new(turn.lab.inside(), family.call_manager(0));
        Ok(Self {
            stranger: Host::new(turn.lab.outside(), family.phone(1)),
            terminal: Host::new(turn.lab.inside(), family.call_manager(1)),
            ras: Ras::between(&phone, &gatekeeper)?,
            ledger: Ledger::open(&turn.firewall)?,
            phone,
            gatekeeper,
        })
    }

    /// The phone's registration.
    fn registration(&self, life: u32) -> Result<Registration<'static>> {
        Ok(Registration {
            call_signal: self.phone.at(17_300),
            ras: self.ras.address()?,
            life,
            keep_alive: false,
            alias: "1000",
            token: false,
            feature: None,
        })
    }

    fn register(&mut self, life: u32) -> Result<()> {
        let registration = self.registration(life)?;
        self.ras.exchange(
            |sequence| ras::registration_request(sequence, &registration),
            |sequence| ras::registration_confirm(sequence, life),
        )
    }

    fn unregister(&mut self) -> Result<()> {
        let address = self.phone.at(17_300);
        self.ras
            .exchange(|sequence| ras::unregistration_request(sequence, address), ras::unregistration_confirm)
    }

    /// Asks for a call to be admitted, and is told to make it to a listener.
    fn admit(&mut self, routed: bool, to: &Listener) -> Result<build::Call> {
        let call = new_call();
        self.ras.exchange(
            |sequence| ras::admission_request(sequence, call.id, "2000", "1000", false),
            |sequence| ras::admission_confirm(sequence, routed, to.address),
        )?;
        Ok(call)
    }

    fn disengage(&mut self, call: &build::Call) -> Result<()> {
        self.ras.exchange(|sequence| ras::disengage_request(sequence, call.id), ras::disengage_confirm)
    }

    /// Somebody tries to connect, and must not.
    fn keep_out(&mut self, who: &Host, from: &Listener) -> Result<()> {
        ensure!(who.is_kept_from(from), "{} has connected to {}", who.ip, from.address);
        self.ledger.dropped("default-drop", 1);
        Ok(())
    }
}

/// Runs a test with each family.
fn each_family(test: &str, run: impl Fn(Zone<'_>) -> Result<()> + Sync) -> Result<()> {
    if !root_or_skip(test) {
        return Ok(());
    }
    fixture::each_family([&RAS_ALONE, &RAS_ALONE_V6], |turn, family| run(Zone::of(turn, family)?))
}

#[test]
fn a_direct_call_goes_where_the_gatekeeper_has_said() -> Result<()> {
    each_family("a_direct_call_goes_where_the_gatekeeper_has_said", |mut zone| {
        let (target, beside) = (zone.terminal.listen(SIGNALLING)?, zone.terminal.listen(SIGNALLING + 1)?);
        let (phone, stranger) = (zone.phone.clone(), zone.stranger.clone());
        zone.register(LIFE)?;
        zone.keep_out(&phone, &target)?;
        let call = zone.admit(false, &target)?;
        zone.keep_out(&phone, &beside)?;
        zone.keep_out(&stranger, &target)?;
        // That is not for somebody else to end.
        let sequence = zone.ras.number();
        zone.ras.interject(&stranger, &ras::disengage_request(sequence, call.id))?;

        let mut dialogue = Dialogue::connect(&phone, &target)?;
        zone.ledger.admitted(1);
        dialogue.call = call;
        let stream = dialogue.fast_start()?;
        zone.ledger.media(&stream.whole()?);
        dialogue.release()?;
        zone.disengage(&call)?;
        zone.keep_out(&phone, &target)?;
        zone.unregister()?;
        zone.ledger.close()
    })
}

#[test]
fn a_routed_call_goes_through_the_gatekeeper() -> Result<()> {
    each_family("a_routed_call_goes_through_the_gatekeeper", |mut zone| {
        let (at_gatekeeper, at_terminal) =
            (zone.gatekeeper.listen(SIGNALLING)?, zone.terminal.listen(SIGNALLING)?);
        let phone = zone.phone.clone();
        zone.register(LIFE)?;
        let call = zone.admit(true, &at_gatekeeper)?;
        zone.keep_out(&phone, &at_terminal)?;

        // The gatekeeper tells the terminal's media; the group in the rule says that it may.
        let mut dialogue = Dialogue::connect(&phone, &at_gatekeeper)?;
        zone.ledger.admitted(1);
        dialogue.call = call;
        let (near, far) = (phone.media()?, zone.terminal.media()?);
        let setup = Parts { fast_start: build::proposals(own(&near)), ..Parts::default() };
        let fast_start = build::acceptance(own(&far), near.rtp());
        dialogue.set_up(setup, &Parts { fast_start, ..Parts::default() })?;
        zone.ledger.media(&Stream::start(near, far)?.whole()?);
        dialogue.release()?;
        zone.disengage(&call)?;
        zone.keep_out(&phone, &at_gatekeeper)?;
        zone.unregister()?;
        zone.ledger.close()
    })
}

#[test]
fn a_registered_phone_is_called_by_its_gatekeeper_alone() -> Result<()> {
    each_family("a_registered_phone_is_called_by_its_gatekeeper_alone", |mut zone| {
        let at_phone = zone.phone.listen(17_300)?;
        let (gatekeeper, terminal) = (zone.gatekeeper.clone(), zone.terminal.clone());
        zone.keep_out(&gatekeeper, &at_phone)?;
        zone.register(LIFE)?;
        zone.keep_out(&terminal, &at_phone)?;
        // That is not for somebody else to end.
        let (stranger, sequence) = (zone.stranger.clone(), zone.ras.number());
        zone.ras.interject(&stranger, &ras::unregistration_request(sequence, at_phone.address))?;
        let (mut dialogue, stream) = Dialogue::fast(&gatekeeper, &at_phone)?;
        zone.ledger.admitted(1);
        zone.ledger.media(&stream.whole()?);
        dialogue.release()?;
        zone.unregister()?;
        zone.keep_out(&gatekeeper, &at_phone)?;
        zone.ledger.close()
    })
}

#[test]
fn a_refused_or_unasked_admission_opens_nothing() -> Result<()> {
    each_family("a_refused_or_unasked_admission_opens_nothing", |mut zone| {
        let target = zone.terminal.listen(SIGNALLING)?;
        let phone = zone.phone.clone();
        zone.register(LIFE)?;
        // Nobody has asked.
        let sequence = zone.ras.number();
        zone.ras.tell(&ras::admission_confirm(sequence, false, target.address))?;
        zone.keep_out(&phone, &target)?;
        // It was asked, but another question.
        let sequence = zone.ras.number();
        zone.ras.ask(&ras::disengage_request(sequence, [0xca; 16]))?;
        zone.ras.tell(&ras::admission_confirm(sequence, false, target.address))?;
        zone.keep_out(&phone, &target)?;
        // Not of the inside: the gatekeeper has no say there.
        let outside = zone.stranger.listen(SIGNALLING)?;
        let call = zone.admit(false, &outside)?;
        zone.ledger.refused("not-the-announcers", 1);
        zone.disengage(&call)?;
        zone.unregister()?;
        zone.ledger.close()
    })
}

#[test]
fn a_call_is_spoken_of_by_ras() -> Result<()> {
    each_family("a_call_is_spoken_of_by_ras", |mut zone| {
        let target = zone.terminal.listen(SIGNALLING)?;
        let phone = zone.phone.clone();
        zone.register(LIFE)?;
        let (call, sequence) = (new_call(), zone.ras.number());
        zone.ras.ask(&ras::admission_request(sequence, call.id, "2000", "1000", false))?;
        zone.ras.tell(&ras::request_in_progress(sequence, 2_000))?;
        zone.keep_out(&phone, &target)?;
        zone.ras.tell(&ras::admission_confirm(sequence, false, target.address))?;
        drop(phone.connect(&target)?);
        zone.ledger.admitted(1);
        zone.ras.exchange(
            |sequence| ras::bandwidth_request(sequence, call.id, 2_560),
            |sequence| ras::bandwidth_confirm(sequence, 2_560),
        )?;

        // The gatekeeper asks, too.
        let sequence = zone.ras.number();
        zone.ras.tell(&ras::info_request(sequence, call.reference))?;
        let (own, signal) = (zone.ras.address()?, phone.at(17_300));
        zone.ras.ask(&ras::info_request_response(sequence, signal, own))?;
        zone.disengage(&call)?;
        zone.unregister()?;
        zone.ledger.close()
    })
}

#[test]
fn a_located_terminal_can_be_called() -> Result<()> {
    each_family("a_located_terminal_can_be_called", |mut zone| {
        let target = zone.terminal.listen(SIGNALLING)?;
        let (phone, reply) = (zone.phone.clone(), zone.ras.address()?);
        let gatekeeper = zone.gatekeeper.at(session::RAS_PORT);
        zone.keep_out(&phone, &target)?;
        zone.ras.exchange(
            |sequence| ras::location_request(sequence, "2000", reply),
            |sequence| ras::location_confirm(sequence, target.address, gatekeeper),
        )?;
        let (mut dialogue, stream) = Dialogue::fast(&phone, &target)?;
        zone.ledger.admitted(1);
        zone.ledger.media(&stream.whole()?);
        dialogue.release()?;
        zone.ledger.close()
    })
}

#[test]
fn a_gatekeeper_is_discovered_on_another_port() -> Result<()> {
    each_family("a_gatekeeper_is_discovered_on_another_port", |mut zone| {
        let (ours, there) = (zone.ras.address()?, zone.gatekeeper.at(17_190));
        // At the port of discovery; its answer opens nothing that is not open.
        let mut discovery = Ras::on((&zone.phone, 17_192), (&zone.gatekeeper, 1718))?;
        discovery.exchange(
            |sequence| ras::gatekeeper_request(sequence, ours),
            |sequence| ras::gatekeeper_confirm(sequence, zone.gatekeeper.at(session::RAS_PORT)),
        )?;
        drop(discovery);
        zone.ras.exchange(
            |sequence| ras::gatekeeper_request(sequence, ours),
            |sequence| ras::gatekeeper_confirm(sequence, there),
        )?;
        let elsewhere = Ras::on((&zone.phone, 17_191), (&zone.gatekeeper, there.port()))?;
        let at_1719 = std::mem::replace(&mut zone.ras, elsewhere);
        zone.register(LIFE)?;
        zone.ledger.admitted(1);
        zone.unregister()?;
        drop(at_1719);
        zone.ledger.close()
    })
}

/// On one link with the gatekeeper, which phones may look for in its group. Its answer comes from its own address,
/// which they have not asked: that needs a rule.
static ONE_LINK: Shared = Shared::under(Lab::bridge, |lab| {
    let rule = |name: &str, ends: &str, service: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\n{ends}\nservice = \"{service}\"\naction = \"inspect\"\n\
             inspect = \"h323\"\nmedia = \"callmanagers\"\n\n"
        )
    };
    let request = rule("discovery", "from = \"phones\"\nto = \"224.0.1.41\"", "udp/1718");
    let answer = rule("answers", "from = \"callmanagers\"\nto = \"phones\"", "udp/1719 from 1719");
    let membership =
        "[[rule]]\nname = \"igmp\"\nfrom = \"callmanagers\"\nservice = \"proto/2\"\naction = \"pass\"\n";
    ras_alone(lab) + "\n" + &request + &answer + membership
});

#[test]
fn a_gatekeeper_is_discovered_by_multicast() -> Result<()> {
    if !root_or_skip("a_gatekeeper_is_discovered_by_multicast") {
        return Ok(());
    }
    let turn = ONE_LINK.turn()?;
    let mut zone = Zone::of(&turn, Family::V4)?;
    let (ours, gatekeeper) = (zone.ras.address()?, zone.gatekeeper.clone());
    let elsewhere = Ras::on((&zone.phone, 17_191), (&gatekeeper, 17_190))?;
    ensure!(elsewhere.ask_in_vain(&ras::gatekeeper_request(1, ours))?.is_none(), "the port is open");
    zone.ledger.dropped("no-pinhole", 1);

    // Unasked, it opens nothing; asked for, the way to where it says, for whoever has asked.
    let at_17190 = |sequence| ras::gatekeeper_confirm(sequence, gatekeeper.at(17_190));
    zone.ras.tell(&at_17190(9))?;
    ensure!(turn.firewall.pinholes()?.is_empty(), "{:?}", turn.firewall.pinholes()?);
    zone.ras.discover(&gatekeeper, |sequence| ras::gatekeeper_request(sequence, ours), at_17190)?;
    let pinholes = turn.firewall.pinholes()?;
    ensure!(pinholes.len() == 1 && pinholes[0].to == gatekeeper.at(17_190), "{pinholes:?}");

    let group = std::mem::replace(&mut zone.ras, elsewhere);
    zone.register(LIFE)?;
    zone.ledger.admitted(1);
    let listed = turn.firewall.fwctl(&["h323", "registrations"])?;
    ensure!(String::from_utf8_lossy(&listed.stdout).contains("1000"), "{listed:?}");
    let target = zone.terminal.listen(SIGNALLING)?;
    let call = zone.admit(false, &target)?;
    let mut dialogue = Dialogue::connect(&zone.phone, &target)?;
    zone.ledger.admitted(1);
    dialogue.call = call;
    let stream = dialogue.fast_start()?;
    zone.ledger.media(&stream.whole()?);
    dialogue.release()?;
    zone.disengage(&call)?;
    zone.unregister()?;
    drop(group);
    zone.ledger.close()
}

/// Registrations are short here, and a gatekeeper on the firewall itself routes calls between the outside and the
/// inside: both their legs are seen.
static GATEKEEPER_BETWEEN: Shared = Shared::under(Lab::gateway, |lab| {
    let text = Policy::default().text(lab);
    let [outside, inside] = [("phones", "gatekeeper"), ("gatekeeper", "callmanagers")].map(|(from, to)| {
        format!(
            "[[rule]]\nname = \"{from} to {to}\"\nfrom = \"{from}\"\nto = \"{to}\"\nservice = [\"h225\", \"ras\"]\n\
             action = \"inspect\"\ninspect = \"h323\"\n\n"
        )
    });
    let group = "[groups]\ngatekeeper = [\"10.20.0.1\", \"2001:db8:20::1\"]\n";
    let life = "[inspect.h323]\nregistration_max = \"1s\"\n\n[inspect.mgcp]\n";
    text.replace("[groups]\n", group).replace("[inspect.mgcp]\n", life) + "\n" + &outside + &inside
});

#[test]
fn what_both_legs_agree_on_is_opened() -> Result<()> {
    if !root_or_skip("what_both_legs_agree_on_is_opened") {
        return Ok(());
    }
    let turn = GATEKEEPER_BETWEEN.turn()?;
    for family in [Family::V4, Family::V6] {
        let phone = Host::new(turn.lab.outside(), family.phone(0));
        let gatekeeper = Host::new(turn.lab.fw(), family.firewall());
        let terminal = Host::new(turn.lab.inside(), family.call_manager(0));
        let mut ledger = Ledger::open(&turn.firewall)?;
        let (at_gatekeeper, at_terminal) = (session::desk(&gatekeeper)?, session::desk(&terminal)?);
        let mut first = Dialogue::connect(&phone, &at_gatekeeper)?;
        let mut second = Dialogue::connect(&gatekeeper, &at_terminal)?;
        second.call.id = first.call.id;

        let (near, far) = (phone.media()?, terminal.media()?);
        let fast_start = build::proposals(own(&near));
        let setup = wire::Setup { parts: Parts { fast_start, ..Parts::default() }, ..wire::Setup::default() };
        let fast_start = build::acceptance(own(&far), near.rtp());
        let answer = Parts { fast_start, ..Parts::default() };
        first.line.forth(&setup.encode(&first.call))?;
        second.line.forth(&setup.encode(&second.call))?;
        second.line.back(&build::connect(&second.call, &answer))?;
        first.line.back(&build::connect(&first.call, &answer))?;
        ledger.media(&Stream::start(near, far)?.whole()?);

        // What one leg only says is not agreed on.
        let third = build::Media { rtp: phone.at(20_000), rtcp: phone.at(20_001) };
        second.grant(Side::Callee, 9, wire::Data::Video, terminal.at(20_003), third)?;
        ledger.refused("not-the-announcers", 1);
        first.release()?;
        second.release()?;
        ledger.close().map_err(|error| error.context(format!("{family:?}")))?;
    }
    Ok(())
}

#[test]
fn a_registration_ends_by_itself() -> Result<()> {
    if !root_or_skip("a_registration_ends_by_itself") {
        return Ok(());
    }
    let turn = GATEKEEPER_BETWEEN.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let phone = Host::new(lab.outside(), Family::V4.phone(0));
    let gatekeeper = Host::new(lab.inside(), Family::V4.call_manager(0));
    let at_phone = phone.listen(17_300)?;
    let mut ras = Ras::between(&phone, &gatekeeper)?;
    let mut registration = Registration {
        call_signal: at_phone.address,
        ras: ras.address()?,
        life: 3_600,
        keep_alive: false,
        alias: "1000",
        token: false,
        feature: None,
    };
    let mut refresh = |keep_alive| {
        registration.keep_alive = keep_alive;
        ras.exchange(
            |sequence| ras::registration_request(sequence, &registration),
            |sequence| ras::registration_confirm(sequence, 3_600),
        )
    };
    refresh(false)?;
    let registered = Instant::now();
    while registered.elapsed() < Duration::from_millis(2_000) {
        drop(gatekeeper.connect(&at_phone)?);
        refresh(true)?;
        thread::sleep(Duration::from_millis(300));
    }
    let last = firewall.last_event()?;
    thread::sleep(Duration::from_millis(2_300));
    ensure!(gatekeeper.is_kept_from(&at_phone), "still open after its time");
    let events = firewall.events(last)?;
    ensure!(events.iter().any(|row| row.kind.name() == "unregistered-abnormally"), "{events:?}");
    firewall.settled()
}
