//! The log of the process, and its figures.
//!
//! It owns where the log goes (stderr), its form and what is left out; and the instruments that rooms count with. It must never
//! know what is logged, or when something is counted.

mod instruments;
mod meters;
mod metrics;

pub use instruments::{Counter, Durations, Family, Gauge, Held};
pub use meters::{CallLabel, LimitMeters, RunMeters, ServeMeters};
pub use metrics::{CONTENT_TYPE, Metrics};

use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{Log, LogFormat};

/// Why the log could not be set up.
#[derive(Debug, Error)]
pub enum Error {
    /// `RUST_LOG` or `log.level` is malformed.
    #[error("{0:?} says no level: write \"info\", or levels by target such as \"info,tidemark=debug\"")]
    Level(String, #[source] ParseError),
    /// Somebody else has set up a log before.
    #[error("the log is set up already")]
    Twice(#[from] TryInitError),
}

/// Sets up the log of the process, once. `rust_log` is the value of `RUST_LOG`; it wins over the settings unless it is empty.
///
/// # Errors
/// A malformed `rust_log`, or a second call.
pub fn init(log: &Log, rust_log: Option<&str>) -> Result<(), Error> {
    let filter = filter(log, rust_log)?;
    let colours = std::io::stderr().is_terminal();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match log.format {
        LogFormat::Pretty => builder.with_target(false).finish().try_init()?,
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

fn filter(log: &Log, rust_log: Option<&str>) -> Result<EnvFilter, Error> {
    let level = rust_log.filter(|level| !level.is_empty()).unwrap_or(&log.level);
    EnvFilter::builder().parse(level).map_err(|error| Error::Level(level.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rust_log: Option<&str>) -> Result<String, Error> {
        let log = Log { format: LogFormat::Json, level: "warn".to_owned() };
        filter(&log, rust_log).map(|filter| filter.to_string())
    }

    #[test]
    fn the_environment_wins_over_the_settings() {
        assert_eq!(read(None).unwrap(), "warn");
        assert_eq!(read(Some("")).unwrap(), "warn");
        assert_eq!(read(Some("debug")).unwrap(), "debug");
        assert!(read(Some("tidemark=loud")).unwrap_err().to_string().contains("tidemark=loud"));
    }
}
