//! Blocked addresses as the daemon knows them: until when, since when and why.
//!
//! The kernel's table says who is blocked and until when, and outlives the daemon; this is the same with what
//! people want to know. No I/O and no clock.

use std::collections::BTreeMap;
use std::net::IpAddr;

use callgate_alg::action::Time;
use callgate_api::{BlockCause, BlockRow};

/// Blocked addresses there can be: a few less than the kernel's table has room for.
pub const MOST: usize = 65_000;
/// Of them, those that were not blocked by an operator: room is left for those that are.
pub const MOST_AUTOMATIC: usize = 64_000;

/// A blocked address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Until when.
    pub until: Time,
    /// Who wanted it.
    pub cause: BlockCause,
    /// More about that, for people.
    pub text: String,
    /// Since when; `None` where an earlier run has blocked it.
    pub since_unix: Option<u64>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Blocks(BTreeMap<IpAddr, Block>);

impl Blocks {
    /// What an earlier run has left in the kernel.
    pub fn restored(blocks: impl IntoIterator<Item = (IpAddr, Time)>) -> Self {
        let block =
            |until| Block { until, cause: BlockCause::EarlierRun, text: String::new(), since_unix: None };
        Self(blocks.into_iter().map(|(address, until)| (address, block(until))).collect())
    }

    /// Whether there is room for one more.
    pub fn has_room(&self, address: IpAddr, cause: BlockCause) -> bool {
        let most = if cause == BlockCause::Operator { MOST } else { MOST_AUTOMATIC };
        self.0.len() < most || self.0.contains_key(&address)
    }

    /// Notes a block; whether the address was not blocked before.
    pub fn add(&mut self, address: IpAddr, block: Block) -> bool {
        self.0.insert(address, block).is_none()
    }

    /// Takes one back.
    pub fn remove(&mut self, address: IpAddr) -> Option<Block> {
        self.0.remove(&address)
    }

    /// Until when an address is blocked, if it is.
    pub fn until(&self, address: IpAddr) -> Option<Time> {
        self.0.get(&address).map(|block| block.until)
    }

    /// Those that are over.
    pub fn expired(&self, now: Time) -> Vec<IpAddr> {
        self.0.iter().filter(|(_, block)| block.until <= now).map(|(address, _)| *address).collect()
    }

    /// Those that an operator has not asked for.
    pub fn automatic(&self) -> Vec<IpAddr> {
        let automatic = self.0.iter().filter(|(_, block)| block.cause != BlockCause::Operator);
        automatic.map(|(address, _)| *address).collect()
    }

    /// As rows, by address.
    pub fn rows(&self, now: Time) -> impl Iterator<Item = BlockRow> {
        let standing = self.0.iter().filter(move |(_, block)| block.until > now);
        standing.map(move |(address, block)| row(*address, block, now))
    }
}

/// A block for people and programs.
pub fn row(address: IpAddr, block: &Block, now: Time) -> BlockRow {
    let Block { until, cause, ref text, since_unix } = *block;
    BlockRow { address, cause, text: text.clone(), since_unix, left_s: until.since(now).as_secs() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: usize) -> IpAddr {
        IpAddr::from(u32::try_from(n).expect("a small number").to_be_bytes())
    }

    fn block(until: u64, cause: BlockCause) -> Block {
        Block { until: Time(until), cause, text: "x".to_owned(), since_unix: Some(1) }
    }

    #[test]
    fn blocks_end_and_are_told_until_then() {
        let mut blocks = Blocks::restored([(address(1), Time(5_000_000_000))]);
        assert!(blocks.add(address(2), block(9_000_000_000, BlockCause::Scan)));
        assert!(!blocks.add(address(2), block(10_000_000_000, BlockCause::Scan)), "prolonged");
        let rows: Vec<_> = blocks.rows(Time(1_000_000_000)).map(|row| (row.cause, row.left_s)).collect();
        assert_eq!(rows, [(BlockCause::EarlierRun, 4), (BlockCause::Scan, 9)]);
        assert_eq!(blocks.rows(Time(5_000_000_000)).count(), 1);
        assert_eq!(blocks.expired(Time(5_000_000_000)), [address(1)]);
        assert_eq!(blocks.remove(address(1)).map(|block| block.until), Some(Time(5_000_000_000)));
        assert!(blocks.remove(address(1)).is_none() && blocks.until(address(1)).is_none());
    }

    #[test]
    fn an_operator_finds_room_when_scanners_have_taken_theirs() {
        let mut blocks = Blocks::default();
        for n in 0..MOST_AUTOMATIC {
            assert!(blocks.has_room(address(n), BlockCause::Scan));
            blocks.add(address(n), block(1, BlockCause::Scan));
        }
        assert!(!blocks.has_room(address(MOST_AUTOMATIC), BlockCause::Limit));
        assert!(blocks.has_room(address(0), BlockCause::Limit), "it is there already");
        assert!(blocks.has_room(address(MOST_AUTOMATIC), BlockCause::Operator));
    }

    #[test]
    fn what_operators_asked_for_is_told_apart() {
        let mut blocks = Blocks::restored([(address(1), Time(1))]);
        blocks.add(address(2), block(1, BlockCause::Operator));
        blocks.add(address(3), block(1, BlockCause::Limit));
        assert_eq!(blocks.automatic(), [address(1), address(3)]);
    }
}
