//! How much the store takes for as long as one likes: the index must keep up.

use std::sync::Arc;
use std::time::Duration;

use tidemark_store::Store;
use tokio::time::Instant;

use crate::contender::{Contender, open_store};
use crate::goal::{Aim, Row};
use crate::load::{Load, Until};
use crate::scratch::scratch;
use crate::stats::{median, quantile};
use crate::{Effort, block_on};

/// How often the lag of the index is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How many times longer than others this load lasts.
const LONGER: u32 = 5;

/// The lag is flat if it is at the end at most so many times what it was in the middle.
const FLAT: f64 = 1.25;

pub(crate) fn measure(effort: Effort) -> Vec<Row> {
    [1, 16].into_iter().flat_map(|batch| measure_batch(batch, effort)).collect()
}

fn measure_batch(batch: u64, effort: Effort) -> Vec<Row> {
    let (time, dir) = (effort.time * LONGER, scratch());
    let load = Load { live: 1000, rate: None, batch, length: 2000 };
    let (outcome, lags) = block_on(async {
        let store = Arc::new(open_store(dir.path()));
        let contender = Contender::Store(Arc::clone(&store));
        let lags = tokio::spawn(async move {
            let (end, mut lags) = (Instant::now() + time, Vec::new());
            while Instant::now() < end {
                lags.push(store.usage().index_lag_bytes as f64 / 1e6);
                tokio::time::sleep(LOOK).await;
            }
            lags
        });
        let outcome = load.run(&contender, Until::Time(time)).await;
        let lags = lags.await.unwrap();
        contender.close().await;
        (outcome, lags)
    });
    let third = |number: usize| {
        let part = lags.len() / 3;
        median(lags.iter().skip(number * part).take(part).copied())
    };
    let (middle, end) = (third(1), third(2));
    let what = format!("{time:?} on end, 1000 responses, {batch} per append");
    let row = |goal, unit, store, aim| Row { goal: format!("{what}: {goal}"), unit, file: None, store, aim };
    vec![
        row("events, with the index", "1/s", outcome.events_per_second(), Aim::AtLeast(1e6)),
        row("the index lags by, at most", "MB", quantile(lags.iter().copied(), 1.0), Aim::None),
        row("lag at the end by that in the middle", "×", end / middle, Aim::AtMost(FLAT)),
    ]
}
