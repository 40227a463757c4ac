//! The same for chunks of chats: several choices, their texts, calls and tokens, alone or together in a chunk.

use serde_json::json;

use super::*;
use crate::backends::Api;
use crate::runs::compact::read::payloads;
use crate::runs::event::encode_plain;
use crate::runs::fold::Content;

impl Seen {
    /// What a client puts together: texts by choice and member, with the tokens beside them. A chunk in which nothing grows, and one
    /// that ends a choice, is an event of its own.
    pub(super) fn take_chunk(&mut self, event: &Event, chunk: &Value) {
        let choices = chunk["choices"].as_array().unwrap();
        let ends = choices.iter().any(|choice| !choice["finish_reason"].is_null());
        let sounds = choices.iter().any(|choice| choice["delta"]["audio"].is_object());
        if choices.is_empty() || ends || sounds {
            self.others.push(event.clone());
            return;
        }
        for choice in choices {
            let (number, delta) = (&choice["index"], &choice["delta"]);
            for (name, value) in delta.as_object().unwrap() {
                if let Some(text) = value.as_str().filter(|_| name != "role") {
                    self.texts.entry(format!("{number} {name}")).or_default().0.push_str(text);
                }
            }
            if let Some(role) = delta["role"].as_str() {
                role.clone_into(&mut self.texts.entry(format!("{number} role")).or_default().0);
            }
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let place = format!("{number} call {}", call["index"]);
                if call["id"].is_string() {
                    self.texts.entry(format!("{place} begins")).or_default().0 =
                        format!("{} {}", call["id"], call["function"]["name"]);
                }
                let arguments = call["function"]["arguments"].as_str().unwrap();
                self.texts.entry(place).or_default().0.push_str(arguments);
            }
            let tokens = choice["logprobs"]["content"].as_array().into_iter().flatten().cloned();
            self.texts.entry(format!("{number} logprobs")).or_default().1.extend(tokens);
        }
    }
}

/// How many kinds of chunks there are in which something grows.
const GROWING: usize = 11;

/// And how many others.
const OTHERS: usize = 3;

fn choice(index: u64, delta: &Value, logprobs: &Value) -> Value {
    json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null})
}

fn call(index: u64, text: &str) -> Value {
    json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
}

/// A chunk of this kind.
fn chunk((of, text, probs): &Piece) -> Value {
    let tokens = if *probs {
        json!({"content": [{"token": text, "logprob": -0.5}], "refusal": null})
    } else {
        Value::Null
    };
    let one = |index, delta: Value| json!([choice(index, &delta, &Value::Null)]);
    let choices = match of {
        0 => json!([choice(0, &json!({ "content": text }), &tokens)]),
        1 => json!([choice(1, &json!({ "content": text }), &tokens)]),
        2 => one(0, json!({"content": null, "reasoning_content": text})),
        3 => one(0, call(0, text)),
        4 => one(0, call(1, text)),
        5 => one(1, json!({ "refusal": text })),
        6 => json!([
            choice(0, &json!({ "content": text }), &tokens),
            choice(1, &json!({"content": format!("{text}!")}), &Value::Null)
        ]),
        7 => one(0, json!({"role": "assistant", "content": text})),
        8 => {
            let begin = json!({"index": 1, "id": "call", "type": "function", "function": {"name": "f", "arguments": text}});
            one(0, json!({ "tool_calls": [begin] }))
        }
        9 => {
            let both = json!([
                {"index": 0, "function": {"arguments": text}}, {"index": 1, "function": {"arguments": format!("[{text}]")}},
            ]);
            one(0, json!({ "tool_calls": both }))
        }
        10 => one(0, json!({"content": text, "x_new": text})),
        11 => json!([]),
        12 => one(0, json!({"audio": {"data": text}})),
        _ => json!([{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]),
    };
    let mut chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices});
    if *of == 10 {
        // A member that is not the same in each.
        chunk["x_count"] = text.len().into();
    }
    chunk
}

fn chat_log(pieces: &[Piece]) -> Vec<Entry> {
    let event = |(seq, piece): (usize, &Piece)| {
        let seq = Seq::new(seq as u64);
        Entry { first: seq, seq, payload: encode_plain(kind::CHAT_CHUNK, &chunk(piece)).unwrap() }
    };
    pieces.iter().enumerate().map(event).collect()
}

fn chat_pieces(kinds: Vec<usize>) -> impl Strategy<Value = Vec<Piece>> {
    let others = prop_oneof![30 => Just(None), 1 => (GROWING..GROWING + OTHERS).prop_map(Some)];
    let turn = (prop::sample::select(kinds), others, prop::collection::vec((text(), any::<bool>()), 1..3));
    prop::collection::vec(turn, 1..30).prop_map(|turns| {
        let pieces = |(of, other, texts): (usize, Option<usize>, Vec<(String, bool)>)| {
            let other = other.map(|other| (other, "x".to_owned(), false));
            texts.into_iter().map(move |(text, probs)| (of, text, probs)).chain(other)
        };
        turns.into_iter().flat_map(pieces).collect()
    })
}

/// All kinds; two choices that grow in turn, or together; the calls of one choice.
fn any_pieces() -> impl Strategy<Value = Vec<Piece>> {
    prop_oneof![
        chat_pieces((0..GROWING).collect()),
        chat_pieces(vec![0, 1]),
        chat_pieces(vec![0, 6]),
        chat_pieces(vec![3, 4, 8, 9])
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_a_chat_reader_has_and_what_resume_returns_are_the_whole(pieces in any_pieces(), early in ranges(), late in ranges()) {
        let mut entries = chat_log(&pieces);
        let raw = single(&entries);
        early.into_iter().for_each(|range| compact_some(&mut entries, range));
        let mut readers = readers(&raw);
        check_positions(&raw, &readers, &entries);
        readers.extend(readers_of_merged(&raw, &entries));
        late.into_iter().for_each(|range| compact_some(&mut entries, range));
        check_positions(&raw, &readers, &entries);
        prop_assert_eq!(Seen::of(&resume(&entries, None).unwrap()), Seen::of(&raw));
        let all = 0..entries.len();
        compact(&mut entries, all, Form::Minimal);
        check_positions(&raw, &readers, &entries);
        prop_assert_eq!(Seen::of(&resume(&entries, None).unwrap()), Seen::of(&raw));
    }

    #[test]
    fn the_answer_is_the_same_from_merged_chunks(pieces in any_pieces(), ranges in ranges()) {
        let answer = |entries: &[Entry]| {
            let mut fold = Fold::new(Api::Chat);
            entries.iter().for_each(|entry| fold.apply(&entry.payload).unwrap());
            let Content::Chat(answer) = fold.into_broken_off() else { panic!("a chat") };
            let extras: Vec<_> = answer.extras().map(|(name, node)| (name.to_owned(), format!("{node:?}"))).collect();
            (serde_json::to_value(answer.choices()).unwrap(), extras)
        };
        let mut entries = chat_log(&pieces);
        let expected = answer(&entries);
        ranges.into_iter().for_each(|range| compact_some(&mut entries, range));
        prop_assert_eq!(answer(&entries), expected);
    }
}

/// The texts of the only entry after all of these were merged.
fn merged(pieces: &[Piece]) -> Vec<Value> {
    let mut entries = chat_log(pieces);
    let all = 0..entries.len();
    compact(&mut entries, all, Form::Cuttable);
    let events = entries.iter().flat_map(|entry| payloads(&entry.payload).unwrap().collect::<Vec<_>>());
    events
        .map(|event| serde_json::from_slice(&crate::runs::event::decode(&event).unwrap().1).unwrap())
        .collect()
}

#[test]
fn a_merged_chunk_is_an_ordinary_chunk() {
    let piece = |of: usize, text: &str| (of, text.to_owned(), true);
    for of in [0, 1, 2, 3, 5, 6, 7, 9] {
        let found = merged(&[piece(of, "Hel"), piece(of, "lo "), piece(of, "😀")]);
        let mut expected = chunk(&piece(of, "Hello 😀"));
        if matches!(of, 0 | 1 | 6) {
            let tokens = ["Hel", "lo ", "😀"].map(|token| json!({"token": token, "logprob": -0.5}));
            expected["choices"][0]["logprobs"]["content"] = json!(tokens);
        }
        if of == 6 {
            expected["choices"][1]["delta"]["content"] = json!("Hel!lo !😀!");
        }
        if of == 9 {
            expected["choices"][0]["delta"]["tool_calls"][1]["function"]["arguments"] =
                json!("[Hel][lo ][😀]");
        }
        assert_eq!(found, [expected], "{of}");
    }
}

#[test]
fn what_does_not_add_up_stays_as_it_is() {
    let chunks = [
        json!({"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 0, "delta": {"content": "b"}}]}),
        json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"function": {"arguments": "x"}}]}}]}),
        json!({"choices": [{"index": -1, "delta": {"content": "a"}}]}),
        json!({"choices": [{"index": 0, "delta": {"content": null}, "logprobs": null}]}),
        json!({"choices": "x"}),
        json!({"choices": [{"index": 0, "delta": {"tool_calls": "x"}}]}),
    ];
    for chunk in chunks {
        let payload = encode_plain(kind::CHAT_CHUNK, &chunk).unwrap();
        let entry = |seq| Entry { first: Seq::new(seq), seq: Seq::new(seq), payload: payload.clone() };
        let spans = merge(&[entry(0), entry(1)], Form::Cuttable).unwrap();
        assert!(spans.len() == 2 && spans.iter().all(|span| span.payload == payload), "{chunk}");
    }
    let of_count = merged(&(0..3).map(|n| (10, "x".repeat(n + 1), false)).collect::<Vec<_>>());
    assert_eq!(of_count.len(), 3, "a member that differs keeps chunks apart");
    // Half of a surrogate pair is no text that could be put behind another.
    let half = r#"{"choices":[{"index":0,"delta":{"content":"\ud83d"}}]}"#;
    let payload = encode_plain(kind::CHAT_CHUNK, &Node::parse(half).unwrap()).unwrap();
    let entry = |seq| Entry { first: Seq::new(seq), seq: Seq::new(seq), payload: payload.clone() };
    assert_eq!(merge(&[entry(0), entry(1)], Form::Cuttable).unwrap().len(), 2);
}

#[test]
fn two_choices_in_turn_refuse_one_position() {
    let pieces: Vec<Piece> = (0..40).map(|n| (n % 2, format!("{n} "), false)).collect();
    let mut entries = chat_log(&pieces);
    let raw = single(&entries);
    compact(&mut entries, 0..40, Form::Cuttable);
    assert_eq!(entries.len(), 1);
    let refused: Vec<_> = (0..40).filter(|after| resume(&entries, Some(*after)).is_none()).collect();
    assert_eq!(refused, [38]);
    check_positions(&raw, &readers(&raw), &entries);
}
