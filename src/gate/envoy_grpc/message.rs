//! What is read of a `CheckRequest` (`envoy.service.auth.v3`), by the numbers of its fields: everything else is passed over
//! on the wire. Texts are not copied: they stay slices of the request's body.

use std::collections::HashMap;

use bytes::Bytes;
use envoy_types::pb::google::protobuf::Struct;
use prost::Message;

/// `CheckRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct Check {
    /// `attributes`.
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<Attributes>,
}

/// `AttributeContext`.
#[derive(Clone, PartialEq, Message)]
pub struct Attributes {
    /// `source`.
    #[prost(message, optional, tag = "1")]
    pub source: Option<Source>,
    /// `request`.
    #[prost(message, optional, tag = "4")]
    pub request: Option<Asked>,
    /// `metadata_context`.
    #[prost(message, optional, tag = "11")]
    pub metadata_context: Option<Metadata>,
}

/// `AttributeContext.Peer`.
#[derive(Clone, PartialEq, Message)]
pub struct Source {
    /// `principal`: a name in the client certificate that Envoy verified.
    #[prost(string, tag = "4")]
    pub principal: String,
}

/// `AttributeContext.Request`.
#[derive(Clone, PartialEq, Message)]
pub struct Asked {
    /// `http`.
    #[prost(message, optional, tag = "2")]
    pub http: Option<Http>,
}

/// `AttributeContext.HttpRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct Http {
    /// `method`.
    #[prost(bytes = "bytes", tag = "2")]
    pub method: Bytes,
    /// `headers`: a map, on the wire a list of entries.
    #[prost(message, repeated, tag = "3")]
    pub headers: Vec<Header>,
    /// `path`, with the query.
    #[prost(bytes = "bytes", tag = "4")]
    pub path: Bytes,
    /// `host`.
    #[prost(bytes = "bytes", tag = "5")]
    pub host: Bytes,
    /// `header_map`, where Envoy is told to encode headers raw.
    #[prost(message, optional, tag = "13")]
    pub header_map: Option<HeaderList>,
}

/// `HeaderMap`.
#[derive(Clone, PartialEq, Message)]
pub struct HeaderList {
    /// `headers`, in the order in which they came.
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<Header>,
}

/// `HeaderValue`, and an entry of the map as well.
#[derive(Clone, PartialEq, Message)]
pub struct Header {
    /// `key`.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// `value`.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// `raw_value`.
    #[prost(bytes = "bytes", tag = "3")]
    pub raw_value: Bytes,
}

/// `Metadata`.
#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    /// `filter_metadata`, by the filter's name.
    #[prost(map = "string, message", tag = "1")]
    pub filter_metadata: HashMap<String, Struct>,
}
