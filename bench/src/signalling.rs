//! Time and instructions per message of signalling, read as the ALG reads it: no kernel, no sockets.
//!
//! [`decoders`] has cases of a decoder alone, [`exchanges`] those of the whole engine: decoder, tracker, pinholes.
//! The instructions are counted by valgrind, which runs this program again for one case (see [`instructions`]).

pub(crate) mod crowd;
mod decisions;
mod decoders;
mod exchanges;
mod instructions;
mod peer;

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lineup::{KERNEL_H323, Selection, kernel_h323};
use crate::report::{Case, rounded};
use crate::sys;

pub(crate) use instructions::repeat;

/// Most turns a stretch is timed for, however short they are.
const MOST_TURNS: u64 = 1 << 22;

/// What is read, over and over.
struct Subject {
    /// The case's name.
    name: &'static str,
    /// Messages read in one turn; figures are for one of them.
    messages: u32,
    /// What a turn reads, for people.
    note: String,
    /// Reads them; whether they said what they should.
    turn: Box<dyn FnMut() -> bool>,
}

impl Subject {
    fn run(&mut self, turns: u64) -> Result<()> {
        let done = (0..turns).all(|_| (self.turn)());
        ensure!(done, "{}: a message was not read as it should be", self.name);
        Ok(())
    }

    /// Time per message, in ns.
    fn time(&mut self, turns: u64) -> Result<f64> {
        let start = sys::thread_cpu_ns()?;
        self.run(turns)?;
        let time = sys::thread_cpu_ns()? - start;
        Ok(time as f64 / turns as f64 / f64::from(self.messages))
    }
}

/// All there are.
fn subjects() -> impl Iterator<Item = Subject> {
    decoders::subjects().into_iter().chain(exchanges::subjects()).chain(decisions::subjects())
}

/// Reads each case's messages in turn, `rounds` times for about `stretch` each, then counts instructions. With the
/// cases comes why instructions could not be counted, if so.
pub(crate) fn measure(
    selection: &Selection,
    rounds: usize,
    stretch: Duration,
) -> Result<(Vec<Case>, Option<String>)> {
    let mut subjects: Vec<_> = subjects().filter(|subject| selection.has(subject.name)).collect();
    let turns = subjects.iter_mut().map(|subject| turns(subject, stretch)).collect::<Result<Vec<_>>>()?;
    let mut times = vec![Vec::with_capacity(rounds); subjects.len()];
    for _ in 0..rounds {
        for ((subject, turns), times) in subjects.iter_mut().zip(&turns).zip(&mut times) {
            times.push(subject.time(*turns)?);
        }
    }
    let mut uncounted = None;
    let mut cases = Vec::with_capacity(subjects.len());
    for (subject, times) in subjects.iter().zip(times) {
        let mut case = Case::new(subject.name);
        case.time(times);
        if uncounted.is_none() {
            match instructions::per_message(subject) {
                Ok(count) => count_into(&mut case, count),
                Err(error) => uncounted = Some(format!("{error:#}")),
            }
        }
        let reference = kernel_h323(subject.name).map(|reference| {
            let bytes =
                reference.bytes.map_or_else(|| "its own".to_owned(), |bytes| format!("{bytes} bytes"));
            format!("; {KERNEL_H323} took {} instructions for a message of {bytes}", reference.instructions)
        });
        case.note = Some(format!("{}{}", subject.note, reference.unwrap_or_default()));
        cases.push(case);
    }
    Ok((cases, uncounted))
}

/// Enters the instructions of a message, and the ratio where there is a count to compare with.
fn count_into(case: &mut Case, count: f64) {
    case.instructions = Some(rounded(count, 0));
    case.ratio =
        kernel_h323(case.name).map(|reference| rounded(count / f64::from(reference.instructions), 2));
}

/// Turns that take about `stretch`. Finding out warms caches and fills the engine's tables.
fn turns(subject: &mut Subject, stretch: Duration) -> Result<u64> {
    let few = 1_000;
    subject.run(few / 10)?;
    let turn = subject.time(few)? * f64::from(subject.messages);
    Ok(((stretch.as_nanos() as f64 / turn.max(1.0)) as u64).clamp(1, MOST_TURNS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lineup::SIGNALLING;

    #[test]
    fn every_case_has_its_messages() {
        let names: Vec<_> = subjects().map(|subject| subject.name).collect();
        assert_eq!(names, SIGNALLING);
    }

    /// Long enough for whatever has a lifetime to be over, or renewed.
    #[test]
    fn messages_are_read_time_and_again() {
        for mut subject in subjects() {
            subject.run(2_000).expect("messages that are read");
        }
    }

    #[test]
    fn a_message_that_is_not_read_stops_the_bench() {
        let turn = Box::new(|| false);
        let mut subject = Subject { name: "none", messages: 1, note: String::new(), turn };
        assert!(subject.time(1).is_err());
    }

    #[test]
    fn ratio_is_of_instructions_where_the_kernel_is_the_peer() {
        let mut case = Case::new("ras-acf");
        count_into(&mut case, 428.5);
        assert_eq!((case.instructions, case.ratio), (Some(429.0), Some(0.5)));
        let mut case = Case::new("sip-invite-parse");
        count_into(&mut case, 428.5);
        assert_eq!(case.ratio, None);
    }
}
