//! Man pages and shell completions, made from the command line's own description.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::Outcome;
use crate::cli::Cli;

/// Writes `man/*.1` and `completions/` below a directory.
pub(crate) fn run(directory: &Path) -> Result<Outcome> {
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    for folder in [&man, &completions] {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    // Pages of subcommands are named `fwctl-reload.1`, as `man fwctl reload` finds them.
    clap_mangen::generate_to(Cli::command().flatten_help(false), &man)
        .with_context(|| man.display().to_string())?;
    #[cfg(feature = "kernel")]
    {
        let page = clap_mangen::Man::new(callgated::options::Options::command()).section("8");
        let path = man.join("callgated.8");
        let mut file = fs::File::create(&path).with_context(|| path.display().to_string())?;
        page.render(&mut file).with_context(|| path.display().to_string())?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "fwctl", &completions)
            .with_context(|| completions.display().to_string())?;
    }
    Ok(Outcome::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_shells_know_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        run(directory.path()).expect("it can be written");
        let page = |name: &str| fs::read_to_string(directory.path().join("man").join(name)).expect(name);
        assert!(page("fwctl.1").contains("fwctl\\-reload(1)"));
        assert!(page("fwctl-reload.1").contains("confirm"));
        #[cfg(feature = "kernel")]
        assert!(page("callgated.8").contains("state\\-dir"));
        assert!(!directory.path().join("man/fwctl-generate.1").exists(), "hidden commands have none");
        for file in ["fwctl.bash", "_fwctl", "fwctl.fish"] {
            let text = fs::read_to_string(directory.path().join("completions").join(file)).expect(file);
            assert!(text.contains("rollback"), "{file}");
        }
    }
}
