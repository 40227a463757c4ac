//! The threads of a store. A panic in one of them poisons the store (D-24).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use tokio::sync::mpsc;

use super::cleaner::Cleaner;
use super::shared::Shared;
use super::writer::{Command, Writer};

/// Starts the writer. When it ends, the indexer is asked to.
pub(crate) fn start_writer(
    shared: Arc<Shared>,
    writer: Writer,
    mut commands: mpsc::Receiver<Command>,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name("tidemark-writer".to_owned()).spawn(move || {
        guarded(&shared, "the writer", || writer.run(&mut commands));
        commands.close();
        // Whoever still waits gets an answer: the sender of the reply is dropped with its command.
        while commands.try_recv().is_ok() {}
        shared.backlog.close();
    })
}

/// Starts the indexer. It ends when the writer has, and nothing is left to index.
pub(crate) fn start_indexer(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    Builder::new().name("tidemark-indexer".to_owned()).spawn(move || {
        guarded(&shared, "the indexer", || {
            while let Some((work, through)) = shared.backlog.next() {
                if let Err(error) = shared.index_work(work, through) {
                    shared.poison(&format!("cannot write the index: {error}"));
                    return;
                }
            }
        });
        shared.backlog.end();
    })
}

/// Starts the cleaner. It ends when it is asked to, or the writer takes nothing more.
pub(crate) fn start_cleaner(shared: Arc<Shared>, cleaner: Arc<Cleaner>) -> io::Result<JoinHandle<()>> {
    Builder::new()
        .name("tidemark-cleaner".to_owned())
        .spawn(move || guarded(&shared, "the cleaner", || cleaner.run()))
}

fn guarded(shared: &Shared, name: &str, body: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        shared.poison(&format!("{name} panicked"));
    }
}
