//! `ModelsService`.

use tidemark_proto::v1::models_service_server::ModelsService;
use tidemark_proto::v1::{ListModelsRequest, ListModelsResponse, Model};
use tonic::{Request, Response, Status};

use crate::grpc::principal;
use crate::runs::Runs;

/// The service over the backends' models.
#[derive(Clone, Debug)]
pub struct Models(Runs);

impl Models {
    /// The service over these responses' backends.
    pub fn new(runs: Runs) -> Self {
        Self(runs)
    }
}

#[tonic::async_trait]
impl ModelsService for Models {
    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        principal(&request)?;
        let models = self.0.models().await.into_iter();
        let model = |(model, owned_by): (crate::backends::Model, String)| Model {
            id: model.id,
            created: model.created,
            owned_by,
        };
        Ok(Response::new(ListModelsResponse { models: models.map(model).collect() }))
    }
}
