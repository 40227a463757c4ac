//! Responses that are appended to, all at the same time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tidemark_store::LogId;

use crate::EVENT_BYTES;
use crate::contender::{Contender, next_id};
use crate::threads::Cpu;

/// What is appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// How many responses are live at any time.
    pub(crate) live: u64,
    /// Events per second of each of them; absent = the next append follows the acknowledgement of the last.
    pub(crate) rate: Option<f64>,
    /// Events per append.
    pub(crate) batch: u64,
    /// How many events a response gets before it ends and the next one takes its place.
    pub(crate) length: u64,
}

/// When a load ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Time(Duration),
    /// When every live response has ended once.
    Ended,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) events: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu: Cpu,
    /// How long each acknowledgement took, in milliseconds.
    pub(crate) waits: Vec<f64>,
    /// The responses that have ended.
    pub(crate) ended: Vec<LogId>,
}

impl Outcome {
    pub(crate) fn events_per_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    /// CPU seconds as microseconds per event.
    pub(crate) fn us_per_event(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.events as f64
    }
}

impl Load {
    pub(crate) async fn run(self, contender: &Contender, until: Until) -> Outcome {
        let (cpu, start) = (Cpu::now(), Instant::now());
        let slots: Vec<_> = (0..self.live)
            .map(|slot| tokio::spawn(self.run_slot(contender.clone(), slot, start, until)))
            .collect();
        let mut outcome = Outcome::default();
        for slot in slots {
            let of_slot = slot.await.unwrap();
            outcome.events += of_slot.events;
            outcome.waits.extend(of_slot.waits);
            outcome.ended.extend(of_slot.ended);
        }
        Outcome { seconds: start.elapsed().as_secs_f64(), cpu: Cpu::now().since(cpu), ..outcome }
    }

    /// One response after the other.
    async fn run_slot(self, contender: Contender, slot: u64, start: Instant, until: Until) -> Outcome {
        let event = Bytes::from(vec![b'x'; EVENT_BYTES]);
        let (mut outcome, mut id, mut last) = (Outcome::default(), next_id(), 0);
        contender.create(id).await;
        for tick in 0u32.. {
            if let Some(rate) = self.rate {
                let offset = slot as f64 / self.live as f64 / rate;
                let due = start + Duration::from_secs_f64(offset + f64::from(tick) / rate);
                tokio::time::sleep_until(due.into()).await;
            }
            let asked = Instant::now();
            if matches!(until, Until::Time(time) if asked.duration_since(start) >= time) {
                break;
            }
            let closes = last + self.batch >= self.length;
            contender.append(id, last, vec![event.clone(); self.batch as usize], closes).await;
            outcome.waits.push(asked.elapsed().as_secs_f64() * 1e3);
            (last, outcome.events) = (last + self.batch, outcome.events + self.batch);
            if closes {
                outcome.ended.push(id);
                if matches!(until, Until::Ended) {
                    break;
                }
                (id, last) = (next_id(), 0);
                contender.create(id).await;
            }
        }
        outcome
    }
}
