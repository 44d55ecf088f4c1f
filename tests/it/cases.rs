//! A table of cases, each in a world of its own, a few of them at a time.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How many at a time; as many tests run at once as there are cores.
const PLACES: usize = 2;

/// Runs every case, and names those with which something is wrong.
pub async fn run(cases: impl IntoIterator<Item = (String, BoxFuture<'static, Vec<String>>)>) {
    let (places, mut running) = (Arc::new(Semaphore::new(PLACES)), JoinSet::new());
    for (name, case) in cases {
        let places = Arc::clone(&places);
        running.spawn(async move {
            let _place = places.acquire_owned().await;
            // Its own task, so that a panic can be told with the name of its case.
            let wrongs = tokio::spawn(case).await;
            (name, wrongs.unwrap_or_else(|e| vec![e.to_string()]))
        });
    }
    let all = running.join_all().await;
    let wrong: Vec<_> = all.into_iter().filter(|(_, wrongs)| !wrongs.is_empty()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
