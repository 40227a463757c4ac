//! The device flow (RFC 8628): a command line or a television is let in on another screen (B-37).
//!
//! It owns the life of a waiting device: begun, shown to a person by its user code, answered once, redeemed once. It must never know
//! how often a device may ask: that is for whoever takes its calls.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemark_store::{Owner, UnixMillis};

use super::consent::Approval;
use super::id::{ClientId, GrantId};
use super::record::{CodeRecord, DEVICES, DeviceRecord, DeviceState, device_name};
use super::refusal::{Code, Refusal};
use super::request::{seal, unseal};
use super::secret::{DeviceCode, UserCode};
use super::tokens::Issued;
use super::{Grants, Rules};
use crate::auth::Scopes;
use crate::auth::directory::unavailable;
use crate::clock::millis;
use crate::error::Error;

/// How long a device may wait.
pub(super) const DEVICE_TTL: Duration = Duration::from_secs(600);

/// How long a device waits between two questions.
pub const DEVICE_INTERVAL: Duration = Duration::from_secs(5);

/// The most devices that wait at once: each is a record that nobody vouches for.
const MAX_WAITING: usize = 1000;

/// What the seal of a page is over besides the device.
const DOMAIN: &[u8] = b"tidemark device";

/// A device that was told to wait.
#[derive(Debug)]
pub struct StartedDevice {
    /// What the device asks with.
    pub device_code: String,
    /// What the person types.
    pub user_code: UserCode,
    /// How long both are good.
    pub expires_in: Duration,
}

/// A waiting device, as it is shown to a person.
#[derive(Clone, Debug)]
pub struct DeviceRequest {
    /// Which.
    pub user_code: UserCode,
    /// What its client says that it is called.
    pub client_name: String,
    /// What it wants.
    pub scopes: Scopes,
    client: ClientId,
    user: Option<Owner>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    code: String,
    client: String,
    user: Option<String>,
}

fn unknown() -> Refusal {
    Refusal::new(
        Code::ExpiredToken,
        "no device waits with this code: look again, or begin again at the device",
    )
}

impl Grants {
    /// Lets a device wait.
    ///
    /// # Errors
    /// `invalid_client`, `unauthorized_client`, `invalid_scope`, `invalid_target`; a fault of ours, also if too many devices wait.
    pub async fn start_device(
        &self,
        client: Option<&str>,
        scope: Option<&str>,
        resource: Option<&str>,
    ) -> Result<StartedDevice, Refusal> {
        let (client, known) = self.client_named(client).await?;
        if !known.device {
            let text = "this client has not registered the device flow";
            return Err(Refusal::new(Code::UnauthorizedClient, text));
        }
        let scopes = self.scopes_for(&known, scope)?;
        self.check_resource(resource)?;
        let directory = &self.directory.0;
        let waiting = directory.store.records(DEVICES.as_bytes(), None, MAX_WAITING).await;
        if waiting.map_err(unavailable)?.len() >= MAX_WAITING {
            return Err(Refusal::new(Code::TemporarilyUnavailable, "too many devices wait: try again later"));
        }
        let until = UnixMillis(directory.clock.now().0.saturating_add(millis(DEVICE_TTL)));
        let code = loop {
            let code = DeviceCode::generate()?;
            let record =
                DeviceRecord { value: code.digest(), client, scopes, until, state: DeviceState::Waiting };
            let put = self.directory.change_quietly(device_name(code.user_code), |found| match found {
                Some(_) => Err(Refusal::grant()),
                None => Ok((Some(record.encode()), ())),
            });
            match put.await {
                Ok(()) => break code,
                // Somebody waits with these letters.
                Err(taken) if taken.code() == Code::InvalidGrant => {}
                Err(other) => return Err(other),
            }
        };
        Ok(StartedDevice { device_code: code.reveal(), user_code: code.user_code, expires_in: DEVICE_TTL })
    }

    /// The device that waits with this code. `user` is who sees the page, if a trusted proxy says so.
    ///
    /// # Errors
    /// `expired_token` if none does; a fault of ours.
    pub async fn waiting_device(
        &self,
        code: UserCode,
        user: Option<Owner>,
    ) -> Result<DeviceRequest, Refusal> {
        let record = self.device(code).await?.ok_or_else(unknown)?;
        let timely = self.directory.0.clock.now() < record.until;
        if !timely || record.state != DeviceState::Waiting {
            return Err(unknown());
        }
        let client = self.directory.client(record.client).await?.ok_or_else(unknown)?;
        Ok(DeviceRequest {
            user_code: code,
            client_name: client.name,
            scopes: record.scopes,
            client: record.client,
            user,
        })
    }

    async fn device(&self, code: UserCode) -> Result<Option<DeviceRecord>, Error> {
        let found = self.directory.0.store.record(device_name(code).as_bytes()).await.map_err(unavailable)?;
        found.map(|found| DeviceRecord::decode(&found.value)).transpose().map_err(unavailable)
    }

    /// The device as the page carries it: good for nobody but whom the page was made for.
    ///
    /// # Errors
    /// A fault of ours.
    pub async fn seal_device(&self, request: &DeviceRequest) -> Result<String, Error> {
        let form = Form {
            code: request.user_code.letters(),
            client: request.client.to_string(),
            user: request.user.as_ref().map(|user| user.as_str().to_owned()),
        };
        seal(&self.directory, DOMAIN, &form).await
    }

    /// The device of a page, looked at again. `user` is who answers, if a trusted proxy says so.
    ///
    /// # Errors
    /// `expired_token` if the page is not ours, was made for somebody else, or the device does not wait any more; a fault of ours.
    pub async fn unseal_device(&self, text: &str, user: Option<Owner>) -> Result<DeviceRequest, Refusal> {
        let form: Form = unseal(&self.directory, DOMAIN, text).await?.ok_or_else(unknown)?;
        if form.user.as_deref() != user.as_ref().map(Owner::as_str) {
            return Err(unknown());
        }
        let code = UserCode::parse(&form.code).ok_or_else(unknown)?;
        let waiting = self.waiting_device(code, user).await?;
        if waiting.client.to_string() == form.client { Ok(waiting) } else { Err(unknown()) }
    }

    /// Lets a device in.
    ///
    /// # Errors
    /// `expired_token` if it does not wait any more; `access_denied` if the owner has too many grants; a fault of ours.
    pub async fn allow_device(&self, request: &DeviceRequest, approval: Approval) -> Result<(), Refusal> {
        self.check_room(&approval.owner).await?;
        let id = GrantId::new(&approval.owner, self.directory.0.clock.new_id());
        let record = self.answer_device(request, DeviceState::Allowed(id)).await?;
        let code = CodeRecord { value: record.value, until: record.until, bound: None };
        self.put_grant(id, approval, request.client, request.client_name.clone(), code).await?;
        Ok(())
    }

    /// Turns a device away.
    ///
    /// # Errors
    /// `expired_token` if it does not wait any more; a fault of ours.
    pub async fn deny_device(&self, request: &DeviceRequest) -> Result<(), Refusal> {
        self.answer_device(request, DeviceState::Denied).await.map(drop)
    }

    /// The first answer counts.
    async fn answer_device(
        &self,
        request: &DeviceRequest,
        state: DeviceState,
    ) -> Result<DeviceRecord, Refusal> {
        let now = self.directory.0.clock.now();
        let answered = self.directory.change_quietly(device_name(request.user_code), |found| {
            let value = found.ok_or_else(unknown)?;
            let record = DeviceRecord::decode(&value).map_err(unavailable)?;
            // The letters may belong to another device by now.
            let same = record.client == request.client && record.scopes == request.scopes;
            if !same || record.state != DeviceState::Waiting || record.until <= now {
                return Err(unknown());
            }
            let record = DeviceRecord { state, ..record };
            Ok((Some(record.encode()), record))
        });
        answered.await
    }

    /// Redeems a device code: the second time, what the first has led to is revoked.
    pub(super) async fn redeem_device(
        &self,
        code: &str,
        client: &str,
        resource: Option<&str>,
    ) -> Result<Issued, Refusal> {
        let code = DeviceCode::parse(code).ok_or_else(Refusal::grant)?;
        let record = self.device(code.user_code).await?.filter(|record| record.value == code.digest());
        let expired =
            || Refusal::new(Code::ExpiredToken, "the time of this device code is over: begin again");
        let record = record.ok_or_else(expired)?;
        if record.client.to_string() != client {
            return Err(Refusal::grant());
        }
        let late = record.until <= self.directory.0.clock.now();
        match record.state {
            DeviceState::Denied => Err(Refusal::new(Code::AccessDenied, "the person said no")),
            DeviceState::Waiting | DeviceState::Allowed(_) if late => Err(expired()),
            DeviceState::Waiting => {
                Err(Refusal::new(Code::AuthorizationPending, "nobody has answered yet: ask again later"))
            }
            DeviceState::Allowed(id) => {
                let Some(grant) = self.directory.grant(id).await? else {
                    return Err(Refusal::new(Code::AuthorizationPending, "ask again in a moment"));
                };
                if grant.tokens.is_some() {
                    self.end(id).await?;
                    return Err(Refusal::grant());
                }
                self.exchange(id, &grant, code.digest(), client, resource).await
            }
        }
    }
}

impl DeviceRequest {
    /// The user whom the page is made for.
    pub fn user(&self) -> Option<&Owner> {
        self.user.as_ref()
    }
}

impl Rules {
    /// Where a person types the code of a device.
    pub fn device_page(&self) -> String {
        format!("{}/oauth2/device", self.issuer)
    }
}
