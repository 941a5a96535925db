//! Calls by baresip: a soft phone that is not ours, on both sides. What it sends and what arrives is counted at the
//! interfaces around the firewall.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{Family, Lab};
use crate::meter::{Direction, Meter};
use crate::netns::Netns;
use crate::process::Process;
use crate::sip::Transport;

/// How long the caller lives, in seconds: it hangs up when it ends.
const CALLER: u32 = 4;
/// How long the callee does.
const CALLEE: u32 = 8;

/// A call from phone 0 to call manager 0 that is under way.
#[derive(Debug)]
pub struct Run {
    caller: Process,
    callee: Process,
    meters: [Meter; 4],
}

/// Packets of RTP: sent, and arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// From the caller to the callee.
    pub forth: (u64, u64),
    /// From the callee to the caller.
    pub back: (u64, u64),
}

impl Run {
    /// Starts both, and has the one call the other.
    ///
    /// # Errors
    /// When baresip is missing or a counter cannot be attached.
    pub fn start(lab: &Lab, transport: Transport) -> Result<Self> {
        let (phone, manager) = (Family::V4.phone(0), Family::V4.call_manager(0));
        let meter = |ns: &Netns, interface: &str, direction, to: IpAddr| {
            // RTP has even ports. The last RTCP may come when the call is over, and is counted by nobody.
            let media = format!("ip daddr {to} udp dport 16384-32767 udp dport & 1 == 0");
            Meter::attach(ns, interface, direction, &[("media", &media)])
        };
        let meters = [
            meter(lab.outside(), "eth0", Direction::Out, manager)?,
            meter(lab.inside(), lab.arrival(), Direction::In, manager)?,
            meter(lab.inside(), lab.arrival(), Direction::Out, phone)?,
            meter(lab.outside(), "eth0", Direction::In, phone)?,
        ];
        let suffix = match transport {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
        };
        let desk = agent(lab, "desk", lab.arrival(), manager, ";answermode=auto")?;
        let home = agent(lab, "phone", "eth0", phone, "")?;
        let start = |ns: &Netns, dir: &PathBuf, seconds: u32, dial: Option<String>| {
            let mut command = Command::new("baresip");
            command.args(["-4", "-t", &seconds.to_string(), "-f"]).arg(dir);
            if let Some(dial) = dial {
                command.args(["-e", &dial]);
            }
            ns.spawn(&mut command, &dir.join("log"))
        };
        let callee = start(lab.inside(), &desk, CALLEE, None)?;
        std::thread::sleep(Duration::from_millis(800));
        let dial = format!("/dial sip:desk@{manager}{suffix}");
        let caller = start(lab.outside(), &home, CALLER, Some(dial))?;
        Ok(Self { caller, callee, meters })
    }

    /// Waits until the caller has hung up.
    ///
    /// # Errors
    /// When it does not, or a counter cannot be read.
    pub fn finish(mut self) -> Result<Outcome> {
        let status = self.caller.wait(Duration::from_secs(u64::from(CALLER) + 6))?;
        ensure!(status.is_some(), "baresip does not end:\n{}", self.caller.output());
        let [sent, arrived, back_sent, back_arrived] = &self.meters;
        let outcome = Outcome {
            forth: (sent.packets("media")?, arrived.packets("media")?),
            back: (back_sent.packets("media")?, back_arrived.packets("media")?),
        };
        if outcome.forth.0 == 0 || outcome.back.0 == 0 {
            eprintln!("caller:\n{}\ncallee:\n{}", self.caller.output(), self.callee.output());
        }
        Ok(outcome)
    }
}

/// A configuration directory: a tone for a microphone, and nobody who listens.
fn agent(lab: &Lab, user: &str, interface: &str, ip: IpAddr, account: &str) -> Result<PathBuf> {
    let dir = lab.dir().join(user);
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let config = format!(
        "module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule ausine.so\nmodule aubridge.so\nmodule uuid.so\n\
         module_app account.so\nmodule_app menu.so\naudio_source ausine,440\naudio_player aubridge,{user}\n\
         audio_alert aubridge,alert\nausrc_srate 48000\nauplay_srate 48000\nausrc_channels 2\nauplay_channels 2\n\
         sip_listen {ip}:5060\nnet_interface {interface}\nrtp_ports 16384-32767\n"
    );
    fs::write(dir.join("config"), config).context("config")?;
    let accounts = format!("<sip:{user}@{ip}>;regint=0;audio_codecs=PCMU{account}\n");
    fs::write(dir.join("accounts"), accounts).context("accounts")?;
    fs::write(dir.join("contacts"), "").context("contacts")?;
    Ok(dir)
}
