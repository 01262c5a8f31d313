//! Verbs from their arguments to what they print and how they end, against the operators' API without sockets.

use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::output::testing::out;
use super::remote::{Call, Reply, Streaming};
use super::*;
use crate::http::{BodyReader, StatusCode};
use crate::manage::tests::{House, TOKEN};

/// How a verb ended.
#[derive(Debug)]
struct Ended {
    exit: Exit,
    data: String,
    talk: String,
}

impl Ended {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|fault| panic!("{fault}: {}", self.data))
    }
}

/// The operators' API behind a transport.
fn served(house: &Arc<House>) -> Transport {
    let (calls, uploads) = (Arc::clone(house), Arc::clone(house));
    Transport {
        call: Arc::new(move |call: Call| {
            let house = Arc::clone(&calls);
            Box::pin(async move {
                let body = call.body.map(|body| body.to_string()).unwrap_or_default();
                let response = house.respond(call.method, &call.path, call.token.as_deref(), body).await;
                let revision = response.headers().get("cedargate-revision");
                let revision = revision.map(|value| value.to_str().unwrap().to_owned());
                let status = response.status();
                Ok(Reply { status, revision, body: response.into_body().collect().await.unwrap().to_bytes() })
            })
        }),
        upload: Arc::new(move |upload| {
            let house = Arc::clone(&uploads);
            Box::pin(async move {
                let body = upload.body.collect().await.unwrap().to_bytes();
                let response =
                    house.respond(crate::http::Method::POST, &upload.path, upload.token.as_deref(), body).await;
                let status = response.status();
                let answer = response.into_body().collect().await.unwrap().to_bytes();
                Ok(Streaming { status, body: BodyReader::from_bytes(answer) })
            })
        }),
    }
}

/// A server that gives one answer to everything, and keeps what it was asked.
fn canned(status: StatusCode, body: Value) -> (Transport, Arc<Mutex<Vec<Call>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&asked);
    let call = Arc::new(move |call| -> crate::store::BoxFuture<'static, _> {
        keep.lock().unwrap().push(call);
        let reply = Reply { status, revision: None, body: body.to_string().into() };
        Box::pin(async move { Ok(reply) })
    });
    let upload =
        Arc::new(|_| -> crate::store::BoxFuture<'static, _> { Box::pin(async { Err("no upload".to_owned()) }) });
    (Transport { call, upload }, asked)
}

fn environment(name: &str) -> Option<String> {
    match name {
        "CEDARGATE_OPERATOR_TOKEN" => Some(TOKEN.to_owned()),
        _ => None,
    }
}

fn with(transport: Transport, environment: &Environment, line: &[&str]) -> Ended {
    let arguments = Arguments::try_parse_from([&["cedargate"], line].concat()).unwrap();
    let (mut out, data, talk) = out(arguments.common.output);
    let verdict = perform(arguments, environment, transport, &mut out);
    let exit = finish(verdict, &mut out);
    Ended { exit, data: data.text(), talk: talk.text() }
}

fn run(house: &Arc<House>, line: &[&str]) -> Ended {
    with(served(house), &environment, &[line, &["--server", "http://ops"]].concat())
}

fn good(house: &Arc<House>, line: &[&str]) -> Ended {
    let ended = run(house, line);
    assert_eq!(ended.exit, Exit::Success, "{line:?}: {ended:?}");
    ended
}

#[test]
fn the_command_line_has_no_contradictions() {
    use clap::CommandFactory;
    Arguments::command().debug_assert();
}

#[test]
fn wrong_command_lines_are_usage_errors() {
    let lines: [&[&str]; 12] = [
        &[],
        &["orgnization", "list"],
        &["can", "jdoe"],
        &["can", "jdoe", "GET"],
        &["can", "jdoe", "GET", "/x", "--action", "y"],
        &["can", "jdoe", "--action", "y", "--resource", "Account"],
        &["can", "jdoe", "GET", "/x", "--resource", "Account::1"],
        &["can", "jdoe", "GET", "/x", "--channel", "sms"],
        &["user", "set", "jdoe"],
        &["connection", "delete", "c1"],
        &["import", "file"],
        &["organization", "list", "--output", "xml"],
    ];
    for line in lines {
        let error = Arguments::try_parse_from([&["cedargate"], line].concat()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line:?}");
    }
    let help = Arguments::try_parse_from(["cedargate", "--help"]).unwrap_err();
    assert_eq!(help.exit_code(), 0);
    assert!(help.to_string().contains("5  deny; no"));
}

#[test]
fn organizations_and_accounts_from_nothing_to_shown() {
    let house = Arc::new(House::new());
    assert_eq!(good(&house, &["organization", "list"]).talk, "nothing found\n");
    assert_eq!(good(&house, &["organization", "list", "-o", "json"]).json(), json!([]));

    let set = good(&house, &["organization", "set", "acme", "--name", "Acme GmbH"]);
    assert_eq!((set.data.as_str(), set.talk.as_str()), ("id    acme\nname  Acme GmbH\n", "done, in revision 1-1\n"));
    good(&house, &["organization", "set", "acme"]);
    assert_eq!(
        good(&house, &["organization", "show", "acme", "-o", "json"]).json()["name"],
        "Acme GmbH",
        "the name stays"
    );

    let lost = run(&house, &["account", "set", "100"]);
    assert_eq!(lost.exit, Exit::Usage);
    assert!(lost.talk.contains("--organization"), "{}", lost.talk);
    good(&house, &["account", "set", "100", "--organization", "acme", "--products", "UC, Termination"]);
    good(&house, &["account", "set", "100", "--name", "Main"]);
    let shown = good(&house, &["account", "show", "100", "-o", "json"]).json();
    assert_eq!(shown, json!({"id": "100", "organization": "acme", "name": "Main", "products": ["Termination", "UC"]}));
    good(&house, &["account", "set", "100", "--products", ""]);
    let list = good(&house, &["account", "list", "--organization", "acme"]);
    assert_eq!(list.data, "ID   ORGANIZATION  NAME  PRODUCTS\n100  acme          Main\n");

    let typo = run(&house, &["account", "set", "100", "--products", "Terminaton"]);
    assert_eq!(typo.exit, Exit::Failure);
    assert!(
        typo.talk.starts_with("cedargate: unknown product `Terminaton`; did you mean `Termination`?"),
        "{}",
        typo.talk
    );
    let full = run(&house, &["organization", "delete", "acme"]);
    assert!(full.exit == Exit::Failure && full.talk.contains("owns 1 account"), "{full:?}");
    good(&house, &["organization", "set", "empty"]);
    assert_eq!(good(&house, &["organization", "delete", "empty"]).data, "");
}

#[test]
fn long_lists_come_whole_and_json_lists_are_one_array() {
    let house = Arc::new(House::new());
    good(&house, &["organization", "set", "acme"]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for number in 0..2_050 {
        let body = json!({"organization": "acme", "products": []}).to_string();
        let path = format!("/manage/v1/accounts/a{number}");
        runtime.block_on(house.respond(crate::http::Method::PUT, &path, Some(TOKEN), body));
    }
    assert_eq!(good(&house, &["account", "list", "-o", "json"]).json().as_array().unwrap().len(), 2_050);
    let table = good(&house, &["account", "list"]).data;
    assert_eq!(table.lines().filter(|line| line.starts_with('a')).count(), 2_050);
}

#[test]
fn a_connection_is_added_rotated_revoked_and_deleted() {
    let house = Arc::new(House::new());
    good(&house, &["organization", "set", "acme"]);
    let added = good(
        &house,
        &[
            "connection",
            "add",
            "--organization",
            "acme",
            "--name",
            "Okta",
            "--profile",
            "okta",
            "--roles",
            "Ordering",
            "--may-grant-admin",
            "-o",
            "json",
        ],
    );
    let connection = added.json();
    assert_eq!(connection["settings"]["roles"], json!(["Ordering"]));
    assert_eq!(connection["settings"]["may_grant_admin"], true);
    assert!(added.talk.contains("shown this once"));
    let token = connection["token"].as_str().unwrap();
    let id = connection["id"].as_str().unwrap();
    let first = connection["tokens"][0]["id"].as_str().unwrap();

    let rotated = good(&house, &["connection", "rotate", id]);
    assert!(rotated.data.contains("token    cg_"), "{}", rotated.data);
    assert!(rotated.talk.contains(&format!("cedargate connection revoke {id} {first}")), "{}", rotated.talk);
    good(&house, &["connection", "revoke", id, first]);
    let shown = good(&house, &["connection", "show", id]).data;
    assert!(shown.contains(&format!("{first}, ended")) && !shown.contains(token), "{shown}");
    assert!(good(&house, &["connection", "list"]).data.contains("okta"));
    good(&house, &["connection", "delete", id, "--yes"]);
    assert_eq!(run(&house, &["connection", "show", id]).exit, Exit::Failure);
}

#[test]
fn people_are_imported_shown_and_changed() {
    let house = Arc::new(House::new());
    good(&house, &["organization", "set", "acme"]);
    good(&house, &["account", "set", "100", "--organization", "acme"]);
    let extension = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
    let line = |name: &str, role: &str| {
        json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", extension], "userName": name,
            "roles": [{"value": role}], extension: {"accounts": ["100"]}})
        .to_string()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("people.jsonl");
    let path = file.to_str().unwrap();
    std::fs::write(&file, format!("{}\n{}\n", line("ann", "Ordering"), line("bob", "Emperor"))).unwrap();

    let partial = run(&house, &["import", path, "--organization", "acme"]);
    assert_eq!((partial.exit, partial.talk.as_str()), (Exit::Partial, "created 1, updated 0, failed 1\n"));
    assert!(partial.data.starts_with("line 2: ") && partial.data.contains("Emperor"), "{}", partial.data);
    let again = run(&house, &["import", path, "--organization", "acme", "-o", "json"]);
    assert_eq!(again.json()["input"]["userName"], "bob", "failures can be put right and sent again");
    std::fs::write(&file, line("ann", "Ordering")).unwrap();
    assert_eq!(good(&house, &["import", path, "--organization", "acme"]).talk, "created 0, updated 1, failed 0\n");
    assert_eq!(run(&house, &["import", path, "--organization", "none"]).exit, Exit::Failure);
    let missing = run(&house, &["import", "/nowhere/people.jsonl", "--organization", "acme"]);
    assert!(missing.exit == Exit::Failure && missing.talk.contains("cannot be read"), "{missing:?}");

    let shown = good(&house, &["user", "show", "ann"]).data;
    for wanted in ["userName ", "active ", "yes", "Ordering", "Basic User", "100"] {
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
    let set = ["user", "set", "ann", "--level", "Account Admin", "--roles", "", "--access-methods", "api,dashboard"];
    let set = good(&house, &[&set[..], &["-o", "json"]].concat()).json();
    assert_eq!(set["effective"]["administrationLevel"], "Account Admin");
    assert_eq!(set["effective"]["roles"], json!([]));
    assert_eq!(set["effective"]["accessMethods"], json!(["api", "dashboard"]));
    for (verb, member, value) in [
        ("deactivate", "active", "no"),
        ("reactivate", "active", "yes"),
        ("lock", "locked", "yes"),
        ("unlock", "locked", "no"),
    ] {
        let shown = good(&house, &["user", verb, "ann"]);
        assert!(shown.talk.starts_with("done, in revision 1-"), "{}", shown.talk);
        let fact = shown.data.lines().find(|line| line.starts_with(member)).map(|line| line.ends_with(value));
        // What is not locked says nothing of a lock.
        assert!(fact.unwrap_or(verb == "unlock"), "{verb}: {}", shown.data);
    }
    let list = good(&house, &["user", "list", "--filter", "userName sw \"a\"", "--organization", "acme"]).data;
    assert!(list.lines().count() == 2 && list.contains("ann"), "{list}");
    assert_eq!(run(&house, &["user", "show", "nobody"]).exit, Exit::Failure);
}

#[test]
fn can_asks_one_question_and_ends_with_its_answer() {
    let permit = json!({"decision": "permit", "reason": {"code": "role", "message": "Ordering covers it"},
        "policies": ["ordering"], "action": "createOrder", "resource": {"type": "Account", "id": "100"}, "revision": "1-4"});
    let line = ["can", "jdoe", "POST", "/api/accounts/100/orders", "--account", "100", "--server", "http://gate"];
    let (transport, asked) = canned(StatusCode::OK, permit);
    let ended = with(transport, &environment, &line);
    assert_eq!(ended.exit, Exit::Success);
    assert!(ended.data.starts_with("permit\nreason    role\nmessage   Ordering covers it\n"), "{}", ended.data);
    assert!(ended.data.contains("resource  Account::100"));
    let call = asked.lock().unwrap()[0].clone();
    assert_eq!(call.token, None, "the operator token is not for the gate");
    assert_eq!(
        call.body.unwrap(),
        json!({"subject": {"user": "jdoe"}, "request": {"method": "POST", "path": "/api/accounts/100/orders"},
            "channel": "api", "context": {"account": "100"}})
    );

    let deny = json!({"decision": "deny", "reason": {"code": "deactivated", "message": "x"}, "policies": []});
    let (transport, asked) = canned(StatusCode::OK, deny);
    let line =
        ["can", "--id", "42", "--action", "signIn", "--channel", "dashboard", "-o", "json", "--server", "http://gate"];
    let ended = with(transport, &environment, &line);
    assert_eq!((ended.exit, &ended.json()["decision"]), (Exit::No, &json!("deny")));
    let call = asked.lock().unwrap()[0].clone();
    assert_eq!(call.body.unwrap(), json!({"subject": {"id": "42"}, "action": "signIn", "channel": "dashboard"}));

    let failures = [
        (StatusCode::SERVICE_UNAVAILABLE, json!({"error": {"code": "not-fresh", "message": "m"}}), Exit::NotReady),
        (StatusCode::SERVICE_UNAVAILABLE, json!({"error": {"code": "overloaded", "message": "m"}}), Exit::Failure),
        (StatusCode::BAD_REQUEST, json!({"error": {"code": "bad-request", "message": "m"}}), Exit::Failure),
        (StatusCode::OK, json!({"hello": "world"}), Exit::Failure),
        (StatusCode::OK, json!({"decision": "maybe"}), Exit::Failure),
    ];
    for (status, body, exit) in failures {
        let ended = with(
            canned(status, body.clone()).0,
            &environment,
            &["can", "jdoe", "GET", "/x", "--server", "http://gate"],
        );
        assert_eq!(ended.exit, exit, "{body}");
        assert!(ended.data.is_empty());
    }
}

#[test]
fn why_ends_with_the_code_of_its_answer() {
    let answer = |decision: &str, code: &str| json!({"decision": decision, "reason": {"code": code, "message": "m"}, "considered": [], "nearest": []});
    let refusal = |code: &str| json!({"error": {"code": code, "message": "m"}});
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    let cases = [
        (StatusCode::OK, answer("permit", "role"), Exit::Success),
        (StatusCode::OK, answer("deny", "role-missing"), Exit::No),
        (StatusCode::OK, answer("deny", "unknown-user"), Exit::Failure),
        (StatusCode::OK, answer("deny", "no-route"), Exit::Failure),
        (StatusCode::OK, json!({"hello": "world"}), Exit::Failure),
        (StatusCode::UNAUTHORIZED, refusal("unauthenticated"), Exit::Failure),
        (unavailable, refusal("overloaded"), Exit::Failure),
        (unavailable, refusal("not-fresh"), Exit::NotReady),
    ];
    for (status, body, exit) in cases {
        let line = ["why", "jdoe", "GET", "/x", "--server", "http://ops"];
        assert_eq!(with(canned(status, body.clone()).0, &environment, &line).exit, exit, "{body}");
    }
    assert_eq!(Exit::NotReady.code(), 7);
}

#[test]
fn servers_are_found_by_the_data_folder_and_tokens_stay_with_their_server() {
    let house = Arc::new(House::new());
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let nothing: &Environment = &|_| None;
    let line = ["organization", "list", "--data", data];

    let none = with(served(&house), nothing, &line);
    assert_eq!(none.exit, Exit::Failure);
    assert!(
        none.talk.contains("no server runs on the data folder") && none.talk.contains("cedargate serve"),
        "{}",
        none.talk
    );
    let sick = with(served(&house), nothing, &["healthcheck", "--data", data]);
    assert_eq!(sick.exit, Exit::NotReady);

    std::fs::write(
        folder.path().join("addresses.json"),
        r#"{"front": "http://f", "gate": "http://g", "ops": "http://o/", "pid": 1}"#,
    )
    .unwrap();
    let closed = with(served(&house), nothing, &line);
    assert!(closed.talk.contains("operator.token` cannot be read"), "{}", closed.talk);
    std::fs::write(folder.path().join("operator.token"), format!("{TOKEN}\n")).unwrap();
    assert_eq!(with(served(&house), nothing, &line).exit, Exit::Success);

    // The token in the folder is for the server of the folder, whoever is asked instead must be given one.
    let stranger = with(served(&house), nothing, &["organization", "list", "--data", data, "--server", "http://o"]);
    assert_eq!(stranger.exit, Exit::Failure);
    assert!(stranger.talk.contains("CEDARGATE_OPERATOR_TOKEN"), "{}", stranger.talk);
    let file = folder.path().join("operator.token");
    let named = ["organization", "list", "--server", "http://o", "--token-file", file.to_str().unwrap()];
    assert_eq!(with(served(&house), nothing, &named).exit, Exit::Success);
    let wrong = with(served(&house), &|_| Some("wrong".to_owned()), &["organization", "list", "--server", "http://o"]);
    assert!(wrong.talk.contains("not the operator token") && !wrong.talk.contains("`wrong`"), "{}", wrong.talk);
}

#[test]
fn the_front_address_is_shown_with_a_new_token_where_it_is_known() {
    let house = Arc::new(House::new());
    good(&house, &["organization", "set", "acme"]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("addresses.json"), r#"{"front": "http://127.0.0.1:8080", "ops": "http://o"}"#)
        .unwrap();
    let data = folder.path().to_str().unwrap();
    let line = ["connection", "add", "--organization", "acme", "--name", "Okta", "--data", data];
    let ended = with(served(&house), &environment, &line);
    assert!(ended.data.contains("http://127.0.0.1:8080/scim/v2\n"), "{ended:?}");
}

#[test]
fn verbs_without_a_server_work_without_one() {
    let house = Arc::new(House::new());
    assert!(run(&house, &["completions", "bash"]).data.contains("_cedargate"));
    assert!(run(&house, &["man"]).data.contains(".TH cedargate"));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(&house, &["man", "--directory", folder.path().to_str().unwrap()]).exit, Exit::Success);
    for page in ["cedargate.1", "cedargate-can.1", "cedargate-account-set.1"] {
        assert!(folder.path().join(page).exists(), "{page}");
    }
    assert_eq!(run(&house, &["version"]).data, format!("cedargate {}\n", env!("CARGO_PKG_VERSION")));
}
