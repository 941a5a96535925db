//! Callgate as it is measured: the daemon's own kernel half with a policy of [`crate::scenario`], no daemon.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use aya::Ebpf;
use aya::programs::Xdp;
use callgate_alg::action::{Action, PinholeSpec, Sender};
use callgate_alg::contract::Contract;
use callgate_alg::{CallId, Time, Transport};
use callgate_rules::{Machine, Report, RuleSet, compile};
use callgate_shared::pinhole::Kind;
use callgate_shared::policy::NO_SLOT;
use callgated::kernel::{Kernel, XdpChoice};

use crate::programs::{PinDirectory, Receivers};
use crate::scenario::{FAR_END, FLOODED, MEDIA, STATION};
use crate::sys;

/// The name of the XDP program in the daemon's object.
const PROGRAM: &str = "callgate_xdp";
/// The interface slot of [`FLOODED`].
const SLOT: u32 = 0;
/// Life of the pinhole, and of its silence: longer than any bench.
const PINHOLE_LIFE: Duration = Duration::from_secs(3_600);

/// The kernel half, loaded and given its policy, attached to nothing.
pub(crate) struct Callgate {
    kernel: Kernel,
    instance: Ebpf,
    /// The counter slots of the rules, by their places.
    slots: Vec<u32>,
    rules: RuleSet,
    /// Where the maps are pinned, and what is attached.
    _pins: PinDirectory,
}

impl Callgate {
    /// Loads it with these rules. Packets are judged as of [`FLOODED`], wherever the program is run.
    pub(crate) fn load(rules: &str) -> Result<Self> {
        let rules = RuleSet::parse("the bench's rules", rules)
            .map_err(|diagnostics| anyhow!("{}", Report(&diagnostics)))?;

        let pins = PinDirectory::create("callgate").context("a place for its maps")?;
        let mut kernel = Kernel::open(&pins.0)?;
        let machine = Machine { interfaces: &[(SLOT as usize, FLOODED)], ..Machine::default() };
        let compiled = compile(&rules, &machine, 1, &mut kernel.slots())?;
        kernel.load_policy(&compiled)?;
        let mut instance = kernel.instance(SLOT, Some(STATION))?;
        let program: &mut Xdp = instance.program_mut(PROGRAM).context("no XDP program")?.try_into()?;
        program.load().context("the XDP program")?;
        Ok(Self { kernel, instance, slots: compiled.slots, rules, _pins: pins })
    }

    /// The XDP program.
    pub(crate) fn program(&self) -> Result<BorrowedFd<'_>> {
        let program: &Xdp = self.instance.program(PROGRAM).context("no XDP program")?.try_into()?;
        Ok(program.fd()?.as_fd())
    }

    /// Attaches it to an interface as the daemon does, until this is dropped.
    pub(crate) fn attach(&mut self) -> Result<()> {
        self.kernel.attach(SLOT, FLOODED, XdpChoice::Native)?;
        Ok(())
    }

    /// Media may be forwarded past the stack to this device.
    pub(crate) fn forward_to(&mut self, device: u32) -> Result<()> {
        Ok(self.kernel.set_fast_paths([device].into())?)
    }

    /// Opens a pinhole for a call that a rule has admitted.
    pub(crate) fn open_by(&mut self, rule: &str, to: SocketAddrV4) -> Result<()> {
        let place = self.rules.rules().iter().position(|known| known.name == rule).context("no such rule")?;
        let slot = self.slots[place];
        self.open(to, slot)
    }

    /// Opens the pinhole for [`crate::scenario::frames::rtp`].
    pub(crate) fn open_pinhole(&mut self) -> Result<()> {
        self.open(MEDIA, NO_SLOT)
    }

    /// Opens one for each of many receivers, in the network of [`MEDIA`].
    pub(crate) fn open_pinholes(&mut self, receivers: Receivers) -> Result<()> {
        let [a, b, c, _] = MEDIA.ip().octets();
        for address in 0..receivers.addresses {
            for place in 0..receivers.ports {
                let ip = Ipv4Addr::new(a, b, c, address as u8);
                self.open(SocketAddrV4::new(ip, Receivers::FIRST_PORT + 2 * place), NO_SLOT)?;
            }
        }
        Ok(())
    }

    /// Carries out what an engine has decided about pinholes; how many that were.
    pub(crate) fn carry_out(&mut self, actions: Vec<Action>) -> Result<usize> {
        let now = Time(sys::monotonic_ns()?);
        let mut count = 0;
        for action in actions {
            match action {
                Action::Open(spec) | Action::Update(spec) => {
                    self.kernel.open_pinhole(&spec, now, PINHOLE_LIFE)?;
                }
                Action::Close { to, transport, .. } => drop(self.kernel.close_pinhole(to, transport)?),
                _ => continue,
            }
            count += 1;
        }
        Ok(count)
    }

    fn open(&mut self, to: SocketAddrV4, slot: u32) -> Result<()> {
        let spec = PinholeSpec {
            to: SocketAddr::V4(to),
            transport: Transport::Udp,
            senders: vec![Sender { ip: (*FAR_END.ip()).into(), port: Some(FAR_END.port()) }],
            kind: Kind::Rtp,
            idle: PINHOLE_LIFE,
            latch: None,
            call: CallId(1),
            slot,
            contract: Contract {
                payload_types: [0, 8, 13, 101].into_iter().collect(),
                clock: 8_000,
                // The same frame comes a million times over: the ceiling is gone through, but never reached.
                nominal: None,
                ..Contract::default()
            },
        };
        Ok(self.kernel.open_pinhole(&spec, Time(sys::monotonic_ns()?), PINHOLE_LIFE)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{RULES, callgate_rules, prefix_rules};

    /// The policies that are measured are valid ones, and of the size that is claimed.
    #[test]
    fn the_rules_are_a_policy() {
        for count in [10, RULES, 1_000] {
            let rules = match RuleSet::parse("bench", &callgate_rules(count)) {
                Ok(rules) => rules,
                Err(diagnostics) => panic!("{}", Report(&diagnostics)),
            };
            assert_eq!(rules.rules().len(), count);
            assert!(rules.warnings().is_empty(), "{}", Report(rules.warnings()));
            let slots = &mut callgate_rules::MemorySlots::default();
            let machine = Machine { interfaces: &[(0, FLOODED)], ..Machine::default() };
            let compiled = compile(&rules, &machine, 1, slots).expect("a policy that fits");
            assert_eq!(compiled.policy.interfaces[0], rules.zone_of(FLOODED));
        }
        assert!(RuleSet::parse("bench", &prefix_rules(100)).is_ok());
    }
}
