//! Files in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use callgate_rules::{Files, LoadError, Report, RuleSet};

/// Files by path; directories are what leads to them.
#[derive(Debug, Default)]
pub(crate) struct Memory(BTreeMap<PathBuf, String>);

impl Memory {
    /// With this file too.
    pub(crate) fn with(mut self, path: &str, text: &str) -> Self {
        self.0.insert(path.into(), text.to_owned());
        self
    }

    /// Reads a rules file; its diagnostics as they are shown.
    pub(crate) fn load(&self, path: &str) -> Result<RuleSet, String> {
        RuleSet::load(Path::new(path), self).map_err(|error| match error {
            LoadError::Invalid(diagnostics) => Report(&diagnostics).to_string(),
            error => error.to_string(),
        })
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(&self.identity(path)).cloned().ok_or(io::ErrorKind::NotFound.into())
    }

    fn list(&self, path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        let path = self.identity(path);
        if self.0.contains_key(&path) {
            return Ok(None);
        }
        let within: Vec<PathBuf> =
            self.0.keys().rev().filter(|file| file.starts_with(&path)).cloned().collect();
        if within.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(Some(within)) }
    }

    fn identity(&self, path: &Path) -> PathBuf {
        let mut plain = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => {
                    plain.pop();
                }
                Component::CurDir => {}
                part => plain.push(part),
            }
        }
        plain
    }
}
