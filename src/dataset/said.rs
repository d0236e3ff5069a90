//! What is said of an object, and what it is called.

use super::coords::canonical;
use super::facts::is_free_key;
use crate::tgm::{self, Map, Message, Value};

/// What an object is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectName {
    /// As its metadata says (`name`, `mars.param`, `param`, `mars.shortName`, `shortName`), or `object_<index>`.
    pub name: String,
    /// Whether that name makes it a coordinate.
    pub coordinate: bool,
}

impl ObjectName {
    /// That of the object at `index` of `message`.
    pub fn of(message: &Message, index: usize) -> Self {
        let none = Map::new();
        let base = message.metadata.base.get(index).unwrap_or(&none);
        let params = message.objects.get(index).map_or(&none, |object| &object.descriptor.params);
        let said = Said { base, params, extra: &message.metadata.extra };
        match said.own_name().as_deref().and_then(canonical) {
            Some(name) => Self { name: name.into(), coordinate: true },
            None => Self { name: said.name(index), coordinate: false },
        }
    }
}

/// What metadata says of one object: of its own, in its descriptor, in its message; in this order.
pub(super) struct Said<'a> {
    pub(super) base: &'a Map,
    pub(super) params: &'a Map,
    pub(super) extra: &'a Map,
}

impl<'a> Said<'a> {
    /// The first of these dotted paths that leads to a scalar, as text.
    pub(super) fn first(&self, paths: &[impl AsRef<str>]) -> Option<String> {
        let maps = [self.base, self.params, self.extra];
        let text = |path: &str| maps.iter().find_map(|map| tgm::value_text(tgm::lookup(map, path)?));
        paths.iter().find_map(|path| text(path.as_ref()).filter(|text| !text.is_empty()))
    }

    /// The name that tells whether an object is a coordinate.
    pub(super) fn own_name(&self) -> Option<String> {
        self.first(&["name", "param", "mars.param"])
    }

    /// The name of the object at `index` of its message.
    pub(super) fn name(&self, index: usize) -> String {
        const NAMES: [&str; 5] = ["name", "mars.param", "param", "mars.shortName", "shortName"];
        self.first(&NAMES).unwrap_or_else(|| format!("object_{index}"))
    }

    /// A top-level key of the object.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.base.get(key).or_else(|| self.params.get(key).filter(|_| is_free_key(key)))
    }

    /// Everything said of the object itself, without names of dims and parameters of codecs.
    pub(super) fn attributes(&self) -> Map {
        let free = self.params.iter().filter(|(key, _)| is_free_key(key));
        let own = self.base.iter().filter(|(key, _)| *key != "dim_names");
        free.chain(own).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}
