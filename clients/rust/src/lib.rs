#![doc = include_str!("../README.md")]

mod client;
mod error;
mod rules;

pub use client::{Client, Reader};
pub use error::{Error, OffsetLost, Refused};
pub use rules::{Event, Gap, Item, Settings, output_text};
pub use tidemark_proto::v1::{
    Api, CreateRequest, CreateResponse, ListResponse, OnGap, Response, Status, Ticket, TicketOrder,
    TicketRights, Wait, create_request::Input,
};
