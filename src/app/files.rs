//! The files of the data folder beside the ledger: operator token and addresses.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clock::Sources;
use crate::http::server::Bound;
use crate::scim::schema::Schemas;

/// Where the listeners are: the text of `addresses.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// `http://…` or `https://…` of the front listener.
    pub front: String,
    /// `http://…` or `https://…` of the gate.
    pub gate: String,
    /// `http://…` or `https://…` of the ops listener.
    pub ops: String,
    /// The process id.
    pub pid: u32,
}

const ADDRESSES: &str = "addresses.json";

impl Addresses {
    pub(super) fn of(bound: &[Bound]) -> Self {
        let url = |name: &str| bound.iter().find(|one| one.name() == name).map_or_else(String::new, Bound::url);
        Self { front: url("front"), gate: url("gate"), ops: url("ops"), pid: std::process::id() }
    }

    /// Writes the file at once: aside, then renamed.
    pub(super) fn publish(&self, data: &Path) -> Result<(), String> {
        let text = serde_json::to_string(self).map_err(|error| error.to_string())?;
        let (aside, place) = (data.join(".addresses.json.new"), data.join(ADDRESSES));
        std::fs::write(&aside, text)
            .and_then(|()| std::fs::rename(&aside, &place))
            .map_err(|error| format!("{} cannot be written: {error}", place.display()))
    }

    /// Takes the file away, as long as it is this process's.
    pub(super) fn withdraw(&self, data: &Path) {
        let place = data.join(ADDRESSES);
        let mine = std::fs::read_to_string(&place)
            .ok()
            .and_then(|text| serde_json::from_str::<Self>(&text).ok())
            .is_some_and(|there| there.pid == self.pid);
        if mine {
            let _gone = std::fs::remove_file(place);
        }
    }
}

/// The operator token of the data folder; makes one at the first start, readable by this user alone.
pub(super) fn operator_token(data: &Path, sources: &Sources) -> Result<String, String> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
    let place = data.join("operator.token");
    let told = |error: std::io::Error| format!("{}: {error}", place.display());
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .map_err(|e| format!("{}: {e}", data.display()))?;
    match std::fs::metadata(&place) {
        Ok(metadata) => {
            if metadata.permissions().mode() & 0o077 != 0 {
                return Err(format!("{} can be read by others; make it yours alone: chmod 600 {0}", place.display()));
            }
            return std::fs::read_to_string(&place).map(|text| text.trim().to_owned()).map_err(told);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(told(error)),
    }
    let mut bytes = [0_u8; 32];
    sources.random.fill(&mut bytes);
    let token = format!("cgop_{}", blake3::Hash::from_bytes(bytes).to_hex());
    let aside = data.join(".operator.token.new");
    let _leftover = std::fs::remove_file(&aside);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside).map_err(told)?;
    file.write_all(token.as_bytes()).and_then(|()| file.sync_all()).map_err(told)?;
    std::fs::rename(&aside, &place).map_err(told)?;
    Ok(token)
}

/// The SCIM schemas: the folder that was named, `./scim-schemas` where it stands, or the built-in ones.
pub(super) fn schemas(folder: Option<&Path>) -> Result<Schemas, String> {
    let here = Path::new("scim-schemas");
    match folder.or_else(|| here.is_dir().then_some(here)) {
        Some(folder) => Schemas::load(folder).map_err(|error| format!("{}: {error}", folder.display())),
        None => Schemas::builtin().map_err(|error| format!("the built-in SCIM schemas: {error}")),
    }
}
