//! A token that two sides know: the operator's, a gateway's. Kept as a hash, compared in constant time.

use subtle::ConstantTimeEq;

/// A token to compare with. Its text is not kept.
#[derive(Clone, Debug)]
pub struct SharedToken {
    hash: [u8; 32],
}

impl SharedToken {
    /// Remembers a token.
    pub fn new(text: &str) -> Self {
        Self { hash: *blake3::hash(text.as_bytes()).as_bytes() }
    }

    /// Whether the presented token is the same; takes the same time wherever the two differ.
    pub fn matches(&self, presented: &str) -> bool {
        self.hash.ct_eq(blake3::hash(presented.as_bytes()).as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_matches() {
        let token = SharedToken::new("secret");
        assert!(token.matches("secret"));
        assert!(!token.matches("secret ") && !token.matches(""));
    }
}
