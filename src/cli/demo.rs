//! `airlock demo`: the whole system in one process, on embedded parts, with the test data.
//!
//! Everything but the broker and the disk is real: an S3 server that is spoken to over HTTP with signatures, the
//! worker, the pipeline, the ledger, verdict events. A stranger sees files travel before installing anything.

mod engine;
mod files;
mod show;
mod world;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use self::files::DemoFile;
use self::show::Show;
use self::world::World;
use super::Exit;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// The folder with the test data
    #[arg(long, default_value = "testdata", value_name = "DIR")]
    data: PathBuf,
    /// Stay up afterwards, with endpoint and keys printed, and show what is uploaded
    #[arg(long)]
    serve: bool,
    /// Port of the S3 endpoint [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Write the contents of all buckets to this folder at the end
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// One verdict per line as JSON on standard output, everything else on standard error
    #[arg(long)]
    json: bool,
    /// Address of clamd to try first: tcp://HOST:PORT or unix:///PATH
    #[arg(long, value_name = "ADDR")]
    clamd: Option<String>,
}

/// The longest wait for all verdicts.
const PATIENCE: Duration = Duration::from_mins(3);

pub(super) async fn run(args: &DemoArgs) -> Result<Exit, Exit> {
    let failed = |what: String| {
        eprintln!("airlock demo: {what}");
        Exit::Fault
    };
    let mut show = Show::new(args.json);
    let engine = engine::choose(args.clamd.as_deref()).await.map_err(|f| failed(f.to_string()))?;
    let files = files::load(&args.data, engine.opens_pdf_streams()).map_err(|e| {
        eprintln!("airlock demo: {e}; run it in the repository, or name the folder with --data");
        Exit::Usage
    })?;
    let mut world = World::start(args.port, engine).await.map_err(failed)?;
    show.welcome(&world, files.len());

    let wrong = tokio::select! {
        wrong = journey(&mut world, &files, &mut show) => wrong.map_err(failed)?,
        _ = tokio::signal::ctrl_c() => return Err(Exit::Interrupted),
    };
    if let Some(dir) = &args.keep {
        world.keep(dir).await.map_err(failed)?;
        show.say(&format!("All buckets are in {} now.", dir.display()));
    }
    if args.serve {
        serve(&mut world, &mut show).await;
    } else {
        show.what_next();
    }
    world.stop().await;
    Ok(if wrong == 0 { Exit::Ok } else { Exit::Negative })
}

/// Uploads every file, follows it to its verdict, and lets one message fail, die and be redriven. Returns how
/// many files ended in another way than the test data says.
async fn journey(world: &mut World, files: &[DemoFile], show: &mut Show) -> Result<usize, String> {
    let started = Instant::now();
    for file in files {
        world.upload(file).await?;
    }
    let (mut wrong, mut left) = (0, files.len());
    while left > 0 {
        let verdict = world.next_verdict(PATIENCE).await?;
        // Somebody may upload files of their own meanwhile.
        let file = files.iter().find(|f| f.key == verdict.source.key);
        let surprise = file.and_then(|f| f.surprise(&verdict));
        left -= usize::from(file.is_some());
        wrong += usize::from(surprise.is_some());
        show.arrived(&verdict, surprise.as_deref());
    }
    let took = started.elapsed();
    dead_letter(world, &files[0], show).await?;
    show.summary(took, wrong);
    Ok(wrong)
}

/// An event for an object that is not there: attempts, dead letter, and, once the object is, a redrive.
async fn dead_letter(world: &mut World, file: &DemoFile, show: &mut Show) -> Result<(), String> {
    let late = file.under("late/arrives-after-its-event.jpg");
    world.announce_only(&late);
    let dead = world.next_dead(PATIENCE).await?;
    show.died(&dead);
    world.upload_silently(&late).await?;
    world.redrive();
    loop {
        let verdict = world.next_verdict(PATIENCE).await?;
        if verdict.source.key == late.key {
            show.redriven(&verdict);
            return Ok(());
        }
        show.arrived(&verdict, None);
    }
}

/// Stays up until Ctrl-C and shows every verdict.
async fn serve(world: &mut World, show: &mut Show) {
    show.serving(world);
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return,
            verdict = world.next_verdict(Duration::MAX) => match verdict {
                Ok(verdict) => show.arrived(&verdict, None),
                Err(_) => return,
            },
        }
    }
}
