//! What the demo backend will say to one request, decided before the first delta.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tidemark_proto::v1::ErrorCode;

use super::words::{long, pieces};
use super::{DEMO, DEMO_LONG, example};
use crate::backends::{Finish, Generation, Step, Usage};
use crate::error::Error;

const RATE: &str = "demo.rate";
const EVENTS: &str = "demo.events";

/// Deltas per second, if the request does not say.
const DEFAULT_RATE: u64 = 50;
const MAX_RATE: u64 = 1_000_000;
const MAX_EVENTS: u64 = 2_000_000;

/// How many words `demo-long` says, if the request does not say.
const LONG_WORDS: usize = 2000;

/// How long a piece of the arguments of a tool call is, in characters.
const ARGUMENTS_PIECE: usize = 12;

/// The id of the call. One suffices: with its output in the input there is no other call.
const CALL_ID: &str = "call_demo";

/// What will be said, and when.
#[derive(Debug)]
pub(super) struct Plan {
    script: Script,
    deltas: usize,
    finish: Finish,
    input_tokens: u64,
    /// Deltas per second; 0 = no waiting.
    rate: u64,
}

#[derive(Debug)]
enum Script {
    /// These words, again and again.
    Echo(Vec<String>),
    Long,
    /// One call, its arguments in pieces.
    Call {
        name: String,
        arguments: Vec<String>,
    },
}

impl Plan {
    /// The answer to this request.
    ///
    /// # Errors
    /// `model_not_found`, and `invalid_request` for a label, a limit or a tool that is wrong.
    pub(super) fn new(generation: &Generation) -> Result<Self, Error> {
        let rate = label(generation, RATE, 0..=MAX_RATE)?.unwrap_or(DEFAULT_RATE);
        let events = label(generation, EVENTS, 1..=MAX_EVENTS)?.map(clamp);
        let most = param::<u64>(generation, "max_output_tokens", "a whole number of at least 1")?;
        if most == Some(0) {
            return Err(Error::invalid("max_output_tokens", "must be a whole number of at least 1"));
        }
        let talk = Talk::read(generation)?;
        let (script, wanted) = script(generation, &talk, events)?;
        let most = most.map_or(usize::MAX, clamp);
        let finish = if wanted > most { Finish::MaxOutputTokens } else { Finish::Stop };
        Ok(Self { script, deltas: wanted.min(most), finish, input_tokens: talk.words, rate })
    }

    /// The step of this number; after the last one, nothing.
    pub(super) fn step(&self, number: usize) -> Option<Step> {
        match number.checked_sub(self.deltas) {
            None => Some(self.script.delta(number)),
            Some(0) => Some(Step::Finish(self.finish)),
            Some(1) => Some(Step::Usage(self.usage())),
            Some(_) => None,
        }
    }

    /// When the step of this number is due, counted from the start. The end is due with the last delta.
    pub(super) fn due(&self, number: usize) -> Duration {
        let number = number.min(self.deltas.saturating_sub(1)) as u64;
        let nanos = number.saturating_mul(Duration::from_secs(1).as_nanos() as u64).checked_div(self.rate);
        Duration::from_nanos(nanos.unwrap_or_default())
    }

    fn usage(&self) -> Usage {
        let output_tokens = self.deltas as u64;
        let total_tokens = self.input_tokens + output_tokens;
        Usage { input_tokens: self.input_tokens, output_tokens, total_tokens, ..Usage::default() }
    }
}

impl Script {
    fn delta(&self, number: usize) -> Step {
        match self {
            Self::Long => Step::Text(long(number).into()),
            Self::Echo(words) => {
                let word = words.get(number % words.len().max(1)).map_or("", String::as_str);
                let again = number > 0
                    && number.is_multiple_of(words.len())
                    && !word.starts_with(char::is_whitespace);
                Step::Text(if again { format!(" {word}") } else { word.to_owned() }.into())
            }
            Self::Call { name, arguments } => {
                let first = number == 0;
                Step::ToolCall {
                    index: 0,
                    id: first.then(|| CALL_ID.to_owned()),
                    name: first.then(|| name.clone()),
                    arguments: arguments.get(number).cloned().unwrap_or_default(),
                }
            }
        }
    }
}

/// The script for this request, and how many deltas it has.
fn script(generation: &Generation, talk: &Talk, events: Option<usize>) -> Result<(Script, usize), Error> {
    if !matches!(generation.model.as_str(), DEMO | DEMO_LONG) {
        let message = format!("the demo backend has the models `{DEMO}` and `{DEMO_LONG}`");
        return Err(Error::new(ErrorCode::ModelNotFound, message).with_param("model"));
    }
    if !talk.has_tool_output
        && let Some((name, arguments)) = tool_call(generation)?
    {
        let characters: Vec<char> = arguments.chars().collect();
        let pieces: Vec<String> =
            characters.chunks(ARGUMENTS_PIECE).map(|piece| piece.iter().collect()).collect();
        let deltas = pieces.len();
        return Ok((Script::Call { name, arguments: pieces }, deltas));
    }
    if generation.model == DEMO_LONG {
        return Ok((Script::Long, events.unwrap_or(LONG_WORDS)));
    }
    let words = pieces(&talk.last_user_text);
    let deltas = if words.is_empty() { 0 } else { events.unwrap_or(words.len()) };
    Ok((Script::Echo(words), deltas))
}

/// What the demo backend takes from the conversation.
#[derive(Default)]
struct Talk {
    last_user_text: String,
    words: u64,
    has_tool_output: bool,
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: Option<String>,
    role: Option<String>,
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

impl Talk {
    fn read(generation: &Generation) -> Result<Self, Error> {
        let mut talk =
            Self { words: words(generation.instructions.as_deref().unwrap_or_default()), ..Self::default() };
        for (index, item) in generation.items.iter().enumerate() {
            let item: Item = serde_json::from_str(item.get()).map_err(|error| {
                Error::invalid(format!("input[{index}]"), "is not an input item").with_quote(error)
            })?;
            talk.has_tool_output |= item.kind.as_deref() == Some("function_call_output");
            let text = match item.content {
                Some(Content::Text(text)) => text,
                Some(Content::Parts(parts)) => parts.into_iter().filter_map(|part| part.text).collect(),
                None => continue,
            };
            talk.words += words(&text);
            if item.role.as_deref() == Some("user") {
                talk.last_user_text = text;
            }
        }
        Ok(talk)
    }
}

fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

#[derive(Deserialize)]
struct Tool {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    #[serde(default)]
    parameters: Value,
}

/// The function to call and its arguments, if there is one to call.
fn tool_call(generation: &Generation) -> Result<Option<(String, String)>, Error> {
    let tools: Vec<Tool> = param(generation, "tools", "a list of tools")?.unwrap_or_default();
    let choice: Value = param(generation, "tool_choice", "a JSON value")?.unwrap_or_default();
    if choice == "none" {
        return Ok(None);
    }
    let chosen = choice.get("name").and_then(Value::as_str);
    for (index, tool) in tools.into_iter().enumerate().filter(|(_, tool)| tool.kind == "function") {
        let name = tool.name.ok_or_else(|| Error::invalid(format!("tools[{index}].name"), "is missing"))?;
        if chosen.is_some_and(|chosen| chosen != name) {
            continue;
        }
        let arguments = example::arguments(&tool.parameters)
            .map_err(|problem| Error::invalid(format!("tools[{index}].parameters"), problem.to_string()))?;
        return Ok(Some((name, arguments.to_string())));
    }
    Ok(None)
}

/// A parameter of the request; absent and null are the same.
fn param<T: for<'a> Deserialize<'a>>(
    generation: &Generation,
    name: &str,
    right: &str,
) -> Result<Option<T>, Error> {
    let Some(value) = generation.params.get(name) else { return Ok(None) };
    serde_json::from_str(value.get())
        .map_err(|error| Error::invalid(name, format!("must be {right}")).with_quote(error))
}

/// A label that is a number.
fn label(
    generation: &Generation,
    name: &str,
    range: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, Error> {
    let Some(text) = generation.metadata.get(name) else { return Ok(None) };
    let number = if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None };
    match number.filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => {
            let message = format!("must be a whole number from {} to {}", range.start(), range.end());
            Err(Error::invalid(format!("metadata.{name}"), message))
        }
    }
}

fn clamp(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
