//! `mk`: builds embedded Linux systems from a tree of plain bash recipes.
//!
//! Lower modules know nothing of higher ones; `docs/design.md` draws the order and a test holds it.

pub mod archive;
pub mod boot;
pub mod config;
pub mod digest;
pub mod elf;
pub mod error;
pub mod evaluate;
pub mod event;
pub mod failure;
pub mod filedigest;
pub mod finish;
pub mod graph;
pub mod key;
pub mod layout;
pub mod load;
pub mod names;
pub mod page;
pub mod plan;
pub mod process;
pub mod progress;
pub mod recipe;
pub mod report;
pub mod room;
pub mod runtime;
pub mod schedule;
pub mod store;
pub mod strip;
pub mod trace;
pub mod units;
pub mod unpack;
