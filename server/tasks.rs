//! The tasks of the process.
//!
//! It owns spawning, so that a shutdown can wait for everything that runs. It must never know what a task does.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;

/// Spawns tasks, tells them to stop, waits for them. Clones share the same tasks.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Without any task.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` on its own. Dropping the handle does not stop it.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tracker.spawn(task)
    }

    /// Ends when the tasks shall stop. Every loop that waits must wait for this too.
    pub fn stopping(&self) -> WaitForCancellationFuture<'_> {
        self.stop.cancelled()
    }

    /// Tells all tasks to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until no task is left. Tasks can still be spawned meanwhile; they are waited for too.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_reaches_every_task_and_ended_waits_for_them() {
        let tasks = Tasks::new();
        let waiting = tasks.clone();
        let task = tasks.spawn(async move {
            waiting.stopping().await;
            "stopped"
        });
        tasks.stop();
        tasks.ended().await;
        assert!(task.is_finished());
        assert_eq!(task.await.unwrap(), "stopped");
    }
}
