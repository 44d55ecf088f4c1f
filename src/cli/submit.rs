//! `airlock submit`: publish upload events for objects that are in quarantine already.

use clap::Args;
use uuid::Uuid;

use super::{Exit, Global};
use crate::config::Settings;
use crate::event::UploadEvent;
use crate::fault::Fault;
use crate::object::{Bucket, ObjectKey, ObjectRef, VersionId};
use crate::queue::amqp::Confirmed;
use crate::queue::session::Connector;
use crate::store::ObjectStore;
use crate::store::s3;
use crate::text;
use crate::verdict::NAMESPACE;

#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    /// Keys in the quarantine bucket
    #[arg(value_name = "KEY", required_unless_present = "prefix")]
    keys: Vec<String>,
    /// Submit every current object below this prefix ("" is the whole bucket)
    #[arg(long, conflicts_with = "keys")]
    prefix: Option<String>,
    /// The route whose quarantine bucket is meant
    #[arg(long, default_value = "default", value_name = "NAME")]
    route: String,
    /// One version of the only key
    #[arg(long, value_name = "ID", requires = "keys")]
    version_id: Option<String>,
    /// Name an uploader in the events
    #[arg(long, value_name = "NAME")]
    uploader: Option<String>,
    /// Print what would be published, publish nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(global: &Global, args: &SubmitArgs) -> Result<Exit, Exit> {
    let settings = global.settings()?;
    let Some(route) = settings.routes.iter().find(|r| r.name == args.route) else {
        let known: Vec<&str> = settings.routes.iter().map(|r| r.name.as_str()).collect();
        eprintln!("airlock submit: there is no route {}; known: {}", args.route, known.join(", "));
        return Err(Exit::Usage);
    };
    let keys = keys(args)?;
    let submission =
        Submission { args, bucket: &route.quarantine, publisher: publisher(&settings, args).await?, count: 0 };
    let count = submission.submit(&settings, keys).await.map_err(|fault| {
        eprintln!("airlock submit: {fault}");
        Exit::Fault
    })?;
    let verb = if args.dry_run { "would be submitted" } else { "submitted" };
    eprintln!("{count} object(s) of {} {verb}", route.quarantine);
    Ok(Exit::Ok)
}

/// The named keys; every illegal one is told before anything is published.
fn keys(args: &SubmitArgs) -> Result<Vec<ObjectKey>, Exit> {
    let (keys, bad): (Vec<_>, Vec<_>) = args.keys.iter().map(ObjectKey::new).partition(Result::is_ok);
    for problem in bad.iter().filter_map(|b| b.as_ref().err()) {
        eprintln!("airlock submit: {problem}");
    }
    if args.version_id.is_some() && keys.len() > 1 {
        eprintln!("airlock submit: --version-id goes with one key");
        return Err(Exit::Usage);
    }
    if bad.is_empty() { Ok(keys.into_iter().flatten().collect()) } else { Err(Exit::Usage) }
}

/// A connection to the broker, unless nothing will be published.
async fn publisher(settings: &Settings, args: &SubmitArgs) -> Result<Option<Confirmed>, Exit> {
    if args.dry_run {
        return Ok(None);
    }
    let opened = async {
        let connector = Connector::new(&settings.amqp, &settings.retry.tiers, 1, "submit")
            .map_err(|e| Fault::new(crate::fault::FaultCode::Internal, crate::verdict::Stage::Event, e.to_string()))?;
        Confirmed::open(connector).await
    };
    opened.await.map(Some).map_err(|fault| {
        eprintln!("airlock submit: {fault}; nothing was published");
        Exit::Unavailable
    })
}

struct Submission<'a> {
    args: &'a SubmitArgs,
    bucket: &'a Bucket,
    publisher: Option<Confirmed>,
    count: usize,
}

impl Submission<'_> {
    async fn submit(mut self, settings: &Settings, keys: Vec<ObjectKey>) -> Result<usize, Fault> {
        for key in keys {
            self.one(key).await?;
        }
        if let Some(prefix) = &self.args.prefix {
            let store = s3::connect(&settings.s3).await;
            let mut after = None;
            loop {
                let page = store.list(self.bucket, prefix, after).await?;
                for key in page.keys {
                    self.one(key).await?;
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(self.count)
    }

    async fn one(&mut self, key: ObjectKey) -> Result<(), Fault> {
        println!("{}", text::printable(key.as_str()));
        let version = VersionId::parse(self.args.version_id.as_deref());
        let mut event = UploadEvent::new(ObjectRef { bucket: self.bucket.clone(), key, version });
        event.uploader.clone_from(&self.args.uploader);
        let body = event.to_json();
        // The same submission has the same id, so that its verdicts can be told from those of another one.
        let id = Uuid::new_v5(&NAMESPACE, &body).to_string();
        if let Some(publisher) = &self.publisher {
            publisher.submit(&body, &id).await?;
        }
        self.count += 1;
        Ok(())
    }
}
