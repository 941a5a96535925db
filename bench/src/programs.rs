//! The programs Callgate is compared with: those written out here, and xdp-filter's own object.

use std::fs;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use aya::maps::{Map, PerCpuArray, PerCpuHashMap, PerCpuValues};
use aya::programs::Xdp;
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader, Pod};

use crate::sys;

/// `enum xdp_action`: a program's own failure.
const XDP_ABORTED: u32 = 0;
/// `enum xdp_action`: drop it.
pub(crate) const XDP_DROP: u32 = 1;
/// `enum xdp_action`: to the stack.
pub(crate) const XDP_PASS: u32 = 2;

/// A program that returns one verdict and does nothing else.
pub(crate) fn constant(name: &str, verdict: u32) -> Result<OwnedFd> {
    sys::load_xdp(name, &[insn::set(0, verdict), insn::EXIT]).with_context(|| format!("loading {name}"))
}

/// The flood: sends every frame it is given out of `ifindex`, from a random address of its template's /16.
///
/// The identification field takes the complement of the address's low half, so that the header checksum of
/// the template stays right; the template must hold 0 in the low half and 0xffff in the identification.
pub(crate) fn flood_to(ifindex: u32) -> Result<OwnedFd> {
    const BPF_FUNC_REDIRECT: u32 = 23;
    flood(&[insn::set(1, ifindex), insn::set(2, 0), insn::call(BPF_FUNC_REDIRECT), insn::EXIT])
}

/// The flood's own work: each frame is made, given its address, and handed back instead of sent.
pub(crate) fn flood_to_nowhere() -> Result<OwnedFd> {
    flood(&[])
}

/// A program that changes each frame of at least `reach` bytes, which it has in register 2, and those shorter not at all;
/// `before` stands ahead of looking for the frame, `after` behind the change.
fn changing(name: &str, before: &[u64], reach: i16, change: &[u64], after: &[u64]) -> Result<OwnedFd> {
    let find = [
        // data and data_end of struct xdp_md; the verifier wants the bound checked.
        insn::load_u32(2, 6, 0),
        insn::load_u32(3, 6, 4),
        insn::copy(4, 2),
        insn::add(4, reach as u32),
        insn::jump_if_greater(4, 3, change.len() as i16),
    ];
    let program = [&[insn::copy(6, 1)], before, &find, change, after].concat();
    sys::load_xdp(name, &program).with_context(|| format!("loading {name}"))
}

fn flood(send: &[u64]) -> Result<OwnedFd> {
    const ETHERNET: i16 = 14;
    const IDENTIFICATION: i16 = ETHERNET + 4;
    const SOURCE_LOW: i16 = ETHERNET + 14;
    let address =
        [insn::store_u16(2, SOURCE_LOW, 0), insn::xor(0, 0xffff), insn::store_u16(2, IDENTIFICATION, 0)];
    changing("bench_flood", &[RANDOM], SOURCE_LOW + 2, &[&address, send].concat(), &DROP)
}

/// A program that sends every frame out of `ifindex` as it is, and does nothing else.
pub(crate) fn redirect_to(ifindex: u32) -> Result<OwnedFd> {
    const BPF_FUNC_REDIRECT: u32 = 23;
    let program = [insn::set(1, ifindex), insn::set(2, 0), insn::call(BPF_FUNC_REDIRECT), insn::EXIT];
    sys::load_xdp("bench_redirect", &program).context("loading the program that redirects")
}

/// Media of many streams: sends every frame it is given out of `ifindex`, to a random one of so many receivers
/// ([`stream_of`]).
///
/// As with [`flood_to`], the identification field takes the complement of the address's low half, which is 0 in the
/// template. A gateway changes the frames, and the kernel uses them again: station, time to live and checksum are those of
/// the template each time.
pub(crate) fn media_to(ifindex: u32, streams: u32, template: &[u8]) -> Result<OwnedFd> {
    const BPF_FUNC_REDIRECT: u32 = 23;
    const IDENTIFICATION: i16 = 14 + 4;
    const TIME_TO_LIVE: i16 = 14 + 8;
    const CHECKSUM: i16 = 14 + 10;
    const LOW_HALF: i16 = 14 + 18;
    const PORT: i16 = 14 + 20 + 2;
    let half = |at: i16| -> Result<u32> {
        let at = usize::try_from(at)?;
        let bytes = template.get(at..at + 2).context("the template is too short")?;
        Ok(u16::from_le_bytes(bytes.try_into()?).into())
    };
    let change = [
        insn::set(5, half(0)?),
        insn::store_u16(2, 0, 5),
        insn::set(5, half(2)?),
        insn::store_u16(2, 2, 5),
        insn::set(5, half(4)?),
        insn::store_u16(2, 4, 5),
        insn::set(5, half(TIME_TO_LIVE)?),
        insn::store_u16(2, TIME_TO_LIVE, 5),
        insn::set(5, half(CHECKSUM)?),
        insn::store_u16(2, CHECKSUM, 5),
        // The place: its last eight bits are the address's, the rest says which port.
        insn::modulo(0, streams),
        insn::copy(5, 0),
        insn::and(5, 0xff),
        insn::big_endian(5, 16),
        insn::store_u16(2, LOW_HALF, 5),
        insn::xor(5, 0xffff),
        insn::store_u16(2, IDENTIFICATION, 5),
        insn::shift_right(0, 8),
        insn::shift_left(0, 1),
        insn::add(0, u32::from(Receivers::FIRST_PORT)),
        insn::big_endian(0, 16),
        insn::store_u16(2, PORT, 0),
        insn::set(1, ifindex),
        insn::set(2, 0),
        insn::call(BPF_FUNC_REDIRECT),
        insn::EXIT,
    ];
    changing("bench_media", &[RANDOM], PORT + 2, &change, &DROP)
}

/// Where a stream of [`media_to`] goes: the last octet of its receiver's address, and the port.
pub(crate) const fn stream_of(place: u32) -> (u8, u16) {
    (place as u8, Receivers::FIRST_PORT + 2 * (place >> 8) as u16)
}

/// What is made different in each frame: bits of the source address, as they lie in the frame.
pub(crate) struct Vary(pub(crate) [u8; 4]);

/// Receivers of media: so many addresses of one network, and so many ports of each, both powers of two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receivers {
    /// The last octet goes from 0 to one less; 256 at most.
    pub(crate) addresses: u16,
    /// Even ports from [`Self::FIRST_PORT`] on; 8,192 at most.
    pub(crate) ports: u16,
}

impl Receivers {
    /// The lowest port of media.
    pub(crate) const FIRST_PORT: u16 = 16_384;
}

/// A random number, to register 0.
const RANDOM: u64 = {
    const BPF_FUNC_GET_PRANDOM_U32: u32 = 7;
    insn::call(BPF_FUNC_GET_PRANDOM_U32)
};
/// Two of them, to registers 7 and 8.
const TWO_RANDOM: [u64; 4] = [RANDOM, insn::copy(7, 0), RANDOM, insn::copy(8, 0)];
/// The end of a program that has not sent its frame.
const DROP: [u64; 2] = [insn::set(0, XDP_DROP), insn::EXIT];

/// A program behind one that changes each frame: PROG_RUN would show the same packet a million times.
pub(crate) struct Varied {
    program: OwnedFd,
    /// Holds the second program, for as long as the first may call it.
    _array: OwnedFd,
}

impl Varied {
    /// Puts a program of random UDP (or TCP) source ports from 1024 on and random addresses before `behind`.
    pub(crate) fn new(behind: BorrowedFd<'_>, vary: &Vary) -> Result<Self> {
        const SOURCE: i16 = 14 + 12;
        const PORT: i16 = 14 + 20;
        let change = [
            insn::and(7, u32::from_le_bytes(vary.0)),
            insn::load_u32(5, 2, SOURCE),
            insn::xor_register(5, 7),
            insn::store_u32(2, SOURCE, 5),
            // The first byte in the frame is the port's higher one.
            insn::or(8, 0x0004),
            insn::store_u16(2, PORT, 8),
        ];
        Self::behind(behind, &TWO_RANDOM, PORT + 2, &change)
    }

    /// Puts a program before `behind` that makes the frame the next one of its RTP stream, 20 ms later by its timestamp.
    pub(crate) fn stream(behind: BorrowedFd<'_>) -> Result<Self> {
        const RTP: i16 = 14 + 20 + 8;
        let change = [
            insn::load_u16(5, 2, RTP + 2),
            insn::big_endian(5, 16),
            insn::add(5, 1),
            insn::big_endian(5, 16),
            insn::store_u16(2, RTP + 2, 5),
            insn::load_u32(5, 2, RTP + 4),
            insn::big_endian(5, 32),
            insn::add(5, 160),
            insn::big_endian(5, 32),
            insn::store_u32(2, RTP + 4, 5),
        ];
        Self::behind(behind, &[], RTP + 8, &change)
    }

    /// Puts a program before `behind` that sends the frame to a random one of [`crate::callgate::Callgate::open_pinholes`].
    pub(crate) fn receivers(behind: BorrowedFd<'_>, receivers: Receivers) -> Result<Self> {
        const LAST_OCTET: i16 = 14 + 19;
        const PORT: i16 = 14 + 20 + 2;
        let change = [
            insn::and(7, u32::from(receivers.addresses - 1)),
            insn::store_u8(2, LAST_OCTET, 7),
            insn::and(8, u32::from(receivers.ports - 1)),
            insn::shift_left(8, 1),
            insn::or(8, u32::from(Receivers::FIRST_PORT)),
            insn::big_endian(8, 16),
            insn::store_u16(2, PORT, 8),
        ];
        Self::behind(behind, &TWO_RANDOM, PORT + 2, &change)
    }

    /// A program that changes each frame of at least `reach` bytes, with two random numbers in registers 7 and 8 and the
    /// frame in 2, and goes on to `behind`.
    fn behind(behind: BorrowedFd<'_>, random: &[u64], reach: i16, change: &[u64]) -> Result<Self> {
        const BPF_FUNC_TAIL_CALL: u32 = 12;
        let array = sys::program_array(behind).context("an array of programs")?;
        let [map_low, map_high] = insn::map(2, array.as_raw_fd());
        let go_on = [
            insn::copy(1, 6),
            map_low,
            map_high,
            insn::set(3, 0),
            insn::call(BPF_FUNC_TAIL_CALL),
            insn::set(0, XDP_ABORTED),
            insn::EXIT,
        ];
        let program = changing("bench_vary", random, reach, change, &go_on)?;
        Ok(Self { program, _array: array })
    }

    /// The program.
    pub(crate) fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }
}

/// xdp-filter of xdp-tools with all its features and the policy "allow", without libxdp's dispatcher.
pub(crate) struct XdpFilter(Ebpf);

impl XdpFilter {
    const NAME: &str = "xdpfilt_alw_all";
    /// A match in these fields denies (`MAP_FLAG_*` of xdp-filter's common_kern_user.h).
    const DESTINATION: u64 = 1 << 1;
    const TCP: u64 = 1 << 2;
    const UDP: u64 = 1 << 3;

    /// Loads the object, with a handful of entries in each table, none of which matches the bench's packets.
    pub(crate) fn load() -> Result<Self> {
        let object = Self::object().context("xdpfilt_alw_all.o not found: xdp-tools is not installed")?;
        let ebpf = {
            // The object asks for its maps to be pinned: they are, for as long as loading takes.
            let pins = PinDirectory::create("xdp-filter")?;
            EbpfLoader::new().default_map_pin_directory(&pins.0).load_file(&object)
        };
        let mut ebpf = ebpf.with_context(|| format!("loading {}", object.display()))?;

        let ports = ebpf.map_mut("filter_ports").context("no map filter_ports")?;
        let mut ports = PerCpuArray::<_, u64>::try_from(ports)?;
        for port in [22_u16, 80, 443, 8500] {
            // Ports are in network order in the key.
            ports.set(u32::from(port.to_be()), on_each_cpu(Self::DESTINATION | Self::TCP | Self::UDP)?, 0)?;
        }
        let deny = Self::DESTINATION;
        let v4 = (1..=4).map(|host| [203, 0, 113, host]);
        fill(ebpf.map_mut("filter_ipv4"), v4, deny).context("filter_ipv4")?;
        let v6 = (1..=4).map(|host| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
        fill(ebpf.map_mut("filter_ipv6"), v6, deny).context("filter_ipv6")?;
        let stations = (1..=4).map(|station| [2, 0, 0, 0, 0xff, station]);
        fill(ebpf.map_mut("filter_ethernet"), stations, deny).context("filter_ethernet")?;

        let program: &mut Xdp = ebpf.program_mut(Self::NAME).context("no such program")?.try_into()?;
        program.load()?;
        Ok(Self(ebpf))
    }

    /// The program.
    pub(crate) fn program(&self) -> Result<BorrowedFd<'_>> {
        let program: &Xdp = self.0.program(Self::NAME).context("no such program")?.try_into()?;
        Ok(program.fd()?.as_fd())
    }

    /// Where distributions put it: `/usr/lib/bpf`, or beneath the multiarch directory.
    fn object() -> Option<PathBuf> {
        let lib = Path::new("/usr/lib");
        let beneath = fs::read_dir(lib).ok()?.flatten().map(|entry| entry.path());
        [lib.to_owned(), "/usr/lib64".into()]
            .into_iter()
            .chain(beneath)
            .map(|dir| dir.join("bpf").join(Self::NAME).with_extension("o"))
            .find(|path| path.is_file())
    }
}

fn fill<const N: usize>(map: Option<&mut Map>, keys: impl Iterator<Item = [u8; N]>, value: u64) -> Result<()>
where
    [u8; N]: Pod,
{
    let mut map = PerCpuHashMap::<_, [u8; N], u64>::try_from(map.context("no such map")?)?;
    for key in keys {
        map.insert(key, on_each_cpu(value)?, 0)?;
    }
    Ok(())
}

fn on_each_cpu(value: u64) -> Result<PerCpuValues<u64>> {
    let cpus = nr_cpus().map_err(|(path, error)| anyhow::anyhow!("{path}: {error}"))?;
    Ok(PerCpuValues::try_from(vec![value; cpus])?)
}

/// A directory of this process's own on bpffs, removed with what is in it when dropped.
pub(crate) struct PinDirectory(pub(crate) PathBuf);

impl PinDirectory {
    /// Makes it.
    pub(crate) fn create(name: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            PathBuf::from(format!("/sys/fs/bpf/callgate-bench-{}-{name}-{number}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for PinDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("callgate-bench: {} stays behind: {error}", self.0.display());
        }
    }
}

/// The few instructions the programs above need, as `struct bpf_insn` on a little-endian machine.
mod insn {
    pub(super) const EXIT: u64 = 0x95;

    const fn encode(opcode: u8, to: u8, from: u8, offset: i16, immediate: u32) -> u64 {
        opcode as u64
            | (to as u64) << 8
            | (from as u64) << 12
            | (offset as u16 as u64) << 16
            | (immediate as u64) << 32
    }

    pub(super) const fn set(to: u8, value: u32) -> u64 {
        encode(0xb7, to, 0, 0, value)
    }

    pub(super) const fn copy(to: u8, from: u8) -> u64 {
        encode(0xbf, to, from, 0, 0)
    }

    pub(super) const fn add(to: u8, value: u32) -> u64 {
        encode(0x07, to, 0, 0, value)
    }

    pub(super) const fn xor(to: u8, value: u32) -> u64 {
        encode(0xa7, to, 0, 0, value)
    }

    pub(super) const fn and(to: u8, value: u32) -> u64 {
        encode(0x54, to, 0, 0, value)
    }

    pub(super) const fn or(to: u8, value: u32) -> u64 {
        encode(0x47, to, 0, 0, value)
    }

    pub(super) const fn xor_register(to: u8, from: u8) -> u64 {
        encode(0xaf, to, from, 0, 0)
    }

    pub(super) const fn store_u32(base: u8, offset: i16, from: u8) -> u64 {
        encode(0x63, base, from, offset, 0)
    }

    /// A map by its descriptor: two places of the program.
    pub(super) const fn map(to: u8, descriptor: std::os::fd::RawFd) -> [u64; 2] {
        const BPF_PSEUDO_MAP_FD: u8 = 1;
        [encode(0x18, to, BPF_PSEUDO_MAP_FD, 0, descriptor as u32), 0]
    }

    pub(super) const fn load_u32(to: u8, base: u8, offset: i16) -> u64 {
        encode(0x61, to, base, offset, 0)
    }

    pub(super) const fn store_u16(base: u8, offset: i16, from: u8) -> u64 {
        encode(0x6b, base, from, offset, 0)
    }

    pub(super) const fn load_u16(to: u8, base: u8, offset: i16) -> u64 {
        encode(0x69, to, base, offset, 0)
    }

    pub(super) const fn store_u8(base: u8, offset: i16, from: u8) -> u64 {
        encode(0x73, base, from, offset, 0)
    }

    pub(super) const fn shift_right(to: u8, bits: u32) -> u64 {
        encode(0x77, to, 0, 0, bits)
    }

    /// What is left of a division.
    pub(super) const fn modulo(to: u8, by: u32) -> u64 {
        encode(0x97, to, 0, 0, by)
    }

    pub(super) const fn shift_left(to: u8, bits: u32) -> u64 {
        encode(0x67, to, 0, 0, bits)
    }

    /// To big endian and back, the lowest so many bits.
    pub(super) const fn big_endian(to: u8, bits: u32) -> u64 {
        encode(0xdc, to, 0, 0, bits)
    }

    /// Skips `offset` instructions if `left > right`.
    pub(super) const fn jump_if_greater(left: u8, right: u8, offset: i16) -> u64 {
        encode(0x2d, left, right, offset, 0)
    }

    pub(super) const fn call(helper: u32) -> u64 {
        encode(0x85, 0, 0, 0, helper)
    }
}

const _: () = assert!(cfg!(target_endian = "little"), "instructions are encoded for little-endian machines");
