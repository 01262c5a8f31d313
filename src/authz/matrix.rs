//! Roles times endpoints: what each role opens, asked of the ordinary decision on people made for it.

use std::sync::Arc;

use super::trial::authz_of;
use super::{Failure, View};
use crate::domain::{Asked, Channel, EntityName, Question, Subject, Verdict};
use crate::policy::trial::{AccountCase, CaseFile, PersonCase};
use crate::policy::{Bundle, Target};

/// What a role opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    No,
    /// The endpoint, on accounts with the right products.
    WithProducts,
    /// The endpoint, on every account.
    Yes,
}

impl Access {
    /// `no`, `products` or `yes`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::WithProducts => "products",
            Self::Yes => "yes",
        }
    }
}

/// One endpoint with a cell for each column.
#[derive(Clone, Debug)]
pub struct Row {
    /// The file of the routes, without folder and ending.
    pub area: String,
    /// Method.
    pub method: String,
    /// Path template.
    pub template: String,
    /// Action.
    pub action: Arc<str>,
    /// In the order of the columns.
    pub cells: Vec<Access>,
}

/// The whole table.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// `no role`, every role of the catalogue, and `Account Admin` without a role.
    pub columns: Vec<String>,
    /// Endpoints in the order of the files.
    pub rows: Vec<Row>,
}

/// Asks for every role and endpoint, over the API.
///
/// # Errors
/// As [`View::decide`].
pub fn matrix(bundle: &Arc<Bundle>) -> Result<Matrix, Failure> {
    let mut columns = vec!["no role".to_owned()];
    columns.extend(bundle.catalogue().roles.iter().map(|role| role.name.clone()));
    columns.push("Account Admin".to_owned());
    let mut made = CaseFile::default();
    for (account, products) in [("bare", Vec::new()), ("full", vec!["*".to_owned()])] {
        made.accounts.insert(account.into(), AccountCase { products });
        for (at, column) in columns.iter().enumerate() {
            let mut person = PersonCase { accounts: vec![account.into()], ..PersonCase::default() };
            if at + 1 == columns.len() {
                person.level.clone_from(column);
            } else if at > 0 {
                person.roles.push(column.clone());
            }
            made.people.insert(format!("{at}-{account}"), person);
        }
    }
    let authz = authz_of(bundle, &made);
    let view = authz.view();
    let view = view.aside();
    let mut rows = Vec::new();
    for endpoint in bundle.routes().endpoints() {
        let Some(action) = bundle.action(endpoint.action) else { continue };
        let mut cells = Vec::with_capacity(columns.len());
        for at in 0..columns.len() {
            let permits = |account| permits(&view, &format!("{at}-{account}"), &action.name, &endpoint.target, account);
            cells.push(match (permits("bare")?, permits("full")?) {
                (true, _) => Access::Yes,
                (false, true) => Access::WithProducts,
                (false, false) => Access::No,
            });
        }
        let area = endpoint.file.trim_start_matches("routes/").trim_end_matches(".toml").to_owned();
        let (method, template) = (endpoint.method.clone(), endpoint.template.clone());
        rows.push(Row { area, method, template, action: Arc::clone(&action.name), cells });
    }
    Ok(Matrix { columns, rows })
}

fn permits(view: &View<'_>, who: &str, action: &str, target: &Target, account: &str) -> Result<bool, Failure> {
    let other = format!("0-{account}");
    let resource = match target {
        Target::Account => Some(EntityName::new("Account", account)),
        Target::User => Some(EntityName::new("User", &other)),
        Target::Organization | Target::Entity(_) => None,
    };
    let asked = Asked::Action { action, properties: &[], resource };
    let subject = Subject::User(who);
    let question = Question { subject, asked, channel: Channel::Api, context: &[], least_revision: None };
    Ok(view.decide(&question)?.verdict() == Verdict::Permit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Source;

    #[test]
    fn the_matrix_of_the_dashboard_says_what_the_rules_say() {
        let bundle = Arc::new(Bundle::load(&Source::Shipped).expect("sound"));
        let matrix = matrix(&bundle).expect("a matrix");
        assert_eq!((matrix.rows.len(), matrix.columns.len()), (562, 19));
        let cell = |action: &str, column: &str| {
            let at = matrix.columns.iter().position(|one| one == column).expect("a column");
            let row = matrix.rows.iter().find(|row| &*row.action == action).expect("a row");
            *row.cells.get(at).expect("a cell")
        };
        assert_eq!(cell("createOrder", "Ordering"), Access::Yes);
        assert_eq!(cell("createOrder", "no role"), Access::No);
        assert_eq!(cell("listOrders", "no role"), Access::Yes);
        assert_eq!(cell("createUser", "Account Admin"), Access::Yes);
        assert_eq!(cell("createUser", "User Administrator"), Access::No);
        assert_eq!(cell("createE911Order", "E911 Management"), Access::WithProducts);
    }
}
