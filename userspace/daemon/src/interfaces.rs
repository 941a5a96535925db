//! The interfaces Callgate stands on: their slots, attachments and taps.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use callgate_rules::RuleSet;
use callgate_rules::ruleset::Xdp;
use callgate_shared::policy::MAX_IFACES;
use tracing::{info, warn};

use crate::kernel::{Attachment, Direction, Kernel, TapProgram, XdpChoice};
use crate::tap::{Tap, interface_index};

/// An interface Callgate stands on.
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its slot in the kernel's tables.
    pub slot: usize,
    /// How XDP runs on it.
    pub attachment: Attachment,
    /// Its index: one that goes away and comes back has another.
    nic: u32,
    /// Taps for packets that enter by it, and for packets this machine sends by it.
    pub taps: [Rc<Tap>; 2],
    _programs: [TapProgram; 2],
}

/// All of them, and the slots they have had.
pub struct Interfaces {
    /// In order of slot.
    pub attached: Vec<Rc<Interface>>,
    slots: Slots,
    /// Taps of interfaces that are gone, by slot: they serve those that come back.
    spare: BTreeMap<usize, [Rc<Tap>; 2]>,
    /// Indexes that were tried in vain when the interface came: they are not tried again until a reload.
    in_vain: BTreeMap<String, u32>,
}

impl Interfaces {
    /// None yet; slots of earlier runs are remembered in `state_dir`.
    ///
    /// # Errors
    /// The state directory cannot be made.
    pub fn new(state_dir: &Path) -> Result<Self> {
        Ok(Self {
            attached: Vec::new(),
            slots: Slots::open(state_dir)?,
            spare: BTreeMap::new(),
            in_vain: BTreeMap::new(),
        })
    }

    /// The interfaces a rule set names, with their slots: what the compiler needs. One that Callgate has stood on may be
    /// away.
    ///
    /// # Errors
    /// An interface that has never been here, none at all, or more than there are slots.
    pub fn named(&mut self, rules: &RuleSet) -> Result<Vec<(usize, String)>> {
        let mut named = Vec::new();
        for interface in rules.zones().iter().flat_map(|zone| &zone.interfaces) {
            if interface_index(interface).is_none() && !self.slots.by_name.contains_key(interface) {
                bail!("there is no interface {interface} here: name another in [zones], or create it first");
            }
            let slot =
                self.slots.of(interface).with_context(|| format!("no slot is left for {interface}"))?;
            named.push((slot, interface.clone()));
        }
        if named.is_empty() {
            bail!("[zones] names no interface: there is nothing to attach to");
        }
        Ok(named)
    }

    /// Stands on exactly these interfaces: attaches what is missing, lets go of what is no longer named.
    ///
    /// # Errors
    /// The first interface that cannot be attached; those before it are.
    pub fn sync(&mut self, kernel: &mut Kernel, named: &[(usize, String)], xdp: Xdp) -> Result<()> {
        for (slot, name) in named {
            if self.is_attached(name) {
                continue;
            }
            match interface_index(name) {
                Some(nic) => self.attach(kernel, *slot, (name, nic), xdp)?,
                None => warn!(interface = name, "it is not here: it is guarded as soon as it is"),
            }
        }
        self.attached.retain(|interface| named.iter().any(|(_, name)| *name == interface.name));
        self.attached.sort_by_key(|interface| interface.slot);
        // What this run, or an earlier one under other rules, still has on other interfaces.
        for name in self.slots.by_name.keys() {
            if !named.iter().any(|(_, present)| present == name) {
                kernel.detach(name)?;
            }
        }
        self.in_vain.clear();
        Ok(())
    }

    /// Lets go of interfaces that are gone, and stands on those that have come, or have come back. To be called now and
    /// then.
    pub fn follow(&mut self, kernel: &mut Kernel, rules: &RuleSet) {
        let (here, gone) = std::mem::take(&mut self.attached)
            .into_iter()
            .partition(|interface| interface_index(&interface.name) == Some(interface.nic));
        self.attached = here;
        for interface in gone {
            warn!(interface = interface.name, "it is gone");
            if let Err(error) = kernel.detach(&interface.name) {
                warn!(interface = interface.name, %error, "its pins cannot be removed");
            }
            self.spare.insert(interface.slot, interface.taps.each_ref().map(Rc::clone));
        }
        for name in rules.zones().iter().flat_map(|zone| &zone.interfaces) {
            let (Some(nic), Some(slot)) = (interface_index(name), self.slots.by_name.get(name).copied())
            else {
                continue;
            };
            if self.is_attached(name) || self.in_vain.get(name) == Some(&nic) {
                continue;
            }
            if let Err(error) = self.attach(kernel, slot, (name, nic), rules.settings().xdp) {
                warn!(interface = name, error = format!("{error:#}"), "it has come, and is not guarded");
                self.in_vain.insert(name.clone(), nic);
            }
        }
        self.attached.sort_by_key(|interface| interface.slot);
    }

    fn is_attached(&self, name: &str) -> bool {
        self.attached.iter().any(|interface| interface.name == name)
    }

    fn attach(&mut self, kernel: &mut Kernel, slot: usize, (name, nic): (&str, u32), xdp: Xdp) -> Result<()> {
        let choice = match xdp {
            Xdp::Auto => XdpChoice::Auto,
            Xdp::Native => XdpChoice::Native,
            Xdp::Generic => XdpChoice::Generic,
        };
        let interface = attach(kernel, slot, (name, nic), choice, self.spare.get(&slot))
            .with_context(|| format!("cannot attach to interface {name}"))?;
        self.spare.remove(&slot);
        self.attached.push(Rc::new(interface));
        Ok(())
    }
}

fn attach(
    kernel: &mut Kernel,
    slot: usize,
    (name, nic): (&str, u32),
    choice: XdpChoice,
    spare: Option<&[Rc<Tap>; 2]>,
) -> Result<Interface> {
    let make = |place: usize, kind: char, direction| -> Result<(Rc<Tap>, TapProgram)> {
        let tap = match spare {
            Some(taps) => Rc::clone(&taps[place]),
            None => Rc::new(Tap::create(&format!("cg{kind}{slot}"))?),
        };
        let program = kernel.attach_tap(tap.name(), nic, direction)?;
        Ok((tap, program))
    };
    let (ingress, to_ingress) = make(0, 'i', Direction::Ingress)?;
    let (egress, to_egress) = make(1, 'e', Direction::Egress)?;
    let number = u32::try_from(slot)?;
    let attachment = kernel.attach(number, name, choice)?;
    kernel.set_taps(number, ingress.index(), egress.index(), &attachment)?;
    let mode = if attachment.native { "native" } else { "generic" };
    match &attachment.note {
        None => info!(interface = name, xdp = mode, "attached"),
        Some(note) => warn!(interface = name, xdp = mode, why = note, "attached, but not natively"),
    }
    Ok(Interface {
        name: name.to_owned(),
        slot,
        attachment,
        nic,
        taps: [ingress, egress],
        _programs: [to_ingress, to_egress],
    })
}

/// Which slot each interface has: kept over restarts, since counters and the programs at work go by it.
struct Slots {
    file: PathBuf,
    by_name: BTreeMap<String, usize>,
}

impl Slots {
    fn open(state_dir: &Path) -> Result<Self> {
        fs::create_dir_all(state_dir)
            .with_context(|| format!("cannot make the state directory {}", state_dir.display()))?;
        let file = state_dir.join("interfaces.json");
        let by_name =
            fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Ok(Self { file, by_name })
    }

    fn of(&mut self, interface: &str) -> Option<usize> {
        if let Some(slot) = self.by_name.get(interface) {
            return Some(*slot);
        }
        let slot = (0..MAX_IFACES).find(|slot| !self.by_name.values().any(|taken| taken == slot))?;
        self.by_name.insert(interface.to_owned(), slot);
        let saved = serde_json::to_vec(&self.by_name).map_err(std::io::Error::other);
        // A disk that is full takes nothing from what is there.
        let new = self.file.with_extension("json.new");
        let saved = saved.and_then(|text| fs::write(&new, text)).and_then(|()| fs::rename(&new, &self.file));
        if let Err(error) = saved {
            warn!(%error, file = %self.file.display(), "cannot remember the slots of interfaces");
        }
        Some(slot)
    }
}
