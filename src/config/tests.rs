use super::*;
use crate::domain::Channel;
use crate::gate::credentials::{CallerSource, Dialect};
use crate::token::KeyPlace;

fn load_all(file: &str, environment: &[(&str, &str)], overrides: &Overrides) -> Result<Config, Faults> {
    let file = ConfigFile { name: "cedargate.toml".to_owned(), text: file.to_owned() };
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load(Some(&file), &environment, overrides)
}

fn load(file: &str) -> Result<Config, Faults> {
    load_all(file, &[], &Overrides::default())
}

/// The faults' lines.
fn faults(file: &str) -> Vec<String> {
    load(file).expect_err("this must be refused").0.iter().map(ToString::to_string).collect()
}

fn setting<'a>(config: &'a Config, key: &str) -> (&'a str, String) {
    let setting = config.settings().iter().find(|setting| setting.key == key).unwrap();
    (&setting.value, setting.origin.to_string())
}

#[test]
fn without_anything_the_defaults_hold() {
    let config = Config::load(None, &BTreeMap::new(), &Overrides::default()).unwrap();
    assert_eq!(config.listeners.front.address.to_string(), "http://127.0.0.1:8080");
    assert_eq!(config.listeners.gate.address.to_string(), "http://127.0.0.1:8181");
    assert_eq!(config.listeners.ops.address.to_string(), "http://127.0.0.1:9191");
    assert_eq!(config.store, StoreLocation::Sqlite(PathBuf::from("cedargate-data")));
    assert_eq!(config.listeners.front.limits, Limits::default());
    assert!(config.settings().iter().all(|setting| setting.origin == Origin::Default));
    assert!(config.settings().is_sorted_by_key(|setting| &setting.key));
}

#[test]
fn flags_beat_the_environment_and_the_environment_beats_the_file() {
    let file = "[data]\nfolder = \"a\"\n[front]\naddress = \"127.0.0.1:1\"\n[gate]\naddress = \"127.0.0.1:2\"\n";
    let environment = [("CEDARGATE_FRONT__ADDRESS", "127.0.0.1:3"), ("CEDARGATE_GATE__ADDRESS", "127.0.0.1:4")];
    let overrides = Overrides { gate: Some("127.0.0.1:5".to_owned()), ..Overrides::default() };
    let config = load_all(file, &environment, &overrides).unwrap();
    assert_eq!(setting(&config, "data.folder"), ("a", "cedargate.toml:2".to_owned()));
    assert_eq!(setting(&config, "front.address"), ("127.0.0.1:3", "CEDARGATE_FRONT__ADDRESS".to_owned()));
    assert_eq!(setting(&config, "gate.address"), ("127.0.0.1:5", "--gate".to_owned()));
    assert_eq!(config.store, StoreLocation::Sqlite(PathBuf::from("a")), "in the data folder");
}

#[test]
fn every_fault_is_told_at_once_with_its_place() {
    let environment = [("CEDARGATE_OPS__ADRESS", "127.0.0.1:1"), ("CEDARGATE_GATE__LIMITS__REQUESTS", "none")];
    let file = "[front]\naddress = \":8080\"\n\n[gate.limits]\nbody_bytes = \"1 MB\"\nidle = 5\n[log]\nfilter = \"x=loudly\"\n";
    let overrides = Overrides { store: Some("postgres://u:secret@db/x".to_owned()), ..Overrides::default() };
    let faults = load_all(file, &environment, &overrides).expect_err("faults");
    let text = faults.to_string();
    assert_eq!(faults.0.len(), 7, "{text}");
    let starts = [
        "cedargate.toml:2: front.address is \":8080\"; write an IP address",
        "cedargate.toml:5: gate.limits.body_bytes is \"1 MB\"; write a size",
        "cedargate.toml:6: gate.limits.idle is 5; write a time",
        "cedargate.toml:8: log.filter cannot be used",
        "CEDARGATE_OPS__ADRESS: ops.adress is not a setting; did you mean ops.address?",
        "CEDARGATE_GATE__LIMITS__REQUESTS: gate.limits.requests is \"none\"; write a whole number",
        "--store: store.location is a PostgreSQL address, which this version cannot use yet",
    ];
    for start in starts {
        assert!(text.lines().any(|line| line.starts_with(start)), "{start} is missing in:\n{text}");
    }
    assert!(!text.contains("secret"), "a password must not be repeated");
}

#[test]
fn unknown_keys_are_faults_with_the_nearest_known_one() {
    assert_eq!(
        faults("[gate]\nadress = \"x\""),
        ["cedargate.toml:2: gate.adress is not a setting; did you mean gate.address?"]
    );
    assert_eq!(
        faults("strict_hosts = true"),
        ["cedargate.toml:1: strict_hosts is not a setting; did you mean decision.strict_hosts?"]
    );
    assert_eq!(
        faults("[wholly]\nelse = 1"),
        ["cedargate.toml:2: wholly.else is not a setting; `cedargate config show` lists all settings"]
    );
    assert_eq!(faults("[nothing]").len(), 1, "an unknown empty section too");
    assert!(load("[gate]\n[gate.limits]\n").is_ok(), "a known empty section is none of anybody's business");
}

#[test]
fn every_syntax_error_names_its_line() {
    let faults = faults("[front]\naddress = \n\n[gate\nx = 1\n");
    assert!(faults.iter().any(|fault| fault.starts_with("cedargate.toml:2: ")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.starts_with("cedargate.toml:4: ")), "{faults:?}");
}

#[test]
fn what_an_orchestrator_injects_is_not_a_setting() {
    let environment = [("CEDARGATE_PORT", "tcp://10.0.0.1:80"), ("CEDARGATE_SERVICE_HOST", "10.0.0.1"), ("PATH", "/")];
    assert!(load_all("", &environment, &Overrides::default()).is_ok());
}

#[test]
fn a_gate_that_others_can_reach_needs_a_credential() {
    let open = |address: &str| load(&format!("[gate]\naddress = \"{address}\""));
    assert!(open("127.0.0.1:8181").is_ok());
    assert!(open("127.8.8.8:8181").is_ok());
    assert!(open("[::1]:8181").is_ok());
    for address in ["0.0.0.0:8181", "[::]:8181", "192.168.1.1:8181", "[::ffff:10.0.0.1]:8181"] {
        let text = open(address).expect_err("must be refused").to_string();
        assert!(text.starts_with("cedargate.toml:2: gate.address can be reached from outside"), "{text}");
    }
}

#[test]
fn a_credential_file_is_read_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let token = "0123456789abcdef0123456789abcdef";
    std::fs::write(&path, format!("{token}\n\n{token}x\n")).unwrap();
    let file = format!("[gate]\naddress = \"0.0.0.0:0\"\ncredential_file = {:?}", path.display().to_string());
    let config = load(&file).unwrap();
    let tokens = &config.gate.credentials[0].tokens;
    assert_eq!(tokens.len(), 2);
    assert!(tokens[0].matches(token) && tokens[1].matches(&format!("{token}x")));
    assert!(!format!("{config:?}").contains(token), "a secret must not be printed");

    std::fs::write(&path, "short\n").unwrap();
    let faults = faults(&file);
    assert!(faults[0].starts_with("cedargate.toml:3: gate.credential_file"), "{faults:?}");
    assert!(!faults[0].contains("short"));
    std::fs::write(&path, "\n").unwrap();
    assert!(load(&file).is_err());
    std::fs::remove_file(&path).unwrap();
    assert!(load(&file).is_err());
}

#[test]
fn gate_credentials_say_what_a_gateway_shows_and_how_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
    let file = format!(
        "[gate]\ncaller = [\"header:X-User\", \"authorization\"]\nstrip_headers = [\"X-User\"]\n[[gate.credentials]]\n\
         name = \"edge\"\ntoken_file = {:?}\naddresses = [\"10.0.0.0/8\"]\ndialects = [\"forward-auth\"]\n\
         channel = \"dashboard\"\n[[gate.credentials]]\nname = \"mesh\"\ncertificate = \"spiffe://x/y\"\nexplain = true\n\
         caller = [\"principal\"]\n",
        path.display().to_string()
    );
    let gate = load(&file).unwrap().gate;
    let [edge, mesh] = &gate.credentials[..] else { panic!("{gate:?}") };
    assert_eq!((edge.name.as_str(), edge.tokens.len(), edge.addresses.len()), ("edge", 1, 1));
    assert_eq!((&edge.dialects[..], edge.manner.channel), (&[Dialect::ForwardAuth][..], Channel::Dashboard));
    assert_eq!(edge.manner.caller, gate.manner.caller);
    assert_eq!((&mesh.manner.caller[..], mesh.manner.explain), (&[CallerSource::Principal][..], true));
    assert_eq!(gate.strip_headers, ["x-user"]);

    let wrong = |from: &str, to: &str| faults(&file.replace(from, to)).join("\n");
    assert!(wrong("certificate = \"spiffe://x/y\"\n", "").contains("gate.credentials.1 asks for no proof"));
    assert!(wrong("forward-auth", "forwardauth").contains("gate.credentials.0.dialects holds \"forwardauth\""));
    assert!(wrong("10.0.0.0/8", "10.0.0.1/8").contains("gate.credentials.0.addresses"));
    assert!(wrong("\"principal\"", "\"cookie\"").contains("header:NAME"));
    assert!(wrong("name = \"mesh\"\n", "").contains("gate.credentials.1.name is missing"));
}

#[test]
fn two_listeners_cannot_share_an_address() {
    let text = faults("[front]\naddress = \"127.0.0.1:9191\"")[0].clone();
    assert!(text.contains("ops.address is the same as front.address"), "{text}");
    assert!(load("[front]\naddress = \"127.0.0.1:0\"\n[ops]\naddress = \"127.0.0.1:0\"").is_ok(), "port 0 is none");
}

#[test]
fn limits_are_read_with_units() {
    let file = "[gate.limits]\nbody_bytes = \"64KiB\"\nidle = \"2m\"\nrequests = 7\nheader_deadline = \"500ms\"\n";
    let limits = load(file).unwrap().listeners.gate.limits;
    assert_eq!((limits.body_bytes, limits.requests), (65_536, 7));
    assert_eq!((limits.idle.as_secs(), limits.header_deadline.as_millis()), (120, 500));
    assert!(load("[gate.limits]\nrequests = 0").is_err(), "a limit of nothing would refuse everybody");
    assert!(load("[gate.limits]\nheader_bytes = \"1KiB\"").is_err());
}

#[test]
fn issuers_are_complete_or_refused() {
    let complete = "[[token.issuers]]\nissuer = \"https://idp\"\naudiences = [\"a\"]\nalgorithms = [\"RS256\"]\njwks_url = \"https://idp/keys\"\n";
    let config = load(complete).unwrap();
    assert!(matches!(&config.tokens.issuers[0].keys, KeyPlace::Url { url, .. } if url == "https://idp/keys"));
    assert_eq!(config.tokens.issuers[0].claim, "sub");

    let refused = |from: &str, to: &str| faults(&complete.replace(from, to));
    for symmetric in ["HS256", "none"] {
        let text = refused("RS256", symmetric).join("\n");
        assert!(text.starts_with(&format!("cedargate.toml:4: token.issuers.0.algorithms names {symmetric}")), "{text}");
    }
    assert!(refused("https://idp/keys", "http://idp/keys")[0].contains("https"));
    assert!(refused("[\"a\"]", "[]")[0].contains("at least one"));
    assert_eq!(faults("[[token.issuers]]\nsubject = \"sub\"").len(), 4);
    assert!(refused("issuer =", "isuer =").iter().any(|fault| fault.contains("did you mean token.issuers.0.issuer?")));
}

#[test]
fn a_public_url_is_plain() {
    let url = |url: &str| load(&format!("[scim]\npublic_url = {url:?}")).map(|config| config.scim.public_url.unwrap());
    assert_eq!(url("https://auth.example.com/").unwrap(), "https://auth.example.com");
    assert_eq!(url("http://localhost:8080/base").unwrap(), "http://localhost:8080/base");
    for bad in ["auth.example.com", "ftp://x", "https://x?y", "https://u:p@x", "https://x#y", "https://", "/x"] {
        assert!(url(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_named_file_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.toml");
    assert!(read_file(Some(&missing)).unwrap_err().to_string().contains("none.toml cannot be read"));
    std::fs::write(&missing, "[log]\n").unwrap();
    assert_eq!(read_file(Some(&missing)).unwrap().unwrap().text, "[log]\n");
}
