//! The services put together.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::FileDescriptorSet;
use tidemark_proto::v1::grants_service_server::GrantsServiceServer;
use tidemark_proto::v1::keys_service_server::KeysServiceServer;
use tidemark_proto::v1::models_service_server::ModelsServiceServer;
use tidemark_proto::v1::responses_service_server::ResponsesServiceServer;
use tidemark_proto::v1::sessions_service_server::SessionsServiceServer;
use tidemark_proto::v1::users_service_server::UsersServiceServer;
use tidemark_proto::{FILE_DESCRIPTOR_SET, MAX_MESSAGE_BYTES};
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::{Builder, Error};

use crate::auth::grants::RedirectRules;
use crate::auth::{Access, Directory};
use crate::grpc::{ConnectedApps, Keys, Models, Responses, SessionsOf};
use crate::runs::Runs;

/// The names of the services that health speaks of; the empty one stands for the server as a whole.
pub const SERVICES: [&str; 7] = [
    "",
    "tidemark.v1.ResponsesService",
    "tidemark.v1.SessionsService",
    "tidemark.v1.ModelsService",
    "tidemark.v1.KeysService",
    "tidemark.v1.UsersService",
    "tidemark.v1.GrantsService",
];

/// A server of the contract with the message limits of D-7.
macro_rules! limited {
    ($server:expr) => {
        $server.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    };
}

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

/// What the services are made of.
#[derive(Clone, Debug)]
pub struct Services {
    /// The responses.
    pub runs: Runs,
    /// The keys and users.
    pub directory: Directory,
    /// The check of access.
    pub access: Access,
    /// Where OAuth clients may have browsers sent back to.
    pub redirects: RedirectRules,
}

/// The services of the contract with the message limits of D-7, for a listener or for a client in the same process.
pub fn contract(services: Services) -> Routes {
    let Services { runs, directory, access, redirects } = services;
    let sessions = SessionsOf::new(runs.sessions().clone(), access.clone());
    keys(directory, redirects)
        .add_service(limited!(ResponsesServiceServer::new(Responses::new(runs.clone(), access))))
        .add_service(limited!(SessionsServiceServer::new(sessions)))
        .add_service(limited!(ModelsServiceServer::new(Models::new(runs))))
}

/// The services of keys, users and grants alone: all that there is to call while no server runs.
pub fn keys(directory: Directory, redirects: RedirectRules) -> Routes {
    Routes::new(limited!(KeysServiceServer::new(Keys::new(directory.clone()))))
        .add_service(limited!(UsersServiceServer::new(Keys::new(directory.clone()))))
        .add_service(limited!(GrantsServiceServer::new(ConnectedApps::new(directory, redirects))))
}

/// All services of the listener: the contract, health and reflection (v1 and v1alpha). The reporter says whether the services
/// serve: they do from now on, until somebody sets them to NOT_SERVING.
///
/// # Errors
/// The descriptors of the contract cannot be read.
pub async fn routes(services: Services) -> Result<(Routes, HealthReporter), Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in SERVICES {
        reporter.set_service_status(service, ServingStatus::Serving).await;
    }
    let reflection = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = contract(services)
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
