//! Every decision case over the wire: to a server that never heard the question, to one that has, and in a batch.

use cedargate::policy::trial::{Asking, Case, CaseFile, PersonCase};
use serde_json::{Value, json};

use crate::support::{Answer, Operator, Provisioner, TestServer, days_ago, report};

const ORGANIZATION: &str = "cases";
const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const USER_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const GROUP_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:Group";

/// Cases about people without any access method cannot be put over the wire where it matters: no method said
/// means the dashboard.
const NOT_ON_THE_WIRE: usize = 3;

#[test]
fn the_decision_cases_hold_cold_warm_and_in_a_batch() {
    let mut files: Vec<CaseFile> = std::fs::read_dir("tests/cases/decisions")
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            CaseFile::parse(&path.display().to_string(), &text).unwrap_or_else(|fault| panic!("{fault}"))
        })
        .collect();
    files.sort_by(|one, other| one.file.cmp(&other.file));
    let (mut faults, mut asked, mut left_out) = (Vec::new(), 0, 0);
    for file in &files {
        let (of_file, of_file_left_out) = replay(file, &mut faults);
        asked += of_file;
        left_out += of_file_left_out;
    }
    report(&format!("{asked} cases of {} files, each asked four times; {left_out} left out", files.len()));
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(asked > 300, "{asked}");
    assert!(left_out <= NOT_ON_THE_WIRE, "{left_out}");
}

/// A server for one file's world; how many cases were asked and how many left out.
fn replay(file: &CaseFile, faults: &mut Vec<String>) -> (usize, usize) {
    let server = TestServer::start();
    furnish(&server, file);
    let is_left_out = |case: &Case| {
        let methodless = matches!(&case.person, Some(Asking::Inline(person)) if person.methods.is_empty());
        methodless && case.reason == "wrong-access-method" && case.action.as_deref() == Some("signIn")
    };
    let cases: Vec<(usize, &Case)> = file.cases.iter().enumerate().filter(|(_, case)| !is_left_out(case)).collect();
    let questions: Vec<Value> = cases.iter().map(|(at, case)| question(*at, case)).collect();
    let mut judge = |how: &str, answers: &[Answer]| {
        assert_eq!(answers.len(), cases.len());
        for ((_, case), answer) in cases.iter().zip(answers) {
            let verdict = if answer.permit { "permit" } else { "deny" };
            let found = case.judge(verdict, &answer.reason, &answer.message, &answer.policies);
            faults.extend(found.into_iter().map(|fault| format!("{}: {how}: {}: {fault}", file.file, case.name)));
        }
    };
    let mut asker = server.doors().asker();
    for how in ["cold", "warm", "warm again"] {
        let answers: Vec<Answer> = questions.iter().map(|question| asker.ask(question)).collect();
        judge(how, &answers);
    }
    judge("batch", &asker.batch(&questions));
    (cases.len(), file.cases.len() - cases.len())
}

/// The name of the person that a case is about; the same for all ways to ask.
fn asking_name(at: usize, case: &Case) -> String {
    match (&case.person, &case.user) {
        (Some(Asking::Named(name)), _) | (None, Some(name)) => name.clone(),
        (Some(Asking::Inline(_)), _) | (None, None) => format!("person-{at}"),
    }
}

fn question(at: usize, case: &Case) -> Value {
    let me = asking_name(at, case);
    let subject = match &case.authorization {
        Some(header) => json!({"authorization": header}),
        None => json!({"user": me}),
    };
    let mut question = json!({"subject": subject});
    if let Some(request) = &case.request {
        let (method, path) = request.split_once(' ').unwrap();
        question["request"] = json!({"method": method, "path": path.replace("{me}", &me)});
        if let Some(host) = &case.host {
            question["request"]["host"] = json!(host);
        }
    }
    if let Some(action) = &case.action {
        question["action"] = json!(action);
    }
    if let Some(resource) = &case.resource {
        question["resource"] = json!({"type": resource.kind, "id": resource.id});
    }
    if let Some(channel) = &case.channel {
        question["channel"] = json!(channel);
    }
    if let Some(context) = &case.context {
        question["context"] = serde_json::to_value(context).unwrap();
    }
    question
}

/// Accounts by the operator, people and groups by an identity provider, locks and passwords by the operator.
fn furnish(server: &TestServer, file: &CaseFile) {
    let mut operator = server.doors().operator();
    operator.organization(ORGANIZATION);
    let all = operator.products();
    for (id, account) in &file.accounts {
        let every = account.products.iter().any(|product| product == "*");
        operator.account(ORGANIZATION, id, if every { &all } else { &account.products });
    }
    let token = operator.connection(ORGANIZATION, "generic");
    let mut scim = server.doors().provisioner(&token);
    let mut members: Vec<(String, String)> = Vec::new();
    let inline = file.cases.iter().enumerate().filter_map(|(at, case)| match &case.person {
        Some(Asking::Inline(person)) => Some((asking_name(at, case), &**person)),
        Some(Asking::Named(_)) | None => None,
    });
    for (name, is) in file.people.iter().map(|(name, is)| (name.clone(), is)).chain(inline) {
        let id = person(&mut operator, &mut scim, &name, is);
        members.extend(is.groups.iter().map(|group| (group.clone(), id.clone())));
    }
    for (name, group) in &file.groups {
        let ids = members.iter().filter(|(of, _)| of == name).map(|(_, id)| json!({"value": id}));
        let body = json!({
            "schemas": [GROUP, GROUP_EXTENSION],
            "displayName": name,
            "members": ids.collect::<Vec<Value>>(),
            GROUP_EXTENSION: {"roles": group.roles, "accounts": group.accounts},
        });
        scim.call("POST", "Groups", &body).expect(&[201]);
    }
}

fn person(operator: &mut Operator, scim: &mut Provisioner, name: &str, is: &PersonCase) -> String {
    let roles: Vec<Value> = is.roles.iter().map(|role| json!({"value": role})).collect();
    let body = json!({
        "schemas": [USER, USER_EXTENSION],
        "userName": name,
        "active": is.active,
        "roles": roles,
        USER_EXTENSION: {
            "administrationLevel": is.level,
            "accessMethods": is.methods,
            "accounts": is.accounts,
        },
    });
    let made = scim.call("POST", "Users", &body).expect(&[201]).json();
    if is.locked || is.password_age_days.is_some() {
        let facts = json!({"locked": is.locked, "passwordChangedAt": is.password_age_days.map(days_ago)});
        operator.call("PATCH", &format!("users/{name}"), &facts).expect(&[200]);
    }
    made["id"].as_str().unwrap().to_owned()
}
