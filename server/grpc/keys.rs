//! `KeysService` and `UsersService`.

use std::time::Duration;

use prost_types::Timestamp;
use secrecy::ExposeSecret as _;
use tidemark_proto::v1;
use tidemark_proto::v1::keys_service_server::KeysService;
use tidemark_proto::v1::users_service_server::UsersService;
use tidemark_proto::v1::{
    AddUserRequest, AddUserResponse, CreateKeyRequest, CreateKeyResponse, DeleteKeyRequest,
    DeleteKeyResponse, DisableKeyRequest, DisableKeyResponse, DisableUserRequest, DisableUserResponse,
    EnableKeyRequest, EnableKeyResponse, ListKeysRequest, ListKeysResponse, ListUsersRequest,
    ListUsersResponse, RotateKeyRequest, RotateKeyResponse,
};
use tidemark_store::UnixMillis;
use tonic::{Request, Response, Status};

use crate::auth::{Directory, KeyInfo, KeyQuery, KeyState, NewKey, Scope, Scopes, UserInfo, owner_named};
use crate::error::Error;
use crate::grpc::message::timestamp;
use crate::grpc::principal;
use crate::grpc::status::status;

/// The services over the keys and users of this process.
#[derive(Clone, Debug)]
pub struct Keys(Directory);

impl Keys {
    /// The services over these keys and users.
    pub fn new(directory: Directory) -> Self {
        Self(directory)
    }
}

#[tonic::async_trait]
impl KeysService for Keys {
    async fn create_key(
        &self,
        request: Request<CreateKeyRequest>,
    ) -> Result<Response<CreateKeyResponse>, Status> {
        let caller = principal(&request)?;
        let new = new_key(request.get_ref()).map_err(|error| status(&error))?;
        let (key, info) = self.0.create_key(&caller, new).await.map_err(|error| status(&error))?;
        let value = key.reveal().expose_secret().to_owned();
        Ok(Response::new(CreateKeyResponse { key: Some(shown(&info)), value }))
    }

    async fn list_keys(
        &self,
        request: Request<ListKeysRequest>,
    ) -> Result<Response<ListKeysResponse>, Status> {
        let caller = principal(&request)?;
        let ListKeysRequest { owner, page_size, after } = request.get_ref();
        let query = KeyQuery { owner, page_size: *page_size, after };
        let page = self.0.list_keys(&caller, query).await.map_err(|error| status(&error))?;
        let keys = page.keys.iter().map(shown).collect();
        Ok(Response::new(ListKeysResponse { keys, has_more: page.has_more, page_size: page.page_size }))
    }

    async fn rotate_key(
        &self,
        request: Request<RotateKeyRequest>,
    ) -> Result<Response<RotateKeyResponse>, Status> {
        let caller = principal(&request)?;
        let RotateKeyRequest { id, overlap } = request.get_ref();
        let overlap = overlap.map(Duration::try_from).transpose();
        let overlap =
            overlap.map_err(|_| status(&Error::invalid("overlap", "an overlap is not negative")))?;
        let rotated = self.0.rotate_key(&caller, id, overlap.unwrap_or_default()).await;
        let (key, info) = rotated.map_err(|error| status(&error))?;
        let value = key.reveal().expose_secret().to_owned();
        Ok(Response::new(RotateKeyResponse { key: Some(shown(&info)), value }))
    }

    async fn disable_key(
        &self,
        request: Request<DisableKeyRequest>,
    ) -> Result<Response<DisableKeyResponse>, Status> {
        let caller = principal(&request)?;
        let changed = self.0.set_key_disabled(&caller, &request.get_ref().id, true).await;
        let key = Some(shown(&changed.map_err(|error| status(&error))?));
        Ok(Response::new(DisableKeyResponse { key }))
    }

    async fn enable_key(
        &self,
        request: Request<EnableKeyRequest>,
    ) -> Result<Response<EnableKeyResponse>, Status> {
        let caller = principal(&request)?;
        let changed = self.0.set_key_disabled(&caller, &request.get_ref().id, false).await;
        let key = Some(shown(&changed.map_err(|error| status(&error))?));
        Ok(Response::new(EnableKeyResponse { key }))
    }

    async fn delete_key(
        &self,
        request: Request<DeleteKeyRequest>,
    ) -> Result<Response<DeleteKeyResponse>, Status> {
        let caller = principal(&request)?;
        let deleted = self.0.delete_key(&caller, &request.get_ref().id).await;
        let id = deleted.map_err(|error| status(&error))?.to_string();
        Ok(Response::new(DeleteKeyResponse { id }))
    }
}

#[tonic::async_trait]
impl UsersService for Keys {
    async fn add_user(&self, request: Request<AddUserRequest>) -> Result<Response<AddUserResponse>, Status> {
        principal(&request)?;
        let name = owner_named(&request.get_ref().name, "name").map_err(|error| status(&error))?;
        let user = self.0.add_user(&name).await.map_err(|error| status(&error))?;
        Ok(Response::new(AddUserResponse { user: Some(shown_user(&user)) }))
    }

    async fn disable_user(
        &self,
        request: Request<DisableUserRequest>,
    ) -> Result<Response<DisableUserResponse>, Status> {
        principal(&request)?;
        let name = owner_named(&request.get_ref().name, "name").map_err(|error| status(&error))?;
        let user = self.0.disable_user(&name).await.map_err(|error| status(&error))?;
        Ok(Response::new(DisableUserResponse { user: Some(shown_user(&user)) }))
    }

    async fn list_users(
        &self,
        request: Request<ListUsersRequest>,
    ) -> Result<Response<ListUsersResponse>, Status> {
        principal(&request)?;
        let ListUsersRequest { page_size, after } = request.get_ref();
        let page = self.0.list_users(after, *page_size).await.map_err(|error| status(&error))?;
        let users = page.users.iter().map(shown_user).collect();
        Ok(Response::new(ListUsersResponse { users, has_more: page.has_more, page_size: page.page_size }))
    }
}

fn new_key(request: &CreateKeyRequest) -> Result<NewKey, Error> {
    let CreateKeyRequest { owner, scopes, expires_at } = request;
    let owner = if owner.is_empty() { None } else { Some(owner_named(owner, "owner")?) };
    let scope = |name: &String| name.parse::<Scope>();
    let scopes = scopes.iter().map(scope).collect::<Result<Scopes, _>>();
    let scopes = scopes.map_err(|_| {
        let known = Scope::ALL.map(Scope::name).join(", ");
        Error::invalid("scopes", format!("the scopes are {known}"))
    })?;
    let expires_at = expires_at.as_ref().map(time).transpose()?;
    Ok(NewKey { owner, scopes, expires_at })
}

/// The time of a field. What lies before 1970 or has no date is refused.
fn time(at: &Timestamp) -> Result<UnixMillis, Error> {
    let seconds = u64::try_from(at.seconds).ok();
    let millis = seconds.and_then(|seconds| {
        seconds.checked_mul(1000)?.checked_add(u64::try_from(at.nanos / 1_000_000).ok()?)
    });
    millis.map(UnixMillis).ok_or_else(|| Error::invalid("expires_at", "the time is not one after 1970"))
}

fn shown(info: &KeyInfo) -> v1::Key {
    let state = match info.state {
        KeyState::Active => v1::KeyState::Active,
        KeyState::Rotating => v1::KeyState::Rotating,
        KeyState::Disabled => v1::KeyState::Disabled,
        KeyState::Expired => v1::KeyState::Expired,
    };
    v1::Key {
        id: info.id.to_string(),
        owner: info.owner.to_string(),
        scopes: info.scopes.names().map(str::to_owned).collect(),
        state: state.into(),
        created_at: Some(timestamp(info.created_at)),
        expires_at: info.expires_at.map(timestamp),
        previous_until: info.previous_until.map(timestamp),
    }
}

fn shown_user(user: &UserInfo) -> v1::User {
    v1::User {
        name: user.name.to_string(),
        disabled: user.disabled,
        created_at: Some(timestamp(user.created_at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back_and_impossible_ones_are_refused() {
        for at in [0, 1, 999, 1_763_769_600_123] {
            assert_eq!(time(&timestamp(UnixMillis(at))).unwrap(), UnixMillis(at));
        }
        for (seconds, nanos) in [(-1, 0), (i64::MAX, 0), (0, -1_000_000)] {
            assert_eq!(time(&Timestamp { seconds, nanos }).unwrap_err().param(), Some("expires_at"));
        }
    }

    #[test]
    fn a_scope_that_is_none_is_refused_with_those_that_are() {
        let request = CreateKeyRequest { scopes: vec!["all".to_owned()], ..CreateKeyRequest::default() };
        let error = new_key(&request).unwrap_err();
        assert_eq!(error.param(), Some("scopes"));
        assert!(error.message().contains("owners.act_as, admin"), "{error}");
    }
}
