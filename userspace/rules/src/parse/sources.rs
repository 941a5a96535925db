//! The files a rules file is made of: `include` followed, each file read once.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use super::checker::{Checker, Section};
use crate::diagnostic::{Severity, Source, Span};
use crate::files::Files;

/// Texts that stay where they are while more are added, so that what was read of one can refer to it.
#[derive(Debug)]
pub(super) struct Sources(Vec<OnceCell<Source>>);

impl Sources {
    /// Files of one rule set, files of addresses included.
    pub(super) const MOST: usize = 1_024;

    pub(super) fn new() -> Self {
        Self(std::iter::repeat_with(OnceCell::new).take(Self::MOST).collect())
    }

    /// The file's number; `None` where there are too many.
    pub(super) fn add(&self, source: Source) -> Option<usize> {
        let place = self.0.iter().position(|slot| slot.get().is_none())?;
        self.0[place].set(source).ok().map(|()| place)
    }

    pub(super) fn get(&self, file: usize) -> Option<&Source> {
        self.0.get(file)?.get()
    }

    pub(super) fn into_vec(self) -> Vec<Source> {
        self.0.into_iter().map_while(OnceCell::into_inner).collect()
    }
}

/// A file of rules that is TOML.
#[derive(Debug)]
pub(super) struct Document<'s> {
    pub(super) file: usize,
    table: Spanned<DeTable<'s>>,
}

impl<'s> Document<'s> {
    pub(super) fn root(&self) -> Section<'_> {
        Section::new(self.table.get_ref(), 0..0)
    }
}

/// How deep files may include one another.
const DEEPEST: usize = 8;

/// The files by the order of their rules: what a file includes stands before it. What is not TOML has been
/// reported and is not among them.
pub(super) fn documents<'s>(
    checker: &mut Checker<'s>,
    sources: &'s Sources,
    files: &impl Files,
    first: usize,
) -> Vec<Document<'s>> {
    let mut walk = Walk { sources, files, open: HashMap::new(), documents: Vec::new() };
    let Some(source) = sources.get(first) else { return Vec::new() };
    let path = PathBuf::from(source.name());
    walk.open.insert(files.identity(&path), true);
    walk.visit(checker, first, &path, 0);
    walk.documents
}

struct Walk<'f, 's, F> {
    sources: &'s Sources,
    files: &'f F,
    /// The files that have been met; `true` while those they include are read.
    open: HashMap<PathBuf, bool>,
    documents: Vec<Document<'s>>,
}

impl<'s, F: Files> Walk<'_, 's, F> {
    fn visit(&mut self, checker: &mut Checker<'s>, file: usize, path: &Path, depth: usize) {
        checker.enter(file);
        let Some(source) = self.sources.get(file) else { return };
        let (table, syntax) = DeTable::parse_recoverable(source.text());
        if !syntax.is_empty() {
            // What was understood of a file that is not TOML would only add errors that are none.
            for error in syntax {
                checker.error(&error.span().unwrap_or(0..0), error.message().to_owned());
            }
            return;
        }
        let document = Document { file, table };
        let named: Vec<(PathBuf, Span)> = match document.root().get("include") {
            Some(value) => {
                let words = checker.strings("include", value);
                words.iter().map(|word| (beside(path, word.text), word.span.clone())).collect()
            }
            None => Vec::new(),
        };
        if depth == DEEPEST
            && let Some((_, span)) = named.first()
        {
            checker.error(span, format!("files include one another more than {DEEPEST} deep"));
        } else {
            for (path, span) in named {
                self.include(checker, file, &path, &span, depth);
            }
        }
        checker.enter(file);
        self.documents.push(document);
    }

    /// A file, or the files of a directory in the order of their names.
    fn include(&mut self, checker: &mut Checker<'s>, by: usize, path: &Path, span: &Span, depth: usize) {
        let paths = match self.files.list(path) {
            Ok(None) => vec![path.to_owned()],
            Ok(Some(mut paths)) => {
                paths.retain(|path| {
                    let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
                    !hidden && path.extension().is_some_and(|extension| extension == "toml")
                });
                paths.sort();
                if paths.is_empty() {
                    let message = format!("there is no file in `{}`", path.display());
                    checker.warn(span, message, "files whose names end with `.toml` are read, by name");
                }
                paths
            }
            Err(error) => {
                let suggestion = path.to_string_lossy().contains('*').then(|| {
                    "name the directory: its files whose names end with `.toml` are read, by name".to_owned()
                });
                let message = format!("cannot read `{}`: {error}", path.display());
                checker.add(Severity::Error, span, message, suggestion);
                return;
            }
        };
        for path in paths {
            checker.enter(by);
            let identity = self.files.identity(&path);
            match self.open.get(&identity) {
                Some(true) => {
                    let message = format!("`{}` includes itself", path.display());
                    checker.error_with(span, message, "leave this name out");
                    continue;
                }
                Some(false) => continue,
                None => {}
            }
            if let Some(file) = checker.read(self.files, &path, span) {
                self.open.insert(identity.clone(), true);
                self.visit(checker, file, &path, depth + 1);
                self.open.insert(identity, false);
            }
        }
    }
}

/// A path that a file names, relative to the file.
pub(super) fn beside(file: &Path, name: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(name)
}
