//! The flags of `grants …` and `clients …`.

use clap::{Args, Subcommand, ValueEnum};

use super::Where;

/// `grants …`
#[derive(Debug, Subcommand)]
pub enum GrantsCommand {
    /// List the connected apps.
    List(ListGrants),
    /// End a grant: at once, in open streams too.
    Revoke(OneGrant),
    /// End all grants that fit.
    RevokeAll(RevokeGrants),
}

/// `clients …`
#[derive(Debug, Subcommand)]
pub enum ClientsCommand {
    /// Make a client, and print its id on the last line.
    Create(CreateClient),
    /// List the clients.
    List(ListClients),
    /// Remove a client for good, and end all its grants.
    Delete(OneClient),
}

/// Whom grants stand for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Mode {
    /// The holder of a key.
    Vk,
    /// A user.
    User,
}

/// Which grants.
#[derive(Args, Clone, Debug)]
pub struct Filter {
    /// Only those of this owner.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub owner: String,
    /// Only those that stand for this.
    #[arg(long, value_name = "vk|user")]
    pub mode: Option<Mode>,
    /// Only those of this client, client_….
    #[arg(long, value_name = "ID", default_value = "")]
    pub client: String,
}

/// Flags of `grants list`.
#[derive(Args, Clone, Debug)]
pub struct ListGrants {
    #[command(flatten)]
    /// Which.
    pub filter: Filter,
    /// Print a line of JSON for each grant instead.
    #[arg(long)]
    pub json: bool,
    /// Where the grants are.
    #[command(flatten)]
    pub place: Where,
}

/// Flags of `grants revoke-all`.
#[derive(Args, Clone, Debug)]
pub struct RevokeGrants {
    #[command(flatten)]
    /// Which.
    pub filter: Filter,
    /// All there are, instead of a filter.
    #[arg(long)]
    pub all: bool,
    /// Where the grants are.
    #[command(flatten)]
    pub place: Where,
}

/// Names a grant.
#[derive(Args, Clone, Debug)]
pub struct OneGrant {
    /// The id of the grant, grant_….
    pub id: String,
    /// Where the grants are.
    #[command(flatten)]
    pub place: Where,
}

/// Flags of `clients create`.
#[derive(Args, Clone, Debug)]
pub struct CreateClient {
    /// What people are told that it is called.
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Where it may have browsers sent back to; may be given 16 times.
    #[arg(long, value_name = "URL")]
    pub redirect_uri: Vec<String>,
    /// The most that it may ask for, such as "responses.read,models.read"; without it, all that can be granted.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub scopes: Vec<String>,
    /// Let it begin the device flow.
    #[arg(long)]
    pub device: bool,
    /// Where the clients are.
    #[command(flatten)]
    pub place: Where,
}

/// Flags of `clients list`.
#[derive(Args, Clone, Debug)]
pub struct ListClients {
    /// Where the clients are.
    #[command(flatten)]
    pub place: Where,
}

/// Names a client.
#[derive(Args, Clone, Debug)]
pub struct OneClient {
    /// The id of the client, client_….
    pub id: String,
    /// Where the clients are.
    #[command(flatten)]
    pub place: Where,
}

impl GrantsCommand {
    /// Where the grants are.
    pub fn place(&self) -> &Where {
        match self {
            Self::List(list) => &list.place,
            Self::Revoke(grant) => &grant.place,
            Self::RevokeAll(revoke) => &revoke.place,
        }
    }
}

impl ClientsCommand {
    /// Where the clients are.
    pub fn place(&self) -> &Where {
        match self {
            Self::Create(create) => &create.place,
            Self::List(list) => &list.place,
            Self::Delete(client) => &client.place,
        }
    }
}
