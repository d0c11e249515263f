//! The client against a real HTTP server that answers as each test says.

mod creates;
mod observing;
mod rest;
mod sending;
mod server;
