//! Every position of every log: what lies before it and what a reader gets from there is the whole.

mod chat;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;
use tidemark_store::{Entry, Seq, Span};

use super::merge::{Form, MAX_TURNS, merge};
use super::{Position, Refusal, events};
use crate::json::Node;
use crate::runs::compact::MAX_RUN_BYTES;
use crate::runs::event::{Event, encode, kind};
use crate::runs::fold::Fold;

/// What a reader has put together: the texts and logprobs by place, and all other events.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    texts: BTreeMap<String, (String, Vec<Value>)>,
    others: Vec<Event>,
}

impl Seen {
    fn take(&mut self, event: &Event) {
        let data: Value = serde_json::from_slice(&event.data).unwrap();
        if *event.kind == *kind::CHAT_CHUNK {
            return self.take_chunk(event, &data);
        }
        assert_eq!(
            (data["sequence_number"].as_u64(), data["type"].as_str()),
            (Some(event.seq.get()), Some(&*event.kind))
        );
        let Some(delta) = data["delta"].as_str().filter(|_| event.kind.ends_with(".delta")) else {
            self.others.push(event.clone());
            return;
        };
        let place =
            format!("{} {} {} {}", event.kind, data["item_id"], data["content_index"], data["summary_index"]);
        let (text, logprobs) = self.texts.entry(place).or_default();
        text.push_str(delta);
        logprobs.extend(data["logprobs"].as_array().into_iter().flatten().cloned());
    }

    fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut seen = Self::default();
        events.into_iter().for_each(|event| seen.take(event));
        seen
    }
}

/// A body as the gateway writes it: opened, so that its members stand beside those of the event.
fn object(body: &str) -> Node {
    let mut node = Node::object();
    node.extend(Node::parse(body).unwrap());
    node
}

fn entry(seq: u64, kind: &str, body: &str) -> Entry {
    let seq = Seq::new(seq);
    let payload = encode(kind, seq, &object(body)).unwrap();
    Entry { first: seq, seq, payload }
}

/// The kinds of deltas, each with the fields that say where it belongs.
const DELTAS: [(&str, &str); 10] = [
    (kind::TEXT_DELTA, r#""output_index":0,"item_id":"msg_1","content_index":0"#),
    (kind::TEXT_DELTA, r#""output_index":0,"item_id":"msg_1","content_index":1"#),
    (kind::ARGUMENTS_DELTA, r#""output_index":1,"item_id":"fc_1""#),
    (kind::REFUSAL_DELTA, r#""output_index":0,"item_id":"msg_1","content_index":2"#),
    (kind::REASONING_DELTA, r#""output_index":2,"item_id":"rs_1","content_index":0"#),
    (kind::OPEN_REASONING_DELTA, r#""output_index":2,"item_id":"rs_1","content_index":0"#),
    (kind::SUMMARY_DELTA, r#""output_index":2,"item_id":"rs_1","summary_index":0"#),
    (kind::MCP_ARGUMENTS_DELTA, r#""output_index":3,"item_id":"mcp_1""#),
    (kind::CUSTOM_INPUT_DELTA, r#""output_index":4,"item_id":"ctc_1""#),
    (kind::CODE_DELTA, r#""output_index":5,"item_id":"ci_1","vendor":{"x":1.0}"#),
];

/// One event: which kind, its text, whether it has logprobs; kinds beyond the deltas are other events.
type Piece = (usize, String, bool);

fn log(pieces: &[Piece]) -> Vec<Entry> {
    let event = |(seq, (of, text, probs)): (usize, &Piece)| {
        let seq = seq as u64;
        let text = serde_json::to_string(text).unwrap();
        match (DELTAS.get(*of), *of - DELTAS.len().min(*of)) {
            (Some((kind @ kind::TEXT_DELTA, place)), _) => {
                let probs =
                    if *probs { format!(r#"{{"token":{text},"logprob":-0.50}}"#) } else { String::new() };
                entry(seq, kind, &format!(r#"{{{place},"delta":{text},"logprobs":[{probs}]}}"#))
            }
            (Some((kind, place)), _) => entry(seq, kind, &format!(r#"{{{place},"delta":{text}}}"#)),
            (None, 0) => {
                entry(seq, kind::ANNOTATION_ADDED, r#"{"output_index":0,"content_index":0,"annotation":{}}"#)
            }
            (None, 1) => entry(seq, "vendor:note.delta", &format!(r#"{{"delta":{text},"output_index":0}}"#)),
            (None, 2) => entry(seq, kind::TEXT_DELTA, r#"{"output_index":0,"content_index":0,"delta":7}"#),
            (None, _) => {
                entry(seq, kind::ITEM_DONE, &format!(r#"{{"output_index":0,"item":{{"t":{text}}}}}"#))
            }
        }
    };
    pieces.iter().enumerate().map(event).collect()
}

/// Text of all widths, in which JSON escapes some and encoders like to split others.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z \"\\\\\n]{0,4}", "[äß€𝄞😀👩🏽\u{200d}🚀]{0,3}", Just("\u{0}\u{1f}\u{2028}".to_owned())]
}

/// Pieces of few parts, in which each part grows for a while or only for one delta.
fn pieces(kinds: Vec<usize>) -> impl Strategy<Value = Vec<Piece>> {
    let others = prop_oneof![30 => Just(None), 1 => (DELTAS.len()..DELTAS.len() + 4).prop_map(Some)];
    let turn = (prop::sample::select(kinds), others, prop::collection::vec((text(), any::<bool>()), 1..3));
    prop::collection::vec(turn, 1..30).prop_map(|turns| {
        let pieces = |(of, other, texts): (usize, Option<usize>, Vec<(String, bool)>)| {
            let other = other.map(|other| (other, "x".to_owned(), false));
            texts.into_iter().map(move |(text, probs)| (of, text, probs)).chain(other)
        };
        turns.into_iter().flat_map(pieces).collect()
    })
}

fn compact(entries: &mut Vec<Entry>, range: std::ops::Range<usize>, form: Form) {
    let (begin, end) = (entries[range.start].first, entries[range.end - 1].seq);
    let spans = merge(&entries[range.clone()], form).unwrap();
    assert_eq!(spans.last().unwrap().last, end);
    let mut first = begin;
    let merged: Vec<Entry> = spans
        .into_iter()
        .map(|Span { last, payload }| {
            assert!(first <= last);
            let entry = Entry { first, seq: last, payload };
            first = last.next();
            entry
        })
        .collect();
    entries.splice(range, merged);
}

/// Merges a range that two samples choose.
fn compact_some(entries: &mut Vec<Entry>, (from, to): (Index, Index)) {
    let (from, to) = (from.index(entries.len()), to.index(entries.len()));
    compact(entries, from.min(to)..from.max(to) + 1, Form::Cuttable);
}

/// All that a reader gets that comes with a number. `None` if it is refused.
fn resume(entries: &[Entry], after: Option<u64>) -> Option<Vec<Event>> {
    let mut position = Position { after: after.map(Seq::new), exact: after.is_none() };
    let mut found = Vec::new();
    for entry in entries.iter().filter(|entry| Some(entry.seq.get()) > after) {
        match events(entry, position) {
            Ok(events) => found.extend(events),
            Err(Refusal::Inside) => return None,
            Err(Refusal::Broken(error)) => panic!("{error}"),
        }
        position = Position { after: Some(entry.seq), exact: true };
    }
    assert!(found.is_sorted_by(|one, next| one.seq < next.seq));
    assert!(found.first().is_none_or(|event| Some(event.seq.get()) > after));
    Some(found)
}

/// The events of a log that was never merged.
fn single(entries: &[Entry]) -> Vec<Event> {
    resume(entries, None).unwrap()
}

/// What a reader has at each position, and who may have come to it in which way: the whole is the same for all of them, or the
/// position is refused. Returns how many were refused.
fn check_positions(raw: &[Event], readers: &[(u64, Seen)], entries: &[Entry]) -> usize {
    let whole = Seen::of(raw);
    let mut refused = 0;
    for (after, seen) in readers {
        let Some(rest) = resume(entries, Some(*after)) else {
            refused += 1;
            continue;
        };
        let mut seen = seen.clone();
        for event in &rest {
            if seen.others.len() < whole.others.len() && *event == whole.others[seen.others.len()] {
                // Nothing that is not text is passed by text.
                let before = Seen::of(raw.iter().filter(|raw| raw.seq < event.seq));
                assert_eq!(seen, before, "before {}", event.seq);
            }
            seen.take(event);
        }
        assert_eq!(seen, whole, "after {after}");
    }
    refused
}

/// Readers of the single events: one at each position.
fn readers(raw: &[Event]) -> Vec<(u64, Seen)> {
    (0..raw.len()).map(|at| (raw[at].seq.get(), Seen::of(&raw[..=at]))).collect()
}

/// Readers that have come to their position in a merged log, from the start or from any other position.
fn readers_of_merged(raw: &[Event], entries: &[Entry]) -> Vec<(u64, Seen)> {
    let mut found = Vec::new();
    let starts = std::iter::once((None, Seen::default()));
    // Some of them: the work grows with the cube of the log.
    let starts = starts.chain(readers(raw).into_iter().step_by(7).map(|(after, seen)| (Some(after), seen)));
    for (after, mut seen) in starts {
        for event in resume(entries, after).into_iter().flatten() {
            seen.take(&event);
            found.push((event.seq.get(), seen.clone()));
        }
    }
    found
}

fn ranges() -> impl Strategy<Value = Vec<(Index, Index)>> {
    prop::collection::vec((any::<Index>(), any::<Index>()), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn text_before_any_position_and_what_resume_returns_are_the_whole(
        pieces in prop_oneof![pieces((0..DELTAS.len()).collect()), pieces(vec![0, 2])], early in ranges(), late in ranges(),
    ) {
        let mut entries = log(&pieces);
        let raw = single(&entries);
        early.into_iter().for_each(|range| compact_some(&mut entries, range));
        let mut readers = readers(&raw);
        check_positions(&raw, &readers, &entries);
        readers.extend(readers_of_merged(&raw, &entries));
        late.into_iter().for_each(|range| compact_some(&mut entries, range));
        check_positions(&raw, &readers, &entries);
        let from_the_start = Seen::of(&resume(&entries, None).unwrap());
        prop_assert_eq!(from_the_start, Seen::of(&raw));
    }

    #[test]
    fn parts_that_grow_one_after_the_other_refuse_no_position(
        turns in prop::collection::vec(0..DELTAS.len(), 1..MAX_TURNS), texts in prop::collection::vec((text(), any::<bool>()), 1..4),
        ranges in ranges(),
    ) {
        let piece = |of: usize| texts.iter().map(move |(text, probs)| (of, text.clone(), *probs));
        let mut entries = log(&turns.into_iter().flat_map(piece).collect::<Vec<_>>());
        let raw = single(&entries);
        ranges.into_iter().for_each(|range| compact_some(&mut entries, range));
        prop_assert_eq!(check_positions(&raw, &readers(&raw), &entries), 0);
        prop_assert_eq!(check_positions(&raw, &readers_of_merged(&raw, &entries), &entries), 0);
    }

    #[test]
    fn the_minimal_form_reads_from_the_start_and_refuses_what_it_cannot_cut(
        pieces in prop_oneof![pieces((0..DELTAS.len()).collect()), pieces(vec![0, 2])], ranges in ranges(), twice: bool,
    ) {
        let mut entries = log(&pieces);
        let raw = single(&entries);
        ranges.into_iter().for_each(|range| compact_some(&mut entries, range));
        for _ in 0..=usize::from(twice) {
            let all = 0..entries.len();
            compact(&mut entries, all, Form::Minimal);
            prop_assert_eq!(Seen::of(&resume(&entries, None).unwrap()), Seen::of(&raw));
            let all: Vec<_> = readers(&raw).into_iter().chain(readers_of_merged(&raw, &entries)).collect();
            check_positions(&raw, &all, &entries);
        }
        let inside = |after: u64| entries.iter().any(|entry| entry.first.get() <= after && after < entry.seq.get());
        for event in &raw {
            let after = event.seq.get();
            prop_assert_eq!(resume(&entries, Some(after)).is_none(), inside(after), "{}", after);
        }
    }

    #[test]
    fn recovery_has_the_same_output_from_merged_events(pieces in pieces(vec![0, 2, 4, 9]), ranges in ranges()) {
        let fold = |entries: &[Entry]| {
            let mut fold = Fold::new(crate::backends::Api::Responses);
            let items = ["message", "function_call", "reasoning", "a", "b", "c"].map(|of| {
                format!(r#"{{"output_index":{{}},"item":{{"type":"{of}","status":"in_progress"}}}}"#)
            });
            for (index, item) in items.iter().enumerate() {
                fold.apply(&entry(0, kind::ITEM_ADDED, &item.replace("{}", &index.to_string())).payload).unwrap();
            }
            entries.iter().for_each(|entry| fold.apply(&entry.payload).unwrap());
            serde_json::to_string(fold.into_broken_off().items()).unwrap()
        };
        let mut entries = log(&pieces);
        let expected = fold(&entries);
        ranges.into_iter().for_each(|range| compact_some(&mut entries, range));
        prop_assert_eq!(fold(&entries), expected);
    }

    #[test]
    fn any_payload_is_read_without_a_panic(bytes in prop::collection::vec(prop_oneof![0..12_u8, any::<u8>()], 0..60), after in 0..9_u64) {
        let entry = Entry { first: Seq::new(3), seq: Seq::new(8), payload: bytes.into() };
        let _ = events(&entry, Position { after: Some(Seq::new(after)), exact: false });
        merge(std::slice::from_ref(&entry), Form::Minimal).unwrap();
    }
}

/// Deltas of one part, `bytes` long each.
fn deltas(count: u64, bytes: usize) -> Vec<Entry> {
    let body = format!(r#"{{{},"delta":"{}","logprobs":[]}}"#, DELTAS[0].1, "x".repeat(bytes));
    (0..count).map(|seq| entry(seq, kind::TEXT_DELTA, &body)).collect()
}

#[test]
fn a_merged_delta_is_an_ordinary_event_with_the_last_number() {
    let mut entries = log(&[(0, "Hel".into(), true), (0, "lo ".into(), false), (0, "😀".into(), true)]);
    compact(&mut entries, 0..3, Form::Cuttable);
    let lines = |after| {
        let event = resume(&entries, after).unwrap().remove(0);
        String::from_utf8(event.data.to_vec()).unwrap()
    };
    let line = |delta, first_probs| {
        format!(
            r#"{{"type":"response.output_text.delta","sequence_number":2,"output_index":0,"item_id":"msg_1","content_index":0,"delta":"{delta}","logprobs":[{first_probs}{{"token":"😀","logprob":-0.50}}]}}"#
        )
    };
    assert_eq!(lines(None), line("Hello 😀", r#"{"token":"Hel","logprob":-0.50},"#));
    assert_eq!([lines(Some(0)), lines(Some(1))], [line("lo 😀", ""), line("😀", "")]);
    compact(&mut entries, 0..1, Form::Minimal);
    assert_eq!(entries[0].payload, encode(kind::TEXT_DELTA, Seq::new(2), &object(&lines_body())).unwrap());
    assert!(resume(&entries, Some(1)).is_none());
}

fn lines_body() -> String {
    let probs = r#"[{"token":"Hel","logprob":-0.50},{"token":"😀","logprob":-0.50}]"#;
    format!(r#"{{{},"delta":"Hello 😀","logprobs":{probs}}}"#, DELTAS[0].1)
}

#[test]
fn one_position_of_parts_that_grow_in_turn_is_refused_and_all_others_are_exact() {
    let pieces: Vec<Piece> = (0..40).map(|n| ([2, 7][n % 2], format!("{n} "), false)).collect();
    let mut entries = log(&pieces);
    let raw = single(&entries);
    compact(&mut entries, 0..40, Form::Cuttable);
    assert_eq!(entries.len(), 1);
    let refused: Vec<_> = (0..40).filter(|after| resume(&entries, Some(*after)).is_none()).collect();
    assert_eq!(refused, [38]);
    check_positions(&raw, &readers(&raw), &entries);
    let rest = resume(&entries, Some(36)).unwrap();
    let rest: Vec<_> = rest
        .iter()
        .map(|event| (event.seq.get(), serde_json::from_slice::<Value>(&event.data).unwrap()))
        .collect();
    let [(38, first), (39, second)] = &rest[..] else { panic!("{rest:?}") };
    assert_eq!((&first["delta"], &second["delta"]), (&"38 ".into(), &"37 39 ".into()));
}

#[test]
fn a_run_is_bounded_and_what_it_needs_grows_with_its_text_only() {
    let mut entries = deltas(3000, 1000);
    compact(&mut entries, 0..3000, Form::Cuttable);
    assert_eq!(entries.len(), 3000_usize.div_ceil(MAX_RUN_BYTES / 1002));
    assert!(entries.iter().all(|entry| entry.payload.len() < MAX_RUN_BYTES + 1000));
    let mut small = deltas(2000, 5);
    compact(&mut small, 0..2000, Form::Cuttable);
    assert_eq!(small.len(), 1);
    assert!(small[0].payload.len() < 2000 * (5 + 1) + 300);
    compact(&mut small, 0..1, Form::Minimal);
    assert!(small[0].payload.len() < 2000 * 5 + 250);
}
