//! `mk`: builds embedded Linux systems from a tree of plain bash recipes.
//!
//! Lower modules know nothing of higher ones; `docs/design.md` draws the order and a test holds it.

pub mod archive;
pub mod digest;
pub mod error;
pub mod event;
pub mod fetch;
pub mod names;
mod origin;
pub mod room;
pub mod unpack;
