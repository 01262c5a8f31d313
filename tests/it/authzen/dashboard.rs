//! AuthZEN over the dashboard's own bundle: people of the directory, routes, accounts; what a request may not say; and
//! the examples of the documentation.

use serde_json::{Value, json};

use super::post;
use crate::support::{Client, TestServer};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const USER_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";

/// Two people of one organization with one account: `jdoe` orders, `ada` has no role; `gone` may do nothing any more.
struct Dashboard {
    server: TestServer,
    jdoe: String,
}

impl Dashboard {
    fn start() -> Self {
        let server = TestServer::start();
        let mut operator = server.doors().operator();
        operator.organization("acme");
        let products = operator.products();
        operator.account("acme", "100", &products);
        operator.account("acme", "200", &products);
        let token = operator.connection("acme", "generic");
        let mut scim = server.doors().provisioner(&token);
        let mut person = |name: &str, active: bool, roles: &[&str]| {
            let roles: Vec<Value> = roles.iter().map(|role| json!({"value": role})).collect();
            let body = json!({"schemas": [USER, USER_EXTENSION], "userName": name, "active": active, "roles": roles,
                USER_EXTENSION: {"accessMethods": ["api"], "accounts": ["100"]}});
            scim.call("POST", "Users", &body).expect(&[201]).json()["id"].as_str().unwrap().to_owned()
        };
        let jdoe = person("jdoe", true, &["Ordering"]);
        person("ada", true, &[]);
        person("gone", false, &["Ordering"]);
        Self { server, jdoe }
    }

    fn client(&self) -> Client {
        self.server.doors().anonymous("gate")
    }

    /// Verdict and reason.
    #[track_caller]
    fn ask(&self, question: &Value) -> (bool, String) {
        let answer = post(&mut self.client(), "/access/v1/evaluation", question).expect(&[200]).json();
        let reason = answer["context"]["reason"]["code"].as_str().unwrap().to_owned();
        (answer["decision"].as_bool().unwrap(), reason)
    }
}

fn question(subject: &Value, action: &str, resource: &Value) -> Value {
    json!({"subject": subject, "action": {"name": action}, "resource": resource})
}

#[test]
fn people_are_found_by_name_and_by_id_and_own_facts_win() {
    let dashboard = Dashboard::start();
    let account = json!({"type": "account", "id": "100"});
    for subject in [
        json!({"type": "user", "id": "jdoe"}),
        json!({"type": "User", "id": "JDOE"}),
        json!({"type": "user", "id": dashboard.jdoe}),
    ] {
        assert_eq!(dashboard.ask(&question(&subject, "createOrder", &account)), (true, "role".into()), "{subject}");
    }
    let other = json!({"type": "Account", "id": "200"});
    let jdoe = json!({"type": "user", "id": "jdoe"});
    assert_eq!(dashboard.ask(&question(&jdoe, "createOrder", &other)), (false, "account-not-granted".into()));
    // What SCIM says of people and operators of accounts, no request says otherwise.
    let lies = json!({"active": true, "locked": false, "roles": ["Ordering"], "groups": ["g"], "accounts": ["100", "200"],
        "administrationLevel": "Account Admin", "accessMethods": ["api", "dashboard"], "organization": "acme"});
    let lying = |id: &str| json!({"type": "user", "id": id, "properties": lies});
    let lying_account =
        json!({"type": "account", "id": "200", "properties": {"organization": "acme", "products": ["UC"]}});
    assert_eq!(dashboard.ask(&question(&lying("ada"), "createOrder", &account)), (false, "role-missing".into()));
    assert_eq!(dashboard.ask(&question(&lying("gone"), "createOrder", &account)), (false, "deactivated".into()));
    assert_eq!(dashboard.ask(&question(&lying("nobody"), "createOrder", &account)), (false, "unknown-user".into()));
    assert_eq!(dashboard.ask(&question(&lying("jdoe"), "createOrder", &lying_account)).1, "account-not-granted");
    // Nor does a context.
    let mut asked = question(&json!({"type": "user", "id": "ada"}), "createOrder", &account);
    asked["context"] = json!({"channel": "dashboard", "now": "2000-01-01T00:00:00Z", "roles": ["Ordering"]});
    assert_eq!(dashboard.ask(&asked), (false, "role-missing".into()));
}

#[test]
fn a_route_is_judged_as_the_request_that_it_stands_for() {
    let dashboard = Dashboard::start();
    let jdoe = json!({"type": "user", "id": "jdoe"});
    let route = |kind: &str, id: &str, properties: Value| json!({"type": kind, "id": id, "properties": properties});
    let orders = "/api/accounts/100/orders";
    let host = "dashboard.bandwidth.com";
    for resource in [
        json!({"type": "route", "id": orders}),
        json!({"type": "http_route", "id": orders}),
        route("route", "/api/accounts/{accountId}/orders", json!({"path": orders, "params": {"accountId": "100"}})),
        route("route", "/{rest}", json!({"uri": format!("https://{host}{orders}?page=1"), "hostname": host})),
    ] {
        assert_eq!(dashboard.ask(&question(&jdoe, "POST", &resource)), (true, "role".into()), "{resource}");
    }
    let template = json!({"type": "route", "id": "/api/accounts/{accountId}/orders"});
    assert_eq!(dashboard.ask(&question(&jdoe, "POST", &template)).1, "account-not-granted");
    for (path, reason) in [("/api/accounts/200/../100/orders", "malformed-request"), ("/nowhere", "no-route")] {
        let resource = json!({"type": "route", "id": path});
        assert_eq!(dashboard.ask(&question(&jdoe, "POST", &resource)), (false, reason.into()), "{path}");
    }
    let twice = route("route", orders, json!({"path": orders, "uri": "/api/accounts/200/orders"}));
    let refused =
        post(&mut dashboard.client(), "/access/v1/evaluation", &question(&jdoe, "POST", &twice)).expect(&[400]);
    assert!(refused.text().contains("twice"), "{}", refused.text());
}

#[test]
fn searches_go_through_the_directory() {
    let dashboard = Dashboard::start();
    let mut client = dashboard.client();
    let mut search = |kind: &str, body: &Value| -> Vec<Value> {
        let answer = post(&mut client, &format!("/access/v1/search/{kind}"), body).expect(&[200]).json();
        answer["results"].as_array().unwrap().clone()
    };
    let (jdoe, user) = (json!({"type": "user", "id": "jdoe"}), json!({"type": "user"}));
    let orders = json!({"type": "route", "id": "/api/accounts/100/orders"});
    let account = json!({"type": "account", "id": "100"});
    assert_eq!(search("subject", &question(&user, "createOrder", &account)), std::slice::from_ref(&jdoe));
    assert_eq!(search("subject", &question(&user, "POST", &orders)), std::slice::from_ref(&jdoe));
    assert_eq!(
        search("resource", &question(&jdoe, "createOrder", &json!({"type": "account"}))),
        std::slice::from_ref(&account)
    );
    assert_eq!(search("resource", &question(&jdoe, "POST", &json!({"type": "route"}))), [] as [Value; 0]);
    let methods = search("action", &json!({"subject": jdoe, "resource": orders}));
    assert_eq!(methods, [json!({"name": "GET"}), json!({"name": "POST"})]);
    let actions = search("action", &json!({"subject": jdoe, "resource": account}));
    assert!(actions.contains(&json!({"name": "createOrder"})) && actions.len() > 1, "{actions:?}");
    let gone = json!({"type": "user", "id": "gone"});
    assert_eq!(search("action", &json!({"subject": gone, "resource": account})), [] as [Value; 0]);
}

/// Requests of the documentation with the answers that it shows: a block of `http`, then one of `json`.
fn examples(text: &str) -> Vec<(&str, &str, &str)> {
    let mut examples = Vec::new();
    for part in text.split("```http\n").skip(1) {
        let (request, rest) = part.split_once("```").unwrap();
        let (line, body) = request.split_once('\n').unwrap();
        let path = line.split(' ').nth(1).unwrap();
        let answer = rest.split_once("```json\n").unwrap().1.split_once("```").unwrap().0;
        examples.push((path, body, answer));
    }
    examples
}

/// What differs from run to run is shown as an example.
fn without_what_changes(mut answer: Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, value) in members.iter_mut() {
                    match name.as_str() {
                        "id" | "revision" | "bundle" | "next_token"
                            if value.as_str().is_some_and(|text| text.len() > 2) =>
                        {
                            *value = json!("…");
                        }
                        // How policies word their reasons is theirs.
                        "reason" => value["message"] = json!("…"),
                        _ => walk(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(walk),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    if let Some(context) = answer.get_mut("context") {
        walk(context);
    }
    for item in answer.get_mut("evaluations").and_then(Value::as_array_mut).into_iter().flatten() {
        walk(item);
    }
    if let Some(page) = answer.get_mut("page") {
        walk(page);
    }
    answer
}

#[test]
fn the_examples_of_the_documentation_are_real() {
    let dashboard = Dashboard::start();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/authzen.md")).unwrap();
    let mut client = dashboard.client();
    let mut faults = Vec::new();
    let examples = examples(&text);
    for (path, body, shown) in &examples {
        let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
        let answer = post(&mut client, path, &body).expect(&[200]).json();
        let shown: Value = serde_json::from_str(shown).unwrap_or_else(|error| panic!("{error}: {shown}"));
        if without_what_changes(answer.clone()) != without_what_changes(shown) {
            faults.push(format!("{path} {body}\n{answer:#}"));
        }
    }
    assert!(faults.is_empty(), "{} answers differ:\n{}", faults.len(), faults.join("\n"));
    assert!(examples.len() >= 6, "{}", examples.len());
}
