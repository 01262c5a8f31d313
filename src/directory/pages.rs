//! A persistent vector: clones share everything, and a change copies one short way from the root.

use std::sync::Arc;

const PAGE: usize = 64;
const CHUNK: usize = 256;

type Page<T> = Arc<[T; PAGE]>;
type Chunk<T> = Arc<Vec<Page<T>>>;

/// Values by dense number. A clone is one `Arc`; a change after a clone copies a page of 64, a chunk of up to
/// 256 and the list of chunks (one for each 16,384 numbers), whatever the number of values.
#[derive(Clone, Debug)]
pub(super) struct Pages<T> {
    chunks: Arc<Vec<Chunk<T>>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { chunks: Arc::new(Vec::new()) }
    }
}

impl<T: Clone + Default> Pages<T> {
    /// The value at a number, where one was ever reachable there.
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let (chunk, page, slot) = place(number);
        self.chunks.get(chunk)?.get(page)?.get(slot)
    }

    /// The value at a number, to be changed; numbers in between become defaults.
    pub(super) fn at(&mut self, number: u32) -> Option<&mut T> {
        let (chunk, page, slot) = place(number);
        let chunks = Arc::make_mut(&mut self.chunks);
        while chunks.len() <= chunk {
            chunks.push(Arc::new(Vec::new()));
        }
        let pages = Arc::make_mut(chunks.get_mut(chunk)?);
        while pages.len() <= page {
            pages.push(Arc::new(std::array::from_fn(|_| T::default())));
        }
        Arc::make_mut(pages.get_mut(page)?).get_mut(slot)
    }

    /// Every value from the first page to the last, defaults included.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().flat_map(|page| page.iter()))
    }
}

const fn place(number: u32) -> (usize, usize, usize) {
    let number = number as usize;
    (number / (PAGE * CHUNK), number / PAGE % CHUNK, number % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn clones_keep_what_they_saw(writes in proptest::collection::vec((0_u32..40_000, 1_u32..9), 1..60)) {
            let mut pages = Pages::<u32>::default();
            let mut model = std::collections::HashMap::new();
            let mut kept = Vec::new();
            for (number, value) in writes {
                kept.push((pages.clone(), model.clone()));
                *pages.at(number).expect("a place") = value;
                model.insert(number, value);
            }
            for (pages, model) in kept {
                for number in (0..40_000).step_by(97).chain(model.keys().copied()) {
                    prop_assert_eq!(pages.get(number).copied().unwrap_or(0), model.get(&number).copied().unwrap_or(0));
                }
            }
        }
    }
}
