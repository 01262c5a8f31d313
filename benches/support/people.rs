//! A world of people straight into a directory, without a store.

use std::path::Path;

use cedargate::directory::Directory;
use cedargate::domain::{
    AccessMethods, AccountImage, AdministrationLevel, Change, GroupImage, Image, MemberChange, Number,
    OrganizationImage, Revision, UserImage,
};

use crate::workload::{ORGANIZATION, World};

/// Every hundredth person is an Account Admin.
const ADMINS: u64 = 100;

/// The directory of a world.
pub fn directory(world: &World) -> Directory {
    let mut changes = Vec::new();
    let mut add = |number: Number, image: Image| changes.push(Change { number, image });
    add(1, Image::Organization(OrganizationImage { id: ORGANIZATION.to_owned() }));
    for account in 0..world.accounts {
        let image =
            AccountImage { id: World::account_id(account), organization: 1, products: world.products_of(account) };
        add(world.account_number(account), Image::Account(image));
    }
    for group in 0..world.groups {
        let image = GroupImage {
            id: format!("019aa8e1-0000-7000-9000-{group:012}"),
            organization: 1,
            name: format!("Group {group}"),
            roles: vec![world.role_of_group(group).to_owned()],
            assigned: true,
            accounts: Vec::new(),
        };
        add(world.group_number(group), Image::Group(image));
    }
    for user in 0..world.users {
        let admin = user % ADMINS == 0;
        let image = UserImage {
            id: format!("019aa8e1-0000-7000-8000-{user:012}"),
            organization: 1,
            username: World::username(user),
            login: None,
            active: true,
            locked: false,
            level: if admin { AdministrationLevel::AccountAdmin } else { AdministrationLevel::BasicUser },
            methods: AccessMethods { dashboard: true, api: true },
            roles: world.roles_of(user).into_iter().map(str::to_owned).collect(),
            assigned: true,
            accounts: world.accounts_of(user).into_iter().map(|account| world.account_number(account)).collect(),
            external_ids: std::collections::BTreeMap::new(),
            linked_again: None,
            password_changed_at: None,
        };
        add(world.user_number(user), Image::User(image));
        for group in world.groups_of(user) {
            let joined = MemberChange { added: vec![world.user_number(user)], removed: Vec::new() };
            add(world.group_number(group), Image::Members(joined));
        }
    }
    let directory = Directory::empty();
    directory.apply(Revision { epoch: 1, number: 1 }, &changes);
    directory
}

/// Copies a folder with everything in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}
