//! `airlock dlq`: the dead-letter queue at hand.

mod show;

use std::time::Duration;

use clap::{Args, Subcommand};

use self::show::Show;
use super::{Exit, Global};
use crate::config::Settings;
use crate::config::units::parse_duration;
use crate::dlq::{Dlq, End, MAX_HELD, Selection, Tally, UNKNOWN};
use crate::fault::{Fault, FaultCode};
use crate::pace::{Pace, Rate};
use crate::queue::amqp::Confirmed;
use crate::queue::dead::DeadQueue;
use crate::queue::session::Connector;
use crate::{shutdown, telemetry};

/// How many letters `show` prints unless told otherwise.
const SHOWN: u32 = 10;
/// RabbitMQ 4 drops a message that was given back more often, unless a policy says otherwise.
const DEFAULT_DELIVERY_LIMIT: u64 = 20;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 ok, 1 no dead letter matches (show, redrive, discard), 2 a fault in the middle, \
    64 usage, 69 the broker or the queue is not there, 78 configuration, 130 interrupted."
)]
pub(super) struct DlqArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Count the dead letters by code
    List(ListArgs),
    /// Print messages with the history of their failures and what usually helps
    Show(ShowArgs),
    /// Send messages back to work as if they had never failed: publish, confirm, then ack
    Redrive(RedriveArgs),
    /// Drop messages for good
    Discard(DiscardArgs),
}

/// A message is meant if it passes every filter that is given.
#[derive(Debug, Args)]
struct Filters {
    /// Message ids, or the SHA-256 of the body of a message without one
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// A code such as s3.unavailable, broker:delivery_limit or unknown; may be repeated
    #[arg(long, value_name = "CODE", value_parser = known_code)]
    code: Vec<String>,
    /// Uploads of this route
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Uploads of this uploader, as event or key tell it
    #[arg(long, value_name = "NAME")]
    uploader: Option<String>,
    /// Died longer ago, such as 2h
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    older_than: Option<Duration>,
    /// Died no longer ago
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    newer_than: Option<Duration>,
    /// At most so many of those that match, in the broker's order
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// One JSON object per line on standard output, everything else on standard error
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    filters: Filters,
    /// A line for each message instead of one for each code
    #[arg(long)]
    each: bool,
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    filters: Filters,
}

#[derive(Debug, Args)]
struct RedriveArgs {
    #[command(flatten)]
    filters: Filters,
    /// How many to send back at most, per s, m or h, such as 20/s [default: no limit]
    #[arg(long, value_name = "N/UNIT")]
    rate: Option<Rate>,
    /// Print what would be redriven, change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct DiscardArgs {
    #[command(flatten)]
    filters: Filters,
    /// Yes, these messages are not needed any more
    #[arg(long, required_unless_present = "dry_run", conflicts_with = "dry_run")]
    yes: bool,
    /// Print what would be discarded, change nothing
    #[arg(long)]
    dry_run: bool,
}

/// A code that is misspelt would match nothing, and look like good news.
fn known_code(text: &str) -> Result<String, String> {
    let known = text == UNKNOWN || text.starts_with("broker:") || FaultCode::ALL.iter().any(|c| c.as_str() == text);
    let all = || FaultCode::ALL.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(", ");
    if known { Ok(text.to_owned()) } else { Err(format!("the codes are {}, broker:<reason> and {UNKNOWN}", all())) }
}

impl Action {
    const fn filters(&self) -> &Filters {
        match self {
            Self::List(args) => &args.filters,
            Self::Show(args) => &args.filters,
            Self::Redrive(args) => &args.filters,
            Self::Discard(args) => &args.filters,
        }
    }

    /// What it does to a message, as the last words of a sentence.
    const fn done(&self) -> &'static str {
        match self {
            Self::List(_) | Self::Show(_) => "shown",
            Self::Redrive(args) if args.dry_run => "would be redriven",
            Self::Redrive(_) => "redriven",
            Self::Discard(args) if args.dry_run => "would be discarded",
            Self::Discard(_) => "discarded",
        }
    }

    fn selection(&self, settings: &Settings) -> Result<Selection, Exit> {
        let filters = self.filters();
        if let Some(route) = filters.route.as_ref().filter(|name| settings.routes.iter().all(|r| r.name != **name)) {
            let known: Vec<&str> = settings.routes.iter().map(|r| r.name.as_str()).collect();
            return Err(failed(&format!("there is no route {route}; known: {}", known.join(", ")), Exit::Usage));
        }
        Ok(Selection {
            ids: filters.ids.clone(),
            codes: filters.code.clone(),
            route: filters.route.clone(),
            uploader: filters.uploader.clone(),
            older_than: filters.older_than,
            newer_than: filters.newer_than,
            limit: filters.limit.or_else(|| matches!(self, Self::Show(_)).then_some(SHOWN)),
        })
    }
}

pub(super) async fn run(global: &Global, args: &DlqArgs) -> Result<Exit, Exit> {
    let settings = global.settings()?;
    telemetry::init(&settings.log);
    let selection = args.action.selection(&settings)?;
    let stop = shutdown::on_signal().map_err(|e| failed(&format!("signals cannot be handled: {e}"), Exit::Fault))?;
    let unavailable = |fault: Fault| failed(&format!("{fault}; nothing was done"), Exit::Unavailable);
    let mut queue = DeadQueue::open(connector(&settings)?).await.map_err(unavailable)?;
    let publisher = match &args.action {
        Action::Redrive(args) if !args.dry_run => {
            Some(Confirmed::open(connector(&settings)?).await.map_err(unavailable)?)
        }
        _ => None,
    };

    let mut show = Show::new(args.action.filters().json, args.action.done());
    let (routes, tally) = (&settings.routes, Tally::default());
    let mut dlq = Dlq { queue: &mut queue, routes, selection: &selection, stop: &stop, tally };
    let worked = match (&args.action, &publisher) {
        (Action::List(args), _) if !args.each => dlq.look(|letter, _| show.count(letter)).await,
        (Action::Show(_), _) => dlq.look(|letter, dead| show.whole(letter, &dead.message.body)).await,
        (Action::Redrive(args), Some(publisher)) => {
            dlq.redrive(publisher, Pace::new(args.rate), |l| show.gone(l)).await
        }
        (Action::Discard(args), _) if args.yes => dlq.discard(|letter| show.gone(letter)).await,
        _ => dlq.look(|letter, _| show.line(letter)).await,
    };
    let tally = dlq.tally;
    queue.release().await;
    show.finish();
    sum_up(&args.action, tally);
    match worked {
        Err(fault) if tally.looked_at == 0 => Err(unavailable(fault)),
        Err(fault) => Err(failed(&format!("{fault}; what is not named above is still there"), Exit::Fault)),
        Ok(()) if tally.end == End::Interrupted => Err(Exit::Interrupted),
        Ok(()) if tally.matched == 0 && !matches!(args.action, Action::List(_)) => Ok(Exit::Negative),
        Ok(()) => Ok(Exit::Ok),
    }
}

fn connector(settings: &Settings) -> Result<Connector, Exit> {
    Connector::new(&settings.amqp, &settings.retry.tiers, 1, "dlq")
        .map_err(|e| failed(&format!("the AMQP runtime could not be started: {e}"), Exit::Fault))
}

/// What was seen and done, and what was not.
fn sum_up(action: &Action, tally: Tally) {
    let count = match action {
        Action::Redrive(args) if !args.dry_run => tally.done,
        Action::Discard(args) if args.yes => tally.done,
        _ => tally.matched,
    };
    eprintln!("{count} {}; {} of {} dead letters looked at", action.done(), tally.looked_at, tally.at_start);
    match tally.end {
        End::Full => eprintln!(
            "{MAX_HELD} messages are held back and {} behind them were not looked at: they come into sight when some of \
             the former are redriven or discarded",
            tally.unseen()
        ),
        End::Limit if tally.unseen() > 0 => eprintln!("the limit is reached; {} were not looked at", tally.unseen()),
        End::Limit | End::Complete | End::Interrupted => {}
    }
    if tally.returned + 5 >= DEFAULT_DELIVERY_LIMIT {
        eprintln!(
            "messages here were given back up to {} times: RabbitMQ 4 drops a message after {DEFAULT_DELIVERY_LIMIT} \
             unless the policy for the dead-letter queue is set, see airlock topology print",
            tally.returned
        );
    }
}

fn failed(what: &str, exit: Exit) -> Exit {
    eprintln!("airlock dlq: {what}");
    exit
}
