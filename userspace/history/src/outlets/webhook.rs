//! A POST a call, with its record as JSON: for billing systems that want to be told.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use callgate_api::history::Record;

use crate::queue::{Sink, Trouble};

/// Attempts at one record, the first included; then it is given up.
const ATTEMPTS: u32 = 4;
/// Before the second attempt; twice as long before the third, and so on.
const PAUSE: Duration = Duration::from_millis(500);
/// For one attempt, from the name's resolution to the answer's end.
const TIME: Duration = Duration::from_secs(5);

/// A URL that is posted to.
#[derive(Debug)]
pub struct Webhook {
    url: String,
    agent: ureq::Agent,
}

impl Webhook {
    /// Opens nothing yet. Redirections are not followed, and what the server says is not read.
    pub fn new(url: String) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIME))
            .max_redirects(0)
            .user_agent(concat!("callgate/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { url, agent: config.into() }
    }

    /// Tells of one call; what is wrong, and whether another attempt makes sense.
    fn post(&self, record: &Record) -> Result<(), (String, bool)> {
        let body = serde_json::to_vec(record).map_err(|error| (error.to_string(), false))?;
        let answer = self.agent.post(&self.url).content_type("application/json").send(&body[..]);
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err((format!("it answers {}", answer.status()), false)),
            // What the request itself is to blame for stays so (RFC 9110 section 15.5), but for "later".
            Err(ureq::Error::StatusCode(status)) => {
                Err((format!("it answers {status}"), status >= 500 || matches!(status, 408 | 425 | 429)))
            }
            Err(error) => Err((error.to_string(), true)),
        }
    }
}

impl Sink for Webhook {
    fn write(&mut self, records: &[Arc<Record>]) -> Result<(), Trouble> {
        let (mut lost, mut trouble) = (0, String::new());
        for record in records {
            let mut pause = PAUSE;
            for attempt in 1..=ATTEMPTS {
                let Err((error, again)) = self.post(record) else { break };
                trouble = error;
                // A server that is down has cost one record all its attempts: the others of the batch get one each.
                if !again || attempt == ATTEMPTS || lost > 0 {
                    lost += 1;
                    break;
                }
                sleep(pause);
                pause *= 2;
            }
        }
        if lost > 0 { Err(Trouble::lost(lost, trouble)) } else { Ok(()) }
    }
}
