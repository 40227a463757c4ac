//! `tidemark grants …` and `tidemark clients …`.

use prost_types::Timestamp;
use serde::Serialize;
use tidemark_proto::v1::{
    CreateClientRequest, DeleteClientRequest, Grant, GrantMode, ListClientsRequest, ListGrantsRequest,
    OAuthClient, RevokeGrantRequest, RevokeGrantsRequest,
};

use super::{Manager, Refused, date, json_line, whole};
use crate::cli::{ClientsCommand, Filter, GrantMode as AskedMode, GrantsCommand};

impl Manager {
    /// Does what `grants …` says, and gives what shall be printed.
    ///
    /// # Errors
    /// [`Refused::Call`], [`Refused::Fault`].
    pub async fn grants(&self, command: &GrantsCommand) -> Result<String, Refused> {
        let mut grants = self.clients.grants();
        match command {
            GrantsCommand::List(list) => self.list_grants(&list.filter, list.json).await,
            GrantsCommand::Revoke(grant) => {
                let call = self.call(RevokeGrantRequest { id: grant.id.clone() });
                Ok(format!("{} revoked\n", grants.revoke_grant(call).await?.into_inner().id))
            }
            GrantsCommand::RevokeAll(revoke) => {
                let Filter { owner, client, .. } = revoke.filter.clone();
                let mode = mode(&revoke.filter).into();
                let ask = RevokeGrantsRequest { owner, mode, client_id: client, all: revoke.all };
                let count = grants.revoke_grants(self.call(ask)).await?.into_inner().count;
                Ok(format!("{count} revoked\n"))
            }
        }
    }

    async fn list_grants(&self, filter: &Filter, json: bool) -> Result<String, Refused> {
        let (mut out, mut after) = (String::new(), String::new());
        loop {
            let Filter { owner, client, .. } = filter.clone();
            let ask = ListGrantsRequest {
                owner,
                mode: mode(filter).into(),
                client_id: client,
                q: String::new(),
                page_size: u32::MAX,
                after,
            };
            let page = self.clients.grants().list_grants(self.call(ask)).await?.into_inner();
            for grant in &page.grants {
                out.push_str(&if json { object(grant) } else { line(grant) });
            }
            if page.next.is_empty() {
                return Ok(out);
            }
            after = page.next;
        }
    }

    /// Does what `clients …` says, and gives what shall be printed.
    ///
    /// # Errors
    /// [`Refused::Call`], [`Refused::Fault`].
    pub async fn oauth_clients(&self, command: &ClientsCommand) -> Result<String, Refused> {
        let mut grants = self.clients.grants();
        match command {
            ClientsCommand::Create(create) => {
                let ask = CreateClientRequest {
                    name: create.name.clone(),
                    redirect_uris: create.redirect_uri.clone(),
                    scopes: create.scopes.clone(),
                    device: create.device,
                };
                let made = whole(grants.create_client(self.call(ask)).await?.into_inner().client)?;
                Ok(format!("{}{}\n", client_line(&made), made.id))
            }
            ClientsCommand::List(_) => self.list_clients().await,
            ClientsCommand::Delete(client) => {
                let call = self.call(DeleteClientRequest { id: client.id.clone() });
                let gone = grants.delete_client(call).await?.into_inner();
                Ok(format!("{} deleted, {} of its grants revoked\n", gone.id, gone.revoked))
            }
        }
    }

    async fn list_clients(&self) -> Result<String, Refused> {
        let (mut out, mut after) = (String::new(), String::new());
        loop {
            let ask = ListClientsRequest { page_size: u32::MAX, after };
            let page = self.clients.grants().list_clients(self.call(ask)).await?.into_inner();
            page.clients.iter().for_each(|client| out.push_str(&client_line(client)));
            match page.clients.last().filter(|_| page.has_more) {
                Some(last) => after = last.id.clone(),
                None => return Ok(out),
            }
        }
    }
}

fn mode(filter: &Filter) -> GrantMode {
    match filter.mode {
        None => GrantMode::Unspecified,
        Some(AskedMode::Vk) => GrantMode::Vk,
        Some(AskedMode::User) => GrantMode::User,
    }
}

/// A grant as `--json` lists it.
#[derive(Serialize)]
struct Listed<'g> {
    id: &'g str,
    owner: &'g str,
    mode: &'static str,
    key_id: &'g str,
    client_id: &'g str,
    client_name: &'g str,
    scopes: &'g [String],
    created_at: Option<i64>,
    last_used_at: Option<i64>,
    expires_at: Option<i64>,
}

fn mode_name(grant: &Grant) -> &'static str {
    match grant.mode() {
        GrantMode::Vk => "vk",
        GrantMode::User => "user",
        GrantMode::Unspecified => "unknown",
    }
}

fn object(grant: &Grant) -> String {
    let seconds = |at: &Option<Timestamp>| at.as_ref().map(|at| at.seconds);
    json_line(&Listed {
        id: &grant.id,
        owner: &grant.owner,
        mode: mode_name(grant),
        key_id: &grant.key_id,
        client_id: &grant.client_id,
        client_name: &grant.client_name,
        scopes: &grant.scopes,
        created_at: seconds(&grant.created_at),
        last_used_at: seconds(&grant.last_used_at),
        expires_at: seconds(&grant.expires_at),
    })
}

/// A grant on one line. The name, which its client chose, comes last and in quotes.
fn line(grant: &Grant) -> String {
    let Grant { id, owner, client_id, client_name, scopes, .. } = grant;
    let until = grant.expires_at.as_ref().map(date).unwrap_or_default();
    let (mode, scopes) = (mode_name(grant), scopes.join(","));
    format!("{id} {mode} {owner} {client_id} {scopes} until {until} {client_name:?}\n")
}

fn client_line(client: &OAuthClient) -> String {
    let OAuthClient { id, name, scopes, by_operator, .. } = client;
    let maker = if *by_operator { "operator" } else { "registered" };
    format!("{id} {maker} {} {name:?}\n", scopes.join(","))
}
