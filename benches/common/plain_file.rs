//! The least that a durable log can be: one queue, one thread, one `write` and one `fdatasync` per group; no checksum, no index,
//! no recovery.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// How many appends may wait.
const QUEUE: usize = 16_384;

/// The most appends that share one sync.
const MAX_GROUP: usize = 8192;

/// The way to the file. Clones lead to the same one; it ends with the last of them.
#[derive(Clone)]
pub(crate) struct PlainFile(mpsc::Sender<(Bytes, oneshot::Sender<()>)>);

impl PlainFile {
    /// A new file in `dir`, and the thread that writes it.
    pub(crate) fn create(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let mut file = File::create(dir.join("file")).unwrap();
        let (sender, mut receiver) = mpsc::channel::<(Bytes, oneshot::Sender<()>)>(QUEUE);
        let thread = std::thread::Builder::new().name("plain-file".to_owned());
        let writing = thread.spawn(move || {
            while let Some(first) = receiver.blocking_recv() {
                let mut group = vec![first];
                while group.len() < MAX_GROUP
                    && let Ok(next) = receiver.try_recv()
                {
                    group.push(next);
                }
                let bytes: Vec<u8> = group.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
                file.write_all(&bytes).unwrap();
                file.sync_data().unwrap();
                for (_, reply) in group {
                    let _ = reply.send(());
                }
            }
        });
        drop(writing.unwrap());
        Self(sender)
    }

    /// Appends; returns when the bytes are durable.
    pub(crate) async fn append(&self, bytes: Bytes) {
        let (reply, done) = oneshot::channel();
        self.0.send((bytes, reply)).await.unwrap();
        done.await.unwrap();
    }
}
