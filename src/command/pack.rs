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
    /// Packages of the tree that it needs when it runs.
    depends: Vec<PackageName>,
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
    let empty = |place: &usize| packer.contents[*place].is_empty();
    if let Some(place) = places.iter().copied().find(|place| empty(place)) {
        let name = &built.loaded.graph.packages[place].name;
        return Err(Error::new(Kind::Usage, format!("`{name}` has nothing to pack: it lists no files"))
            .hint(format!("what goes into an image and an archive is what its `{}` lists", image::LIST)));
    }
    let all = (0..deploys.len()).filter(|place| !empty(place)).collect();
    let places = if places.is_empty() { all } else { places };

    let folder =
        options.output.clone().unwrap_or_else(|| settings.workspace.result(&built.loaded.name(), "packages"));
    fs_err::create_dir_all(&folder)?;
    let mut known: BTreeMap<String, PackageName> = BTreeMap::new();
    let mut stanzas = BTreeMap::new();
    let mut packed = Vec::new();
    for place in places {
        let recipe = &built.loaded.graph.packages[place];
        let about = packer.about(place)?;
        if let Some(other) = known.insert(about.package.clone(), recipe.name.clone()) {
            return Err(Error::new(
                Kind::Recipe,
                format!("`{other}` and `{}` are both `{}` as archives", recipe.name, about.package),
            ));
        }
        let architecture = about.architecture(options.form);
        let file = format!("{}_{}_{architecture}.{}", about.package, about.version, options.form.ending());
        let bytes = if options.form == Form::Spk {
            packer.spk(place, &about, &architecture)?
        } else {
            let (control, bytes) = packer.ipk(place, &about, &architecture)?;
            stanzas.insert(about.package.clone(), pack::stanza(&control, &file, &bytes));
            bytes
        };
        write_atomically(&folder.join(&file), &bytes)?;
        let (size, sha256) = (bytes.len() as u64, Digest::of(&bytes));
        packed.push(Packed {
            name: recipe.name.clone(),
            depends: about.depends.into_keys().collect(),
            package: about.package,
            version: about.version,
            architecture,
            file,
            size,
            sha256,
        });
        for missing in about.missing {
            note(&format!(
                "`{}` needs `{missing}`, which no package that it needs has in the image",
                recipe.name
            ));
        }
    }
    if options.form != Form::Spk {
        write_index(&folder, stanzas, options.packages.is_empty())?;
    }
    if settings.format == Format::Json {
        return output::json(&serde_json::json!({
            "board": board, "product": product, "form": options.form.ending(),
            "folder": std::path::absolute(&folder)?, "packages": packed,
        }));
    }
    let row = |packed: &Packed| {
        let needs = packed.depends.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
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

/// What a package needs when it runs, with the place of those whose libraries it needs.
type Needs = BTreeMap<PackageName, Option<usize>>;

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

/// All that was built, by place.
struct Packer<'a> {
    loaded: &'a Loaded,
    /// What each package has in the image.
    contents: Vec<Content>,
    /// Which packages have a file or link of that name.
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
        let mut contents = Vec::new();
        let mut firm: BTreeSet<String> = BTreeSet::new();
        let mut fallbacks: Vec<(usize, String)> = Vec::new();
        let mut owners: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, (recipe, deploy)) in loaded.graph.packages.iter().zip(deploys).enumerate() {
            let content = image::listed(deploy).and_then(|listed| Content::of_image(deploy, &listed));
            let content = content.map_err(|error| error.context(&recipe.name))?;
            for path in content.files_and_links() {
                let name = path.rsplit('/').next().unwrap_or(path).to_owned();
                owners.entry(name).or_default().push(place);
                if image::is_fallback(deploy, path) {
                    fallbacks.push((place, path.to_owned()));
                } else {
                    firm.insert(path.to_owned());
                }
            }
            contents.push(content);
        }
        // A package manager refuses a file that two packages have.
        for (place, path) in fallbacks.iter().filter(|(_, path)| firm.contains(path)) {
            contents[*place].remove(path);
        }
        Ok(Packer { loaded, contents, owners, deploys })
    }

    /// A variable of the recipe, or else of the configuration.
    fn variable(&self, recipe: &Recipe, name: &str) -> String {
        let own = recipe.evaluated.get(name).trim();
        let text =
            if own.is_empty() { self.loaded.variables.get(name).map_or("", String::as_str) } else { own };
        text.trim().to_owned()
    }

    fn about(&self, place: usize) -> Result<About> {
        let recipe = &self.loaded.graph.packages[place];
        let (depends, missing) = self.depends(place)?;
        Ok(About {
            package: archive_name(&recipe.name),
            version: format!("{}-{}", plain_version(recipe), self.revision(recipe)?),
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
    fn depends(&self, place: usize) -> Result<(Needs, BTreeSet<String>)> {
        let graph = &self.loaded.graph;
        let recipe = &graph.packages[place];
        let below = graph.closure(place);
        let mut depends = Needs::new();
        let mut missing = BTreeSet::new();
        for path in self.contents[place].files() {
            let linkage =
                elf::linkage(&self.deploys[place].join(path)).map_err(|error| error.context(&recipe.name))?;
            let loader = linkage.interpreter.as_deref().and_then(|path| path.rsplit('/').next());
            for name in linkage.needed.iter().map(String::as_str).chain(loader) {
                let owners = self.owners.get(name).map_or(&[][..], Vec::as_slice);
                if owners.contains(&place) {
                    continue;
                }
                let direct = owners.iter().find(|owner| graph.needs[place].contains(owner));
                match direct.or_else(|| owners.iter().find(|owner| below.contains(owner))) {
                    Some(&owner) => {
                        depends.insert(graph.packages[owner].name.clone(), Some(owner));
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
            depends.entry(PackageName::new(word)?).or_insert(None);
        }
        Ok((depends, missing))
    }

    /// A file beside a recipe.
    fn beside(&self, recipe: &Recipe, name: &str) -> Result<Option<String>> {
        let path = self.loaded.tree.package(recipe.name.as_str()).join(name);
        if path.is_file() { Ok(Some(fs_err::read_to_string(path)?)) } else { Ok(None) }
    }

    /// An archive for opkg, and its control fields.
    fn ipk(&self, place: usize, about: &About, architecture: &str) -> Result<(String, Vec<u8>)> {
        let recipe = &self.loaded.graph.packages[place];
        let data = &self.contents[place];
        let depends: Vec<String> = about
            .depends
            .iter()
            .map(|(name, place)| match place {
                // It may need what is new in the one that it was built with.
                Some(place) => {
                    let version = plain_version(&self.loaded.graph.packages[*place]);
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
            ("Description", or("DESCRIPTION", recipe.name.as_str())),
        ];
        let own = self.beside(recipe, "control")?.unwrap_or_default();
        replace(&mut fields, &own, ": ").map_err(|line| {
            Error::new(Kind::Recipe, format!("pkg/{}/control: `{line}` is no `FIELD: VALUE`", recipe.name))
        })?;
        let fields = pack::fields(&fields);
        let mut control = Content::default();
        control.add_text("control", fields.clone(), 0o644);
        for (script, _) in SCRIPTS {
            if let Some(text) = self.beside(recipe, script)? {
                control.add_text(script, text, 0o755);
            }
        }
        let conffiles = self.conffiles(recipe, data)?;
        if !conffiles.is_empty() {
            control.add_text("conffiles", conffiles, 0o644);
        }
        Ok((fields, pack::ipk(&control, data, TIME)?))
    }

    /// Files that an upgrade leaves as the user has them: those that `conffiles` beside the recipe names; without it, all
    /// below `/etc`.
    fn conffiles(&self, recipe: &Recipe, data: &Content) -> Result<String> {
        let Some(own) = self.beside(recipe, "conffiles")? else {
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
    fn spk(&self, place: usize, about: &About, architecture: &str) -> Result<Vec<u8>> {
        let recipe = &self.loaded.graph.packages[place];
        let mut data = self.contents[place].clone();
        let mut seen = BTreeSet::from([recipe.name.clone()]);
        let mut due: Vec<PackageName> = about.depends.keys().cloned().collect();
        while let Some(name) = due.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let next = self.loaded.graph.find(name.as_str()).ok_or_else(|| {
                Error::new(
                    Kind::Usage,
                    format!("`{}` needs `{name}` with it, which was not built", recipe.name),
                )
                .hint("put it into ROOTFS")
            })?;
            if let Some(path) = data.merge(&self.contents[next]) {
                return Err(Error::new(
                    Kind::Recipe,
                    format!("{}: `/{path}` differs from that of `{name}`, which it needs", recipe.name),
                ));
            }
            due.extend(self.depends(next)?.0.into_keys());
        }
        let mut outer = Content::default();
        for script in ["preupgrade", "postupgrade", "start-stop-status"] {
            outer.add_text(&format!("scripts/{script}"), "#!/bin/sh\nexit 0\n", 0o755);
        }
        for (script, name) in SCRIPTS {
            let text = self.beside(recipe, script)?.unwrap_or_else(|| "#!/bin/sh\nexit 0\n".to_owned());
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
        let own = self.beside(recipe, "spk/INFO")?.unwrap_or_default();
        let maintainer = self.variable(recipe, "MAINTAINER");
        let mut fields = vec![
            ("package", about.package.clone()),
            ("version", about.version.clone()),
            ("os_min_ver", "7.0-40000".to_owned()),
            ("description", self.variable(recipe, "DESCRIPTION")),
            ("arch", architecture.to_owned()),
            ("maintainer", if maintainer.is_empty() { self.variable(recipe, "OS_NAME") } else { maintainer }),
            ("displayname", recipe.name.to_string()),
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
fn archive_name(name: &PackageName) -> String {
    name.as_str().to_ascii_lowercase().replace(['_', '@'], "-")
}

/// `VERSION` as package managers allow it.
fn plain_version(recipe: &Recipe) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || ".+~".contains(c) { c } else { '.' };
    let version: String = recipe.version().chars().map(allowed).collect();
    if version.is_empty() { "0".to_owned() } else { version }
}
