//! `mk`: builds embedded Linux systems from a tree of plain bash recipes.
//!
//! Lower modules know nothing of higher ones; `docs/design.md` draws the order and a test holds it.

// Only the report and `output` print; nothing a user can cause ends in a panic.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used))]

pub mod answer;
pub mod archive;
pub mod bare;
pub mod batch;
pub mod boot;
pub mod cli;
pub mod command;
pub mod config;
pub mod digest;
pub mod disk;
pub mod document;
pub mod downloads;
pub mod draw;
pub mod elf;
pub mod error;
pub mod evaluate;
pub mod evaluated;
pub mod event;
pub mod executor;
pub mod failure;
pub mod fetch;
pub mod filedigest;
pub mod finish;
pub mod graph;
pub mod hosttools;
pub mod image;
pub mod inspect;
pub mod job;
pub mod key;
pub mod layout;
pub mod lint;
pub mod listing;
pub mod load;
pub mod making;
pub mod memory;
pub mod mirrors;
pub mod names;
pub mod origin;
pub mod output;
pub mod pack;
pub mod page;
pub mod plain;
pub mod plan;
pub mod process;
pub mod progress;
pub mod recipe;
pub mod report;
pub mod rewrite;
pub mod room;
pub mod runtime;
pub mod schedule;
pub mod script;
pub mod signals;
pub mod source;
pub mod stage;
pub mod step;
pub mod store;
pub mod strip;
pub mod text;
pub mod tokens;
pub mod trace;
pub mod units;
pub mod unpack;
pub mod upstream;
pub mod uptodate;
pub mod version;
pub mod vocabulary;
pub mod worker;
