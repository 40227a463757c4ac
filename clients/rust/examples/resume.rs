//! Reads a long answer and keeps its position in a file. Started again it goes on there: `resume URL FILE [EVENTS]`.
//!
//! With EVENTS it leaves after so many, in the middle of the answer.

use std::error::Error;
use std::fs;
use std::io::{Write, stderr, stdout};

use tidemark_client::{Client, CreateRequest, Error as Failed, Input, Settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [url, file, rest @ ..] = arguments.as_slice() else {
        return Err("usage: resume URL FILE [EVENTS]".into());
    };
    let events = rest.first().map(|events| events.parse()).transpose()?.unwrap_or(usize::MAX);
    let client = Client::new(url, Settings::default())?;
    let (id, after) = match fs::read_to_string(file) {
        Ok(kept) => serde_json::from_str(&kept)?,
        Err(_) => (begin(&client).await?, None),
    };
    let mut reader = client.resume(id, after);
    for _ in 0..events {
        match reader.next().await {
            Some(Ok(item)) => write!(stdout(), "{}", item.text())?,
            Some(Err(Failed::OffsetLost(lost))) => {
                writeln!(stderr(), "the events up to {:?} are gone", lost.watermark)?
            }
            Some(Err(error)) => return Err(error.into()),
            None => break,
        }
        fs::write(file, serde_json::to_string(&(reader.id(), reader.after()))?)?;
    }
    Ok(())
}

/// Starts the answer, which goes on without us.
async fn begin(client: &Client) -> Result<String, Failed> {
    let metadata = [("demo.events", "300"), ("demo.rate", "300")];
    let request = CreateRequest {
        model: "demo-long".to_owned(),
        input: Some(Input::Text("Tell me".to_owned())),
        background: true,
        metadata: metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..CreateRequest::default()
    };
    Ok(client.create(request).await?.response.unwrap_or_default().id)
}
