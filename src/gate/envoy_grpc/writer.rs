//! Writes a `CheckResponse` straight into the bytes that leave: no tree of messages, no copies. Knows no decision.

use prost::encoding::{WireType, encode_key, encode_varint};

/// A message of Protocol Buffers that grows, behind the five bytes of a gRPC frame (flag and length).
pub(super) struct Writer(Vec<u8>);

/// The flag that says uncompressed, and the length.
const FRAME: usize = 5;

impl Writer {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let mut bytes = Vec::with_capacity(1024);
        bytes.resize(FRAME, 0);
        Self(bytes)
    }

    /// A text in a field of this number.
    pub(super) fn text(&mut self, field: u32, text: &str) {
        encode_key(field, WireType::LengthDelimited, &mut self.0);
        encode_varint(text.len() as u64, &mut self.0);
        self.0.extend_from_slice(text.as_bytes());
    }

    /// A number, or the value of an enumeration.
    pub(super) fn number(&mut self, field: u32, number: u32) {
        encode_key(field, WireType::Varint, &mut self.0);
        encode_varint(u64::from(number), &mut self.0);
    }

    /// A message within this one.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        encode_key(field, WireType::LengthDelimited, &mut self.0);
        let start = self.0.len();
        write(self);
        // The length is known now, and stands in front.
        let end = self.0.len();
        encode_varint((end - start) as u64, &mut self.0);
        let length = self.0.len() - end;
        if let Some(written) = self.0.get_mut(start..) {
            written.rotate_right(length);
        }
    }

    /// An entry of `google.protobuf.Struct`.
    pub(super) fn entry(&mut self, name: &str, value: impl FnOnce(&mut Self)) {
        self.message(1, |entry| {
            entry.text(1, name);
            entry.message(2, value);
        });
    }

    /// An entry whose value is text.
    pub(super) fn text_entry(&mut self, name: &str, text: &str) {
        self.entry(name, |value| value.text(3, text));
    }

    /// The whole frame.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - FRAME).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(frame) = self.0.get_mut(1..FRAME) {
            frame.copy_from_slice(&length);
        }
        self.0
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::value::Kind;
    use envoy_types::pb::google::protobuf::{ListValue, Struct, Value};
    use prost::Message;

    use super::*;

    #[test]
    fn what_is_written_reads_as_the_generated_messages_do() {
        // Lengths of one, two and three bytes.
        let texts = ["".to_owned(), "a".repeat(127), "b".repeat(128), "c".repeat(16_384)];
        let mut writer = Writer::new();
        for text in &texts {
            writer.text_entry(text, text);
        }
        writer.entry("all", |value| {
            value.message(6, |list| {
                for text in &texts {
                    list.message(1, |value| value.text(3, text));
                }
            });
        });
        let bytes = writer.finish();
        assert_eq!(bytes[..5], [&[0][..], &u32::try_from(bytes.len() - 5).unwrap().to_be_bytes()].concat());
        let value = |text: &String| Value { kind: Some(Kind::StringValue(text.clone())) };
        let list = ListValue { values: texts.iter().map(value).collect() };
        let all = ("all".to_owned(), Value { kind: Some(Kind::ListValue(list)) });
        let fields = texts.iter().map(|text| (text.clone(), value(text))).chain([all]).collect();
        assert_eq!(Struct::decode(&bytes[5..]).unwrap(), Struct { fields });
    }
}
