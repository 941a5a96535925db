//! The decoders read what another codec has written: `corpus/h323.txt`, made by `generate/generate.py`.

mod support;

use std::collections::BTreeSet;

use support::{corpus, said};

#[test]
fn every_message_says_what_it_was_made_to_say() {
    let (mut count, mut wrong) = (0, Vec::new());
    for (protocol, encoding, mut wanted) in corpus() {
        count += 1;
        match said(protocol, &encoding) {
            Ok(said) => {
                let mut got: Vec<_> = said.0.iter().map(String::as_str).collect();
                got.sort_unstable();
                wanted.sort_unstable();
                if got != wanted {
                    let only = |these: &[&str], those: &[&str]| -> Vec<String> {
                        these.iter().filter(|word| !those.contains(word)).map(|w| (*w).to_owned()).collect()
                    };
                    wrong.push(format!(
                        "{protocol} {}: missed {:?}, made up {:?}",
                        wanted.iter().find(|w| !w.contains('=')).unwrap_or(&""),
                        only(&wanted, &got),
                        only(&got, &wanted)
                    ));
                }
            }
            Err(error) => wrong.push(format!("{protocol} {wanted:?}: {error}")),
        }
    }
    assert!(count >= 300, "{count} messages");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_corpus_has_every_message_there_is() {
    let names: BTreeSet<_> = corpus().map(|(protocol, _, words)| (protocol, words[0])).collect();
    let of = |protocol| names.iter().filter(|(other, _)| *other == protocol).count();
    assert_eq!((of("ras"), of("h225")), (33, 13));
    // The nonStandard messages of H.245's four kinds have one name.
    assert_eq!(of("h245"), 11 + 5 + 19 + 6 + 7 + 6 + 14 + 10 - 3);
}
