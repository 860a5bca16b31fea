//! `mk graph`: what needs what, as a tree on the terminal, as DOT, JSON or a picture.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::cli::Target;
use crate::config::{Format, Settings};
use crate::draw::{self, Drawing};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::load::Loaded;
use crate::names::PackageName;
use crate::plan::Action;
use crate::{output, units};

/// What to show, and how.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Show these and what they need, in place of the whole system
    packages: Vec<String>,
    /// Show what needs them instead
    #[arg(long)]
    reverse: bool,
    /// Print a graph for Graphviz
    #[arg(long, conflicts_with = "svg")]
    dot: bool,
    /// Print a picture
    #[arg(long)]
    svg: bool,
    /// What colours mean
    #[arg(long, value_name = "WHAT", default_value = "state")]
    color: Color,
    /// Keep edges that follow from others, in DOT and in the picture
    #[arg(long)]
    all_edges: bool,
}

/// What a box's colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Color {
    /// What the next build would do
    State,
    /// How long the last build took
    Time,
}

/// What the next build would do with a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Its result is in the store.
    Built,
    /// It would be built.
    Build,
    /// It depends on the output of one that would.
    Maybe,
    /// It would be built, and failed in the last run.
    Failed,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Built => "built",
            State::Build => "build",
            State::Maybe => "maybe",
            State::Failed => "failed",
        }
    }

    fn class(self) -> &'static str {
        match self {
            State::Built => "good",
            State::Build => "todo",
            State::Maybe => "wait",
            State::Failed => "bad",
        }
    }
}

/// The chosen part of the graph, in build order: every index is one of this list.
struct Part<'a> {
    loaded: &'a Loaded,
    nodes: Vec<Item<'a>>,
    /// Direct dependencies.
    needs: Vec<Vec<usize>>,
    goals: Vec<usize>,
}

#[derive(Serialize)]
struct Item<'a> {
    name: &'a PackageName,
    version: &'a str,
    description: &'a str,
    state: State,
    /// Of the last build, on whatever board.
    seconds: Option<f64>,
}

/// The stable form of `mk graph --format json`.
#[derive(Serialize)]
struct Listing<'a> {
    board: &'a str,
    product: &'a str,
    packages: Vec<Listed<'a>>,
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    item: &'a Item<'a>,
    needs: Vec<&'a PackageName>,
    needs_reduced: Vec<&'a PackageName>,
    needed_by: Vec<&'a PackageName>,
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    if settings.format == Format::Json && (options.dot || options.svg) {
        return Err(Error::new(Kind::Usage, "`--format json` does not go with `--dot` or `--svg`"));
    }
    let mut goals = options.packages.clone();
    if options.reverse && !goals.is_empty() {
        // Who needs a package, only the whole system tells; it may be none of that as yet.
        goals.push(format!("release-{}", options.target.board));
    }
    let (loaded, plan) = super::plan::plan(settings, &options.target, &goals)?;
    let store = settings.store()?;
    let failed = failed(&loaded);
    let items: Vec<Item> = loaded
        .graph
        .packages
        .iter()
        .zip(&plan.packages)
        .map(|(recipe, planned)| Item {
            name: &recipe.name,
            version: recipe.version(),
            description: recipe.description(),
            state: match planned.action {
                Action::Reuse => State::Built,
                _ if failed.contains(&recipe.name) => State::Failed,
                Action::Build => State::Build,
                Action::Maybe => State::Maybe,
            },
            seconds: store.duration(&recipe.name),
        })
        .collect();
    let part = choose(&loaded, items, &options.packages, options.reverse)?;
    if settings.format == Format::Json {
        return output::json(&part.listing());
    }
    output::data(&match (options.dot, options.svg) {
        (true, _) => part.dot(options),
        (_, true) => part.svg(options),
        _ => part.tree(options),
    })
}

/// Packages that failed in the last run.
fn failed(loaded: &Loaded) -> BTreeSet<PackageName> {
    let events = crate::trace::read(&loaded.build_root.logs().join("events.json")).unwrap_or_default();
    let last =
        events.iter().rposition(|stamped| matches!(stamped.event, Event::RunStarted { .. })).unwrap_or(0);
    events[last..]
        .iter()
        .filter_map(|stamped| match &stamped.event {
            Event::Failed(failure) => Some(failure.package.clone()),
            _ => None,
        })
        .collect()
}

/// Leaves the goals and all below them (with `reverse`: above).
fn choose<'a>(
    loaded: &'a Loaded,
    items: Vec<Item<'a>>,
    packages: &[String],
    reverse: bool,
) -> Result<Part<'a>> {
    let all = &loaded.graph.needs;
    let users = reversed(all);
    let mut goals = Vec::new();
    for name in packages {
        goals.push(loaded.place(name)?);
    }
    if goals.is_empty() {
        let ends = if reverse { all } else { &users };
        goals = (0..all.len()).filter(|&place| ends[place].is_empty()).collect();
    }
    let mut wanted: BTreeSet<usize> = goals.iter().copied().collect();
    let mut stack = goals.clone();
    while let Some(place) = stack.pop() {
        for &next in if reverse { &users[place] } else { &all[place] } {
            if wanted.insert(next) {
                stack.push(next);
            }
        }
    }
    let place: Vec<Option<usize>> = {
        let mut count = 0;
        (0..all.len()).map(|old| wanted.contains(&old).then(|| (count, count += 1).0)).collect()
    };
    let moved = |list: &[usize]| list.iter().filter_map(|&old| place[old]).collect();
    Ok(Part {
        loaded,
        needs: wanted.iter().map(|&old| moved(&all[old])).collect(),
        goals: moved(&goals),
        nodes: items
            .into_iter()
            .enumerate()
            .filter(|(old, _)| wanted.contains(old))
            .map(|(_, item)| item)
            .collect(),
    })
}

/// Who points to each.
fn reversed(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut users = vec![Vec::new(); edges.len()];
    for (from, targets) in edges.iter().enumerate() {
        for &to in targets {
            users[to].push(from);
        }
    }
    users
}

fn seconds(value: f64) -> String {
    units::duration(Duration::try_from_secs_f64(value).unwrap_or_default())
}

/// Upper ends of the classes of build time, in seconds, and their names.
const HEAT: [(f64, &str); 6] = [
    (1.0, "less than 1 s"),
    (10.0, "to 10 s"),
    (60.0, "to 1 min"),
    (300.0, "to 5 min"),
    (1200.0, "to 20 min"),
    (f64::INFINITY, "longer"),
];

fn class(item: &Item, color: Color) -> String {
    match (color, item.seconds) {
        (Color::State, _) => item.state.class().to_owned(),
        (Color::Time, None) => "none".to_owned(),
        (Color::Time, Some(time)) => {
            format!("heat{}", HEAT.iter().position(|(end, _)| time < *end).unwrap_or(HEAT.len() - 1))
        }
    }
}

impl Part<'_> {
    fn edges(&self, options: &Options) -> Vec<Vec<usize>> {
        if options.all_edges { self.needs.clone() } else { draw::reduced(&self.needs) }
    }

    fn listing(&self) -> Listing<'_> {
        let (reduced, users) = (draw::reduced(&self.needs), reversed(&self.needs));
        let names = |places: &[usize]| places.iter().map(|&place| self.nodes[place].name).collect();
        let packages = self.nodes.iter().enumerate().map(|(place, item)| Listed {
            item,
            needs: names(&self.needs[place]),
            needs_reduced: names(&reduced[place]),
            needed_by: names(&users[place]),
        });
        Listing { board: &self.loaded.board, product: &self.loaded.product, packages: packages.collect() }
    }

    /// Every package once with what it needs (with `--reverse`: what needs it); where it comes again, it only points up.
    fn tree(&self, options: &Options) -> String {
        let below = if options.reverse { reversed(&self.needs) } else { self.needs.clone() };
        let mut text = String::new();
        let mut shown = vec![false; self.nodes.len()];
        for &goal in &self.goals {
            let _ = writeln!(text, "{}", self.line(goal, options));
            self.branch(goal, "", &below, &mut shown, options, &mut text);
        }
        text
    }

    fn line(&self, place: usize, options: &Options) -> String {
        let item = &self.nodes[place];
        let mut line = format!("{} {}", item.name, item.version).trim_end().to_owned();
        match (options.color, item.state, item.seconds) {
            (Color::Time, _, Some(time)) => line.push_str(&format!("  {}", seconds(time))),
            (Color::State, State::Build | State::Maybe | State::Failed, _) => {
                line.push_str(&format!("  ({})", item.state.as_str()))
            }
            _ => {}
        }
        line
    }

    fn branch(
        &self,
        place: usize,
        indent: &str,
        below: &[Vec<usize>],
        shown: &mut [bool],
        options: &Options,
        text: &mut String,
    ) {
        shown[place] = true;
        let mut next = below[place].clone();
        next.sort_by_key(|&place| self.nodes[place].name);
        for (i, &child) in next.iter().enumerate() {
            let last = i + 1 == next.len();
            let (fork, more) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
            let above = shown[child] && !below[child].is_empty();
            let _ = writeln!(
                text,
                "{indent}{fork}{}{}",
                self.line(child, options),
                if above { " ↑" } else { "" }
            );
            if !above {
                self.branch(child, &format!("{indent}{more}"), below, shown, options, text);
            }
        }
    }

    fn dot(&self, options: &Options) -> String {
        let mut text = format!(
            "digraph \"{}\" {{\n\trankdir=LR;\n\tnode [shape=box, style=\"rounded,filled\"];\n",
            self.loaded.name()
        );
        for item in &self.nodes {
            let class = class(item, options.color);
            let fill = FILLS.iter().find(|(name, _)| *name == class).map_or("#ffffff", |(_, fill)| fill);
            let _ = writeln!(
                text,
                "\t\"{}\" [fillcolor=\"{fill}\", tooltip=\"{}\"];",
                item.name,
                item.state.as_str()
            );
        }
        for (from, targets) in self.edges(options).iter().enumerate() {
            for &to in targets {
                let _ = writeln!(text, "\t\"{}\" -> \"{}\";", self.nodes[from].name, self.nodes[to].name);
            }
        }
        text.push_str("}\n");
        text
    }

    fn svg(&self, options: &Options) -> String {
        let time = options.color == Color::Time;
        let nodes = self.nodes.iter().map(|item| {
            let mut lines = vec![format!("{} {}", item.name, item.version).trim_end().to_owned()];
            if !item.description.is_empty() {
                lines.push(item.description.to_owned());
            }
            lines.push(match item.state {
                State::Built => "built".to_owned(),
                State::Build => "would be built".to_owned(),
                State::Maybe => "would be built if what it needs changes".to_owned(),
                State::Failed => "failed in the last run".to_owned(),
            });
            if let Some(value) = item.seconds {
                lines.push(format!("last build took {}", seconds(value)));
            }
            draw::Node {
                label: item.name.to_string(),
                detail: item.seconds.filter(|_| time).map(seconds).unwrap_or_default(),
                class: class(item, options.color),
                title: lines.join("\n"),
            }
        });
        let nodes: Vec<draw::Node> = nodes.collect();
        let meanings: Vec<(String, String)> = if time {
            let heats =
                HEAT.iter().enumerate().map(|(i, (_, text))| (format!("heat{i}"), (*text).to_owned()));
            heats.chain([("none".to_owned(), "never built".to_owned())]).collect()
        } else {
            [
                (State::Built, "built"),
                (State::Build, "would be built"),
                (State::Maybe, "may be built"),
                (State::Failed, "failed last"),
            ]
            .map(|(state, text)| (state.class().to_owned(), text.to_owned()))
            .into()
        };
        let used: BTreeSet<&str> = nodes.iter().map(|node| node.class.as_str()).collect();
        let legend = meanings.into_iter().filter(|(class, _)| used.contains(class.as_str())).collect();
        let title = format!("{} {}: {} packages", self.loaded.board, self.loaded.product, self.nodes.len());
        draw::svg(&Drawing { title, edges: self.edges(options), nodes, legend })
    }
}

/// Colours for Graphviz, which knows no light and dark.
const FILLS: &[(&str, &str)] = &[
    ("good", "#bfe3c5"),
    ("todo", "#f6d889"),
    ("wait", "#c4dcf7"),
    ("bad", "#f4aaa3"),
    ("none", "#e8ebee"),
    ("heat0", "#e6f0fa"),
    ("heat1", "#fbeec2"),
    ("heat2", "#f9d892"),
    ("heat3", "#f5b56a"),
    ("heat4", "#ea8a5a"),
    ("heat5", "#d9604f"),
];
