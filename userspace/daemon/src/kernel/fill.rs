//! How much the kernel's tables can hold.

use aya::maps::MapInfo;

use super::Kernel;

/// Tables that can be full, by the name of their map and the one shown to people.
const TABLES: [(&str, &str); 4] =
    [("FLOWS", "flows"), ("PEER_FLOWS", "peer flows"), ("PINHOLES", "pinholes"), ("BLOCKS", "blocks")];

impl Kernel {
    /// Each table that can be full, with the most entries it can have; one the kernel does not tell of is left out.
    pub fn capacities(&self) -> Vec<(&'static str, u64)> {
        let most =
            |map: &str| MapInfo::from_pin(self.directory.join(map)).ok().map(|info| info.max_entries());
        TABLES.iter().filter_map(|(map, name)| Some((*name, u64::from(most(map)?)))).collect()
    }
}
