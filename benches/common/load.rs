//! Many streams at one pace, and a window of time in which the server's cost is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::cpu::cpu_seconds;

/// Over how much time the streams begin, so that their events do not fall together.
const BEGIN: Duration = Duration::from_secs(2);

/// How long all streams run before and after the window.
const MARGIN: Duration = Duration::from_millis(500);

/// Streams at one pace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) streams: u32,
    /// Events per second of each stream.
    pub(crate) rate: u32,
    pub(crate) window: Duration,
}

/// Counts what is delivered while the window is open.
#[derive(Default)]
pub(crate) struct Window {
    open: AtomicBool,
    events: AtomicU64,
}

/// What a load has cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// CPU time of the server per event that was delivered.
    pub(crate) cpu_us_per_event: f64,
    pub(crate) events_per_second: f64,
    /// Streams that were delivered whole.
    pub(crate) whole: u32,
}

impl Window {
    /// Counts one event; whether it was in the window.
    pub(crate) fn count(&self) -> bool {
        let open = self.open.load(Ordering::Relaxed);
        if open {
            self.events.fetch_add(1, Ordering::Relaxed);
        }
        open
    }
}

impl Load {
    /// How many events a stream must have to last until the window has closed.
    pub(crate) fn events(&self) -> u64 {
        let lasts = BEGIN + 2 * MARGIN + self.window;
        (lasts.as_secs_f64() * f64::from(self.rate)).ceil() as u64
    }

    /// Runs the streams; `read` reads one to its end and says whether it was whole.
    pub(crate) async fn run<F>(&self, server: u32, window: &Arc<Window>, read: impl Fn() -> F) -> Cost
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let begin = Instant::now();
        let mut readers = JoinSet::new();
        for stream in 0..self.streams {
            sleep_until(begin + BEGIN * stream / self.streams).await;
            readers.spawn(read());
        }
        sleep_until(begin + BEGIN + MARGIN).await;
        let cpu = cpu_seconds(server);
        window.open.store(true, Ordering::Relaxed);
        sleep_until(begin + BEGIN + MARGIN + self.window).await;
        window.open.store(false, Ordering::Relaxed);
        let cpu = cpu_seconds(server) - cpu;
        let events = window.events.load(Ordering::Relaxed) as f64;
        let whole = readers.join_all().await.into_iter().map(u32::from).sum();
        Cost {
            cpu_us_per_event: cpu * 1e6 / events,
            events_per_second: events / self.window.as_secs_f64(),
            whole,
        }
    }
}
