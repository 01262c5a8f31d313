//! The newest images as the image table keeps them: kind beside content, so that a start decodes each straight
//! into its own type.

use rusqlite::Row;

use crate::domain::Image;
use crate::store::{Kind, StoreError};

/// Kind and JSON of a resource's image; `None` for what is no resource's state.
pub(super) fn encode(image: &Image) -> Option<serde_json::Result<(&'static str, String)>> {
    let (kind, body) = match image {
        Image::Organization(content) => (Kind::Organization, serde_json::to_string(content)),
        Image::Account(content) => (Kind::Account, serde_json::to_string(content)),
        Image::User(content) => (Kind::User, serde_json::to_string(content)),
        Image::Group(content) => (Kind::Group, serde_json::to_string(content)),
        Image::Members(_) | Image::Gone => return None,
    };
    Some(body.map(|body| (kind.name(), body)))
}

/// Reads `kind` and `body` from these columns, without copying the text first.
pub(super) fn decode(row: &Row<'_>, kind: usize, body: usize) -> Result<Image, StoreError> {
    let text = |column| row.get_ref(column).map_err(|error| StoreError::Damaged(error.to_string()));
    let name = text(kind)?.as_str().map_err(|error| StoreError::Damaged(error.to_string()))?;
    let body = text(body)?.as_bytes().map_err(|error| StoreError::Damaged(error.to_string()))?;
    match Kind::parse(name) {
        Some(Kind::Organization) => serde_json::from_slice(body).map(Image::Organization),
        Some(Kind::Account) => serde_json::from_slice(body).map(Image::Account),
        Some(Kind::User) => serde_json::from_slice(body).map(Image::User),
        Some(Kind::Group) => serde_json::from_slice(body).map(Image::Group),
        Some(Kind::Connection) | None => {
            return Err(StoreError::Damaged(format!("there are no images of kind {name}")));
        }
    }
    .map_err(|error| StoreError::Damaged(format!("an image of kind {name}: {error}")))
}
