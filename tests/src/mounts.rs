//! Mounts that only one test sees: they go with its thread and its children, however these end.

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Gives the calling thread, and the processes and threads it starts from now on, mounts of their own.
///
/// # Errors
/// When the kernel refuses it.
pub fn own() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace of its own")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("private mounts")
}
