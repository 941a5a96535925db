//! Programs on interfaces, by links that outlive the daemon.

use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp};
use callgate_shared::tap::Tap;

use super::{Constants, Error, Kernel, load};

const XDP: &str = "callgate_xdp";
const INGRESS: &str = "callgate_ingress";
const EGRESS: &str = "callgate_egress";
const TAP: &str = "callgate_tap";

/// `BPF_F_INGRESS` of bpf_redirect: deliver as if received.
const TO_INGRESS: u64 = 1;

/// Which way XDP may be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpChoice {
    /// Native where the driver can, otherwise generic.
    Auto,
    /// Native or not at all.
    Native,
    /// Generic.
    Generic,
}

/// How an interface was attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// XDP runs in the driver.
    pub native: bool,
    /// Why it does not, where native was asked for.
    pub note: Option<String>,
}

/// Which way packets of a tap were going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// They had entered by the interface.
    Ingress,
    /// They were about to leave by it.
    Egress,
}

impl Kernel {
    /// Puts the programs on an interface, replacing those of an earlier run without a gap.
    ///
    /// # Errors
    /// [`Error::ForeignXdp`], [`Error::NoInterface`], [`Error::NoNativeXdp`], or what the kernel refuses.
    pub fn attach(&mut self, slot: u32, interface: &str, choice: XdpChoice) -> Result<Attachment, Error> {
        let mut instance = self.instance(slot, super::devices::station_of(interface))?;
        // TCX first: once XDP judges, what it marks finds its way to the tap.
        for (name, direction) in [(INGRESS, TcAttachType::Ingress), (EGRESS, TcAttachType::Egress)] {
            let program = classifier(&mut instance, name)?;
            attach_tcx(program, name, interface, direction, &self.link(interface, name))?;
        }
        let program: &mut Xdp = instance
            .program_mut(XDP)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| missing(XDP))?;
        program.load().map_err(|error| refused(XDP, &error))?;
        attach_xdp(program, interface, choice, |mode| self.link(interface, &format!("{XDP}-{mode}")))
    }

    /// Takes the programs off an interface.
    ///
    /// # Errors
    /// [`Error::File`] where a pin cannot be removed.
    pub fn detach(&mut self, interface: &str) -> Result<(), Error> {
        for name in [INGRESS, EGRESS, &format!("{XDP}-native"), &format!("{XDP}-generic")] {
            unpin(&self.link(interface, name))?;
        }
        Ok(())
    }

    /// Makes what is written to `tap` go back to `nic`, in the direction it came from. Not pinned: the tap goes
    /// with the daemon, and this with the tap.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn attach_tap(&self, tap: &str, nic: u32, direction: Direction) -> Result<TapProgram, Error> {
        let tap_flags = if direction == Direction::Ingress { TO_INGRESS } else { 0 };
        let mut instance =
            load(&self.directory, &Constants { tap_nic: nic, tap_flags, ..Constants::default() })?;
        let program = classifier(&mut instance, TAP)?;
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        program
            .attach_with_options(tap, TcAttachType::Ingress, options)
            .map_err(|error| refused(TAP, &error))?;
        Ok(TapProgram(instance))
    }

    /// Tells the programs of an interface where its taps are, and how XDP runs on it.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn set_taps(
        &mut self,
        slot: u32,
        ingress: u32,
        egress: u32,
        attachment: &Attachment,
    ) -> Result<(), Error> {
        let generic = u32::from(!attachment.native);
        self.generic |= !attachment.native;
        self.maps.set_tap(slot, Tap { ingress, egress, without_metadata: 0, generic })
    }

    fn link(&self, interface: &str, name: &str) -> PathBuf {
        // bpffs refuses dots in names; interface names may have them (VLANs).
        self.directory.join("links").join(format!("{}-{name}", interface.replace('.', "_")))
    }
}

/// Keeps a tap's program attached while it lives.
#[derive(Debug)]
pub struct TapProgram(#[expect(dead_code, reason = "held for its links")] aya::Ebpf);

fn classifier<'a>(instance: &'a mut aya::Ebpf, name: &'static str) -> Result<&'a mut SchedClassifier, Error> {
    let program: &mut SchedClassifier = instance
        .program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| missing(name))?;
    program.load().map_err(|error| refused(name, &error))?;
    Ok(program)
}

fn attach_tcx(
    program: &mut SchedClassifier,
    name: &'static str,
    interface: &str,
    direction: TcAttachType,
    pin: &Path,
) -> Result<(), Error> {
    if let Some(link) = pinned(pin)
        && let Ok(link) = SchedClassifierLink::try_from(link)
        && program.attach_to_link(link).is_ok()
    {
        return Ok(());
    }
    unpin(pin)?;
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program
        .attach_with_options(interface, direction, options)
        .map_err(|error| attach_error(name, interface, &error))?;
    let link = program.take_link(id).map_err(|error| refused(name, &error))?;
    keep(FdLink::try_from(link).map_err(|error| refused(name, &error))?, pin)
}

fn attach_xdp(
    program: &mut Xdp,
    interface: &str,
    choice: XdpChoice,
    pin: impl Fn(&str) -> PathBuf,
) -> Result<Attachment, Error> {
    let (native, generic) = (pin("native"), pin("generic"));
    if choice != XdpChoice::Generic {
        match attach_xdp_as(program, interface, XdpMode::Driver, &native, &generic) {
            Ok(()) => return Ok(Attachment { native: true, note: None }),
            Err(error @ (Error::ForeignXdp { .. } | Error::NoInterface(_))) => return Err(error),
            Err(error) if choice == XdpChoice::Native => {
                return Err(Error::NoNativeXdp { interface: interface.to_owned(), cause: error.to_string() });
            }
            Err(error) => {
                attach_xdp_as(program, interface, XdpMode::Skb, &generic, &native)?;
                return Ok(Attachment { native: false, note: Some(error.to_string()) });
            }
        }
    }
    attach_xdp_as(program, interface, XdpMode::Skb, &generic, &native)?;
    Ok(Attachment { native: false, note: None })
}

/// Attaches in one mode: by the link an earlier run has pinned, or by a new one once the other mode's is gone.
fn attach_xdp_as(
    program: &mut Xdp,
    interface: &str,
    mode: XdpMode,
    pin: &Path,
    other: &Path,
) -> Result<(), Error> {
    if let Some(link) = pinned(pin)
        && let Ok(link) = XdpLink::try_from(link)
        && program.attach_to_link(link).is_ok()
    {
        return Ok(());
    }
    unpin(pin)?;
    unpin(other)?;
    let id = program.attach(interface, mode).map_err(|error| attach_error(XDP, interface, &error))?;
    let link = program.take_link(id).map_err(|error| refused(XDP, &error))?;
    keep(FdLink::try_from(link).map_err(|error| refused(XDP, &error))?, pin)
}

fn pinned(path: &Path) -> Option<FdLink> {
    path.exists().then(|| PinnedLink::from_pin(path).ok()).flatten().map(FdLink::from)
}

fn unpin(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::File { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn keep(link: FdLink, path: &Path) -> Result<(), Error> {
    let file = |source| Error::File { path: path.to_owned(), source };
    link.pin(path).map(drop).map_err(|error| file(std::io::Error::other(error)))
}

fn missing(program: &'static str) -> Error {
    Error::Program { program, cause: "it is not in the object".to_owned() }
}

pub(super) fn refused(program: &'static str, error: &(dyn std::error::Error + 'static)) -> Error {
    Error::Program { program, cause: causes(error) }
}

fn attach_error(program: &'static str, interface: &str, error: &ProgramError) -> Error {
    let cause = causes(error);
    match error {
        ProgramError::UnknownInterface { .. } => Error::NoInterface(interface.to_owned()),
        _ if program == XDP && cause.contains("os error 16") => {
            Error::ForeignXdp { interface: interface.to_owned(), detail: cause }
        }
        _ => Error::Program { program, cause },
    }
}

/// An error with all it was caused by, in one line.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = Vec::new();
    for text in chain.map(ToString::to_string) {
        if !texts.last().is_some_and(|last| last.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}
