//! `mk pack`: package archives of what a product's packages have in the image, and the index of a feed of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::Target;
use crate::config::{Format, Settings};
use crate::digest::Digest;
use crate::elf;
use crate::error::{Error, Kind, Result, nearest};
use crate::image;
use crate::load::{self, Loaded};
use crate::names::PackageName;
use crate::output;
use crate::pack::{self, Content};
use crate::recipe::Recipe;
use crate::report::note;
use crate::step;
use crate::store::write_atomically;
use crate::units;

/// What to pack.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Pack these, in place of all that has something in the image
    packages: Vec<String>,
    /// Form of the archives
    #[arg(long, value_name = "FORM", default_value = "ipk")]
    form: Form,
    /// Folder to write to [default: BOARD-PRODUCT-packages]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Forms of package archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For opkg, with the index of a feed
    Ipk,
    /// The same by its other name
    Opk,
    /// For Synology's package centre, with the libraries of others that it needs
    Spk,
}

impl Form {
    fn ending(self) -> &'static str {
        match self {
            Form::Ipk => "ipk",
            Form::Opk => "opk",
            Form::Spk => "spk",
        }
    }
}

/// The stable form of one archive.
#[derive(Debug, Serialize)]
struct Packed {
    /// The package in the tree.
    name: PackageName,
    /// Its name in the archive.
    package: String,
    version: String,
    architecture: String,
    /// Below the folder.
    file: String,
    size: u64,
    sha256: Digest,
    /// Packages that it needs when it runs, by their names in the tree.
    depends: Vec<String>,
}

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let store = settings.store()?;
    let _in_use = store.in_use()?;
    let (board, product) = (&options.target.board, &options.target.product);
    // All of the product, whatever is packed of it: what gives way to others must be the same each time.
    let mut goals = load::root_filesystem(&settings.tree()?, board, product);
    goals.extend(options.packages.iter().cloned());
    let goals: Vec<String> = goals.into_iter().collect();
    let built = super::build::build_first(settings, &store, &options.target, &goals)?;
    let places: Vec<usize> =
        options.packages.iter().map(|name| built.loaded.place(name)).collect::<Result<_>>()?;
    let deploys: Vec<PathBuf> = built.found.iter().flatten().map(|found| found.entry.deploy()).collect();
    let packer = Packer::new(&built.loaded, &deploys)?;
    let wanted = |unit: &Unit| {
        !unit.content.is_empty()
            && (places.is_empty() || places.contains(&unit.place))
            // Nothing is built on the system that such an archive is for.
            && !(options.form == Form::Spk && image::is_extra(&unit.name))
    };
    let units: Vec<usize> = (0..packer.units.len()).filter(|&unit| wanted(&packer.units[unit])).collect();
    if let Some(place) =
        places.iter().find(|place| units.iter().all(|&unit| packer.units[unit].place != **place))
    {
        let name = &built.loaded.graph.packages[*place].name;
        return Err(Error::new(Kind::Usage, format!("`{name}` has nothing to pack: it lists no files"))
            .hint(format!("what goes into an image and an archive is what its `{}` lists", image::LIST)));
    }
    if units.is_empty() {
        // An index without entries would be taken for a feed.
        let text = format!("nothing to pack: no package of `{board} {product}` lists files");
        return Err(Error::new(Kind::Usage, text).hint(format!(
            "what goes into an image and an archive is what a package's `{}` lists; `rootfs_files` writes it",
            image::LIST
        )));
    }

    let folder =
        options.output.clone().unwrap_or_else(|| settings.workspace.result(&built.loaded.name(), "packages"));
    fs_err::create_dir_all(&folder)?;
    let mut known: BTreeMap<String, PackageName> = BTreeMap::new();
    let mut stanzas = BTreeMap::new();
    let mut packed = Vec::new();
    let mut owners = BTreeMap::new();
    for unit in units {
        let recipe = packer.recipe(unit);
        let about = packer.about(unit)?;
        if let Some(other) = known.insert(about.package.clone(), recipe.name.clone()) {
            return Err(Error::new(
                Kind::Recipe,
                format!("`{other}` and `{}` are both `{}` as archives", recipe.name, about.package),
            ));
        }
        let architecture = about.architecture(options.form);
        let file = format!("{}_{}_{architecture}.{}", about.package, about.version, options.form.ending());
        let bytes = if options.form == Form::Spk {
            packer.spk(unit, &about, &architecture)?
        } else {
            let (control, bytes) = packer.ipk(unit, &about, &architecture)?;
            stanzas.insert(about.package.clone(), pack::stanza(&control, &file, &bytes));
            bytes
        };
        write_atomically(&folder.join(&file), &bytes)?;
        let (size, sha256) = (bytes.len() as u64, Digest::of(&bytes));
        let needs: Vec<String> = about.depends.into_keys().collect();
        for missing in about.missing {
            note(&format!(
                "`{}` needs `{missing}`, which no package that it needs has in the image",
                recipe.name
            ));
        }
        for need in needs.iter().filter(|need| options.form != Form::Spk && !packer.has_archive(need)) {
            note(&format!(
                "`{}` needs `{need}`, of which there is no archive: it lists no files, or is not in ROOTFS",
                recipe.name
            ));
        }
        for path in packer.units[unit].content.files_and_links() {
            if let Some(other) = owners.insert(path, &recipe.name).filter(|other| **other != recipe.name) {
                note(&format!(
                    "`{other}` and `{}` both have `/{path}`: package managers install one of them",
                    recipe.name
                ));
            }
        }
        packed.push(Packed {
            name: recipe.name.clone(),
            depends: needs,
            package: about.package,
            version: about.version,
            architecture,
            file,
            size,
            sha256,
        });
    }
    if options.form != Form::Spk {
        write_index(&folder, stanzas, options.packages.is_empty())?;
    }
    if settings.format == Format::Json {
        let folder = std::path::absolute(&folder)?;
        return output::json(&serde_json::json!({
            "board": board, "product": product, "form": options.form.ending(),
            "folder": output::path(&folder), "packages": packed,
        }));
    }
    let row = |packed: &Packed| {
        let needs = packed.depends.join(", ");
        let needs = if needs.is_empty() { needs } else { format!("needs {needs}") };
        vec![folder.join(&packed.file).display().to_string(), units::size(packed.size), needs]
    };
    output::data(&output::table(&packed.iter().map(row).collect::<Vec<_>>()))
}

/// Writes `Packages` and `Packages.gz`. Unless all of a product was packed, what the index had of others stays.
fn write_index(folder: &Path, stanzas: BTreeMap<String, String>, whole: bool) -> Result<()> {
    let path = folder.join("Packages");
    let mut all = match fs_err::read_to_string(&path) {
        Ok(text) if !whole => pack::stanzas(&text),
        _ => BTreeMap::new(),
    };
    all.retain(|_, stanza| pack::field(stanza, "Filename").is_some_and(|file| folder.join(file).is_file()));
    all.extend(stanzas);
    let (text, compressed) = pack::index(&all)?;
    write_atomically(&path, &text)?;
    write_atomically(&folder.join("Packages.gz"), &compressed)
}

/// What a package needs when it runs, by name, with the units whose libraries it needs.
type Needs = BTreeMap<String, Option<usize>>;

/// What an archive says of its package.
struct About {
    package: String,
    version: String,
    /// Of the target, or `None` for what every machine can use.
    machine: Option<String>,
    depends: Needs,
    /// Libraries that nobody has.
    missing: BTreeSet<String>,
}

impl About {
    fn architecture(&self, form: Form) -> String {
        let any = if form == Form::Spk { "noarch" } else { "all" };
        self.machine.clone().unwrap_or_else(|| any.to_owned())
    }
}

/// What becomes one archive: a package, or one of the binary packages that its recipe makes.
struct Unit {
    /// Of the recipe.
    place: usize,
    /// The package's name, or the binary package's.
    name: String,
    content: Content,
}

/// All that was built.
struct Packer<'a> {
    loaded: &'a Loaded,
    /// In the order of places.
    units: Vec<Unit>,
    /// Which units have a file or link of that name.
    owners: BTreeMap<String, Vec<usize>>,
    deploys: &'a [PathBuf],
}

/// Seconds of every file in an archive.
const TIME: u64 = step::EPOCH as u64;

/// Scripts of opkg's packages, and what Synology calls them.
const SCRIPTS: [(&str, &str); 4] =
    [("preinst", "preinst"), ("postinst", "postinst"), ("prerm", "preuninst"), ("postrm", "postuninst")];

impl<'a> Packer<'a> {
    fn new(loaded: &'a Loaded, deploys: &'a [PathBuf]) -> Result<Packer<'a>> {
        let mut units: Vec<Unit> = Vec::new();
        let mut firm: BTreeSet<String> = BTreeSet::new();
        let mut fallbacks: Vec<(usize, String)> = Vec::new();
        let mut owners: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, (recipe, deploy)) in loaded.graph.packages.iter().zip(deploys).enumerate() {
            let mut lists = image::binary_packages(deploy);
            if lists.is_empty() {
                lists.insert(recipe.name.to_string(), deploy.join(image::LIST));
            }
            for (name, list) in lists {
                let content = image::listed(&list).and_then(|listed| Content::of_image(deploy, &listed));
                let content = content.map_err(|error| error.context(&recipe.name))?;
                let paths = content.files_and_links().filter(|_| !image::is_extra(&name));
                for path in paths {
                    let file = path.rsplit('/').next().unwrap_or(path).to_owned();
                    owners.entry(file).or_default().push(units.len());
                    if image::is_fallback(deploy, path) {
                        fallbacks.push((units.len(), path.to_owned()));
                    } else {
                        firm.insert(path.to_owned());
                    }
                }
                units.push(Unit { place, name, content });
            }
        }
        // A package manager refuses a file that two packages have.
        for (unit, path) in fallbacks.iter().filter(|(_, path)| firm.contains(path)) {
            units[*unit].content.remove(path);
        }
        Ok(Packer { loaded, units, owners, deploys })
    }

    /// The units of a package but for those that only serve development; `None`: it was not built.
    fn units_of(&self, package: &str) -> Option<Vec<usize>> {
        let place = self.loaded.graph.find(package)?;
        let counts =
            |unit: &usize| self.units[*unit].place == place && !image::is_extra(&self.units[*unit].name);
        Some((0..self.units.len()).filter(counts).collect())
    }

    /// Whether there is something to pack of a package, or of a binary package of that name.
    fn has_archive(&self, package: &str) -> bool {
        let is_it = |unit: &Unit| {
            unit.name == package || self.loaded.graph.packages[unit.place].name.as_str() == package
        };
        self.units.iter().any(|unit| is_it(unit) && !unit.content.is_empty())
    }

    fn recipe(&self, unit: usize) -> &'a Recipe {
        &self.loaded.graph.packages[self.units[unit].place]
    }

    fn deploy(&self, unit: usize) -> &'a Path {
        &self.deploys[self.units[unit].place]
    }

    /// A variable of the recipe, or else of the configuration.
    fn variable(&self, recipe: &Recipe, name: &str) -> String {
        let own = recipe.evaluated.get(name).trim();
        let text =
            if own.is_empty() { self.loaded.variables.get(name).map_or("", String::as_str) } else { own };
        text.trim().to_owned()
    }

    fn about(&self, unit: usize) -> Result<About> {
        let recipe = self.recipe(unit);
        let (depends, missing) = self.depends(unit)?;
        Ok(About {
            package: archive_name(&self.units[unit].name),
            version: format!("{}-{}", plain_version(recipe.version()), self.revision(recipe)?),
            machine: match recipe.evaluated.get("ARCHITECTURE").trim() {
                "" => Some(self.machine()?),
                "all" => None,
                other => Some(other.to_owned()),
            },
            depends,
            missing,
        })
    }

    fn revision(&self, recipe: &Recipe) -> Result<u32> {
        match recipe.evaluated.get("REVISION").trim() {
            "" => Ok(1),
            text => text.parse().map_err(|_| {
                Error::new(Kind::Recipe, format!("pkg/{}/build: REVISION `{text}` is no number", recipe.name))
            }),
        }
    }

    /// The target's name as package managers have it.
    fn machine(&self) -> Result<String> {
        let variable = |name: &str| self.loaded.variables.get(name).map_or("", String::as_str).trim();
        let cpu = variable("TARGET").split('-').next().unwrap_or_default();
        let own = variable("PACKAGE_ARCH");
        match (own, cpu) {
            ("", "") => Err(Error::new(
                Kind::Recipe,
                "it is not known for which architecture packages are: TOOLCHAIN sets neither PACKAGE_ARCH nor TARGET",
            )),
            ("", cpu) => Ok(cpu.to_owned()),
            (own, _) => Ok(own.to_owned()),
        }
    }

    /// Packages that this one needs when it runs: those of which its programs and libraries need a library, and those
    /// that the recipe names. Then libraries that nobody has.
    fn depends(&self, unit: usize) -> Result<(Needs, BTreeSet<String>)> {
        let graph = &self.loaded.graph;
        let (recipe, place) = (self.recipe(unit), self.units[unit].place);
        let below = graph.closure(place);
        let of = |owner: &&usize| self.units[**owner].place;
        let mut depends = Needs::new();
        let mut missing = BTreeSet::new();
        for path in self.units[unit].content.files() {
            let linkage =
                elf::linkage(&self.deploy(unit).join(path)).map_err(|error| error.context(&recipe.name))?;
            let loader = linkage.interpreter.as_deref().and_then(|path| path.rsplit('/').next());
            for name in linkage.needed.iter().map(String::as_str).chain(loader) {
                let owners = self.owners.get(name).map_or(&[][..], Vec::as_slice);
                if owners.contains(&unit) {
                    continue;
                }
                let own = owners.iter().find(|owner| of(owner) == place);
                let direct = || owners.iter().find(|owner| graph.needs[place].contains(&of(owner)));
                match own.or_else(direct).or_else(|| owners.iter().find(|owner| below.contains(&of(owner)))) {
                    Some(&owner) => {
                        depends.insert(self.units[owner].name.clone(), Some(owner));
                    }
                    None => {
                        missing.insert(name.to_owned());
                    }
                }
            }
        }
        for word in recipe.evaluated.get("RUNTIME_DEPENDS").split_whitespace() {
            if !self.loaded.tree.recipe(word).is_file() {
                let error = Error::new(
                    Kind::Recipe,
                    format!("pkg/{}/build: RUNTIME_DEPENDS names unknown package `{word}`", recipe.name),
                );
                let known = load::folders(&self.loaded.tree.packages());
                return Err(match nearest(word, known.iter().map(String::as_str)) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint(format!("there is no `pkg/{word}/build`")),
                });
            }
            depends.entry(word.to_owned()).or_insert(None);
        }
        Ok((depends, missing))
    }

    /// A file beside the recipe, which for a binary package that is not named as the recipe is begins with its name.
    fn beside(&self, unit: usize, name: &str) -> Result<Option<String>> {
        let (recipe, own) = (self.recipe(unit), &self.units[unit].name);
        let name = if own == recipe.name.as_str() { name.to_owned() } else { format!("{own}.{name}") };
        let path = self.loaded.tree.package(recipe.name.as_str()).join(name);
        if path.is_file() { Ok(Some(fs_err::read_to_string(path)?)) } else { Ok(None) }
    }

    /// An archive for opkg, and its control fields.
    fn ipk(&self, unit: usize, about: &About, architecture: &str) -> Result<(String, Vec<u8>)> {
        let recipe = self.recipe(unit);
        let Unit { name, content: data, .. } = &self.units[unit];
        let depends: Vec<String> = about
            .depends
            .iter()
            .map(|(name, owner)| match owner {
                // It may need what is new in the one that it was built with.
                Some(owner) => {
                    let version = plain_version(self.recipe(*owner).version());
                    format!("{} (>= {version})", archive_name(name))
                }
                None => archive_name(name),
            })
            .collect();
        let or = |name: &str, other: &str| {
            let text = self.variable(recipe, name);
            if text.is_empty() { other.to_owned() } else { text }
        };
        let mut fields = vec![
            ("Package", about.package.clone()),
            ("Version", about.version.clone()),
            ("Depends", depends.join(", ")),
            ("Section", or("SECTION", "base")),
            ("Architecture", architecture.to_owned()),
            ("Maintainer", or("MAINTAINER", &self.variable(recipe, "OS_NAME"))),
            ("License", recipe.evaluated.get("LICENSE").to_owned()),
            ("Installed-Size", data.size().to_string()),
            ("Description", or("DESCRIPTION", name)),
        ];
        let own = self.beside(unit, "control")?.unwrap_or_default();
        replace(&mut fields, &own, ": ").map_err(|line| {
            Error::new(Kind::Recipe, format!("pkg/{}/control: `{line}` is no `FIELD: VALUE`", recipe.name))
        })?;
        let fields = pack::fields(&fields);
        let mut control = Content::default();
        control.add_text("control", fields.clone(), 0o644);
        for (script, _) in SCRIPTS {
            let mut text = self.beside(unit, script)?;
            if script == "preinst" && !image::is_extra(name) {
                text = self.with_accounts(unit, text)?;
            }
            if let Some(text) = text {
                control.add_text(script, text, 0o755);
            }
        }
        let conffiles = self.conffiles(unit)?;
        if !conffiles.is_empty() {
            control.add_text("conffiles", conffiles, 0o644);
        }
        Ok((fields, pack::ipk(&control, data, TIME)?))
    }

    /// The script that runs before the files are there, with what makes the users and groups that the package declares.
    fn with_accounts(&self, unit: usize, own: Option<String>) -> Result<Option<String>> {
        let accounts = fs_err::read_to_string(self.deploy(unit).join("accounts")).unwrap_or_default();
        if accounts.is_empty() {
            return Ok(own);
        }
        let own = own.unwrap_or_else(|| "#!/bin/sh\n".to_owned());
        let (first, rest) = own.split_once('\n').unwrap_or((&own, ""));
        let program = first.strip_prefix("#!").and_then(|words| words.split_whitespace().next());
        if !program.is_some_and(|program| program.ends_with("sh")) {
            let recipe = &self.recipe(unit).name;
            let text = format!("pkg/{recipe}/preinst does not begin with `#!/bin/sh`");
            return Err(
                Error::new(Kind::Recipe, text).hint("the users that the package declares are made in it")
            );
        }
        Ok(Some(format!("{first}\n{}{rest}", pack::accounts(&accounts, TIME))))
    }

    /// Files that an upgrade leaves as the user has them: those that `conffiles` beside the recipe names; without it, all
    /// below `/etc`.
    fn conffiles(&self, unit: usize) -> Result<String> {
        let (recipe, data) = (self.recipe(unit), &self.units[unit].content);
        let Some(own) = self.beside(unit, "conffiles")? else {
            return Ok(data.files().filter(|p| p.starts_with("etc/")).map(|p| format!("/{p}\n")).collect());
        };
        let mut text = String::new();
        for path in own.lines().map(|line| line.trim().trim_start_matches('/')).filter(|l| !l.is_empty()) {
            if !data.files().any(|file| file == path) {
                return Err(Error::new(
                    Kind::Recipe,
                    format!(
                        "pkg/{}/conffiles: `/{path}` is no file of the package in the image",
                        recipe.name
                    ),
                ));
            }
            text += &format!("/{path}\n");
        }
        Ok(text)
    }

    /// An archive for Synology's package centre.
    fn spk(&self, unit: usize, about: &About, architecture: &str) -> Result<Vec<u8>> {
        let recipe = self.recipe(unit);
        let mut data = self.units[unit].content.clone();
        let mut seen = BTreeSet::from([unit]);
        let mut due: Vec<(String, Option<usize>)> = about.depends.clone().into_iter().collect();
        while let Some((name, owner)) = due.pop() {
            let units = match owner {
                Some(owner) => vec![owner],
                None => self.units_of(&name).ok_or_else(|| {
                    Error::new(
                        Kind::Usage,
                        format!("`{}` needs `{name}` with it, which was not built", recipe.name),
                    )
                    .hint("put it into ROOTFS")
                })?,
            };
            for next in units {
                if !seen.insert(next) {
                    continue;
                }
                if let Some(path) = data.merge(&self.units[next].content) {
                    return Err(Error::new(
                        Kind::Recipe,
                        format!("{}: `/{path}` differs from that of `{name}`, which it needs", recipe.name),
                    ));
                }
                due.extend(self.depends(next)?.0);
            }
        }
        let mut outer = Content::default();
        for script in ["preupgrade", "postupgrade", "start-stop-status"] {
            outer.add_text(&format!("scripts/{script}"), "#!/bin/sh\nexit 0\n", 0o755);
        }
        for (script, name) in SCRIPTS {
            let text = self.beside(unit, script)?.unwrap_or_else(|| "#!/bin/sh\nexit 0\n".to_owned());
            outer.add_text(&format!("scripts/{name}"), text, 0o755);
        }
        outer.add_text("conf/privilege", "{ \"defaults\": { \"run-as\": \"package\" } }\n", 0o644);
        let folder = self.loaded.tree.package(recipe.name.as_str()).join("spk");
        let mut starts = false;
        if folder.is_dir() {
            for found in walkdir::WalkDir::new(&folder).follow_links(true).sort_by_file_name() {
                let found = found.map_err(std::io::Error::from)?;
                let path = found.path().strip_prefix(&folder).unwrap_or(found.path()).to_string_lossy();
                if found.file_type().is_file() && path != "INFO" {
                    let mode = if path.starts_with("scripts/") { 0o755 } else { 0o644 };
                    outer.add_text(&path, fs_err::read(found.path())?, mode);
                    starts |= path == "scripts/start-stop-status";
                }
            }
        }
        let own = fs_err::read_to_string(folder.join("INFO")).unwrap_or_default();
        let maintainer = self.variable(recipe, "MAINTAINER");
        let mut fields = vec![
            ("package", about.package.clone()),
            ("version", about.version.clone()),
            ("os_min_ver", "7.0-40000".to_owned()),
            ("description", self.variable(recipe, "DESCRIPTION")),
            ("arch", architecture.to_owned()),
            ("maintainer", if maintainer.is_empty() { self.variable(recipe, "OS_NAME") } else { maintainer }),
            ("displayname", self.units[unit].name.clone()),
            ("startable", if starts { String::new() } else { "no".to_owned() }),
            ("extractsize", data.size().div_ceil(1024).to_string()),
        ];
        replace(&mut fields, &own, "=").map_err(|line| {
            Error::new(Kind::Recipe, format!("pkg/{}/spk/INFO: `{line}` is no `KEY=\"VALUE\"`", recipe.name))
        })?;
        let info = |checksum: &str| {
            fields.push(("checksum", checksum.to_owned()));
            let line = |(key, value): &(&str, String)| {
                let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
                let value = value.trim_matches('"').replace('"', "\\\"");
                if value.is_empty() { value } else { format!("{key}=\"{value}\"\n") }
            };
            fields.iter().map(line).collect()
        };
        pack::spk(&outer, &data, info, TIME)
    }
}

/// Puts the lines of `own` in place of fields of the same name, or after them. Errors: a line without `between`.
fn replace<'a>(
    fields: &mut Vec<(&'a str, String)>,
    own: &'a str,
    between: &str,
) -> std::result::Result<(), &'a str> {
    for line in own.lines().filter(|line| !line.trim().is_empty()) {
        let (key, value) = line.split_once(between).ok_or(line)?;
        match fields.iter_mut().find(|(there, _)| *there == key) {
            Some(field) => field.1 = value.to_owned(),
            None => fields.push((key, value.to_owned())),
        }
    }
    Ok(())
}

/// A package's name as package managers allow it: small letters, digits, `+`, `-` and `.`.
fn archive_name(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '@'], "-")
}

/// `VERSION` as package managers allow it: it begins with a digit. A commit is older than any number, since which one
/// comes after it is not known.
fn plain_version(version: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || ".+~".contains(c) { c } else { '.' };
    let version: String = version.chars().map(allowed).collect();
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    match version.strip_prefix(['v', 'V']).filter(|rest| is_number(rest)) {
        Some(number) => number.to_owned(),
        None if version.is_empty() => "0".to_owned(),
        None if is_number(&version) => version,
        None => format!("0~{version}"),
    }
}

#[cfg(test)]
mod tests {
    use super::plain_version;

    #[test]
    fn versions_begin_with_a_digit() {
        for (version, plain) in
            [("1.2-rc1", "1.2.rc1"), ("", "0"), ("v1.2", "1.2"), ("vim", "0~vim"), ("c0ffee", "0~c0ffee")]
        {
            assert_eq!(plain_version(version), plain);
        }
    }
}
