//! The built-in backend (S-11): deterministic, of any speed, needs nothing.
//!
//! It owns two models that stand for a real one, so that every kind of flow can be tried: text, a tool call, an answer that is cut
//! off. It must never do what a caller could take for a model's own thought.

mod example;
mod plan;
mod words;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep_until};

use super::from_chat::as_responses;
use super::{Api, Backend, Generation, Model, Step, Steps};
use crate::error::Error;
use plan::Plan;

/// The model that echoes the last text of the user, a word at a time.
pub const DEMO: &str = "demo";

/// The model that says 2000 words.
pub const DEMO_LONG: &str = "demo-long";

/// The built-in backend.
///
/// It reads the labels `demo.rate` (deltas per second, at most 1 000 000; 0 = as fast as they are taken; default 50) and
/// `demo.events` (how many deltas, 1 to 1 000 000; default: as many as the answer has words; the words are repeated if they do
/// not reach). A delta counts as one token of output, a word as one of input. It honours `max_output_tokens`, and `tool_choice`
/// as far as it is `none` or names a function.
#[derive(Clone, Copy, Debug)]
pub struct Demo;

#[async_trait]
impl Backend for Demo {
    async fn models(&self) -> Result<Vec<Model>, Error> {
        Ok([DEMO, DEMO_LONG].map(|id| Model { id: id.to_owned(), created: 0 }).into())
    }

    async fn generate(&self, generation: Arc<Generation>) -> Result<Steps, Error> {
        Ok(play(match generation.api {
            Api::Responses => Plan::new(&generation)?,
            Api::Chat => Plan::new(&as_responses(&generation)?)?,
        }))
    }
}

/// Plays the plan. Each delta is due at a time of its own, counted from the start, so that delays do not add up: who comes late
/// gets all that is due at once.
fn play(plan: Plan) -> Steps {
    let start = Instant::now();
    Box::pin(stream::unfold((plan, 0), move |(plan, number)| async move {
        let step = plan.step(number)?;
        let due = start + plan.due(number);
        if due > Instant::now() {
            sleep_until(due).await;
        } else {
            // A stream that is always ready would never let another task of its thread run.
            consume_budget().await;
        }
        Some((Ok::<Step, Error>(step), (plan, number + 1)))
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::StreamExt;
    use serde_json::value::{RawValue, to_raw_value};
    use serde_json::{Value, json};
    use tidemark_proto::v1::ErrorCode;

    use super::*;
    use crate::backends::{Finish, Usage};

    fn raw(value: &Value) -> Box<RawValue> {
        to_raw_value(value).unwrap()
    }

    fn ask(model: &str, text: &str, params: Value, metadata: &[(&str, &str)]) -> Generation {
        let Value::Object(params) = params else { panic!("params are an object") };
        Generation {
            api: Api::Responses,
            model: model.to_owned(),
            items: vec![raw(&json!({"role": "user", "content": text}))],
            earlier: 0,
            instructions: None,
            params: params.into_iter().map(|(name, value)| (name, raw(&value))).collect(),
            metadata: metadata
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    async fn steps(generation: Generation) -> Vec<Step> {
        let steps = Demo.generate(Arc::new(generation)).await.unwrap();
        steps.map(Result::unwrap).collect().await
    }

    fn texts(steps: &[Step]) -> Vec<&str> {
        steps
            .iter()
            .filter_map(|step| if let Step::Text(text) = step { Some(text.text.as_str()) } else { None })
            .collect()
    }

    fn usage(input: u64, output: u64) -> Step {
        Step::Usage(Usage {
            input_tokens: input,
            output_tokens: output,
            total_tokens: input + output,
            ..Usage::default()
        })
    }

    const FAST: &[(&str, &str)] = &[("demo.rate", "0")];

    #[tokio::test]
    async fn demo_echoes_the_text_word_by_word() {
        for (text, words) in [("Hello wide world", 3), ("  two\n\nlines \t", 2), ("ü", 1), ("", 0), ("  ", 1)]
        {
            let steps = steps(ask(DEMO, text, json!({}), FAST)).await;
            assert_eq!(texts(&steps).concat(), text);
            assert_eq!(texts(&steps).len(), words);
            let input = text.split_whitespace().count() as u64;
            assert_eq!(steps[words..], [Step::Finish(Finish::Stop), usage(input, words as u64)]);
        }
    }

    #[tokio::test]
    async fn demo_echoes_the_last_user_text_in_every_form_of_it() {
        let mut generation = ask(DEMO, "first", json!({}), FAST);
        let items = json!([
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "the "}, {"type": "input_image", "image_url": "data:x"}, {"type": "text", "text": "last"},
            ]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "not this"}]},
            {"type": "reasoning", "summary": []},
        ]);
        generation.items.extend(items.as_array().unwrap().iter().map(raw));
        generation.instructions = Some("Be brief.".to_owned());
        let steps = steps(generation).await;
        assert_eq!(texts(&steps), ["the", " last"]);
        assert_eq!(steps.last(), Some(&usage(7, 2)));
    }

    #[tokio::test]
    async fn demo_long_says_2000_words_and_always_the_same() {
        let one = steps(ask(DEMO_LONG, "x", json!({}), FAST)).await;
        assert_eq!(texts(&one).concat().split_whitespace().count(), 2000);
        assert_eq!(one, steps(ask(DEMO_LONG, "y", json!({}), FAST)).await);
    }

    #[tokio::test]
    async fn demo_events_sets_how_many_deltas() {
        let ask = |model, events| {
            steps(ask(model, "a b", json!({}), &[("demo.rate", "0"), ("demo.events", events)]))
        };
        assert_eq!(texts(&ask(DEMO, "5").await).concat(), "a b a b a");
        assert_eq!(texts(&ask(DEMO, "1").await).concat(), "a");
        let long = ask(DEMO_LONG, "3000").await;
        assert_eq!(texts(&long).len(), 3000);
        assert_eq!(long[3001], usage(2, 3000));
    }

    #[tokio::test]
    async fn max_output_tokens_cuts_the_answer() {
        let cut = |most| steps(ask(DEMO, "a b c", json!({"max_output_tokens": most}), FAST));
        let two = cut(2).await;
        assert_eq!(texts(&two).concat(), "a b");
        assert_eq!(two[2..], [Step::Finish(Finish::MaxOutputTokens), usage(3, 2)]);
        assert_eq!(cut(3).await[3], Step::Finish(Finish::Stop));
    }

    #[tokio::test(start_paused = true)]
    async fn deltas_come_at_their_times_and_lateness_does_not_add_up() {
        let labels = [("demo.rate", "10"), ("demo.events", "100")];
        let mut steps = Demo.generate(Arc::new(ask(DEMO, "x", json!({}), &labels))).await.unwrap();
        let start = Instant::now();
        for number in 0..20 {
            steps.next().await.unwrap().unwrap();
            let late = start.elapsed() - Duration::from_millis(100) * number;
            assert!(late <= Duration::from_millis(2), "delta {number} is {late:?} late");
        }
        tokio::time::advance(Duration::from_millis(2100)).await;
        for _ in 20..=40 {
            steps.next().await.unwrap().unwrap();
        }
        assert!(start.elapsed() < Duration::from_millis(4100), "all that was due comes at once");
        assert_eq!(steps.count().await, 100 - 41 + 2);
        let took = start.elapsed();
        assert!((9900..=9910).contains(&took.as_millis()), "{took:?}");
    }

    fn tools() -> Value {
        json!([
            {"type": "web_search"},
            {"type": "function", "name": "weather", "parameters": {
                "type": "object", "required": ["city", "days"],
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}, "more": {"type": "null"}},
            }},
            {"type": "function", "name": "other"},
        ])
    }

    fn call(steps: &[Step]) -> (Vec<&str>, String) {
        let mut names = Vec::new();
        let mut text = String::new();
        for step in steps {
            if let Step::ToolCall { index, id, name, arguments } = step {
                assert_eq!((*index, id.is_some()), (0, name.is_some()));
                names.extend(name.as_deref());
                text.push_str(arguments);
            }
        }
        (names, text)
    }

    #[tokio::test]
    async fn a_function_is_called_with_arguments_of_its_schema_once() {
        let mut generation = ask(DEMO, "What is the weather?", json!({"tools": tools()}), FAST);
        let called = steps(generation.clone()).await;
        let (names, arguments) = call(&called);
        assert_eq!(names, ["weather"]);
        assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap(), json!({"city": "demo", "days": 1}));
        assert!(called.len() > 3, "arguments come in pieces");
        assert_eq!(called[called.len() - 2], Step::Finish(Finish::Stop));
        assert_eq!(texts(&called), [""; 0]);

        generation.items.push(raw(&json!({"type": "function_call_output", "call_id": "c", "output": "sun"})));
        let answered = steps(generation).await;
        assert_eq!(
            (texts(&answered).concat().as_str(), call(&answered).1.as_str()),
            ("What is the weather?", "")
        );
    }

    #[tokio::test]
    async fn tool_choice_is_honoured() {
        let choose =
            |choice: Value| steps(ask(DEMO, "x", json!({"tools": tools(), "tool_choice": choice}), FAST));
        assert_eq!(texts(&choose(json!("none")).await), ["x"]);
        assert_eq!(call(&choose(json!("required")).await).0, ["weather"]);
        assert_eq!(
            call(&choose(json!({"type": "function", "name": "other"})).await),
            (vec!["other"], "{}".to_owned())
        );
    }

    #[tokio::test]
    async fn what_is_wrong_is_named() {
        let cases = [
            ("demo", json!({}), [("demo.rate", "fast")], "metadata.demo.rate"),
            ("demo", json!({}), [("demo.rate", "-1")], "metadata.demo.rate"),
            ("demo", json!({}), [("demo.rate", "+1")], "metadata.demo.rate"),
            ("demo", json!({}), [("demo.rate", "1000001")], "metadata.demo.rate"),
            ("demo", json!({}), [("demo.events", "0")], "metadata.demo.events"),
            ("demo", json!({}), [("demo.events", "99999999999999999999")], "metadata.demo.events"),
            ("demo", json!({"max_output_tokens": 0}), FAST.try_into().unwrap(), "max_output_tokens"),
            ("demo", json!({"max_output_tokens": "1"}), FAST.try_into().unwrap(), "max_output_tokens"),
            ("demo", json!({"tools": 1}), FAST.try_into().unwrap(), "tools"),
            ("demo", json!({"tools": [{"type": "function"}]}), FAST.try_into().unwrap(), "tools[0].name"),
            (
                "demo",
                json!({"tools": [{"type": "function", "name": "f", "parameters": {"$ref": "#/x"}}]}),
                FAST.try_into().unwrap(),
                "tools[0].parameters",
            ),
        ];
        for (model, params, labels, param) in cases {
            let error = Demo.generate(Arc::new(ask(model, "x", params, &labels))).await.err().unwrap();
            assert_eq!((error.code(), error.param()), (ErrorCode::InvalidRequest, Some(param)));
        }
        let error = Demo.generate(Arc::new(ask("gpt", "x", json!({}), FAST))).await.err().unwrap();
        assert_eq!((error.code(), error.param()), (ErrorCode::ModelNotFound, Some("model")));
    }
}
