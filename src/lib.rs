//! `mk`: builds embedded Linux systems from a tree of plain bash recipes.
//!
//! Lower modules know nothing of higher ones; `docs/design.md` draws the order and a test holds it.

pub mod digest;
pub mod error;
pub mod event;
pub mod failure;
pub mod names;
pub mod page;
pub mod progress;
pub mod report;
pub mod room;
pub mod schedule;
pub mod trace;
pub mod units;
