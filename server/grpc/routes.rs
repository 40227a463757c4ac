//! The services put together.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::FileDescriptorSet;
use tidemark_proto::v1::models_service_server::ModelsServiceServer;
use tidemark_proto::v1::responses_service_server::ResponsesServiceServer;
use tidemark_proto::{FILE_DESCRIPTOR_SET, MAX_MESSAGE_BYTES};
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::{Builder, Error};

use crate::grpc::{Models, Responses};
use crate::runs::Runs;

/// The names of the services that health speaks of; the empty one stands for the server as a whole.
pub const SERVICES: [&str; 3] = ["", "tidemark.v1.ResponsesService", "tidemark.v1.ModelsService"];

/// The descriptors of everything that [`routes`] serves.
const DESCRIPTORS: [&[u8]; 4] = [
    FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
];

/// The paths of all methods that [`routes`] serves, such as `/tidemark.v1.ResponsesService/Get`.
///
/// # Errors
/// The descriptors cannot be read.
pub fn methods() -> Result<BTreeSet<String>, prost::DecodeError> {
    let mut methods = BTreeSet::new();
    for bytes in DESCRIPTORS {
        for file in FileDescriptorSet::decode(bytes)?.file {
            for service in &file.service {
                let path = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
                methods.extend(service.method.iter().map(|method| path(method.name())));
            }
        }
    }
    Ok(methods)
}

/// `ResponsesService` with the message limits of D-7, for a listener or for the bridge in the same process.
pub fn responses_server(runs: Runs) -> ResponsesServiceServer<Responses> {
    ResponsesServiceServer::new(Responses::new(runs))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// `ModelsService` with the message limits of D-7.
pub fn models_server(runs: Runs) -> ModelsServiceServer<Models> {
    ModelsServiceServer::new(Models::new(runs))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// All services of the listener, with health and reflection (v1 and v1alpha). The reporter says whether the services serve:
/// they do from now on, until somebody sets them to NOT_SERVING.
///
/// # Errors
/// The descriptors of the contract cannot be read.
pub async fn routes(runs: Runs) -> Result<(Routes, HealthReporter), Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<ResponsesServiceServer<Responses>>().await;
    reporter.set_serving::<ModelsServiceServer<Models>>().await;
    let reflection = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(responses_server(runs.clone()))
        .add_service(models_server(runs))
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok((routes, reporter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_known_by_its_path() {
        let methods = methods().unwrap();
        for path in [
            "/tidemark.v1.ResponsesService/CreateStream",
            "/tidemark.v1.ModelsService/ListModels",
            "/grpc.health.v1.Health/Watch",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ] {
            assert!(methods.contains(path), "{path} is not in {methods:?}");
        }
    }
}
