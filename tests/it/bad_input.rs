//! Bad input gets a clear answer and changes nothing, and the server goes on.

mod connections;
mod questions;
mod resources;

use serde_json::{Value, json};

use crate::support::{Operator, Provisioner, TestServer};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const USER_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// A server with two organizations, one account, and in the first organization one person and one group.
struct Scene {
    server: TestServer,
    operator: Operator,
    scim: Provisioner,
    token: String,
    foreign: Provisioner,
    ada: String,
    group: String,
}

impl Scene {
    fn new() -> Self {
        let server = TestServer::start();
        let mut operator = server.doors().operator();
        operator.organization("acme");
        operator.organization("globex");
        operator.account("acme", "100", &[]);
        let token = operator.connection("acme", "generic");
        let foreign = operator.connection("globex", "generic");
        let mut scim = server.doors().provisioner(&token);
        let foreign = server.doors().provisioner(&foreign);
        let made = scim.call("POST", "Users", &ada()).expect(&[201]).json();
        let ada = made["id"].as_str().unwrap().to_owned();
        let group = json!({"schemas": [GROUP], "displayName": "Staff", "members": [{"value": ada}]});
        let made = scim.call("POST", "Groups", &group).expect(&[201]).json();
        let group = made["id"].as_str().unwrap().to_owned();
        Self { server, operator, scim, token, foreign, ada, group }
    }

    /// The ledger's revision, by a decision that shows it; also that decisions go on.
    fn revision(&self) -> String {
        let question =
            json!({"subject": {"user": "ada"}, "request": {"method": "GET", "path": "/api/accounts/100/orders"}});
        let answer = self.server.doors().asker().ask(&question);
        assert!(answer.permit, "{answer:?}");
        answer.revision
    }

    /// Runs something that must leave no trace.
    fn unchanged(&mut self, what: &str, act: impl FnOnce(&mut Self)) {
        let before = self.revision();
        let (user, group) = (self.document("Users"), self.document("Groups"));
        act(self);
        assert_eq!(self.revision(), before, "{what}");
        assert_eq!((self.document("Users"), self.document("Groups")), (user, group), "{what}");
        self.operator.get("/readyz").expect(&[200]);
    }

    fn document(&mut self, kind: &str) -> Value {
        let id = if kind == "Users" { &self.ada } else { &self.group };
        self.scim.call("GET", &format!("{kind}/{id}"), &Value::Null).expect(&[200]).json()
    }
}

fn ada() -> Value {
    json!({
        "schemas": [USER, USER_EXTENSION],
        "userName": "ada",
        "name": {"givenName": "Augusta", "familyName": "Lovelace"},
        "emails": [{"value": "ada@example.test", "type": "work", "primary": true}],
        "active": true,
        USER_EXTENSION: {"accessMethods": ["api"], "accounts": ["100"]},
    })
}

/// JSON nested so deep.
fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}
