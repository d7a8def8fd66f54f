//! What a PUT takes in place of what is there: also what GET answered, whose fields that only the server knows are passed over.

use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, de};

/// A thing of which an answer says more than a request may.
pub(crate) trait ReadOnly {
    /// The fields that only the server knows.
    const FIELDS: &'static [&'static str];
}

/// A thing to put, read without the fields that only the server knows. Any other field that is not known is refused.
#[derive(Debug)]
pub(crate) struct Replacement<T>(pub(crate) T);

impl<'de, T: Deserialize<'de> + ReadOnly> Deserialize<'de> for Replacement<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + ReadOnly> Visitor<'de> for Fields<T> {
    type Value = Replacement<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let writable = Writable {
            map,
            fields: T::FIELDS,
        };
        T::deserialize(MapAccessDeserializer::new(writable)).map(Replacement)
    }
}

/// The fields of an object, without some.
struct Writable<A> {
    map: A,
    fields: &'static [&'static str],
}

/// Reads a name, and gives it on unless it is one of those that are passed over. Within the object's own reading of the name, so that
/// an error has its place.
struct Name<'a, K> {
    seed: &'a mut Option<K>,
    fields: &'static [&'static str],
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Name<'_, K> {
    type Value = Option<K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let name = String::deserialize(deserializer)?;
        if self.fields.contains(&name.as_str()) {
            return Ok(None);
        }
        match self.seed.take() {
            Some(seed) => seed.deserialize(StringDeserializer::new(name)).map(Some),
            None => Err(de::Error::custom("a name was read twice")),
        }
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Writable<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let mut seed = Some(seed);
        let fields = self.fields;
        loop {
            let name = Name {
                seed: &mut seed,
                fields,
            };
            match self.map.next_key_seed(name)? {
                Some(None) => {
                    self.map.next_value::<IgnoredAny>()?;
                }
                Some(name) => return Ok(name),
                None => return Ok(None),
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
