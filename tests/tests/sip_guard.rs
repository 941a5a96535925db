//! Tools that look for SIP servers, users and passwords, by the sequences of messages SIPVicious sends: they are
//! stopped; whoever has business here is not stopped in their name.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use callgate_lab::h323::session::Host;
use callgate_lab::sip::Transport::{self, Tcp, Udp};
use callgate_lab::sip::stage::{Stage, under};
use callgate_lab::sip::talk::{Line, Script, Side};

/// A rule by which anybody may speak SIP to the inside: it names nobody.
const ANYBODY: &str = "\n[[rule]]\nname = \"sip from anybody\"\nto = \"inside-nets\"\nservice = \"sip\"\n\
                       action = \"inspect\"\ninspect = \"sip\"\n";
/// What svmap, svwar and svcrack call themselves.
const AGENT: &str = "User-Agent: friendly-scanner\r\n";
/// Time a block needs to be in force.
const SOON: Duration = Duration::from_millis(300);

/// Who scans, and how it is answered.
struct Tool {
    from: Host,
    line: Line,
    sent: u32,
    arrived: u32,
}

impl Tool {
    /// At an address of its own, which nobody has accused of anything yet.
    fn stranger(stage: &Stage<'_>, transport: Transport) -> Result<Self> {
        static NUMBER: AtomicU8 = AtomicU8::new(100);
        let ip = Ipv4Addr::new(203, 0, 113, NUMBER.fetch_add(1, Ordering::Relaxed));
        stage.turn.lab.outside().ip(&format!("address add {ip}/24 dev eth0\n"))?;
        Self::new(&Host::new(stage.turn.lab.outside(), ip.into()), &stage.manager, transport)
    }

    fn new(from: &Host, to: &Host, transport: Transport) -> Result<Self> {
        Ok(Self { from: from.clone(), line: Line::open(from, to, transport)?, sent: 0, arrived: 0 })
    }

    /// A request for this extension; if it arrives it is answered so.
    fn ask(&mut self, method: &str, user: &str, lines: &str, answer: &str, with: &str) -> Result<bool> {
        let mut script = Script::new(&self.line);
        // svwar and svcrack name the extension in From, To and Contact alike.
        script.users = [user.to_owned(), user.to_owned()];
        let request = script.first(Side::Near, method, lines, "");
        self.sent += 1;
        // A connection that has been reset takes nothing any more.
        if self.line.send(Side::Near, &request).is_err() {
            return Ok(false);
        }
        let came = self.line.read(Side::Far, Duration::from_millis(100)).unwrap_or(None);
        let Some(came) = came else { return Ok(false) };
        ensure!(came == request, "{came} instead of {request}");
        self.arrived += 1;
        self.line.send(Side::Far, &script.response(Side::Far, &request, answer, with, ""))?;
        // Blocked meanwhile, it does not read that.
        let _ = self.line.read(Side::Near, Duration::from_millis(50));
        Ok(true)
    }

    /// svcrack: a password for an extension, after the challenge.
    fn guess(&mut self, user: &str, number: u32) -> Result<bool> {
        let challenge = format!("WWW-Authenticate: Digest realm=\"lab\", nonce=\"n{number}\"\r\n");
        self.ask("REGISTER", user, "", "401 Unauthorized", &challenge)?;
        let next = format!("WWW-Authenticate: Digest realm=\"lab\", nonce=\"n{}\"\r\n", number + 1);
        self.ask("REGISTER", user, &credentials(user, number), "401 Unauthorized", &next)
    }
}

fn credentials(user: &str, number: u32) -> String {
    format!(
        "Authorization: Digest username=\"{user}\", realm=\"lab\", nonce=\"n{number}\", uri=\"sip:10.1.1.10\", \
         response=\"{number:032x}\", algorithm=MD5\r\n"
    )
}

/// The attacker is blocked: by `fwctl blocks`, by an event, and in fact.
fn is_blocked(stage: &Stage<'_>, tool: &mut Tool) -> Result<()> {
    std::thread::sleep(SOON);
    let blocked = stage.blocked()?;
    ensure!(blocked == [tool.from.ip], "{blocked:?} after {} of {} messages", tool.arrived, tool.sent);
    let passed = tool.ask("OPTIONS", "100", "", "200 OK", "")?;
    ensure!(!passed, "a message of the blocked source arrives");
    let told = stage.firewall().events(0)?;
    let named = |row: &callgate_api::EventRow| {
        row.source.ip() == tool.from.ip && matches!(row.kind.name(), "attack" | "blocked")
    };
    ensure!(told.iter().any(named), "{told:?}");
    // Others are served.
    stage.talk(Udp)?.end()?;
    stage.unblock()
}

#[test]
fn svmap_sweeps_the_network() -> Result<()> {
    under("svmap_sweeps_the_network", "sweep = 8", ANYBODY, |stage| {
        let mut tool = Tool::stranger(stage, Udp)?;
        tool.ask("OPTIONS", "100", AGENT, "200 OK", "")?;
        let socket = tool.from.udp(5_090)?;
        for host in 20..40 {
            let to = SocketAddr::new([10, 1, 1, host].into(), 5060);
            let text = Script::new(&tool.line).first(Side::Near, "OPTIONS", AGENT, "");
            socket.send_to(text.replace("10.1.1.10", &to.ip().to_string()).as_bytes(), to)?;
        }
        is_blocked(stage, &mut tool)
    })
}

#[test]
fn a_scanner_says_its_name() -> Result<()> {
    under(
        "a_scanner_says_its_name",
        "scanners = [\"friendly-scanner*\", \"sipvicious*\"]",
        ANYBODY,
        |stage| {
            let mut tool = Tool::stranger(stage, Udp)?;
            ensure!(
                tool.ask("OPTIONS", "100", "User-Agent: Deskphone 7\r\n", "200 OK", "")?,
                "an honest one is dropped"
            );
            let watch = stage.watch()?;
            ensure!(!tool.ask("OPTIONS", "100", AGENT, "200 OK", "")?, "it arrives");
            ensure!(watch.dropped()?.values().sum::<u64>() == 1, "{:?}", watch.dropped()?);
            is_blocked(stage, &mut tool)
        },
    )
}

#[test]
fn svwar_looks_for_extensions() -> Result<()> {
    for method in ["REGISTER", "INVITE", "OPTIONS"] {
        under("svwar_looks_for_extensions", "auth_failures = \"10/min\"", ANYBODY, |stage| {
            let mut tool = Tool::stranger(stage, Udp)?;
            for extension in 100..130 {
                tool.ask(method, &extension.to_string(), AGENT, "404 Not Found", "")?;
            }
            ensure!((10..=20).contains(&tool.arrived), "{} of {} arrive", tool.arrived, tool.sent);
            is_blocked(stage, &mut tool).with_context(|| method)
        })?;
    }
    Ok(())
}

#[test]
fn svcrack_guesses_passwords() -> Result<()> {
    for transport in [Udp, Tcp] {
        under("svcrack_guesses_passwords", "auth_failures = \"10/min\"", ANYBODY, |stage| {
            let mut tool = Tool::stranger(stage, transport)?;
            for number in 0..20 {
                tool.guess("1000", number)?;
            }
            ensure!((5..=30).contains(&tool.arrived), "{} of {} arrive", tool.arrived, tool.sent);
            is_blocked(stage, &mut tool).with_context(|| format!("{transport:?}"))
        })?;
    }
    Ok(())
}

/// The same messages in the name of a phone that is registered.
#[test]
fn a_forged_source_does_not_silence_a_phone() -> Result<()> {
    under("a_forged_source_does_not_silence_a_phone", "auth_failures = \"10/min\"", ANYBODY, |stage| {
        let (mut line, mut script) = stage.line(Udp)?;
        let register = script.first(Side::Near, "REGISTER", "Expires: 60\r\n", "");
        line.say(Side::Near, &register)?;
        line.say(Side::Far, &script.response(Side::Far, &register, "200 OK", "Expires: 60\r\n", ""))?;
        let mut talk = stage.talk(Udp)?;
        // The forger sees no answer, so it never knows a nonce.
        let mut tool = Tool::new(&stage.phone, &stage.manager, Udp)?;
        for number in 0..30 {
            tool.ask("REGISTER", "1000", &credentials("1000", number), "401 Unauthorized", "")?;
            tool.ask("INVITE", &number.to_string(), AGENT, "404 Not Found", "")?;
        }
        std::thread::sleep(SOON);
        ensure!(stage.blocked()?.is_empty(), "{:?}", stage.blocked()?);
        talk.whole()?;
        talk.end()?;
        stage.talk(Udp)?.end()?;
        let gone = script.first(Side::Near, "REGISTER", "Expires: 0\r\n", "");
        line.say(Side::Near, &gone)?;
        line.say(Side::Far, &script.response(Side::Far, &gone, "200 OK", "", ""))
    })
}

/// A user who mistypes his password a few times.
#[test]
fn a_few_failures_are_forgiven() -> Result<()> {
    under("a_few_failures_are_forgiven", "auth_failures = \"10/min\"", ANYBODY, |stage| {
        let mut tool = Tool::stranger(stage, Udp)?;
        // More in all than a guesser is granted.
        for round in 0..8 {
            for number in 0..2 {
                ensure!(tool.guess("1000", 10 * round + number)?, "blocked after {} messages", tool.arrived);
            }
            let right = credentials("1000", 10 * round + 2);
            ensure!(tool.ask("REGISTER", "1000", &right, "200 OK", "Expires: 0\r\n")?, "blocked");
        }
        ensure!(stage.blocked()?.is_empty(), "{:?}", stage.blocked()?);
        Ok(())
    })
}

#[test]
fn an_account_is_guarded_whoever_guesses() -> Result<()> {
    under(
        "an_account_is_guarded_whoever_guesses",
        "guard = \"event\"\naccount_failures = \"5/min\"",
        ANYBODY,
        |stage| {
            let mut tool = Tool::stranger(stage, Udp)?;
            for number in 0..12 {
                tool.ask("REGISTER", "3000", &credentials("3000", number), "401 Unauthorized", "")?;
            }
            ensure!((5..=8).contains(&tool.arrived), "{} of {} arrive", tool.arrived, tool.sent);
            // Another account is none of its business.
            ensure!(
                tool.ask("REGISTER", "2000", &credentials("2000", 0), "401 Unauthorized", "")?,
                "2000 is refused too"
            );
            ensure!(stage.blocked()?.is_empty(), "{:?}", stage.blocked()?);
            Ok(())
        },
    )
}
