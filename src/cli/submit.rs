//! `airlock submit`: publish upload events for objects that are in quarantine already, or that are put back there.

use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::Value;
use uuid::Uuid;

use super::walk::{self, Resume};
use super::{Exit, Global, compose};
use crate::event::UploadEvent;
use crate::fault::Fault;
use crate::object::{InvalidName, ObjectKey, ObjectRef, VersionId};
use crate::pace::{Pace, Rate};
use crate::queue::Announcer;
use crate::queue::amqp::Confirmed;
use crate::reconcile;
use crate::route::Route;
use crate::shutdown;
use crate::store::s3::{self, S3};
use crate::store::{ObjectStore, metadata};
use crate::text;

#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    /// Keys in the quarantine bucket
    #[arg(value_name = "KEY", required_unless_present_any = ["prefix", "from_rejected"])]
    keys: Vec<String>,
    /// Submit every current object below this prefix ("" is the whole bucket)
    #[arg(long, conflicts_with = "keys")]
    prefix: Option<String>,
    /// Copy this key of the rejected bucket to a fresh key in quarantine and submit that: it is judged anew
    #[arg(long, value_name = "KEY", conflicts_with_all = ["keys", "prefix"])]
    from_rejected: Option<String>,
    /// The route whose quarantine bucket is meant
    #[arg(long, default_value = "default", value_name = "NAME")]
    route: String,
    /// One version of the only key
    #[arg(long, value_name = "ID", requires = "keys")]
    version_id: Option<String>,
    /// Name an uploader in the events
    #[arg(long, value_name = "NAME")]
    uploader: Option<String>,
    /// How many to publish at most, per s, m or h, such as 50/s [default: no limit]
    #[arg(long, value_name = "N/UNIT")]
    rate: Option<Rate>,
    /// Keep the place in this file, and go on from it if it is there
    #[arg(long, value_name = "FILE", requires = "prefix", conflicts_with = "dry_run")]
    resume: Option<PathBuf>,
    /// Print what would be published, publish and copy nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(global: &Global, args: &SubmitArgs) -> Result<Exit, Exit> {
    let settings = global.settings()?;
    let route = walk::route(&settings, &args.route).map_err(|e| usage(&e))?;
    let keys = keys(args)?;
    let task = format!("submit {} {:?} {:?}", route.name, args.prefix, args.uploader);
    let mut resume = Resume::open(args.resume.as_deref(), task).map_err(|e| usage(&e))?;
    let publisher = if args.dry_run {
        None
    } else {
        let opened = compose::publisher(&settings, "submit").await;
        Some(opened.map_err(|fault| failed(&format!("{fault}; nothing was published"), walk::exit(&fault, false)))?)
    };
    let store = s3::connect(&settings.s3).await;
    let stop = shutdown::on_signal().map_err(|e| failed(&format!("signals cannot be handled: {e}"), Exit::Fault))?;
    let (bar, pace) = (walk::progress(), Pace::new(args.rate));
    let mut submission = Submission { args, route, store, publisher, pace, bar, count: resume.state.counts };
    let before = submission.count;
    let ended = tokio::select! {
        () = stop.cancelled() => Err(Exit::Interrupted),
        ended = submission.submit(keys, &mut resume) => ended.map_err(|trouble| match trouble {
            Trouble::Fault(fault) => failed(&fault.to_string(), walk::exit(&fault, submission.count > before)),
            Trouble::State(what) => failed(&what, Exit::Fault),
            Trouble::Usage(what) => usage(&what),
        }),
    };
    submission.bar.finish_and_clear();
    let verb = if args.dry_run { "would be submitted" } else { "submitted" };
    eprintln!("{} object(s) of {} {verb}", submission.count, route.quarantine);
    ended?;
    resume.finish();
    Ok(Exit::Ok)
}

/// The named keys; every illegal one is told before anything is published.
fn keys(args: &SubmitArgs) -> Result<Vec<ObjectKey>, Exit> {
    let (keys, bad): (Vec<_>, Vec<_>) = args.keys.iter().map(ObjectKey::new).partition(Result::is_ok);
    for problem in bad.iter().filter_map(|b| b.as_ref().err()) {
        eprintln!("airlock submit: {problem}");
    }
    if args.version_id.is_some() && keys.len() > 1 {
        return Err(usage("--version-id goes with one key"));
    }
    if bad.is_empty() { Ok(keys.into_iter().flatten().collect()) } else { Err(Exit::Usage) }
}

/// Why a submission ended early.
enum Trouble {
    Fault(Fault),
    State(String),
    Usage(String),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

struct Submission<'a> {
    args: &'a SubmitArgs,
    route: &'a Route,
    store: S3,
    publisher: Option<Confirmed>,
    pace: Pace,
    bar: ProgressBar,
    count: u64,
}

impl Submission<'_> {
    async fn submit(&mut self, keys: Vec<ObjectKey>, resume: &mut Resume<u64>) -> Result<(), Trouble> {
        for key in keys {
            let version = VersionId::parse(self.args.version_id.as_deref());
            self.one(UploadEvent::new(ObjectRef { bucket: self.route.quarantine.clone(), key, version })).await?;
        }
        if let Some(prefix) = &self.args.prefix {
            self.below(prefix, resume).await?;
        }
        if let Some(key) = &self.args.from_rejected {
            self.anew(key).await?;
        }
        Ok(())
    }

    /// Everything current below a prefix, page by page.
    async fn below(&mut self, prefix: &str, resume: &mut Resume<u64>) -> Result<(), Trouble> {
        let mut after = resume.state.at.clone().and_then(|(_, after)| after);
        loop {
            let page = self.store.versions(&self.route.quarantine, prefix, after.as_ref()).await?;
            for listed in page.versions.iter().filter(|v| v.latest) {
                self.one(reconcile::event(listed)).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
            resume.state.at = Some((self.route.name.clone(), after.clone()));
            resume.state.counts = self.count;
            resume.save().map_err(Trouble::State)?;
        }
    }

    /// Puts a rejected object back into quarantine, where it is a new upload. The one that was rejected stays rejected.
    async fn anew(&mut self, key: &str) -> Result<(), Trouble> {
        let illegal = |e: InvalidName| Trouble::Usage(e.to_string());
        let key = ObjectKey::new(key).map_err(illegal)?;
        let fresh = fresh_key(&key, Uuid::new_v4()).map_err(illegal)?;
        let nothing = || {
            let name = text::printable(key.as_str());
            Trouble::Usage(format!("nothing lies under {name} in {}", self.route.rejected))
        };
        let facts = self.store.head(&self.route.rejected, &key).await?.ok_or_else(nothing)?;
        let mut object = ObjectRef { bucket: self.route.quarantine.clone(), key: fresh.clone(), version: None };
        let mut etag = None;
        if self.publisher.is_some() {
            let stored = self.store.put_back(self.route, &key, &fresh).await?.ok_or_else(nothing)?;
            (object.version, etag) = (stored.version, stored.etag);
        }
        let mut event = UploadEvent { etag, size: Some(facts.size), ..UploadEvent::new(object) };
        // Comes back in the verdict, so that the application knows which upload it is about.
        if let Some(source) = facts.metadata.get(metadata::SOURCE_ID) {
            event.meta.insert("resubmitted_source_id".to_owned(), Value::from(source.as_str()));
        }
        Ok(self.one(event).await?)
    }

    async fn one(&mut self, mut event: UploadEvent) -> Result<(), Fault> {
        event.uploader.clone_from(&self.args.uploader);
        if let Some(publisher) = &self.publisher {
            self.pace.turn().await;
            publisher.announce(&event).await?;
        }
        walk::print(&self.bar, &text::printable(event.object.key.as_str()));
        self.bar.inc(1);
        self.count += 1;
        Ok(())
    }
}

/// A key that no upload has: a folder of its own in front of the name. The name stays, since it is judged with the
/// file, and so do the first segments, which may name the uploader.
fn fresh_key(key: &ObjectKey, id: Uuid) -> Result<ObjectKey, InvalidName> {
    let (folder, name) = key.as_str().rsplit_once('/').map_or(("", key.as_str()), |(folder, name)| (folder, name));
    let slash = if key.as_str().contains('/') { "/" } else { "" };
    ObjectKey::new(format!("{folder}{slash}resubmitted-{}/{name}", id.simple()))
}

fn usage(what: &str) -> Exit {
    failed(what, Exit::Usage)
}

fn failed(what: &str, exit: Exit) -> Exit {
    eprintln!("airlock submit: {what}");
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_key_keeps_the_name_and_the_first_segments() {
        let fresh = |key: &str| fresh_key(&ObjectKey::new(key).unwrap(), Uuid::nil()).map(String::from);
        let folder = format!("resubmitted-{}", Uuid::nil().simple());
        for (key, expected) in [
            ("cat.jpg", format!("{folder}/cat.jpg")),
            ("alice/cat.jpg", format!("alice/{folder}/cat.jpg")),
            ("alice/a b/cat.jpg", format!("alice/a b/{folder}/cat.jpg")),
            ("/cat.jpg", format!("/{folder}/cat.jpg")),
            ("a/", format!("a/{folder}/")),
        ] {
            assert_eq!(fresh(key), Ok(expected), "{key}");
        }
        assert!(fresh(&"x".repeat(1_020)).is_err(), "it would be too long");
    }
}
