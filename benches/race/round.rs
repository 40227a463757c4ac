//! One round of one contender: every load in turn.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::backend::Script;
use crate::contender::{Contender, Running};
use crate::cpu::cpu_seconds;
use crate::load::{Cost, Load, Window};
use crate::now_nanos;
use crate::stats::quantile;

/// Live streams of the paced loads. The last wants about all that two cores have, for the client, the backend and the server.
pub(crate) const STREAMS: [u32; 4] = [1, 100, 400, 1000];

/// Events per second of a paced stream.
const RATE: u32 = 50;

/// Streams and events of the load without a pace.
const UNPACED: (u32, u64) = (50, 4000);

/// How many clients open one stream after the other, and how many idle streams are weighed.
const OPENERS: u32 = 64;
const IDLE: u32 = 1000;

/// How long idle streams are open.
const IDLE_TIME: Duration = Duration::from_secs(3);

/// What every contender is put to.
pub(crate) struct Loads {
    window: Duration,
}

/// A paced load, and how much later than sent its events arrived.
pub(crate) struct Paced {
    pub(crate) streams: u32,
    pub(crate) cost: Cost,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// What a round gave.
pub(crate) struct Figures {
    pub(crate) paced: Vec<Paced>,
    /// At half of what one core could carry at the cost of the second paced load.
    pub(crate) half: Paced,
    pub(crate) unpaced_events_per_second: f64,
    pub(crate) unpaced_cpu_us: f64,
    pub(crate) opened_per_second: f64,
    /// CPU time per stream that was opened and read to its end.
    pub(crate) opened_cpu_us: f64,
    pub(crate) idle_kib: f64,
}

impl Loads {
    pub(crate) fn new(window: Duration) -> Self {
        Self { window }
    }

    fn paced(&self, streams: u32) -> Load {
        Load { streams, rate: RATE, window: self.window }
    }

    fn paced_script(&self) -> Script {
        Script { rate: RATE, events: self.paced(1).events(), linger_seconds: 0 }
    }

    /// All scripts that are played.
    fn scripts(&self) -> [Script; 4] {
        [self.paced_script(), unpaced_script(), opening_script(), idle_script()]
    }
}

fn unpaced_script() -> Script {
    Script { rate: 0, events: UNPACED.1, linger_seconds: 0 }
}

fn opening_script() -> Script {
    Script { rate: 0, events: 1, linger_seconds: 0 }
}

fn idle_script() -> Script {
    Script { rate: 0, events: 1, linger_seconds: IDLE_TIME.as_secs() }
}

/// Starts the contender and puts it to everything.
pub(crate) async fn run(contender: Contender, backend: SocketAddr, loads: &Loads) -> Figures {
    let server = Running::start(contender, backend, &loads.scripts());
    let idle_kib = idle(&server).await;
    let mut measured = Vec::new();
    for streams in STREAMS {
        measured.push(paced(&server, loads, streams).await);
    }
    // Not the largest load: a server that cannot keep up with it looks cheap, because late events travel together.
    let each = measured[1].cost.cpu_us_per_event;
    let half = (0.5e6 / each / f64::from(RATE)) as u32;
    let half = paced(&server, loads, half.max(1)).await;
    let (unpaced_events_per_second, unpaced_cpu_us) = unpaced(&server).await;
    let (opened_per_second, opened_cpu_us) = opened(&server, loads.window).await;
    Figures {
        paced: measured,
        half,
        unpaced_events_per_second,
        unpaced_cpu_us,
        opened_per_second,
        opened_cpu_us,
        idle_kib,
    }
}

async fn paced(server: &Running, loads: &Loads, streams: u32) -> Paced {
    let (load, script, client) = (loads.paced(streams), loads.paced_script(), server.client());
    let window = Arc::new(Window::default());
    let late = Arc::new(Mutex::new(Vec::new()));
    let cost = load.run(server.pid(), &window, || {
        let (client, body) = (client.clone(), server.question(script));
        let (window, late) = (Arc::clone(&window), Arc::clone(&late));
        async move {
            let mut numbers = Numbers::default();
            let seen = |text: &str| {
                let sent = numbers.next(text);
                if window.count() {
                    late.lock().unwrap().push((now_nanos().saturating_sub(sent)) as f64 / 1e6);
                }
            };
            told(client.read(body, seen).await) && numbers.dense(script.events)
        }
    });
    let cost = cost.await;
    let late = std::mem::take(&mut *late.lock().unwrap());
    Paced { streams, cost, p50_ms: quantile(late.iter().copied(), 0.5), p99_ms: quantile(late, 0.99) }
}

/// Events per second and CPU time per event, in microseconds.
async fn unpaced(server: &Running) -> (f64, f64) {
    let (streams, events) = UNPACED;
    let client = server.client();
    let (cpu, start) = (cpu_seconds(server.pid()), Instant::now());
    let mut readers = JoinSet::new();
    for _ in 0..streams {
        let (client, body) = (client.clone(), server.question(unpaced_script()));
        readers.spawn(async move {
            let mut numbers = Numbers::default();
            let seen = |text: &str| {
                numbers.next(text);
            };
            assert!(told(client.read(body, seen).await) && numbers.dense(events));
        });
    }
    readers.join_all().await;
    let events = (u64::from(streams) * events) as f64;
    let wall = start.elapsed().as_secs_f64();
    (events / wall, (cpu_seconds(server.pid()) - cpu) * 1e6 / events)
}

/// Streams of one event, opened and read to their end, per second, and CPU time per stream, in microseconds.
async fn opened(server: &Running, time: Duration) -> (f64, f64) {
    let cpu = cpu_seconds(server.pid());
    let (count, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut openers = JoinSet::new();
    for _ in 0..OPENERS {
        let (client, body, count) = (server.client(), server.question(opening_script()), Arc::clone(&count));
        openers.spawn(async move {
            while start.elapsed() < time {
                assert!(told(client.read(body.clone(), |_| ()).await));
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    openers.join_all().await;
    let (count, wall) = (count.load(Ordering::Relaxed) as f64, start.elapsed().as_secs_f64());
    (count / wall, (cpu_seconds(server.pid()) - cpu) * 1e6 / count)
}

/// Memory per stream that is open and silent, in KiB.
async fn idle(server: &Running) -> f64 {
    let (client, before) = (server.client(), server.resident_bytes());
    let (reached, mut readers) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for _ in 0..IDLE {
        let (client, body, reached) = (client.clone(), server.question(idle_script()), Arc::clone(&reached));
        readers.spawn(async move {
            let seen = |_: &str| {
                reached.fetch_add(1, Ordering::Relaxed);
            };
            told(client.read(body, seen).await)
        });
    }
    while reached.load(Ordering::Relaxed) < u64::from(IDLE) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let per_stream = (server.resident_bytes() - before) / f64::from(IDLE) / 1024.0;
    readers.join_all().await;
    per_stream
}

/// Whether a stream was whole; says so if not.
fn told(result: Result<(), String>) -> bool {
    result.inspect_err(|problem| println!("a stream broke: {problem}")).is_ok()
}

/// The numbers of the events of one stream.
#[derive(Default)]
struct Numbers {
    next: u64,
    broken: bool,
}

impl Numbers {
    /// Takes the text of a delta, `NUMBER TIME`; returns the time.
    fn next(&mut self, text: &str) -> u128 {
        let (number, sent) = text.split_once(' ').unwrap();
        self.broken |= number.parse() != Ok(self.next);
        self.next += 1;
        sent.parse().unwrap()
    }

    /// Whether exactly the events from 0 on have come, in order.
    fn dense(&self, events: u64) -> bool {
        !self.broken && self.next == events
    }
}
