//! Questions at random: about every endpoint that the model knows and some that it knows to be absent.

use crate::model::{ABSENT, Ask, ENDPOINTS, PRODUCTS, Rule, Scope, World, expect};
use crate::support::Dice;

/// Accounts that questions are about: of the organization, of another one, of nobody.
pub const ACCOUNTS: &[&str] = &["w100", "w101", "w102", "w103", "x900", "w999"];

/// A question about one person.
pub fn about(dice: &mut Dice, world: &World, who: &str) -> Ask {
    let people: Vec<&String> = world.people.keys().collect();
    let person = &world.people[who];
    let mut ask = if dice.one_in(15) {
        Ask::sign_in(who)
    } else if dice.one_in(40) {
        let (method, path) = dice.pick(ABSENT);
        Ask::request(who, method, &path.replace("{account}", "w100"))
    } else {
        let endpoint = dice.pick(ENDPOINTS);
        let own = dice.one_in(2);
        let user = if own { who } else { dice.pick(&people).as_str() };
        let account = *dice.pick(ACCOUNTS);
        let path = format!("{}{}", dice.pick(endpoint.bases), endpoint.path);
        let path = path.replace("{account}", account).replace("{user}", user).replace("{}", "x1");
        let mut ask = Ask::request(who, endpoint.method, &path);
        if endpoint.scope == Scope::Global && dice.one_in(4) {
            ask.account = Some((*dice.pick(ACCOUNTS)).to_owned());
        }
        match endpoint.rule {
            Rule::Notification if dice.one_in(2) => ask.product = Some((*dice.pick(PRODUCTS)).to_owned()),
            Rule::ChangeUser => {
                let names = ["name", "emails", "phoneNumbers", "roles", "accounts", "active", "userName"];
                let names = dice.some(&names, 2);
                ask.attributes = Some(names.into_iter().map(str::to_owned).collect());
            }
            _ => {}
        }
        ask
    };
    // Mostly by a way that is open to the person; the sign-in has only one.
    if matches!(ask.what, crate::model::What::Request { .. }) {
        ask.dashboard = if dice.one_in(12) { dice.one_in(2) } else { !person.api };
    }
    ask
}

/// A question whose answer is more likely a permit than by chance.
pub fn hopeful(dice: &mut Dice, world: &World, who: &str) -> Ask {
    let mut ask = about(dice, world, who);
    if dice.one_in(2) {
        return ask;
    }
    for _ in 0..12 {
        if expect(world, &ask).permit {
            break;
        }
        ask = about(dice, world, who);
    }
    ask
}

/// A question that a change answers anew, where one is found soon, and whether one was.
pub fn turning(dice: &mut Dice, before: &World, after: &World, who: &str) -> (Ask, bool) {
    for _ in 0..24 {
        let ask = about(dice, before, who);
        if expect(before, &ask) != expect(after, &ask) {
            return (ask, true);
        }
    }
    (about(dice, after, who), false)
}
