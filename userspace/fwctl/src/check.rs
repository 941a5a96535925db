//! `fwctl check`: reads a rules file as the daemon would, and says what in it is wrong or unwise.

mod session;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use callgate_policy::plan::Proof;
use callgate_rules::compile::Sizes;
use callgate_rules::lint::locked_out;
use callgate_rules::{
    Compiled, Diagnostic, Disk, Lint, LoadError, Machine, MemorySlots, Report, RuleSet, Severity, compile,
    lint,
};
use callgate_shared::policy::Form;
use clap::builder::PossibleValuesParser;
use jiff::Zoned;
use serde::Serialize;

use crate::Outcome;
use crate::progress::Progress;
use crate::screen::{bytes, number, plural, printable};

/// Check a rules file as the daemon would
///
/// Needs neither a daemon nor privileges. Errors and warnings go to stderr; with --json all goes to stdout. Files
/// the rules name (`include`, groups of addresses) are read as well.
///
/// Warnings that begin with a name in brackets are of lints:
///
///   unreachable-rule  rules before it match all of a rule's packets: these are named
///   impossible-rule   no packet can match a rule: an empty `from` or `to`, or families that do not meet
///   empty-group       a group without an address
///   unused-group      a group that nothing names
///   open-management   a rule lets everybody reach SSH, Telnet, HTTP(S), SNMP, RDP, VNC or IPMI
///   locked-out        the rules refuse the SSH session the check is made from (known from SSH_CONNECTION, which
///                     sudo does not hand on; only where the session's server address is this machine's)
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The rules file
    file: PathBuf,
    /// Exit with status 1 where there are warnings, too
    #[arg(long)]
    strict: bool,
    /// Leave out what this lint finds; may be given several times
    #[arg(long, value_name = "LINT", value_parser = PossibleValuesParser::new(Lint::ALL.map(Lint::name)))]
    allow: Vec<String>,
}

/// The answer as programs read it.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    file: &'a str,
    /// Whether the daemon would take it; with --strict, whether there are no warnings either.
    ok: bool,
    errors: usize,
    warnings: usize,
    rules: usize,
    zones: usize,
    groups: usize,
    /// How it lies in the kernel; `null` where it cannot.
    kernel: Option<Kernel>,
    /// Its `[policy]`; `null` where there is none.
    call_policy: Option<CallPolicy>,
    diagnostics: Vec<Finding<'a>>,
    /// Why it cannot be put into the kernel's tables although it is well written.
    error: Option<String>,
}

/// The compiled rules.
#[derive(Clone, Copy, Debug, Serialize)]
struct Kernel {
    /// `product` or `vectors`: how a packet's rule is found.
    form: &'static str,
    /// Entries of the table of rules: one per rule, more where it has several protocols or source ports.
    entries: usize,
    /// Cells of the product; 0 for vectors.
    cells: usize,
    /// Vectors; 0 for the product.
    vectors: usize,
    /// Memory of one set of tables. The kernel holds two: the one in force, and the one before or after it.
    bytes: usize,
}

/// The call policy.
#[derive(Clone, Copy, Debug, Serialize)]
struct CallPolicy {
    permissions: usize,
    patterns: usize,
    callers: usize,
    /// Emergency numbers that were called under the strictest policy there can be: none was refused.
    emergency_numbers: usize,
}

#[derive(Debug, Serialize)]
struct Finding<'a> {
    severity: &'static str,
    /// The lint that found it; `null` where it was the parser.
    lint: Option<&'static str>,
    file: &'a str,
    line: u32,
    column: u32,
    message: &'a str,
    suggestion: Option<&'a str>,
    /// The line it is about.
    text: &'a str,
}

pub(crate) fn run(args: &Args, json: bool, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let name = args.file.display().to_string();
    let (rules, mut diagnostics) = match RuleSet::load(&args.file, &Disk) {
        Ok(rules) => (Some(rules), Vec::new()),
        Err(LoadError::Invalid(diagnostics)) => (None, diagnostics),
        Err(LoadError::Read { file, source }) => return Err(unreadable(&file, source)),
    };
    let compiled = rules
        .as_ref()
        .map(|rules| compile(rules, &Machine::at(Zoned::now()), 1, &mut MemorySlots::default()));
    let (compiled, unfit) = match compiled.transpose() {
        Ok(compiled) => (compiled, None),
        Err(error) => (None, Some(error.to_string())),
    };
    if let (Some(rules), Some(compiled)) = (&rules, &compiled) {
        diagnostics = findings(rules, compiled);
    } else if let Some(rules) = &rules {
        diagnostics = rules.warnings().to_vec();
    }
    diagnostics.retain(|finding| {
        !finding.lint.is_some_and(|lint| args.allow.iter().any(|name| name == lint.name()))
    });

    let warnings = diagnostics.iter().filter(|finding| finding.severity == Severity::Warning).count();
    let ok = compiled.is_some() && !(args.strict && warnings > 0);
    if json {
        let answer = Answer {
            file: &name,
            ok,
            errors: diagnostics.len() - warnings,
            warnings,
            rules: rules.as_ref().map_or(0, |rules| rules.rules().len()),
            zones: rules.as_ref().map_or(0, |rules| rules.zones().len()),
            groups: rules.as_ref().map_or(0, |rules| rules.groups().len()),
            kernel: compiled.as_ref().map(|compiled| Kernel::of(&compiled.size())),
            call_policy: rules.as_ref().and_then(CallPolicy::of),
            diagnostics: diagnostics.iter().map(Finding::of).collect(),
            error: unfit,
        };
        crate::write_json(&answer, out)?;
        return Ok(if ok { Outcome::Yes } else { Outcome::No });
    }

    let mut talk = io::stderr().lock();
    if !diagnostics.is_empty() {
        writeln!(talk, "{}", Report(&diagnostics))?;
    }
    let name = printable(&name);
    match (&rules, &compiled, unfit) {
        (Some(rules), Some(compiled), _) if ok => {
            writeln!(out, "{name}: good ({})", summary(rules, compiled))?
        }
        (_, Some(_), _) => writeln!(talk, "{name}: warnings are not permitted (--strict)")?,
        (.., Some(error)) => writeln!(talk, "{name}: error: {error}")?,
        _ => {}
    }
    Ok(if ok { Outcome::Yes } else { Outcome::No })
}

/// The rules of a file; `None` if there are errors in it, which have then been printed on stderr.
pub(crate) fn load(path: &Path) -> anyhow::Result<Option<RuleSet>> {
    let progress = Progress::of("reading the rules");
    let loaded = RuleSet::load(path, &Disk);
    drop(progress);
    match loaded {
        Ok(rules) => Ok(Some(rules)),
        Err(LoadError::Invalid(diagnostics)) => {
            writeln!(io::stderr().lock(), "{}", Report(&diagnostics))?;
            Ok(None)
        }
        Err(LoadError::Read { file, source }) => Err(unreadable(&file, source)),
    }
}

fn unreadable(file: &str, cause: io::Error) -> anyhow::Error {
    anyhow::Error::new(cause).context(format!("cannot read {}", printable(file)))
}

/// What is unwise in the rules, on any machine and on this one.
fn findings(rules: &RuleSet, compiled: &Compiled) -> Vec<Diagnostic> {
    let _progress = Progress::of("looking for what is unwise");
    let mut findings = lint(rules, compiled);
    if let Some((session, zones)) = session::here(rules) {
        findings.extend(locked_out(rules, compiled, &session, &zones));
    }
    findings
}

/// As in `12 rules, 2 zones, 4 groups; product of 3,072 cells, 1.2M of memory`, and what the call policy has.
fn summary(rules: &RuleSet, compiled: &Compiled) -> String {
    let counts =
        [(rules.rules().len(), "rule"), (rules.zones().len(), "zone"), (rules.groups().len(), "group")];
    let counts = counts.map(|(count, what)| plural(count as u64, what)).join(", ");
    let kernel = Kernel::of(&compiled.size());
    let parts = match kernel.cells {
        0 => plural(kernel.vectors as u64, "vector"),
        cells => format!("product of {} cells", number(cells as u64)),
    };
    let policy = CallPolicy::of(rules).map_or_else(String::new, |policy| {
        let parts = [
            (policy.permissions, "permission"),
            (policy.patterns, "pattern"),
            (policy.callers, "caller"),
            (policy.emergency_numbers, "emergency number"),
        ];
        let parts = parts.map(|(count, what)| plural(count as u64, what)).join(", ");
        format!("; call policy: {parts} tried, none refused")
    });
    format!("{counts}; {parts}, {} of memory{policy}", bytes(kernel.bytes as u64))
}

impl CallPolicy {
    fn of(rules: &RuleSet) -> Option<Self> {
        let plan = rules.call_policy()?;
        let spec = plan.spec();
        // A file where one is refused is not accepted in the first place.
        let emergency_numbers = match plan.proof() {
            Proof::Holds(tried) => tried,
            Proof::Fails(_) => 0,
        };
        Some(Self {
            permissions: spec.permissions.len(),
            patterns: spec.permissions.iter().map(|permission| permission.patterns.len()).sum(),
            callers: spec.callers.len(),
            emergency_numbers,
        })
    }
}

impl Kernel {
    fn of(sizes: &Sizes) -> Self {
        let Sizes { form, entries, cells, vectors, bytes, .. } = *sizes;
        let form = match form {
            Form::Product => "product",
            Form::Vectors => "vectors",
        };
        Self { form, entries, cells, vectors, bytes }
    }
}

impl<'a> Finding<'a> {
    fn of(diagnostic: &'a Diagnostic) -> Self {
        Self {
            severity: diagnostic.severity.name(),
            lint: diagnostic.lint.map(Lint::name),
            file: &diagnostic.file,
            line: diagnostic.position.line,
            column: diagnostic.position.column,
            message: &diagnostic.message,
            suggestion: diagnostic.suggestion.as_deref(),
            text: &diagnostic.line,
        }
    }
}
