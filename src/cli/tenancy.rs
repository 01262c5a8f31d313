//! `organization` and `account`: who owns what.

use serde_json::{Value, json};

use super::arguments::{Account, Organization, list};
use super::exit::Exit;
use super::remote::{Fault, encoded};
use super::session::{Session, Verdict, members, text};
use crate::http::{Method, StatusCode};

const ORGANIZATIONS: &str = "/manage/v1/organizations";
const ACCOUNTS: &str = "/manage/v1/accounts";

/// `organization …`
pub async fn organization(session: &mut Session<'_>, verb: Organization) -> Verdict {
    let facts = |value: &Value| members(value, &["id", "name"]);
    match verb {
        Organization::List => {
            session.list(ORGANIZATIONS, &[], &["ID", "NAME"], |item| vec![text(item, "id"), text(item, "name")]).await
        }
        Organization::Show { id } => session.show(&format!("{ORGANIZATIONS}/{}", encoded(&id)), facts).await,
        Organization::Set { id, name } => {
            let path = format!("{ORGANIZATIONS}/{}", encoded(&id));
            let name = match name {
                Some(name) => name,
                None => present(session, &path).await?.map_or_else(|| id.clone(), |there| text(&there, "name")),
            };
            session.write(Method::PUT, &path, Some(json!({"name": name})), facts).await?;
            Ok(Exit::Success)
        }
        Organization::Delete { id } => {
            session.write(Method::DELETE, &format!("{ORGANIZATIONS}/{}", encoded(&id)), None, facts).await?;
            Ok(Exit::Success)
        }
    }
}

/// `account …`
pub async fn account(session: &mut Session<'_>, verb: Account) -> Verdict {
    let facts = |value: &Value| members(value, &["id", "organization", "name", "products"]);
    match verb {
        Account::List { organization } => {
            let row = |item: &Value| ["id", "organization", "name", "products"].map(|name| text(item, name)).to_vec();
            let parameters = [("organization", organization.as_deref())];
            session.list(ACCOUNTS, &parameters, &["ID", "ORGANIZATION", "NAME", "PRODUCTS"], row).await
        }
        Account::Show { id } => session.show(&format!("{ACCOUNTS}/{}", encoded(&id)), facts).await,
        Account::Set { id, organization, name, products } => {
            let path = format!("{ACCOUNTS}/{}", encoded(&id));
            let there = present(session, &path).await?;
            let organization = organization.or_else(|| there.as_ref().map(|there| text(there, "organization")));
            let Some(organization) = organization else {
                return Err(Fault::usage(format!("account `{id}` is new: say who owns it with --organization")));
            };
            let name = name.or_else(|| there.as_ref().map(|there| text(there, "name")));
            let products = match (&products, &there) {
                (Some(products), _) => json!(list(products)),
                (None, Some(there)) => there.get("products").cloned().unwrap_or_else(|| json!([])),
                (None, None) => json!([]),
            };
            let mut body = json!({"organization": organization, "products": products});
            if let (Some(name), Some(body)) = (name, body.as_object_mut()) {
                body.insert("name".to_owned(), Value::String(name));
            }
            session.write(Method::PUT, &path, Some(body), facts).await?;
            Ok(Exit::Success)
        }
    }
}

/// What is there already; `None` where nothing is.
async fn present(session: &Session<'_>, path: &str) -> Result<Option<Value>, Fault> {
    let reply = session.remote.raw(Method::GET, path, None).await?;
    if reply.status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    if !reply.status.is_success() {
        return Err(session.remote.refused(&reply));
    }
    Ok(serde_json::from_slice(&reply.body).ok())
}
