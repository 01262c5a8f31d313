//! Every decision case over the wire in every dialect: to a server that never heard the question, and to one that has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cedargate::policy::trial::{Asking, Case, CaseFile, PersonCase, ResourceCase};
use serde_json::{Value, json};

use crate::dialects::{ALL, Posed, Session, Told, What, Who};
use crate::support::{Operator, Provisioner, TestServer, days_ago, report};

const ORGANIZATION: &str = "cases";
const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const USER_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const GROUP_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:Group";

/// A case about signing in without any access method cannot be put over the wire: no method said means the
/// dashboard.
const NOT_ON_THE_WIRE: usize = 1;

/// A file of cases, and the folder of the bundle that it is about; `None` is the built-in one.
struct World {
    bundle: Option<PathBuf>,
    file: CaseFile,
}

/// What came of all cases.
#[derive(Default)]
struct Tally {
    files: usize,
    cases: usize,
    not_on_the_wire: usize,
    faults: Vec<String>,
    /// Questions by dialect.
    asked: BTreeMap<&'static str, usize>,
    /// Cases that a dialect has no words for, by dialect and cause.
    left_out: BTreeMap<(&'static str, &'static str), Vec<String>>,
}

#[test]
fn every_case_gets_its_verdict_and_reason_in_every_dialect() {
    let mut files: Vec<World> = ["tests/cases/decisions", "policies/tests"]
        .into_iter()
        .flat_map(|folder| case_files(Path::new(folder)))
        .map(|file| World { bundle: None, file })
        .collect();
    for bundle in std::fs::read_dir("tests/cases/bundles").unwrap().map(|entry| entry.unwrap().path()) {
        let worlds = case_files(&bundle.join("tests")).into_iter();
        files.extend(worlds.map(|file| World { bundle: Some(bundle.canonicalize().unwrap()), file }));
    }
    let tally = Mutex::new(Tally { files: files.len(), ..Tally::default() });
    files.sort_by_key(|world| world.file.cases.len());
    let left = Mutex::new(files);
    let work = || {
        loop {
            let next = left.lock().unwrap().pop();
            let Some(world) = next else { break };
            replay(&world, &tally);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let tally = tally.into_inner().unwrap();
    report(&format!("{} cases of {} files; {} not on the wire", tally.cases, tally.files, tally.not_on_the_wire));
    for (dialect, asked) in &tally.asked {
        report(&format!("{dialect}: {asked} cases"));
    }
    for ((dialect, why), names) in &tally.left_out {
        report(&format!("{dialect} leaves out {}: {why}: {}", names.len(), names.join("; ")));
    }
    assert!(tally.faults.is_empty(), "{} faults:\n{}", tally.faults.len(), tally.faults.join("\n"));
    assert!(tally.cases > 600, "{}", tally.cases);
    assert!(tally.not_on_the_wire <= NOT_ON_THE_WIRE, "{}", tally.not_on_the_wire);
    for dialect in ALL {
        let asked = tally.asked[dialect.name];
        let left_out: usize =
            tally.left_out.iter().filter(|((name, _), _)| *name == dialect.name).map(|(_, names)| names.len()).sum();
        assert_eq!(asked + left_out, tally.cases, "{}: each case is asked or left out by name", dialect.name);
        assert!(asked * 3 > tally.cases * 2, "{} has words for {asked} alone", dialect.name);
    }
}

fn case_files(folder: &Path) -> Vec<CaseFile> {
    let paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        CaseFile::parse(&path.display().to_string(), &text).unwrap_or_else(|fault| panic!("{fault}"))
    };
    paths.iter().map(|path| read(path)).collect()
}

/// A server for one file's world, asked in every dialect.
fn replay(World { bundle, file }: &World, tally: &Mutex<Tally>) {
    let folder = tempfile::tempdir().unwrap();
    Session::settings(folder.path());
    let bundle = bundle.as_ref().map(|folder| ("CEDARGATE_POLICIES__FOLDER", folder.to_str().unwrap()));
    let server = TestServer::start_with(folder.path(), &bundle.into_iter().collect::<Vec<_>>());
    furnish(&server, file);
    let is_left_out = |case: &Case| {
        let methodless = matches!(&case.person, Some(Asking::Inline(person)) if person.methods.is_empty());
        methodless && case.reason == "wrong-access-method" && case.action.as_deref() == Some("signIn")
    };
    let cases: Vec<(usize, &Case)> = file.cases.iter().enumerate().filter(|(_, case)| !is_left_out(case)).collect();
    let questions: Vec<Posed> = cases.iter().map(|(at, case)| posed(*at, case)).collect();
    let mut session = Session::new(server.doors());
    // The first dialect asks a server that never heard the question, the others one that has.
    for dialect in ALL {
        let outcomes = (dialect.ask)(&mut session, &questions);
        assert_eq!(outcomes.len(), cases.len());
        let mut tally = tally.lock().unwrap();
        for ((_, case), outcome) in cases.iter().zip(outcomes) {
            match outcome {
                Ok(told) => {
                    *tally.asked.entry(dialect.name).or_default() += 1;
                    let place = format!("{}: {}: {}", file.file, dialect.name, case.name);
                    tally.faults.extend(judge(case, &told).into_iter().map(|fault| format!("{place}: {fault}")));
                }
                Err(why) => {
                    let name = format!("{}: {}", file.file, case.name);
                    tally.left_out.entry((dialect.name, why)).or_default().push(name);
                }
            }
        }
    }
    let mut tally = tally.lock().unwrap();
    tally.cases += cases.len();
    tally.not_on_the_wire += file.cases.len() - cases.len();
}

/// A dialect that tells no grounds is held to verdict and reason.
fn judge(case: &Case, told: &Told) -> Vec<String> {
    let verdict = if told.permit { "permit" } else { "deny" };
    match &told.grounds {
        Some((message, policies)) => case.judge(verdict, &told.reason, message, policies),
        None if case.verdict == verdict && case.reason == told.reason => Vec::new(),
        None => vec![format!("expected {} {}, got {verdict} {}", case.verdict, case.reason, told.reason)],
    }
}

/// The name of the person that a case is about; the same for all ways to ask.
fn asking_name(at: usize, case: &Case) -> String {
    match (&case.person, &case.user) {
        (Some(Asking::Named(name)), _) | (None, Some(name)) => name.clone(),
        (Some(Asking::Inline(_)), _) | (None, None) => format!("person-{at}"),
    }
}

fn entity(named: &ResourceCase) -> Value {
    json!({"type": named.kind, "id": named.id, "properties": serde_json::to_value(&named.properties).unwrap()})
}

fn posed(at: usize, case: &Case) -> Posed {
    let me = asking_name(at, case);
    let what = match (&case.request, &case.action) {
        (Some(request), _) => {
            let (method, path) = request.split_once(' ').unwrap();
            What::Request { method: method.into(), path: path.replace("{me}", &me), host: case.host.clone() }
        }
        (None, action) => What::Action {
            name: action.clone().unwrap(),
            properties: serde_json::to_value(&case.properties).unwrap(),
            resource: case.resource.as_ref().map(entity),
        },
    };
    let context = case.context.as_ref().map(|context| serde_json::to_value(context).unwrap());
    let who = match (&case.subject, &case.authorization) {
        (Some(subject), _) => Who::Entity(entity(subject)),
        (None, Some(header)) => Who::Authorization(header.clone()),
        (None, None) => Who::Name(me),
    };
    Posed {
        who,
        what,
        dashboard: case.channel.as_deref() == Some("dashboard"),
        context: context.and_then(|context| context.as_object().cloned()).unwrap_or_default(),
    }
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
