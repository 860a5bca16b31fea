//! `mk plan`: what would be done, in build order, and why.

use std::mem::ManuallyDrop;

use serde::Serialize;

use crate::cli::Target;
use crate::config::{Format, Rooms, Settings};
use crate::error::Result;
use crate::layout::BuildRoot;
use crate::load::{self, Loaded};
use crate::names::PackageName;
use crate::output;
use crate::plan::{Action, Plan};
use crate::store::Store;

/// The stable form of `mk plan --format json`.
#[derive(Serialize)]
struct Listing<'a> {
    packages: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    name: &'a PackageName,
    version: &'a str,
    depends: &'a [PackageName],
    action: Action,
    reason: &'a str,
}

/// Reads and plans; starts nothing but bash.
pub fn plan(settings: &Settings, target: &Target, packages: &[String]) -> Result<(Loaded, Plan)> {
    let shared = settings.store()?;
    let loaded = load::load(settings, &shared, &target.board, &target.product, packages)?;
    let rooms = settings.rooms != Rooms::Never;
    let store = if rooms { shared } else { private(&loaded.build_root)? };
    let plan = super::build::planner(&loaded, &store, &loaded.ingredients(rooms)).plan()?;
    // Nothing but a memory: where it cannot be written, the next run reads files again.
    let _ = loaded.digests.save(&store.digests());
    Ok((loaded, plan))
}

fn private(build_root: &BuildRoot) -> Result<Store> {
    Store::open(&build_root.private_store())
}

/// Carries out the command.
pub fn run(settings: &Settings, target: &Target, packages: &[String]) -> Result<()> {
    // They live as long as the program, which need not take them apart.
    let planned = ManuallyDrop::new(plan(settings, target, packages)?);
    let (loaded, plan) = &*planned;
    let items = loaded.graph.packages.iter().zip(&plan.packages).map(|(recipe, planned)| Item {
        name: &recipe.name,
        version: recipe.version(),
        depends: &recipe.depends,
        action: planned.action,
        reason: &planned.reason,
    });
    if settings.format == Format::Json {
        return output::json(&Listing { packages: items.collect() });
    }
    let word = |action: Action| match action {
        Action::Build => "build",
        Action::Reuse => "reuse",
        Action::Maybe => "maybe",
    };
    let rows: Vec<Vec<String>> = items
        .map(|item| {
            let name = format!("{} {}", item.name, item.version).trim_end().to_owned();
            let reason = if item.reason.is_empty() { String::new() } else { format!("({})", item.reason) };
            vec![word(item.action).to_owned(), name, reason]
        })
        .collect();
    output::data(&output::table(&rows))
}
