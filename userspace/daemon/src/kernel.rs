//! The kernel half, from user space: the only place that speaks to aya.
//!
//! Owns the pinned maps, programs and links below one directory of bpffs. A daemon that ends leaves them at
//! work; the next one finds them by name, checks their sizes, and replaces the programs in place. What to put
//! into the maps is decided elsewhere.

mod addresses;
mod attach;
mod copies;
mod devices;
mod fill;
mod maps;
mod pairs;
mod rows;
pub mod trial;

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aya::maps::MapData;
use aya::{Ebpf, EbpfLoader};
use callgate_rules::Handling;
use callgate_shared::LAYOUT;
use callgate_shared::pinhole::PinholeKey;

pub use attach::{Attachment, Direction, TapProgram, XdpChoice};
pub use copies::Copies;
pub use maps::{EventRing, FlowRow, PinholeRow, event};

pub use trial::Trial;

use self::maps::{MAPS, Maps};

/// The kernel half's object file.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/callgate"));

/// Where Callgate keeps its pins unless told otherwise.
pub const PIN_DIR: &str = "/sys/fs/bpf/callgate";

/// Why the kernel half could not be reached or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// bpffs is not there.
    #[error("{} is not on a BPF filesystem: mount one with `mount -t bpf bpf /sys/fs/bpf`", .0.display())]
    NoBpffs(PathBuf),
    /// Another daemon works with these maps.
    #[error(
        "another callgated stands on {}: stop that one, or choose another place (--pin-dir, --state-dir)",
        .0.display()
    )]
    Held(PathBuf),
    /// A map of an earlier run does not fit this build.
    #[error(
        "pinned map {name} has {found} bytes of key and value, this build needs {wanted}: \
         stop with `callgated --remove` and start again (open calls are lost)"
    )]
    Layout {
        /// The map.
        name: &'static str,
        /// Key and value size found.
        found: String,
        /// Key and value size needed.
        wanted: String,
    },
    /// No thread could be started.
    #[error("a thread that loads the rules: {0}")]
    Thread(io::Error),
    /// Another XDP program sits on the interface.
    #[error(
        "interface {interface} already has an XDP program that is not ours ({detail}): remove it, or leave the interface out"
    )]
    ForeignXdp {
        /// The interface.
        interface: String,
        /// What is known of it.
        detail: String,
    },
    /// The interface is not there.
    #[error("there is no interface {0}")]
    NoInterface(String),
    /// The driver cannot run XDP natively, and nothing else is permitted.
    #[error(
        "interface {interface} cannot run XDP natively ({cause}); `xdp = \"auto\"` permits the slower generic mode"
    )]
    NoNativeXdp {
        /// The interface.
        interface: String,
        /// What the kernel said.
        cause: String,
    },
    /// The program was refused.
    #[error("the kernel refuses {program}: {cause}")]
    Program {
        /// The program.
        program: &'static str,
        /// What the kernel said.
        cause: String,
    },
    /// The object could not be loaded.
    #[error("cannot load the kernel half: {0}")]
    Load(#[from] aya::EbpfError),
    /// A map could not be read or written.
    #[error("map {name}: {source}")]
    Map {
        /// The map.
        name: &'static str,
        /// What went wrong.
        source: aya::maps::MapError,
    },
    /// A file could not be read, written or removed.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// The kernel half's maps and pins.
pub struct Kernel {
    /// `<pin directory>/v<layout>`.
    directory: PathBuf,
    maps: Maps,
    /// What becomes of the media of each rule, by counter slot.
    handlings: HashMap<u32, Handling>,
    /// Pinholes whose packets somebody listens to.
    captured: HashSet<PinholeKey>,
    fast_path: devices::FastPath,
    /// XDP runs in generic mode on some interface.
    generic: bool,
    /// See [`Self::hold`].
    held: Option<File>,
}

impl Kernel {
    /// Finds the maps of an earlier run below `pin_dir`, or makes them.
    ///
    /// # Errors
    /// [`Error::NoBpffs`], [`Error::Layout`], or what the kernel refuses.
    pub fn open(pin_dir: &Path) -> Result<Self, Error> {
        let directory = pin_dir.join(format!("v{LAYOUT}"));
        let file = |path: &Path, source| Error::File { path: path.to_owned(), source };
        let links = directory.join("links");
        fs::create_dir_all(&links).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => Error::NoBpffs(pin_dir.to_owned()),
            _ => file(&links, source),
        })?;
        if !is_bpffs(&directory) {
            // What has just been made, and nothing that was there.
            let made = [&links, &directory, &pin_dir.to_owned()];
            made.iter().for_each(|made| drop(fs::remove_dir(made)));
            return Err(Error::NoBpffs(pin_dir.to_owned()));
        }
        check_layout(&directory)?;
        // Loading creates and pins what is missing. The programs are loaded per interface, with its constants.
        let _ = load(&directory, &Constants::default())?;
        let mut maps = Maps::open(&directory)?;
        maps.count_blocks()?;
        Ok(Self {
            held: None,
            directory,
            maps,
            handlings: HashMap::new(),
            captured: HashSet::new(),
            fast_path: devices::FastPath::default(),
            generic: false,
        })
    }

    /// Keeps other daemons away, of whatever state directories, as long as the value lives: they would take each other's
    /// programs away.
    ///
    /// # Errors
    /// [`Error::Held`]: another one is there.
    pub fn hold(&mut self) -> Result<(), Error> {
        let file = |source| Error::File { path: self.directory.clone(), source };
        let held = File::open(&self.directory).map_err(file)?;
        match held.try_lock() {
            Ok(()) => {
                self.held = Some(held);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(Error::Held(self.directory.clone())),
            Err(TryLockError::Error(source)) => Err(file(source)),
        }
    }

    /// A fresh instance of the programs for one interface slot, over the same maps; nothing is attached. Media is
    /// forwarded past the stack only if it was sent to `station`.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn instance(&self, slot: u32, station: Option<[u8; 6]>) -> Result<Ebpf, Error> {
        let station = station.map_or(0, devices::station);
        load(&self.directory, &Constants { slot, station, ..Constants::default() })
    }

    /// Takes the firewall down: removes the pins below `pin_dir`, and with them links, programs and maps.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn remove(pin_dir: &Path) -> Result<(), Error> {
        match fs::remove_dir_all(pin_dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::File { path: pin_dir.to_owned(), source })
            }
            _ => Ok(()),
        }
    }
}

/// Whether a directory lies on a BPF file system (statfs(2)).
fn is_bpffs(directory: &Path) -> bool {
    const MAGIC: libc::c_long = 0xcafe_4a11;
    let Ok(path) = CString::new(directory.as_os_str().as_bytes()) else { return false };
    let mut of = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: a path that ends with NUL, and room for the answer.
    let asked = unsafe { libc::statfs(path.as_ptr(), of.as_mut_ptr()) };
    // SAFETY: it has been filled where the call has succeeded.
    asked == 0 && unsafe { of.assume_init() }.f_type == MAGIC
}

/// What is fixed in an instance of the programs when it is loaded.
#[derive(Default)]
struct Constants {
    slot: u32,
    tap_nic: u32,
    tap_flags: u64,
    /// 1 where the programs go by [`Kernel::set_clock`].
    own_clock: u32,
    /// The interface's station address; 0: nothing is forwarded past the stack.
    station: u64,
}

fn load(directory: &Path, constants: &Constants) -> Result<Ebpf, Error> {
    let mut loader = EbpfLoader::new();
    for map in MAPS {
        loader.map_pin_path(map.name, directory.join(map.name));
    }
    loader
        .override_global("SLOT", &constants.slot, true)
        .override_global("TAP_NIC", &constants.tap_nic, true)
        .override_global("TAP_FLAGS", &constants.tap_flags, true)
        .override_global("OWN_CLOCK", &constants.own_clock, true)
        .override_global("STATION", &constants.station, true);
    Ok(loader.load(OBJECT)?)
}

/// Maps that are pinned already must have the sizes of this build: aya reuses them unseen.
fn check_layout(directory: &Path) -> Result<(), Error> {
    for map in MAPS {
        let path = directory.join(map.name);
        if !path.exists() {
            continue;
        }
        let pinned = MapData::from_pin(&path).map_err(|source| Error::Map { name: map.name, source })?;
        let info = pinned.info().map_err(|source| Error::Map { name: map.name, source })?;
        let found = (info.key_size(), info.value_size());
        if found != (map.key, map.value) {
            let text = |(key, value)| format!("{key} + {value}");
            let wanted = text((map.key, map.value));
            return Err(Error::Layout { name: map.name, found: text(found), wanted });
        }
    }
    Ok(())
}
