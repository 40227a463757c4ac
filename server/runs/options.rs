//! The settings of the room, with their defaults.

use std::time::Duration;

use crate::sessions;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long and how many responses may run, how large they may become, how long they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The longest a run may take before it fails with `backend_timeout`. Default 1 h.
    pub max_time: Duration,
    /// How long a response that nobody may keep goes on without a reader (D-26). Default 15 s.
    pub disconnect_grace: Duration,
    /// What becomes of a response without output when the gateway was restarted (D-23). Default [`OnRestart::Fail`].
    pub on_restart: OnRestart,
    /// What a repeated create that waits for the end gets while the response is running. Default [`OnRepeat::Wait`].
    pub on_repeat: OnRepeat,
    /// The most live responses in total. Default 10 000.
    pub max_live: usize,
    /// The most live responses of one owner; absent = no limit of its own, as with auth off. Default absent.
    pub max_live_per_owner: Option<usize>,
    /// The most bytes of output of one response, counted as JSON text; the response ends as `incomplete` there (D-18).
    /// Default 8 MiB.
    pub max_output_bytes: usize,
    /// How long a response is kept after its end.
    pub retention: Retention,
    /// New responses are refused with `storage_full` while the disk has fewer bytes left (D-24); absent = no check.
    /// Default absent.
    pub min_free_bytes: Option<u64>,
    /// How many and how large sessions may be, and how long they are kept.
    pub sessions: sessions::Options,
    /// How often expired responses and sessions are removed. Default 1 min.
    pub sweep_period: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_time: HOUR,
            disconnect_grace: Duration::from_secs(15),
            on_restart: OnRestart::Fail,
            on_repeat: OnRepeat::Wait,
            max_live: 10_000,
            max_live_per_owner: None,
            max_output_bytes: 8 << 20,
            retention: Retention::default(),
            min_free_bytes: None,
            sessions: sessions::Options::default(),
            sweep_period: Duration::from_secs(60),
        }
    }
}

/// How long a response is kept after its end (D-25).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Of the single events; then they are merged as far as a reader from the start allows. Absent = as long as the response.
    /// Default 24 h.
    pub events: Option<Duration>,
    /// Of a stored response; absent = for ever. Default 30 days.
    pub responses: Option<Duration>,
    /// Of an unstored one; absent = for ever. Default 10 min.
    pub unstored: Option<Duration>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { events: Some(DAY), responses: Some(30 * DAY), unstored: Some(Duration::from_secs(600)) }
    }
}

/// What becomes of a response that had no output when the gateway was restarted. One that had some always fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRestart {
    /// It fails with `gateway_restarted`.
    Fail,
    /// It starts again under the same id. Only with durability `sync`.
    Retry,
}

/// What a repeated create that waits for the end gets while the response is running (D-35). One that streams is attached in any
/// case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRepeat {
    /// It waits like the first.
    Wait,
    /// `idempotency_request_in_progress`.
    Refuse,
}
