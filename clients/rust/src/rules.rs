//! The rules by which a client follows a response: F-1 to F-9 of `clients/README.md`.
//!
//! It owns events, the position of a reader, and what is tried again when. It must never know how a call is made.

use std::time::{Duration, Instant};

use serde_json::Value;
use tidemark_proto::v1::{self, Api, Response};

use crate::error::{Error, Failure};

/// How often the first delay is doubled at most: beyond it, every `max_delay` is reached.
const MAX_DOUBLINGS: u32 = 20;

/// Stands for every time that is longer, so that no sum of times is too large for a clock: a year.
pub(crate) const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The events that end a response (F-4).
const TERMINAL: [&str; 6] = [
    "response.completed",
    "response.incomplete",
    "response.failed",
    "chat.completion.completed",
    "chat.completion.incomplete",
    "chat.completion.failed",
];

/// How a client waits and tries again.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a unary call may take, all tries together; 60 s. A create that waits for the end of its response has an hour.
    pub timeout: Duration,
    /// How long a stream may be silent before it counts as lost; 45 s, three heartbeats of the gateway. A third of it is the
    /// time after which a silent connection is pinged.
    pub idle_timeout: Duration,
    /// How long to go on trying without a sign of the gateway; 5 min.
    pub patience: Duration,
    /// The delay before the first further try; 200 ms. It doubles with each one in vain. Half of it is random.
    pub min_delay: Duration,
    /// The longest such delay; 10 s.
    pub max_delay: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(45),
            patience: Duration::from_secs(300),
            min_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(10),
        }
    }
}

/// One entry of the log of a response: its `seq`, its `type` (`r#type`), and its `data`, one line of JSON.
pub type Event = v1::Event;

/// A stretch of the log that is gone, from its first to its last event. Only a reader with `OnGap::Earliest` meets one.
pub type Gap = v1::Gap;

/// What a reader hands out.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// The next event.
    Event(Event),
    /// What is gone before the next event.
    Gap(Gap),
}

impl Item {
    /// What the item adds to the text of the answer; empty for most.
    pub fn text(&self) -> String {
        let Self::Event(event) = self else { return String::new() };
        match event.r#type.as_str() {
            "response.output_text.delta" => text_at(&json(&event.data), "/delta"),
            "chat.completion.chunk" => {
                let chunk = json(&event.data);
                let choices = chunk.get("choices").and_then(Value::as_array).into_iter().flatten();
                choices.map(|choice| text_at(choice, "/delta/content")).collect()
            }
            _ => String::new(),
        }
    }

    /// The last event that is behind a reader who has this item.
    const fn last(&self) -> u64 {
        match self {
            Self::Event(event) => event.seq,
            Self::Gap(gap) => gap.to,
        }
    }
}

/// The text of an answer so far: that of its output messages, or of the choices of a chat.
pub fn output_text(response: &Response) -> String {
    let whole = json(&response.json);
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    if response.api() == Api::ChatCompletions {
        return list(&whole, "choices").iter().map(|choice| text_at(choice, "/message/content")).collect();
    }
    let parts = list(&whole, "output").into_iter().flat_map(|item| list(&item, "content"));
    parts.filter(|part| part["type"] == "output_text").map(|part| text_at(&part, "/text")).collect()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

fn text_at(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Where a reader is: what it is to ask for, and what is new to it (F-1 to F-4).
#[derive(Debug)]
pub(crate) struct Position {
    /// The last event that was handed out.
    pub(crate) after: Option<u64>,
    /// Whether that was the last one of the response.
    pub(crate) ended: bool,
}

impl Position {
    pub(crate) const fn new(after: Option<u64>) -> Self {
        Self { after, ended: false }
    }

    /// Whether an item is new; the position moves behind it.
    pub(crate) fn admits(&mut self, item: &Item) -> bool {
        let last = item.last();
        if self.after.is_some_and(|after| last <= after) {
            return false;
        }
        self.after = Some(last);
        self.ended = matches!(item, Item::Event(event) if TERMINAL.contains(&event.r#type.as_str()));
        true
    }
}

/// The delays between tries, and when to give up (F-6, F-7).
#[derive(Debug)]
pub(crate) struct Tries {
    settings: Settings,
    /// When the last try is over at the latest.
    end: Option<Instant>,
    in_vain: u32,
    give_up: Option<Instant>,
}

impl Tries {
    pub(crate) const fn new(settings: Settings) -> Self {
        Self { settings, end: None, in_vain: 0, give_up: None }
    }

    /// Tries of a call that has to be over at a time (F-8).
    pub(crate) const fn until(end: Instant, settings: Settings) -> Self {
        Self { settings, end: Some(end), in_vain: 0, give_up: None }
    }

    /// The gateway has given a sign of life: everything begins anew.
    pub(crate) const fn heard(&mut self) {
        self.in_vain = 0;
        self.give_up = None;
    }

    /// The time to wait before another try.
    ///
    /// # Errors
    /// What failed, if there shall be no other try.
    pub(crate) fn failed(&mut self, failure: Failure) -> Result<Duration, Error> {
        let now = Instant::now();
        let give_up = *self.give_up.get_or_insert_with(|| now + self.settings.patience.min(FAR));
        let give_up = self.end.map_or(give_up, |end| end.min(give_up));
        let doubled = self.settings.min_delay.saturating_mul(1 << self.in_vain.min(MAX_DOUBLINGS));
        let delay = jittered(doubled.min(self.settings.max_delay)).max(failure.wait).min(FAR);
        if !failure.again || now + delay > give_up {
            return Err(failure.error);
        }
        self.in_vain += 1;
        Ok(delay)
    }
}

/// Between a half of a time and all of it. Without randomness from the system, all of it.
fn jittered(time: Duration) -> Duration {
    let share = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    time.min(FAR).mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, kind: &str) -> Item {
        Item::Event(Event { seq, r#type: kind.to_owned(), data: "{}".into() })
    }

    #[test]
    fn nothing_is_handed_out_twice_and_a_gap_moves_the_position() {
        let mut position = Position::new(Some(3));
        let gap = Item::Gap(Gap { from: 5, to: 8 });
        let items =
            [event(2, "x"), event(3, "x"), event(4, "x"), event(4, "x"), gap.clone(), gap, event(8, "x")];
        let admitted = items.iter().map(|item| position.admits(item)).collect::<Vec<_>>();
        assert_eq!(admitted, [false, false, true, false, true, false, false]);
        assert_eq!((position.after, position.ended), (Some(8), false));
        assert!(position.admits(&event(9, "response.failed")) && position.ended);
    }

    #[test]
    fn delays_double_up_to_their_bound_and_begin_anew_after_a_sign_of_life() {
        let mut tries = Tries::new(Settings::default());
        let next = |tries: &mut Tries| tries.failed(Failure::lost("gone")).unwrap().as_secs_f64();
        for longest in [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0] {
            let delay = next(&mut tries);
            assert!((longest / 2.0..=longest).contains(&delay), "{delay} for {longest}");
        }
        tries.heard();
        assert!(next(&mut tries) <= 0.2);
    }

    #[test]
    fn the_gateway_may_ask_for_more_time_and_patience_ends() {
        let wait = Duration::from_secs(30);
        let asked = || Failure { wait, ..Failure::lost("later") };
        let mut tries = Tries::new(Settings::default());
        assert_eq!(tries.failed(asked()).unwrap(), wait);
        let mut tries = Tries::new(Settings { patience: wait / 2, ..Settings::default() });
        assert_eq!(tries.failed(asked()).unwrap_err().code(), "unreachable");
    }
}
