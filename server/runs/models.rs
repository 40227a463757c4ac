//! Who serves a model, as this room sees it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::backends::{Backend, Model};
use crate::error::Error;

/// Finds the backend of a model.
#[async_trait]
pub trait Models: Send + Sync + std::fmt::Debug + 'static {
    /// The backend that serves `model`, and the model's name there.
    ///
    /// # Errors
    /// `model_not_found` with param `model`, `no_backend`.
    async fn route(&self, model: &str) -> Result<(Arc<dyn Backend>, String), Error>;

    /// All models and aliases under the names a caller uses, each with the name of its backend. A backend that does not answer
    /// is left out.
    async fn list(&self) -> Vec<(Model, String)>;
}
