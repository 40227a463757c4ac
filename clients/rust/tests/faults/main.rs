//! The table of faults (`clients/faults`) for this client.

#[cfg(test)]
mod play;
