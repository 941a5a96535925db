//! A packet's rule: classes of its fields, then one cell, or the first bit its vectors share.

use crate::flow::{ICMP, ICMPV6, TCP, UDP};
use crate::judge::Tables;
use crate::packet::{Fragment, Packet};
use crate::policy::{self, Field, Form, Policy, Tags, VECTOR_WORDS, Vector, policy_flags};

/// Which way a packet is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Way {
    /// As it goes.
    There = 0,
    /// As its answer would: ends exchanged.
    Back = 1,
}

/// The first matching rule's number, 0 where none matches.
#[inline(always)]
pub fn first_match<T: Tables>(tables: &T, policy: &Policy, packet: &Packet, zone: u8, way: Way) -> u16 {
    let (from, to, source_port, destination_port) = match way {
        Way::There => (&packet.source, &packet.destination, packet.source_port, packet.destination_port),
        Way::Back => (&packet.destination, &packet.source, packet.destination_port, packet.source_port),
    };
    let source = tables.source_class(from);
    let destination = tables.destination_class(to);
    let service = tables.service_class(cell_of(packet, destination_port));
    let tags = if policy.flags & policy_flags::TAGS == 0 {
        Tags::default()
    } else {
        tags_of(tables, packet, source_port)
    };
    if policy.form == Form::Product as u8 {
        return tables.rule_number(policy.cell(zone, tags, source, destination, service));
    }
    let vector = |field, class| tables.vector(policy.vector(field, class));
    let (Some(zone), Some(source), Some(destination), Some(service)) = (
        vector(Field::Zone, zone as u16),
        vector(Field::Source, source),
        vector(Field::Destination, destination),
        vector(Field::Service, service),
    ) else {
        return 0;
    };
    if policy.flags & policy_flags::TAGS == 0 {
        return first_common([zone, source, destination, service, zone, zone, zone]);
    }
    match (
        vector(Field::Vlan, tags.vlan),
        vector(Field::Dscp, tags.dscp),
        vector(Field::SourcePort, tags.source_port),
    ) {
        (Some(vlan), Some(dscp), Some(port)) => {
            first_common([zone, source, destination, service, vlan, dscp, port])
        }
        _ => 0,
    }
}

/// The cell of the service table a packet falls into.
#[inline(always)]
pub fn service_cell(packet: &Packet) -> u32 {
    cell_of(packet, packet.destination_port)
}

#[inline(always)]
fn cell_of(packet: &Packet, port: u16) -> u32 {
    match packet.protocol {
        TCP => policy::SERVICE_TCP + port as u32,
        UDP => policy::SERVICE_UDP + port as u32,
        ICMP => policy::SERVICE_ICMP + packet.icmp_type as u32,
        ICMPV6 => policy::SERVICE_ICMPV6 + packet.icmp_type as u32,
        other => policy::SERVICE_PROTOCOL + other as u32,
    }
}

#[inline(always)]
fn tags_of<T: Tables>(tables: &T, packet: &Packet, source_port: u16) -> Tags {
    let port = match packet.protocol {
        _ if packet.fragment == Fragment::Later => 0,
        TCP => source_port as u32,
        UDP => 65_536 + source_port as u32,
        _ => 0,
    };
    Tags {
        vlan: tables.tag_class(packet.vlan as u32),
        dscp: tables.tag_class(policy::TAG_DSCP + (packet.traffic_class >> 2) as u32),
        source_port: tables.source_port_class(port),
    }
}

/// The number of the first rule in all vectors: only words that the summaries have in common are looked at.
#[inline(always)]
fn first_common(vectors: [&Vector; 7]) -> u16 {
    let [a, b, c, d, e, f, g] = vectors;
    let mut at = 0;
    while at < VECTOR_WORDS / 64 {
        let mut words = a.summary[at]
            & b.summary[at]
            & c.summary[at]
            & d.summary[at]
            & e.summary[at]
            & f.summary[at]
            & g.summary[at];
        let mut left = 64;
        while words != 0 && left > 0 {
            let word = (at * 64 + lowest_bit(words) as usize) % VECTOR_WORDS;
            let bits = a.words[word]
                & b.words[word]
                & c.words[word]
                & d.words[word]
                & e.words[word]
                & f.words[word]
                & g.words[word];
            if bits != 0 {
                return (word as u32 * 64 + lowest_bit(bits)) as u16;
            }
            words &= words - 1;
            left -= 1;
        }
        at += 1;
    }
    0
}

/// The number of the lowest bit that is set. The BPF target has no instruction for it: the bit is multiplied by a
/// sequence in which every six bits are different (de Bruijn's), and these six say which bit it was.
#[inline(always)]
fn lowest_bit(word: u64) -> u32 {
    let lowest = word & word.wrapping_neg();
    BIT_NUMBERS[(lowest.wrapping_mul(SEQUENCE) >> 58) as usize] as u32 & 63
}

const SEQUENCE: u64 = 0x03f7_9d71_b4cb_0a89;
static BIT_NUMBERS: [u8; 64] = {
    let mut numbers = [0; 64];
    let mut bit = 0_u32;
    while bit < 64 {
        numbers[((1_u64 << bit).wrapping_mul(SEQUENCE) >> 58) as usize] = bit as u8;
        bit += 1;
    }
    numbers
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bit_is_that_of_trailing_zeros() {
        for bit in 0..64 {
            assert_eq!(lowest_bit(1 << bit), bit);
            assert_eq!(lowest_bit(u64::MAX << bit), bit);
        }
    }

    #[test]
    fn the_first_common_bit_is_found_in_any_word() {
        let none = Vector { summary: [0; VECTOR_WORDS / 64], words: [0; VECTOR_WORDS] };
        let with = |numbers: &[usize]| {
            let mut vector = none;
            for number in numbers {
                vector.words[number / 64] |= 1 << (number % 64);
                vector.summary[number / 64 / 64] |= 1 << (number / 64 % 64);
            }
            vector
        };
        let all = with(&(0..VECTOR_WORDS * 64).collect::<Vec<_>>());
        for (a, b, first) in [
            (&[5, 900, 16_383][..], &[900, 16_383][..], 900),
            (&[5, 16_383], &[6, 16_383], 16_383),
            // The same words, but no bit in common.
            (&[64, 128, 192], &[65, 129, 193], 0),
            (&[], &[1], 0),
        ] {
            let (a, b) = (with(a), with(b));
            assert_eq!(usize::from(first_common([&all, &a, &b, &all, &all, &all, &all])), first);
        }
    }
}
