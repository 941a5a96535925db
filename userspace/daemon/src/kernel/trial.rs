//! The kernel half attached to nothing: frames go through its XDP program by BPF_PROG_TEST_RUN.
//!
//! What it decides, it decides by its own maps, with the code the verifier has accepted and the JIT has translated;
//! what it decided is read from its counters. Time is whatever the caller says it is.

use std::collections::HashMap;
use std::path::Path;

use aya::Ebpf;
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use callgate_rules::Compiled;
use callgate_shared::Reason;
use callgate_shared::counters::{Count, RuleCount};
use callgate_shared::flow::FlowKey;
use callgate_shared::judge::{Verdict, fragment_key};
use callgate_shared::packet::{self, Fragment};
use callgate_shared::policy::{Inspect, NO_SLOT};
use callgate_shared::tap::META_MAGIC;

use super::{Constants, Error, Kernel, load};

const XDP: &str = "callgate_xdp";
const XDP_PASS: u32 = 2;
/// Bytes of the shortest frame that BPF_PROG_TEST_RUN takes: an Ethernet header.
pub const SHORTEST: usize = 14;
/// Bytes of the longest: a page, less the room that the kernel keeps before and behind a packet.
pub const LONGEST: usize = 3_000;

/// The kernel half, run by hand.
pub struct Trial {
    /// Its maps.
    pub kernel: Kernel,
    /// Its programs, by interface slot.
    instances: Vec<Ebpf>,
    /// Counters as they were after the frame before, by interface slot.
    counted: Vec<HashMap<Reason, u64>>,
    /// Counter slots of the rules that were loaded.
    rules: Vec<u32>,
    /// What was counted under them, likewise.
    by_rule: HashMap<u32, u64>,
}

impl Trial {
    /// Loads it, with maps pinned below `pin_dir`, for this many interface slots. There is no policy yet. The calling
    /// thread stays on its CPU from now on: budgets are kept by CPU.
    ///
    /// # Errors
    /// As [`Kernel::open`]: root, and a BPF filesystem, are needed.
    pub fn new(pin_dir: &Path, slots: u32) -> Result<Self, Error> {
        stay_on_this_cpu();
        let kernel = Kernel::open(pin_dir)?;
        let instances = (0..slots)
            .map(|slot| {
                let constants = Constants { slot, own_clock: 1, ..Constants::default() };
                let mut instance = load(&kernel.directory, &constants)?;
                xdp(&mut instance)?.load().map_err(|error| super::attach::refused(XDP, &error))?;
                Ok(instance)
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let counted = instances.iter().map(|_| HashMap::new()).collect();
        Ok(Self { kernel, instances, counted, rules: Vec::new(), by_rule: HashMap::new() })
    }

    /// Takes up the maps again by their pins, as another daemon would.
    ///
    /// # Errors
    /// As [`Kernel::open`].
    pub fn reopen(&mut self, pin_dir: &Path) -> Result<(), Error> {
        self.kernel = Kernel::open(pin_dir)?;
        Ok(())
    }

    /// Puts a compiled policy in force.
    ///
    /// # Errors
    /// As [`Kernel::load_policy`].
    pub fn load_policy(&mut self, compiled: &Compiled) -> Result<(), Error> {
        self.kernel.load_policy(compiled)?;
        self.rules.clone_from(&compiled.slots);
        self.rules.push(NO_SLOT);
        self.rules.sort_unstable();
        self.rules.dedup();
        self.by_rule = self.rules.iter().map(|slot| (*slot, self.kernel.rule_count(*slot).packets)).collect();
        Ok(())
    }

    /// Judges a frame that came in by the interface of a slot at monotonic time `now` (ns). The frame has
    /// [`SHORTEST`] to [`LONGEST`] bytes.
    ///
    /// # Errors
    /// The program cannot be run, or has not counted the frame once.
    pub fn judge(&mut self, slot: usize, frame: &[u8], now: u64) -> Result<Verdict, Error> {
        self.kernel.set_clock(now)?;
        let failed = |cause: String| Error::Program { program: XDP, cause };
        let instance = self.instances.get_mut(slot).ok_or_else(|| failed(format!("no slot {slot}")))?;
        let mut out = vec![0; frame.len() + 256];
        let run = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
        let result = xdp(instance)?.test_run(run).map_err(|error| super::attach::refused(XDP, &error))?;
        let passed = result.return_value == XDP_PASS;
        // What is to be read has four bytes in front of it.
        let marked = out.starts_with(&META_MAGIC.to_ne_bytes())
            && result.data_size_out as usize == frame.len() + size_of::<u32>();
        let reason = self.counted(slot)?;
        if passed == reason.is_drop() {
            let cause = format!("it has returned {} for {}", result.return_value, reason.name());
            return Err(failed(cause));
        }
        let (inspect, slot) = self.found(frame, reason, marked);
        Ok(Verdict { inspect, slot, ..Verdict::of(reason) })
    }

    /// The one reason under which a frame has been counted since the last one.
    fn counted(&mut self, slot: usize) -> Result<Reason, Error> {
        let new = self.kernel.counters(slot);
        let old = &mut self.counted[slot];
        let mut found = None;
        let mut sum = 0;
        for (reason, Count { packets, .. }) in new {
            let before = old.insert(reason, packets).unwrap_or(0);
            if packets != before {
                found = Some(reason);
                sum += packets.wrapping_sub(before);
            }
        }
        match found {
            Some(reason) if sum == 1 => Ok(reason),
            _ => Err(Error::Program { program: XDP, cause: format!("it has counted a frame {sum} times") }),
        }
    }

    /// What is read in the packet, and the counter slot of the rule behind its verdict.
    fn found(&mut self, frame: &[u8], reason: Reason, marked: bool) -> (u8, u32) {
        let mut by_rule = NO_SLOT;
        for slot in &self.rules {
            let RuleCount { packets, .. } = self.kernel.rule_count(*slot);
            if self.by_rule.insert(*slot, packets) != Some(packets) {
                by_rule = *slot;
            }
        }
        let Ok(packet) = packet::parse(&frame) else { return (0, NO_SLOT) };
        if packet.fragment == Fragment::Later {
            let inspect = self.kernel.inspected_fragment(&fragment_key(&packet)).filter(|_| marked);
            return (inspect.unwrap_or(Inspect::None) as u8, NO_SLOT);
        }
        let (key, _) = FlowKey::of(
            (packet.source, packet.source_port),
            (packet.destination, packet.destination_port),
            packet.protocol,
        );
        let (inspect, of_flow) = self.kernel.inspected(&key).unwrap_or((Inspect::None, NO_SLOT));
        // The first packet of a pinhole's flow is counted under no rule.
        let slot =
            if reason == Reason::PassPinhole { if marked { of_flow } else { NO_SLOT } } else { by_rule };
        (if marked { inspect as u8 } else { 0 }, slot)
    }
}

fn xdp(instance: &mut Ebpf) -> Result<&mut Xdp, Error> {
    let program = instance.program_mut(XDP).and_then(|program| program.try_into().ok());
    program.ok_or(Error::Program { program: XDP, cause: "it is not in the object".to_owned() })
}

/// Where that cannot be had, budgets are only told apart by luck; nothing else depends on it.
fn stay_on_this_cpu() {
    // SAFETY: `set` is a live `cpu_set_t`, for which zero is the empty set; the calls keep no pointer to it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if let Ok(cpu) = usize::try_from(libc::sched_getcpu()) {
            libc::CPU_SET(cpu, &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
        }
    }
}
