//! `mk list`: packages, boards and products of the tree, each with a line on what it is.

use serde::Serialize;

use crate::config::{Format, Settings};
use crate::error::Result;
use crate::layout::Tree;
use crate::load;
use crate::output;
use crate::recipe::Recipe;

/// What to list.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// packages, boards or products
    what: What,
    /// Read recipes for this board [default: the first that goes with a product]
    #[arg(long, requires = "product")]
    board: Option<String>,
    /// Read recipes for this product
    #[arg(long, requires = "board")]
    product: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Packages,
    Boards,
    Products,
}

#[derive(Serialize)]
struct Package {
    name: String,
    version: String,
    description: String,
    license: String,
    /// Why the recipe cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Named {
    name: String,
    description: String,
    /// Products of a board, boards of a product.
    with: Vec<String>,
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let tree = settings.tree()?;
    if options.what == What::Packages {
        return packages(settings, tree, options);
    }
    let (boards, products) = (load::folders(&tree.boards()), load::folders(&tree.products()));
    let fits = |board: &str, product: &str| load::check_board_and_product(&tree, board, product).is_ok();
    let named = |name: &String, dir: std::path::PathBuf, with: Vec<String>| Named {
        description: description(&dir.join(name)),
        name: name.clone(),
        with,
    };
    let (key, items): (_, Vec<Named>) = if options.what == What::Boards {
        let with = |board: &String| products.iter().filter(|product| fits(board, product)).cloned().collect();
        ("boards", boards.iter().map(|board| named(board, tree.boards(), with(board))).collect())
    } else {
        let with = |product: &String| boards.iter().filter(|board| fits(board, product)).cloned().collect();
        ("products", products.iter().map(|product| named(product, tree.products(), with(product))).collect())
    };
    if settings.format == Format::Json {
        return output::json(&serde_json::json!({ key: items }));
    }
    let rows: Vec<Vec<String>> = items.into_iter().map(|item| vec![item.name, item.description]).collect();
    output::data(&output::table(&rows))
}

/// What a board or a product says of itself: the first line of its README, else the comment that its TOOLCHAIN begins with.
fn description(folder: &std::path::Path) -> String {
    let first = |name: &str| {
        let text = fs_err::read(folder.join(name)).ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().map(str::trim).find(|line| !line.is_empty())?.to_owned();
        let bare = line.trim_start_matches('#').trim().to_owned();
        (name.starts_with("README") || line.starts_with('#')).then_some(bare)
    };
    ["README", "README.md", "TOOLCHAIN"].into_iter().find_map(first).unwrap_or_default()
}

fn packages(settings: &Settings, tree: Tree, options: &Options) -> Result<()> {
    let (board, product) = match (&options.board, &options.product) {
        (Some(board), Some(product)) => {
            load::check_board_and_product(&tree, board, product)?;
            (board.clone(), product.clone())
        }
        _ => load::first_target(&tree)?,
    };
    let names = load::packages(&tree);
    let store = settings.store()?;
    let (loaded, failed) = load::read_each(settings, &store, tree, (&board, &product), &names, false)?;
    let mut items: Vec<Package> = loaded.graph.packages.iter().map(described).collect();
    items.extend(failed.iter().map(|(name, error)| Package {
        name: name.to_string(),
        version: String::new(),
        description: String::new(),
        license: String::new(),
        error: Some(error.message.clone()),
    }));
    items.sort_by(|a, b| a.name.cmp(&b.name));
    if settings.format == Format::Json {
        return output::json(&serde_json::json!({ "board": board, "product": product, "packages": items }));
    }
    let rows: Vec<Vec<String>> = items
        .into_iter()
        .map(|item| {
            let text = item.error.map_or(item.description, |error| format!("(cannot be read: {error})"));
            vec![item.name, item.version, text]
        })
        .collect();
    output::data(&output::table(&rows))
}

fn described(recipe: &Recipe) -> Package {
    Package {
        name: recipe.name.to_string(),
        version: recipe.version().to_owned(),
        description: recipe.description().to_owned(),
        license: recipe.evaluated.get("LICENSE").trim().to_owned(),
        error: None,
    }
}
