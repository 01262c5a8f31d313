//! The cookbook: every recipe loads over the shipped policies and passes its cases, and the page shows the very files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cedargate::authz::trial;
use cedargate::policy::{Bundle, Source, formatted};

use crate::support::copy_folder;

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn recipes() -> Vec<PathBuf> {
    let folder = home().join("tests/cases/cookbook");
    let mut recipes: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    recipes.sort();
    assert_eq!(recipes.len(), 12);
    recipes
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn every_recipe_passes_its_cases_over_the_shipped_policies() {
    for recipe in recipes() {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&home().join("policies"), folder.path());
        copy_folder(&recipe, folder.path());
        let bundle = Bundle::load(&Source::Folder(folder.path().into()))
            .unwrap_or_else(|faults| panic!("{}: {faults:?}", recipe.display()));
        let own: Vec<_> = bundle.cases().iter().filter(|file| file.file == "tests/recipe.toml").cloned().collect();
        let trials = trial::run(&Arc::new(bundle), &own);
        assert!(trials.len() >= 3, "{}", recipe.display());
        assert!(trials.iter().any(|trial| trial.permitted) && trials.iter().any(|trial| !trial.permitted));
        for trial in trials {
            assert!(trial.faults.is_empty(), "{}: {}: {:?}", recipe.display(), trial.name, trial.faults);
        }
    }
}

#[test]
fn the_page_shows_the_very_files_and_they_are_formatted() {
    let page = std::fs::read_to_string(home().join("docs/policy-cookbook.md")).unwrap();
    let mut shown = 0;
    for recipe in recipes() {
        for file in files(&recipe) {
            let text = std::fs::read_to_string(&file).unwrap();
            let name = file.strip_prefix(recipe.parent().unwrap()).unwrap().display().to_string();
            let kind = file.extension().unwrap().to_str().unwrap();
            assert!(page.contains(&format!("`{name}`\n\n```{kind}\n{text}```\n")), "{name} is shown otherwise");
            if kind == "cedar" {
                assert_eq!(formatted(&name, &text).unwrap(), text, "{name}");
            }
            shown += 1;
        }
    }
    assert_eq!(page.matches("\n```cedar\n").count() + page.matches("\n```toml\n").count(), shown);
}
