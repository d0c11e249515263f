//! Every request the client can make, held against the official OpenAPI document.

#[path = "support/openapi.rs"]
mod openapi;
