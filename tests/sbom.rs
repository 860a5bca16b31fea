//! `mk sbom`: what it says of each package, that it is whole, and that it is the same each time.

#![allow(clippy::unwrap_used, reason = "clippy knows only the test functions themselves as tests")]

mod harness;

use std::collections::BTreeSet;

use harness::Tree;
use serde_json::{Value, json};

const DIGEST: &str = "d14c38e313afc35a9a8760dadf26042f51ea0f5d154b0630a31da0540107fb98";

fn tree() -> Tree {
    let source = |url: &str| format!("URL={url}\nTARBALL=z-1.tar.xz\nSRCDIR=z-1\nSHA256SUM={DIGEST}\n");
    Tree::new()
        .file("board/tiny/ROOTFS", "lib_z\n")
        .package(
            "lib_z",
            &format!(
                "VERSION=1\nLICENSE=Zlib\nDESCRIPTION=\"Packs\"\nDEPENDS=tool\n{}",
                source("https://z.example/z/")
            ),
        )
        .package(
            "tool",
            &format!(
                "VERSION=2\nLICENSE=\"MIT AND (LicenseRef-Own OR ISC)\"\n{}",
                source("git+https://z.example/z.git#0123456789012345678901234567890123456789")
            ),
        )
        .package("odd", "LICENSE='GPL v2'\n")
        .package("rootfs", "DEPENDS=\"lib_z odd\"\n")
        .package("release-tiny", "DEPENDS=rootfs\n")
}

fn sbom(tree: &Tree, words: &str) -> Value {
    let ran = tree.mk(&format!("sbom tiny demo {words}"));
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    serde_json::from_str(&ran.stdout).unwrap()
}

fn package<'a>(document: &'a Value, name: &str) -> &'a Value {
    document["packages"].as_array().unwrap().iter().find(|package| package["name"] == name).unwrap()
}

#[test]
fn every_package_of_the_system_is_described() {
    let document = sbom(&tree(), "");
    assert_eq!(
        *package(&document, "lib_z"),
        json!({
            "SPDXID": "SPDXRef-Package-lib.5Fz",
            "name": "lib_z",
            "versionInfo": "1",
            "summary": "Packs",
            "downloadLocation": "https://z.example/z/z-1.tar.xz",
            "packageFileName": "z-1.tar.xz",
            "checksums": [{ "algorithm": "SHA256", "checksumValue": DIGEST }],
            "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "Zlib",
            "copyrightText": "NOASSERTION",
            "comment": "in ROOTFS: what it lists is in the root filesystem",
        })
    );
    let tool = package(&document, "tool");
    assert_eq!(
        tool["downloadLocation"],
        "git+https://z.example/z.git@0123456789012345678901234567890123456789"
    );
    assert_eq!(tool["comment"], "not in ROOTFS");
    assert_eq!(document["hasExtractedLicensingInfos"][0]["licenseId"], "LicenseRef-Own");
    let odd = package(&document, "odd");
    assert_eq!((&odd["licenseDeclared"], &odd["downloadLocation"]), (&"NOASSERTION".into(), &"NONE".into()));
    assert_eq!(odd["licenseComments"], "the recipe says: GPL v2");
    let only = sbom(&tree(), "tool");
    assert_eq!(only["packages"].as_array().unwrap().len(), 1);
}

#[test]
fn the_document_has_what_spdx_requires_and_every_relation_leads_to_something() {
    let document = sbom(&tree(), "");
    for field in ["spdxVersion", "dataLicense", "SPDXID", "name", "documentNamespace", "creationInfo"] {
        assert!(!document[field].is_null(), "{field}");
    }
    let mut ids = BTreeSet::from([document["SPDXID"].as_str().unwrap()]);
    for package in document["packages"].as_array().unwrap() {
        for field in ["name", "downloadLocation", "licenseConcluded", "licenseDeclared", "copyrightText"] {
            assert!(package[field].is_string(), "{field}: {package}");
        }
        let id = package["SPDXID"].as_str().unwrap();
        let rest = id.strip_prefix("SPDXRef-").unwrap();
        assert!(rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)), "{id}");
        assert!(ids.insert(id), "{id} is there twice");
    }
    let mut told = Vec::new();
    for relation in document["relationships"].as_array().unwrap() {
        let [from, to] = ["spdxElementId", "relatedSpdxElement"].map(|end| relation[end].as_str().unwrap());
        assert!(ids.contains(from) && ids.contains(to), "{relation}");
        let short = |id: &str| id.replace("SPDXRef-Package-", "").replace("SPDXRef-", "");
        told.push(format!(
            "{} {} {}",
            short(from),
            relation["relationshipType"].as_str().unwrap(),
            short(to)
        ));
    }
    told.sort();
    assert_eq!(
        told,
        [
            "DOCUMENT DESCRIBES release-tiny",
            "lib.5Fz BUILD_DEPENDENCY_OF rootfs",
            "odd BUILD_DEPENDENCY_OF rootfs",
            "rootfs BUILD_DEPENDENCY_OF release-tiny",
            "rootfs CONTAINS lib.5Fz",
            "tool BUILD_DEPENDENCY_OF lib.5Fz",
        ]
    );
}

#[test]
fn it_is_the_same_each_time_and_of_the_time_that_is_asked_for() {
    let tree = tree();
    assert_eq!(tree.mk("sbom tiny demo").stdout, tree.mk("sbom tiny demo").stdout);
    let before = sbom(&tree, "");
    assert_eq!(before["creationInfo"]["created"], "2020-01-01T00:00:00Z");
    let tree = tree.env("SOURCE_DATE_EPOCH", "1709210096");
    let after = sbom(&tree, "");
    assert_eq!(after["creationInfo"]["created"], "2024-02-29T12:34:56Z");
    assert_ne!(after["documentNamespace"], before["documentNamespace"]);
    let tree = tree.env("SOURCE_DATE_EPOCH", "today");
    tree.mk("sbom tiny demo").is("! error: SOURCE_DATE_EPOCH is `today`, which is no number of seconds\n! hint: set it to seconds since 1970, or not at all\nstatus 2\n");
}
