//! The rules file of the end-to-end tests.
//!
//! Both zones drop by default: media passes by pinholes alone, never by the tracked flow of the other
//! direction, so that a missing pinhole cannot hide.

use crate::lab::Lab;

/// What differs between tests.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// `enforce` or `observe`.
    pub mode: &'static str,
    /// `auto`, `native` or `generic`.
    pub xdp: &'static str,
    /// `pass` or `drop`: signalling while the daemon is away.
    pub on_alg_down: &'static str,
}

impl Default for Policy {
    fn default() -> Self {
        Self { mode: "enforce", xdp: "auto", on_alg_down: "pass" }
    }
}

impl Policy {
    /// The rules file for a lab.
    pub fn text(&self, lab: &Lab) -> String {
        let Self { mode, xdp, on_alg_down } = self;
        let inside = if lab.is_host() { "" } else { "inside = [\"in0\"]" };
        let closed = if lab.is_host() { "" } else { "inside = \"drop\", " };
        format!(
            "version = 1\n\n\
             [zones]\n\
             outside = [\"out0\"]\n\
             {inside}\n\n\
             [settings]\n\
             mode = \"{mode}\"\n\
             xdp = \"{xdp}\"\n\
             on_alg_down = \"{on_alg_down}\"\n\
             media_ports = \"16384-32767\"\n\
             default = {{ outside = \"drop\", {closed}self = \"drop\" }}\n\n\
             {RULES}"
        )
    }
}

/// The groups and rules every test has.
const RULES: &str = include_str!("../rules/lab.toml");
