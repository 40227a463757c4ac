//! `/v1/models`.
//!
//! It owns the shape of the list (W-9). It must never know where a model runs.

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use tidemark_proto::v1::{ErrorCode, ListModelsRequest, Model};

use crate::caller::Caller;
use crate::error::{self, Failure};
use crate::responses::{self, Id};
use crate::router::Bridge;

#[derive(Serialize)]
struct Listed<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'a str,
}

impl<'a> From<&'a Model> for Listed<'a> {
    fn from(model: &'a Model) -> Self {
        Self { id: &model.id, object: "model", created: model.created, owned_by: &model.owned_by }
    }
}

/// `GET /v1/models`.
pub(crate) async fn list(State(bridge): State<Bridge>, request: Request) -> Result<Response, Failure> {
    #[derive(Serialize)]
    struct List<'a> {
        object: &'static str,
        data: Vec<Listed<'a>>,
    }
    let models = all(&bridge, request).await?;
    let list = List { object: "list", data: models.iter().map(Listed::from).collect() };
    Ok(responses::json(error::json(&list)))
}

/// `GET /v1/models/{id}`; the id may hold slashes.
pub(crate) async fn get(
    State(bridge): State<Bridge>,
    Id(id): Id,
    request: Request,
) -> Result<Response, Failure> {
    let models = all(&bridge, request).await?;
    match models.iter().find(|model| model.id == id) {
        Some(model) => Ok(responses::json(error::json(&Listed::from(model)))),
        None => {
            let message = "no backend serves this model; `GET /v1/models` lists those that are served";
            Err(Failure::new(ErrorCode::ModelNotFound, message).with_param("model"))
        }
    }
}

async fn all(bridge: &Bridge, request: Request) -> Result<Vec<Model>, Failure> {
    let (mut parts, _) = request.into_parts();
    let call = Caller::take(&mut parts).call(ListModelsRequest {});
    Ok(bridge.clients.models().list_models(call).await?.into_inner().models)
}
