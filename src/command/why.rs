//! `mk why`: every changed input of what would be built.

use std::fmt::Write;

use serde::Serialize;

use crate::cli::Target;
use crate::config::{Format, Settings};
use crate::error::Result;
use crate::names::PackageName;
use crate::output;
use crate::plan::Action;

/// The stable form of `mk why --format json`.
#[derive(Serialize)]
struct Listing<'a> {
    packages: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    name: &'a PackageName,
    action: Action,
    reason: &'a str,
    changes: &'a [String],
}

/// Carries out the command.
pub fn run(settings: &Settings, target: &Target, packages: &[String]) -> Result<()> {
    let (loaded, plan) = super::plan::plan(settings, target, packages)?;
    let mut places = Vec::new();
    for package in packages {
        places.push(loaded.place(package)?);
    }
    let mut text = String::new();
    let mut items = Vec::new();
    for (place, (recipe, planned)) in loaded.graph.packages.iter().zip(&plan.packages).enumerate() {
        let asked = places.contains(&place);
        let line = match planned.action {
            Action::Reuse if asked => "reuse: nothing that it depends on has changed",
            Action::Reuse => continue,
            _ if !packages.is_empty() && !asked => continue,
            Action::Build => "build",
            Action::Maybe => "maybe",
        };
        items.push(Item {
            name: &recipe.name,
            action: planned.action,
            reason: &planned.reason,
            changes: &planned.changes,
        });
        let _ = writeln!(text, "{}: {line}", recipe.name);
        if planned.changes.is_empty() && planned.action != Action::Reuse {
            let _ = writeln!(text, "  {}", planned.reason);
        }
        for change in &planned.changes {
            let _ = writeln!(text, "  {change}");
        }
    }
    if settings.format == Format::Json {
        return output::json(&Listing { packages: items });
    }
    if text.is_empty() {
        text.push_str("nothing would be built: every result is there\n");
    }
    output::data(&text)
}
