//! All records as lines of JSON, to look at and to build a store anew from.
//!
//! A line is `{"table":...,"namespaced":...,"key":[...],"value":...}`. Byte strings, which JSON lacks, are
//! `{"$bytes":"<base64>"}`; a map that looks like one of these marks is `{"$map":{...}}`.

use std::fmt;
use std::io::{BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use errors::{Context, Error, Kind, Result, WithKind};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Value as Json, json};

use crate::key::{self, Sort};
use crate::map::Map as Records;
use crate::reader::Reader;
use crate::store::Store;

/// The longest line of an export: a record of the largest size in base64, and its key.
const LINE: u64 = 32 << 20;
/// Records a transaction of an import.
const BATCH: usize = 256;
const BYTES: &str = "$bytes";
const MAP: &str = "$map";

/// Any MessagePack value that records hold.
#[derive(Debug, Clone, PartialEq)]
struct Value(Json);

impl Store {
    /// Writes every record to `out`, a line each, all as of one instant.
    pub fn export(&self, out: &mut impl Write) -> Result<()> {
        let _instant = Reader::new(self.shared());
        export(&self.shared().disk.map(), out, Err).map(drop)
    }

    /// Takes in what [`Store::export`] wrote, over what is there. Returns how many records it was.
    pub async fn import(&self, mut from: impl BufRead) -> Result<usize> {
        let mut count = 0;
        loop {
            let mut records = Vec::new();
            while records.len() < BATCH
                && let Some(line) = next_line(&mut from)?
            {
                records.push(parse_line(&line, count + records.len() + 1)?);
            }
            if records.is_empty() {
                return Ok(count);
            }
            count += records.len();
            self.write(|transaction| {
                records.into_iter().for_each(|(key, value)| transaction.put_raw(key, value));
                Ok(())
            })
            .await?;
        }
    }
}

/// Writes every record of `map`. `failed` decides what becomes of one that cannot be read. Returns how many were written.
pub(crate) fn export(
    map: &Records,
    out: &mut impl Write,
    mut failed: impl FnMut(Error) -> Result<()>,
) -> Result<usize> {
    let mut count = 0;
    for sort in [Sort::Global, Sort::Namespaced] {
        for key in map.keys(&[sort.byte()]) {
            match line(map, sort, &key) {
                Ok(line) => {
                    writeln!(out, "{line}").context(|| "write the export")?;
                    count += 1;
                }
                Err(error) => failed(error)?,
            }
        }
    }
    out.flush().context(|| "write the export")?;
    Ok(count)
}

fn line(map: &Records, sort: Sort, key: &[u8]) -> Result<Json> {
    let damaged = || format!("decode the record under {:?}", String::from_utf8_lossy(key));
    let (table, parts) = key::decompose(key).ok_or_else(|| Error::new(Kind::DataLoss, damaged()))?;
    let bytes = map.get(key)?.unwrap_or_default();
    let Value(value) = rmp_serde::from_slice(&bytes).kind(Kind::DataLoss, damaged)?;
    Ok(json!({"table": table, "namespaced": sort == Sort::Namespaced, "key": parts, "value": value}))
}

fn next_line(from: &mut impl BufRead) -> Result<Option<String>> {
    let mut line = String::new();
    let read = std::io::Read::take(from, LINE).read_line(&mut line).context(|| "read an export")?;
    Ok((read > 0).then_some(line))
}

fn parse_line(line: &str, number: usize) -> Result<(Vec<u8>, Vec<u8>)> {
    let invalid = || format!("line {number} of the export");
    let wrong = || Error::invalid(invalid());
    let record: Json = serde_json::from_str(line).kind(Kind::InvalidArgument, invalid)?;
    let table = record["table"].as_str().ok_or_else(wrong)?;
    let sort = match record["namespaced"].as_bool().ok_or_else(wrong)? {
        true => Sort::Namespaced,
        false => Sort::Global,
    };
    let parts: Option<Vec<&str>> =
        record["key"].as_array().ok_or_else(wrong)?.iter().map(Json::as_str).collect();
    let key = key::compose(sort, table, &parts.ok_or_else(wrong)?)?;
    let value = Value(record.get("value").cloned().ok_or_else(wrong)?);
    Ok((key, rmp_serde::to_vec_named(&value).kind(Kind::InvalidArgument, invalid)?))
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match &self.0 {
            Json::Object(map) => match bytes_of(map) {
                Some(bytes) => serializer.serialize_bytes(&bytes),
                None => {
                    let map =
                        map.get(MAP).filter(|_| map.len() == 1).and_then(Json::as_object).unwrap_or(map);
                    let mut fields = serializer.serialize_map(Some(map.len()))?;
                    for (name, value) in map {
                        fields.serialize_entry(name, &Value(value.clone()))?;
                    }
                    fields.end()
                }
            },
            Json::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Value(item.clone()))?;
                }
                list.end()
            }
            plain => plain.serialize(serializer),
        }
    }
}

fn bytes_of(map: &Map<String, Json>) -> Option<Vec<u8>> {
    let text = map.get(BYTES).filter(|_| map.len() == 1)?.as_str()?;
    STANDARD.decode(text).ok()
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Value, D::Error> {
        deserializer.deserialize_any(Values)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of a record")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value(Json::Null))
    }

    fn visit_none<E>(self) -> std::result::Result<Value, E> {
        Ok(Value(Json::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(Value(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(Value(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(Value(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(Value(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(Value(value.into()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> std::result::Result<Value, E> {
        Ok(Value(json!({BYTES: STANDARD.encode(value)})))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Value(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value(Json::Array(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> std::result::Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Value(value))) = fields.next_entry::<Value, Value>()? {
            // Maps are keyed by text; another key keeps its JSON as its name.
            let name = name.0.as_str().map_or_else(|| name.0.to_string(), str::to_owned);
            map.insert(name, value);
        }
        let marked = map.len() == 1 && (map.contains_key(BYTES) || map.contains_key(MAP));
        Ok(Value(if marked { json!({MAP: map}) } else { Json::Object(map) }))
    }
}
