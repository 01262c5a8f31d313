//! What an operator changes without touching Rust: a copy of the shipped folder, edited, with cases that show the effect.

use std::path::{Path, PathBuf};
use std::process::Command;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

struct Edited(tempfile::TempDir);

impl Edited {
    /// The shipped folder without its own cases, some of which an edit rightly breaks.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies"), folder.path());
        std::fs::remove_dir_all(folder.path().join("tests")).unwrap();
        std::fs::create_dir(folder.path().join("tests")).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn replace(&self, name: &str, what: &str, with: &str) -> &Self {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(what), "{name} has no {what}");
        std::fs::write(self.path(name), text.replacen(what, with, 1)).unwrap();
        self
    }

    fn add(&self, name: &str, text: &str) -> &Self {
        let before = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        std::fs::write(self.path(name), format!("{before}\n{text}")).unwrap();
        self
    }

    /// One question of a person with these settings, on account 100 with every product.
    fn case(&self, person: &str, request: &str, verdict: &str, reason: &str) -> &Self {
        let text = format!(
            "[[case]]\nname = \"{person} {request}\"\nperson = {{ {person} }}\nrequest = \"{request}\"\nverdict = \"{verdict}\"\nreason = \"{reason}\"\n"
        );
        self.add("tests/own.toml", &text.replacen(&format!("name = \"{person} "), "name = \"", 1))
    }

    fn passes(&self) {
        std::fs::write(
            self.path("tests/own.toml"),
            format!(
                "[accounts.100]\nproducts = [\"*\"]\n{}",
                std::fs::read_to_string(self.path("tests/own.toml")).unwrap()
            ),
        )
        .unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_cedargate"))
            .args(["policy", "test", "--policies"])
            .arg(self.0.path())
            .output()
            .unwrap();
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{told}");
    }
}

#[test]
fn the_default_gets_become_a_floor_by_deleting_half_a_condition() {
    let literal = Edited::new();
    literal.case("roles = [\"Disconnect\"]", "GET /api/accounts/100/orders", "deny", "role-missing");
    literal.passes();
    let floor = Edited::new();
    floor.replace("default-get.cedar", " && !principal.hasAssignedRole", "");
    floor.case("roles = [\"Disconnect\"]", "GET /api/accounts/100/orders", "permit", "default-get");
    floor.passes();
}

#[test]
fn a_role_is_mapped_to_an_endpoint_that_none_covered() {
    let edited = Edited::new();
    edited.add(
        "messaging.cedar",
        "@id(\"own-sending\") @reason(\"role\") permit (principal in Role::\"Messaging Insights\", action == Action::\"createMessage\", resource is Account);",
    );
    let request = "POST /api/v2/users/100/messages";
    edited.case("roles = [\"Messaging Insights\"]", request, "permit", "role");
    edited.case("roles = [\"Ordering\"]", request, "deny", "role-missing");
    edited.passes();
}

#[test]
fn a_role_a_product_and_a_forbid_are_added() {
    let edited = Edited::new();
    edited
        .add("catalogue.toml", "[[role]]\nname = \"Auditor\"\n\n[[product]]\nname = \"AUDIT\"\n")
        .add(
            "audit.cedar",
            "@id(\"auditor\") @reason(\"role\")
             permit (principal in Role::\"Auditor\", action == Action::\"listOrders\", resource is Account)
             when { resource.products.contains(Product::\"AUDIT\") };
             @id(\"no-orders-by-porters\") @title(\"Porters place no orders.\")
             forbid (principal in Role::\"Porting\", action == Action::\"createOrder\", resource);",
        )
        .case("roles = [\"Auditor\"]", "GET /api/accounts/100/orders", "permit", "role")
        .case("roles = [\"Ordering\"]", "POST /api/accounts/100/orders", "permit", "role")
        .case("roles = [\"Ordering\", \"Porting\"]", "POST /api/accounts/100/orders", "deny", "forbidden");
    edited.passes();
}

/// The printed schema is whole: the shipped policies validate against it alone.
#[test]
fn the_printed_schema_is_complete_for_other_tools() {
    let output = Command::new(env!("CARGO_BIN_EXE_cedargate")).args(["policy", "schema"]).output().unwrap();
    let (schema, _) = cedar_policy::Schema::from_cedarschema_str(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    let mut texts = String::new();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            texts.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    let policies: cedar_policy::PolicySet = texts.parse().unwrap();
    let outcome = cedar_policy::Validator::new(schema).validate(&policies, cedar_policy::ValidationMode::Strict);
    assert!(outcome.validation_passed(), "{outcome}");
    assert!(policies.num_of_policies() > 40);
}
