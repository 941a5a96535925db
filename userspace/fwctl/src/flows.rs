//! `fwctl flows`: what the kernel half knows, chosen, and forgotten if that is wanted.

use std::io::{self, Write};

use anyhow::{Result, bail};
use callgate_api::{FlowFilter, FlowRow, FlowState, Killed, Page};
use ipnet::IpNet;

use crate::cli::Listing;
use crate::client::Client;
use crate::screen::plural;
use crate::{Outcome, print, show, write_json};

/// Flows the kernel half knows
///
/// A `*` behind STATE: it is a known peer's, and lies where a flood of strangers cannot reach it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    listing: Listing,
    /// Only flows that this address or network began
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    from: Option<IpNet>,
    /// Only flows to this address or network
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    to: Option<IpNet>,
    /// Only flows with this port at either end
    #[arg(long)]
    port: Option<u16>,
    /// Only flows of this protocol: tcp, udp, icmp, icmpv6, proto/N, or signalling that is read, such as sip
    #[arg(long)]
    protocol: Option<String>,
    /// Only flows in this state
    #[arg(long, value_parser = states())]
    state: Option<FlowState>,
    /// Only flows that began in this zone
    #[arg(long)]
    zone: Option<String>,
    /// Only flows that this rule admitted
    #[arg(long)]
    rule: Option<String>,
    /// Forget these flows, instead of listing them; one of the options above says which
    ///
    /// Their next packets are judged as strangers' are. Only root and the daemon's own user may do this.
    #[arg(long)]
    kill: bool,
}

pub(crate) fn run(client: &Client, args: &Args, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    let Args { from, to, port, protocol, state, zone, rule, .. } = args;
    let filter = FlowFilter {
        from: *from,
        to: *to,
        port: *port,
        protocol: protocol.clone(),
        state: *state,
        zone: zone.clone(),
        rule: rule.clone(),
    };
    let query = filter.to_query();
    if args.kill {
        return kill(client, &query, json, out);
    }
    let limit = args.listing.limit;
    let page: Page<FlowRow> = client.get(&format!("/v1/flows?limit={limit}&{query}"))?;
    print(&page, json, out, show::flows)
}

fn kill(client: &Client, query: &str, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    if query.is_empty() {
        bail!("--kill alone would kill every flow: say which, by --from, --to, --port, --protocol, …");
    }
    let killed: Killed = client.post(&format!("/v1/flows/kill?{query}"), &())?;
    if json {
        write_json(&killed, out)?;
    } else {
        told(killed, out)?;
    }
    Ok(Outcome::Yes)
}

fn told(killed: Killed, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{} killed", plural(killed.flows, "flow"))
}

fn network(text: &str) -> Result<IpNet, &'static str> {
    callgate_api::filter::network(text).ok_or("neither an address nor a prefix such as 10.0.0.0/8")
}

/// The states' names, so that a wrong one is told with the right ones.
fn states() -> impl clap::builder::TypedValueParser<Value = FlowState> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(FlowState::ALL.map(FlowState::name))
        .try_map(|name| FlowState::from_name(&name).ok_or("no state of a flow"))
}
