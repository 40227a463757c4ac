//! Asks, and prints the answer as it comes: `chat URL`.

use std::error::Error;
use std::io::{Write, stdout};

use tidemark_client::{Client, CreateRequest, Input, Settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: chat URL")?;
    let client = Client::new(&url, Settings::default())?;
    let input = Some(Input::Text("What is a tide mark?".to_owned()));
    let mut reader =
        client.create_stream(CreateRequest { model: "demo".to_owned(), input, ..CreateRequest::default() });
    while let Some(item) = reader.next().await {
        write!(stdout(), "{}", item?.text())?;
        stdout().flush()?;
    }
    Ok(())
}
