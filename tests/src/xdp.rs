//! An XDP program that lets everything by.
//!
//! The end of a virtual pair hears what native XDP sends back at the other end only if it has an XDP program itself:
//! else nobody polls its ring. A real driver needs none of this.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::netns::Netns;

/// Attaches it to an interface in the driver. It ends with the interface.
///
/// # Errors
/// When the object cannot be written, or `ip` or the kernel does not take it.
pub fn pass(ns: &Netns, interface: &str, dir: &Path) -> Result<()> {
    let path = dir.join("pass.o");
    fs::write(&path, object()).with_context(|| path.display().to_string())?;
    ns.ip(&format!("link set dev {interface} xdpdrv object {} section xdp\n", path.display()))
}

/// The program as an ELF object, as libbpf reads it: a section with its code, the licence, and its name.
fn object() -> Vec<u8> {
    const HEADER: usize = 64;
    const NAMES: &[u8] = b"\0xdp\0license\0.symtab\0.strtab\0pass\0";
    // r0 = XDP_PASS; exit
    const CODE: [u8; 16] = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    const LICENCE: &[u8; 8] = b"GPL\0\0\0\0\0";
    /// An ELF symbol's size.
    const SYMBOL: usize = 24;
    let (code, licence, symbols) = (HEADER, HEADER + 16, HEADER + 24);
    let names = symbols + 2 * SYMBOL;
    let sections = (names + NAMES.len()).next_multiple_of(8);

    // A relocatable object for machine 247, which is BPF; five sections, whose names are in the last.
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([1_u16, 247].map(u16::to_le_bytes).concat());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend([0, 0, sections as u64].map(u64::to_le_bytes).concat());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend([HEADER as u16, 0, 0, HEADER as u16, 5, 4].map(u16::to_le_bytes).concat());
    bytes.extend(CODE);
    bytes.extend(LICENCE);
    // No symbol, and the program: a global function at the beginning of section 1.
    bytes.resize(symbols + SYMBOL, 0);
    bytes.extend(29_u32.to_le_bytes());
    bytes.extend([0x12, 0, 1, 0]);
    bytes.extend([0, CODE.len() as u64].map(u64::to_le_bytes).concat());
    bytes.extend(NAMES);
    bytes.resize(sections, 0);

    // By name: kind, flags, place, size, the section it refers to, and the size of an entry.
    for (name, kind, flags, place, size, [link, entry]) in [
        (0, 0, 0, 0, 0, [0, 0]),
        (1, 1, 6, code, CODE.len(), [0, 0]),
        (5, 1, 3, licence, 4, [0, 0]),
        (13, 2, 0, symbols, 2 * SYMBOL, [4, SYMBOL]),
        (21, 3, 0, names, NAMES.len(), [0, 0]),
    ] {
        bytes.extend([name, kind].map(u32::to_le_bytes).concat());
        bytes.extend([flags, 0, place as u64, size as u64].map(u64::to_le_bytes).concat());
        // Of a table of symbols: the first that is global.
        bytes.extend([link as u32, u32::from(kind == 2)].map(u32::to_le_bytes).concat());
        bytes.extend([8, entry as u64].map(u64::to_le_bytes).concat());
    }
    bytes
}
