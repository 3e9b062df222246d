//! Objects as the API server stores them: in Kubernetes' protobuf encoding (apimachinery, `runtime/serializer/protobuf`).
//!
//! ```text
//! k8s\0 Unknown { 1: TypeMeta, 2: raw, ... }     raw: the object's own message
//! ```
//!
//! Only the fields that parbake changes are interpreted; all others are kept byte for byte, whatever version wrote them. Field
//! numbers are those of `generated.proto` in `k8s.io/api` and `k8s.io/apimachinery`, which never change.
//!
//! Parbake writes new objects as JSON, which the API server reads as well.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::{Metadata, Resource};
use serde::Serialize;
use uuid::Uuid;

use super::Change;

const MAGIC: &[u8] = b"k8s\0";
/// What values start with that the API server has encrypted.
const ENCRYPTED: &[u8] = b"k8s:enc:";
/// The field of `Unknown` with the object.
const RAW: u64 = 2;
/// The field of every object with its metadata.
const METADATA: u64 = 1;
const DELETION_TIMESTAMP: u64 = 9;
/// The field of config maps and secrets with their data, a map.
const DATA: u64 = 2;
const MAP_KEY: u64 = 1;
const MAP_VALUE: u64 = 2;

/// The change that creates `object`, with the metadata that the API server would set.
pub(crate) fn new_object<K>(key: String, object: &mut K) -> Change
where
    K: Resource + Metadata<Ty = ObjectMeta> + Serialize,
{
    let metadata = object.metadata_mut();
    metadata.uid = Some(Uuid::new_v4().to_string());
    let now = Timestamp::from_second(Timestamp::now().as_second());
    metadata.creation_timestamp = now.ok().map(Time);
    Change::create(key, serde_json::to_vec(object).unwrap_or_default())
}

/// True if the API server has encrypted the value.
pub(crate) fn is_encrypted(value: &[u8]) -> bool {
    value.starts_with(ENCRYPTED)
}

/// An object of any kind.
#[derive(Debug)]
pub(crate) struct StoredObject {
    unknown: Message,
    object: Message,
}

impl StoredObject {
    /// Decodes a value of etcd; `None` if it is encrypted or in another encoding.
    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let unknown = Message::decode(value.strip_prefix(MAGIC)?)?;
        let object = Message::decode(unknown.get(RAW)?)?;
        Some(Self { unknown, object })
    }

    pub(crate) fn encode(mut self) -> Vec<u8> {
        self.unknown.set(RAW, self.object.encode());
        [MAGIC, &self.unknown.encode()].concat()
    }

    pub(crate) fn is_being_deleted(&self) -> bool {
        let metadata = self.get(METADATA).and_then(Message::decode);
        metadata.is_some_and(|metadata| metadata.get(DELETION_TIMESTAMP).is_some())
    }

    /// The text or message in the field `number`.
    pub(crate) fn get(&self, number: u64) -> Option<&[u8]> {
        self.object.get(number)
    }

    pub(crate) fn set(&mut self, number: u64, message: &Message) {
        self.object.set(number, message.encode());
    }

    /// The data of a config map or secret.
    pub(crate) fn data(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = self.object.all(DATA).filter_map(Message::decode);
        entries
            .map(|entry| {
                let part = |number| entry.get(number).unwrap_or_default().to_vec();
                (
                    String::from_utf8_lossy(&part(MAP_KEY)).into_owned(),
                    part(MAP_VALUE),
                )
            })
            .collect()
    }

    /// Adds or replaces keys of the data of a config map or secret.
    pub(crate) fn extend_data(&mut self, new: &[(&str, &str)]) {
        let mut data = self.data();
        data.extend(
            new.iter()
                .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())),
        );
        self.object.remove(DATA);
        for (key, value) in data {
            let mut entry = Message::default();
            entry.set(MAP_KEY, key.into_bytes());
            entry.set(MAP_VALUE, value);
            self.object.push(DATA, entry.encode());
        }
    }
}

/// The fields of a message, in order (Protocol Buffers, 'Encoding').
#[derive(Debug, Default)]
pub(crate) struct Message(Vec<Field>);

#[derive(Debug)]
struct Field {
    number: u64,
    wire_type: u64,
    /// Without the length.
    value: Vec<u8>,
}

/// The wire type of bytes, texts and messages.
const LENGTH_DELIMITED: u64 = 2;

impl Message {
    /// `None` if it is malformed.
    pub(crate) fn decode(mut rest: &[u8]) -> Option<Self> {
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let tag = take_varint(&mut rest)?;
            let wire_type = tag & 7;
            let length = match wire_type {
                0 => rest.iter().position(|byte| byte & 0x80 == 0)? + 1,
                1 => 8,
                LENGTH_DELIMITED => usize::try_from(take_varint(&mut rest)?).ok()?,
                5 => 4,
                _ => return None,
            };
            let (value, after) = rest.split_at_checked(length)?;
            rest = after;
            fields.push(Field {
                number: tag >> 3,
                wire_type,
                value: value.to_vec(),
            });
        }
        Some(Self(fields))
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in &self.0 {
            put_varint(&mut bytes, field.number << 3 | field.wire_type);
            if field.wire_type == LENGTH_DELIMITED {
                put_varint(&mut bytes, field.value.len() as u64);
            }
            bytes.extend_from_slice(&field.value);
        }
        bytes
    }

    fn all(&self, number: u64) -> impl Iterator<Item = &[u8]> {
        let fields = self.0.iter().filter(move |field| field.number == number);
        fields.map(|field| field.value.as_slice())
    }

    /// The value of a field that occurs once; the last one wins.
    pub(crate) fn get(&self, number: u64) -> Option<&[u8]> {
        self.all(number).last()
    }

    /// Removes a field. True if the message had it.
    pub(crate) fn remove(&mut self, number: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|field| field.number != number);
        self.0.len() < before
    }

    fn push(&mut self, number: u64, value: Vec<u8>) {
        self.0.push(Field {
            number,
            wire_type: LENGTH_DELIMITED,
            value,
        });
    }

    /// Replaces a field that occurs once.
    pub(crate) fn set(&mut self, number: u64, value: Vec<u8>) {
        self.remove(number);
        self.push(number, value);
    }
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{DATA, MAP_KEY, MAP_VALUE, METADATA, Message, RAW, StoredObject, is_encrypted};

    /// An object with `fields` (number, value) in the encoding of the API server.
    pub(crate) fn stored(fields: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut unknown = Message::default();
        unknown.push(1, b"\x0a\x02v1".to_vec());
        unknown.push(RAW, message(fields));
        unknown.push(3, Vec::new());
        [super::MAGIC, &unknown.encode()].concat()
    }

    pub(crate) fn message(fields: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let mut message = Message::default();
        for (number, value) in fields {
            message.push(*number, value.clone());
        }
        message.encode()
    }

    /// An entry of a config map's data.
    pub(crate) fn data(key: &str, value: &str) -> (u64, Vec<u8>) {
        (DATA, message(&[(MAP_KEY, key.into()), (MAP_VALUE, value.into())]))
    }

    /// A config map of Kubernetes 1.34: name `app`, namespace `team`, UID `u`, generation 300, a time, data `key: value`.
    const CONFIG_MAP: &[u8] = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x31\
        \x0a\x21\x0a\x03app\x12\0\x1a\x04team\x22\0\x2a\x01u\x32\0\x38\xac\x02\x42\x08\x08\xec\xec\xaf\xce\x06\x10\0\
        \x12\x0c\x0a\x03key\x12\x05value\x1a\0\x22\0";

    #[test]
    fn everything_but_the_data_is_kept() {
        let unchanged = StoredObject::decode(CONFIG_MAP).unwrap();
        let metadata = unchanged.get(METADATA).unwrap().to_vec();
        let mut object = StoredObject::decode(CONFIG_MAP).unwrap();
        object.extend_data(&[("new", "1"), ("key", "2")]);
        let object = StoredObject::decode(&object.encode()).unwrap();
        let data = object.data();
        assert_eq!(
            (data.len(), data["new"].as_slice(), data["key"].as_slice()),
            (2, &b"1"[..], &b"2"[..])
        );
        assert_eq!(object.get(METADATA).unwrap(), metadata);
        assert!(!object.is_being_deleted());
        let kind = object.unknown.get(1).unwrap();
        assert_eq!(kind, b"\x0a\x02v1\x12\x09ConfigMap");
        assert!(object.unknown.get(3).is_some() && object.unknown.get(4).is_some());
    }

    #[test]
    fn deletion_is_recognized() {
        let metadata = message(&[(9, b"\x08\x01".to_vec())]);
        let object = StoredObject::decode(&stored(&[(METADATA, metadata)])).unwrap();
        assert!(object.is_being_deleted());
    }

    #[test]
    fn other_encodings_and_malformed_objects_are_rejected() {
        let encrypted = b"k8s:enc:aescbc:v1:key1:x";
        assert!(is_encrypted(encrypted) && !is_encrypted(CONFIG_MAP));
        for value in [&encrypted[..], b"{}", b"", b"k8s\0", &CONFIG_MAP[..30]] {
            assert!(StoredObject::decode(value).is_none(), "{value:?}");
        }
        // A length that is too long, a varint without end, and a group, which is obsolete.
        for malformed in [
            &b"\x0a\x05ab"[..],
            b"\x08\xff",
            b"\x0b",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(Message::decode(malformed).is_none(), "{malformed:?}");
        }
    }
}
