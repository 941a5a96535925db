//! Time per packet of single programs, by BPF_PROG_RUN: the same frame over and over, no network in between.

use std::os::fd::BorrowedFd;

use anyhow::{Context as _, Result, ensure};

use crate::report::{Case, median, rounded};
use crate::sys::{self, InstructionCounter};

/// A program and the frame it is run on.
pub(crate) struct Subject<'a> {
    /// The case's name.
    pub(crate) name: &'static str,
    program: BorrowedFd<'a>,
    frame: Vec<u8>,
    verdict: u32,
}

impl<'a> Subject<'a> {
    /// A program, a frame, and the XDP verdict it must give of it, every time.
    pub(crate) fn new(name: &'static str, program: BorrowedFd<'a>, frame: Vec<u8>, verdict: u32) -> Self {
        Self { name, program, frame, verdict }
    }

    /// Runs it once.
    pub(crate) fn check(&self) -> Result<()> {
        self.run(1).map(drop)
    }

    /// Runs it so often. Returns the mean time of one, in ns.
    fn run(&self, repeat: u32) -> Result<f64> {
        let run = sys::test_run(self.program, &self.frame, repeat)
            .with_context(|| format!("{}: BPF_PROG_RUN", self.name))?;
        ensure!(
            run.verdict == self.verdict,
            "{}: the program returned XDP verdict {}, expected {}",
            self.name,
            run.verdict,
            self.verdict
        );
        Ok(f64::from(run.ns))
    }
}

/// Runs the subjects in turn, `rounds` times, each `repeat` packets at a stretch. One stretch before the first
/// warms caches and is not counted.
pub(crate) fn measure(
    subjects: &[Subject<'_>],
    rounds: usize,
    repeat: u32,
    instructions: Option<&InstructionCounter>,
) -> Result<Vec<Case>> {
    let mut times = vec![Vec::with_capacity(rounds); subjects.len()];
    let mut counts = vec![Vec::with_capacity(rounds); subjects.len()];
    for subject in subjects {
        subject.run(repeat / 10 + 1)?;
    }
    for _ in 0..rounds {
        for (index, subject) in subjects.iter().enumerate() {
            let before = instructions.map(InstructionCounter::read).transpose()?;
            times[index].push(subject.run(repeat)?);
            if let Some((counter, before)) = instructions.zip(before) {
                counts[index].push((counter.read()? - before) as f64 / f64::from(repeat));
            }
        }
    }

    subjects
        .iter()
        .zip(times.into_iter().zip(counts))
        .map(|(subject, (times, counts))| {
            let size = sys::program_size(subject.program)?;
            let mut case = Case {
                instructions: median(&counts).map(|count| rounded(count, 0)),
                translated: Some(size.translated),
                jited: (size.jited > 0).then_some(size.jited),
                ..Case::new(subject.name)
            };
            case.time(times);
            Ok(case)
        })
        .collect()
}
