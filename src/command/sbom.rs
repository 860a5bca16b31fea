//! `mk sbom`: the bill of materials of a system as SPDX 2.3 JSON, from the graph that a build uses.
//! SPDX and not CycloneDX: recipes name licences by SPDX expressions, and it has a relation for what is needed to build alone.

use serde_json::{Value, json};

use crate::cli::Target;
use crate::config::Settings;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::fetch::archive_url;
use crate::load::{self, Loaded};
use crate::recipe::{Recipe, Source};
use crate::{output, step};

/// What to describe.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Describe these and what they need, in place of the whole system
    packages: Vec<String>,
}

/// What SPDX says where nothing is known.
const UNKNOWN: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";

/// Carries out the command.
pub fn run(settings: &Settings, options: &Options) -> Result<()> {
    let store = settings.store()?;
    let target = &options.target;
    let loaded = load::load(settings, &store, &target.board, &target.product, &options.packages)?;
    let epoch = settings.environment.get("SOURCE_DATE_EPOCH").map(|text| {
        text.parse().map_err(|_| {
            Error::new(Kind::Usage, format!("SOURCE_DATE_EPOCH is `{text}`, which is no number of seconds"))
                .hint("set it to seconds since 1970, or not at all")
        })
    });
    let document = document(&loaded, epoch.transpose()?.unwrap_or(step::EPOCH as u64))?;
    let text = serde_json::to_string_pretty(&document)
        .map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
    output::data(&(text + "\n"))
}

fn document(loaded: &Loaded, epoch: u64) -> Result<Value> {
    let recipes = &loaded.graph.packages;
    let in_image = load::root_filesystem(&loaded.tree, &loaded.board, &loaded.product);
    let is_in_image = |recipe: &Recipe| in_image.contains(recipe.name.as_str());
    let packages: Vec<Value> = recipes.iter().map(|recipe| package(recipe, is_in_image(recipe))).collect();

    let relation = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let mut relations = Vec::new();
    let mut is_needed = vec![false; recipes.len()];
    loaded.graph.needs.iter().flatten().for_each(|&need| is_needed[need] = true);
    let tops: Vec<&Recipe> =
        recipes.iter().zip(&is_needed).filter(|(_, needed)| !**needed).map(|(recipe, _)| recipe).collect();
    relations.extend(tops.iter().map(|top| relation(DOCUMENT, "DESCRIBES", &id(top))));
    let image = loaded.variables.get("ROOTFS_IMAGE").map_or("rootfs", String::as_str);
    let holders = match recipes.iter().find(|recipe| recipe.name.as_str() == image) {
        Some(image) => vec![image],
        None => tops,
    };
    for holder in holders {
        let members = recipes.iter().filter(|recipe| is_in_image(recipe) && recipe.name != holder.name);
        relations.extend(members.map(|member| relation(&id(holder), "CONTAINS", &id(member))));
    }
    for (recipe, needs) in recipes.iter().zip(&loaded.graph.needs) {
        let needs = needs.iter().map(|&need| &recipes[need]);
        relations.extend(needs.map(|need| relation(&id(need), "BUILD_DEPENDENCY_OF", &id(recipe))));
    }

    let name = format!("{}-{}", loaded.board, loaded.product);
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": name,
        "creationInfo": {
            "created": date(epoch)?,
            "creators": [format!("Tool: mk-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relations,
        "hasExtractedLicensingInfos": own_licences(recipes),
    });
    // Each content has a name of its own, and the same content the same one.
    let digest = Digest::of(document.to_string());
    let safe: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    document["documentNamespace"] = format!("https://spdx.org/spdxdocs/{safe}-{digest}").into();
    Ok(document)
}

fn package(recipe: &Recipe, in_image: bool) -> Value {
    let licence = recipe.evaluated.get("LICENSE").trim();
    let declared = if is_expression(licence) { licence } else { UNKNOWN };
    let mut package = json!({
        "SPDXID": id(recipe),
        "name": recipe.name,
        "downloadLocation": recipe.source.as_ref().map_or("NONE".to_owned(), location),
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": declared,
        "copyrightText": UNKNOWN,
        "comment": if in_image { "in ROOTFS: what it lists is in the root filesystem" } else { "not in ROOTFS" },
    });
    let mut set = |name: &str, value: &str| {
        if !value.is_empty() {
            package[name] = value.into();
        }
    };
    set("versionInfo", recipe.version());
    set("summary", recipe.description());
    if declared != licence && !licence.is_empty() {
        set("licenseComments", &format!("the recipe says: {licence}"));
    }
    if let Some(source) = &recipe.source {
        set("packageFileName", &source.file);
        let digests: Vec<String> = source.digests.iter().map(Digest::to_string).collect();
        if let [first, others @ ..] = &digests[..] {
            package["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": first }]);
            if !others.is_empty() {
                let text =
                    format!("an archive with the SHA-256 digest {} will do as well", others.join(" or "));
                package["sourceInfo"] = text.into();
            }
        }
    }
    package
}

/// A package's name in the document, in which SPDX takes letters, digits, `.` and `-` alone.
fn id(recipe: &Recipe) -> String {
    let mut id = "SPDXRef-Package-".to_owned();
    for byte in recipe.name.as_str().bytes() {
        match byte {
            b'-' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => id.push(char::from(byte)),
            _ => id.push_str(&format!(".{byte:02X}")),
        }
    }
    id
}

/// Where the archive is to be had, as SPDX writes it: from a server, or as a commit.
fn location(source: &Source) -> String {
    let known = source.urls.iter().find_map(|url| {
        if url.starts_with("http://") || url.starts_with("https://") {
            return Some(archive_url(url, &source.file));
        }
        let (repository, commit) = url.strip_prefix("git+")?.split_once('#')?;
        Some(format!("git+{repository}@{commit}"))
    });
    known.unwrap_or_else(|| UNKNOWN.to_owned())
}

/// Whether a text has the form of an SPDX expression: identifiers with an operator between any two.
fn is_expression(text: &str) -> bool {
    let spaced = text.replace(['(', ')'], " ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let operator = |word: &str| matches!(word, "AND" | "OR" | "WITH");
    let identifier = |word: &str| {
        !operator(word) && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+:".contains(&byte))
    };
    let fits = words.iter().enumerate().all(
        |(at, word)| {
            if at % 2 == 0 { identifier(word) } else { operator(word) }
        },
    );
    words.len() % 2 == 1 && fits && text.matches('(').count() == text.matches(')').count()
}

/// The licences that have no SPDX identifier: SPDX wants to know of each what it says, which recipes do not tell.
fn own_licences(recipes: &[Recipe]) -> Vec<Value> {
    let licences =
        recipes.iter().map(|recipe| recipe.evaluated.get("LICENSE")).filter(|text| is_expression(text));
    let words = licences.flat_map(|text| text.split([' ', '\t', '\n', '(', ')']));
    let mut own: Vec<&str> = words.filter(|word| word.starts_with("LicenseRef-")).collect();
    own.sort_unstable();
    own.dedup();
    let info =
        |name: &&str| json!({ "licenseId": name, "extractedText": "the text is in the package's archive" });
    own.iter().map(info).collect()
}

/// Seconds since 1970 as SPDX writes a time.
fn date(epoch: u64) -> Result<String> {
    let known = i64::try_from(epoch).ok().and_then(|seconds| {
        // SAFETY: both are plain data, of which the call reads one and fills the other.
        let (there, time) = unsafe {
            let mut time: libc::tm = std::mem::zeroed();
            (!libc::gmtime_r(&seconds, &mut time).is_null(), time)
        };
        (there && time.tm_year <= 9999 - 1900).then_some(time)
    });
    let time = known.ok_or_else(|| {
        Error::new(Kind::Usage, format!("SOURCE_DATE_EPOCH is `{epoch}`, which is after the year 9999"))
    })?;
    Ok(format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.tm_year + 1900,
        time.tm_mon + 1,
        time.tm_mday,
        time.tm_hour,
        time.tm_min,
        time.tm_sec
    ))
}
