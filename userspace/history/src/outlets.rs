//! What is told of each call besides the database: syslog, a line in a file, a webhook.

mod file;
mod syslog;
mod webhook;

pub use file::LineFile;
pub use syslog::SyslogOutlet;
pub use webhook::Webhook;
