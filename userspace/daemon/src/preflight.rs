//! What the machine must have before anything is tried: said in words, where the kernel would say "invalid argument".

use std::fs;
use std::path::Path;

/// Features of the kernel and the version that brought each.
const FEATURES: [((u32, u32), &str); 3] = [
    ((5, 8), "the ring buffer that samples packets"),
    ((5, 9), "BPF links of XDP, by which programs are replaced without a gap"),
    ((6, 6), "TCX, where signalling is handed to the daemon"),
];

/// The machine cannot run the firewall.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unfit {
    /// The kernel is too old.
    #[error(
        "Linux {release} is too old: {feature} came with {major}.{minor}; run a kernel of {major}.{minor} or later"
    )]
    Kernel {
        /// What runs.
        release: String,
        /// What it lacks.
        feature: &'static str,
        /// The version that has it.
        major: u32,
        /// And its second number.
        minor: u32,
    },
    /// There is no way to hand packets to the daemon.
    #[error("/dev/net/tun is missing: `modprobe tun`, or give the container this device")]
    NoTun,
}

/// Looks at the kernel's version and devices.
///
/// # Errors
/// What is missing, and what to do.
pub fn check() -> Result<(), Unfit> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    kernel(release.trim())?;
    if Path::new("/dev/net/tun").exists() { Ok(()) } else { Err(Unfit::NoTun) }
}

fn kernel(release: &str) -> Result<(), Unfit> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok());
    // Who names his kernel otherwise knows what he does: the kernel itself decides.
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else { return Ok(()) };
    // What came last is missing first.
    let lacking = FEATURES.iter().rev().find(|(since, _)| (major, minor) < *since);
    match lacking {
        Some(((major, minor), feature)) => {
            Err(Unfit::Kernel { release: release.to_owned(), feature, major: *major, minor: *minor })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_is_too_old_is_told_what_it_lacks() {
        for release in ["6.6.0", "6.12.90+deb13", "7.0-rc1", "10.1.2", "custom"] {
            assert_eq!(kernel(release), Ok(()), "{release}");
        }
        for release in ["6.5.13", "6.1.0-18-amd64", "5.4.0", "4.19"] {
            let error = kernel(release).expect_err(release).to_string();
            assert!(
                error.contains(release) && error.contains("TCX") && error.contains("6.6 or later"),
                "{error}"
            );
        }
    }
}
