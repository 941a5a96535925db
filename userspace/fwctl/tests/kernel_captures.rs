//! The captures of the repository, and those of the folder that `CALLGATE_CAPTURES` names, through the kernel half and
//! through its twin: verdict for verdict, pinhole for pinhole, the two print the same.
//!
//! Needs root; without it the test says that it was skipped, and in CI it fails.

#![cfg(feature = "kernel")]

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Rules that permit signalling alone, beside those that permit all: more of what a capture has is dropped by them.
const STRICT: &str = r#"version = 1

[zones]
outside = "eth0"

[zone.outside]
bogons    = "pass"
fragments = "track"

[settings]
default     = { outside = "drop" }
media_ports = "1024-65535"

[[rule]]
name    = "sip"
service = "sip"
action  = "inspect"
inspect = "sip"
limit   = { new = "2/min", burst = 3, per = "source" }

[[rule]]
name    = "h323"
service = "h323"
action  = "inspect"
inspect = "h323"

[[rule]]
name    = "sccp"
service = "sccp"
action  = "inspect"
inspect = "sccp"
limit   = { packets = "50/s", burst = 20, per = "source" }

[[rule]]
name    = "mgcp"
service = "mgcp"
action  = "inspect"
inspect = "mgcp"

[[rule]]
name    = "tftp"
service = "tftp"
action  = "inspect"
inspect = "tftp"

[[rule]]
name    = "web"
service = ["tcp/80", "tcp/443"]
action  = "track"
limit   = { bytes = "1KB/s", burst = "8KB", per = "destination" }
"#;

fn replay(capture: &Path, rules: &Path, kernel: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fwctl"));
    command.args(["replay", "--json", "--verbose", "--zone", "outside", "--rules"]).arg(rules).arg(capture);
    if kernel {
        command.arg("--kernel");
    }
    command.output().expect("fwctl runs")
}

/// Captures below a folder, in order of name.
fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|kind| ["pcap", "pcapng", "cap"].map(OsStr::new).contains(&kind))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_kernel_half_and_its_twin_print_the_same() {
    if !fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "needs root, and CI skips nothing");
        // Not by `eprintln`, which the test harness keeps to itself.
        let _ = writeln!(io::stderr(), "SKIPPED (needs root): kernel_captures");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let strict = folder.path().join("strict.toml");
    fs::write(&strict, STRICT).expect("written");
    let open = folder.path().join("open.toml");
    fs::write(&open, STRICT.replace("outside = \"drop\"", "outside = \"track\"")).expect("written");

    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures");
    let named = env::var_os("CALLGATE_CAPTURES").map(PathBuf::from);
    let mut frames = 0;
    for folder in [Some(own), named].into_iter().flatten() {
        let captures = captures(&folder);
        assert!(!captures.is_empty(), "{}: no captures", folder.display());
        for capture in captures {
            for rules in [&strict, &open] {
                let [kernel, twin] = [true, false].map(|kernel| replay(&capture, rules, kernel));
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let (found, expected) = (text(&kernel.stdout), text(&twin.stdout));
                let differs = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
                assert_eq!(differs, None, "{} by {}", capture.display(), rules.display());
                assert_eq!(found.len(), expected.len(), "{}: {}", capture.display(), text(&kernel.stderr));
                // A capture that cannot be read to its end is the same error to both.
                assert_eq!(kernel.status.code(), twin.status.code(), "{}", text(&kernel.stderr));
                assert_eq!(text(&kernel.stderr), text(&twin.stderr));
                frames += expected.lines().filter(|line| line.contains("\"event\":\"verdict\"")).count();
            }
        }
    }
    assert!(frames > 10_000, "only {frames} verdicts were compared");
}
