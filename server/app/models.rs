//! The pool of backends, as the runs see it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::backends::{Backend, Listed, Model, Pool};
use crate::error::Error;
use crate::runs::Models;

#[async_trait]
impl Models for Pool {
    async fn route(&self, model: &str) -> Result<(Arc<dyn Backend>, String), Error> {
        let route = Self::route(self, model).await?;
        Ok((route.backend, route.model))
    }

    async fn list(&self) -> Vec<(Model, String)> {
        let named = |Listed { id, created, owned_by }| (Model { id, created }, owned_by);
        self.models().await.into_iter().map(named).collect()
    }
}
