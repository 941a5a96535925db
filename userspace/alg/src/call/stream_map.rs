//! A call's streams, in order of their keys.
//!
//! Nearly every call has one or two: a sorted list without room to spare takes a tenth of what a tree would, and there
//! may be a hundred thousand calls.

use std::ops::{Index, RangeInclusive};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Stream, StreamKey};

/// Streams by their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamMap(Vec<(StreamKey, Stream)>);

impl StreamMap {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The stream with this key.
    pub fn get(&self, key: &StreamKey) -> Option<&Stream> {
        self.place(key).ok().map(|place| &self.0[place].1)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: &StreamKey) -> Option<&mut Stream> {
        self.place(key).ok().map(|place| &mut self.0[place].1)
    }

    /// Whether there is a stream with this key.
    pub fn contains_key(&self, key: &StreamKey) -> bool {
        self.place(key).is_ok()
    }

    /// Enters a stream, and returns what had its key before.
    pub fn insert(&mut self, key: StreamKey, stream: Stream) -> Option<Stream> {
        match self.place(&key) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, stream)),
            Err(place) => {
                self.0.reserve_exact(1);
                self.0.insert(place, (key, stream));
                None
            }
        }
    }

    /// Takes a stream out.
    pub fn remove(&mut self, key: &StreamKey) -> Option<Stream> {
        let place = self.place(key).ok()?;
        Some(self.0.remove(place).1)
    }

    /// Takes the last one out.
    pub fn pop_last(&mut self) -> Option<(StreamKey, Stream)> {
        self.0.pop()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&StreamKey, &Stream)> + Clone {
        self.0.iter().map(|(key, stream)| (key, stream))
    }

    /// The streams, in order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &Stream> + Clone {
        self.0.iter().map(|(_, stream)| stream)
    }

    /// Those whose keys lie in this range, in order.
    pub fn range(&self, range: RangeInclusive<StreamKey>) -> impl Iterator<Item = (&StreamKey, &Stream)> {
        let first = self.0.partition_point(|(key, _)| key < range.start());
        self.0[first..]
            .iter()
            .take_while(move |(key, _)| key <= range.end())
            .map(|(key, stream)| (key, stream))
    }

    fn place(&self, key: &StreamKey) -> Result<usize, usize> {
        self.0.binary_search_by_key(key, |(key, _)| *key)
    }
}

impl FromIterator<(StreamKey, Stream)> for StreamMap {
    fn from_iter<I: IntoIterator<Item = (StreamKey, Stream)>>(streams: I) -> Self {
        let mut map = Self::default();
        for (key, stream) in streams {
            map.insert(key, stream);
        }
        map
    }
}

impl<'m> IntoIterator for &'m StreamMap {
    type Item = (&'m StreamKey, &'m Stream);
    type IntoIter =
        std::iter::Map<std::slice::Iter<'m, (StreamKey, Stream)>, fn(&'m (StreamKey, Stream)) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(key, stream)| (key, stream))
    }
}

impl IntoIterator for StreamMap {
    type Item = (StreamKey, Stream);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Index<&StreamKey> for StreamMap {
    type Output = Stream;

    /// # Panics
    /// Where there is no such stream.
    fn index(&self, key: &StreamKey) -> &Stream {
        match self.place(key) {
            Ok(place) => &self.0[place].1,
            Err(_) => panic!("no such stream: {key:?}"),
        }
    }
}

/// As a list of pairs: JSON has no structured keys.
impl Serialize for StreamMap {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(&self.0)
    }
}

impl<'de> Deserialize<'de> for StreamMap {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Vec::<(StreamKey, Stream)>::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::super::Medium;
    use super::*;

    fn stream(number: u8) -> Stream {
        let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, number));
        Stream::new(Medium::Audio, [ip, ip])
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0_u32..3, 0_u32..4, any::<u8>(), 0_u8..4), 0..60)) {
            let (mut map, mut model) = (StreamMap::default(), BTreeMap::new());
            for (branch, index, number, step) in steps {
                let key = StreamKey { branch, index };
                match step {
                    0 | 1 => prop_assert_eq!(map.insert(key, stream(number)), model.insert(key, stream(number))),
                    2 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    _ => {
                        let range = key..=StreamKey { branch: branch + 1, index };
                        prop_assert!(map.range(range.clone()).eq(model.range(range)));
                    }
                }
                prop_assert!(map.iter().eq(&model) && map.values().eq(model.values()));
                prop_assert_eq!((map.len(), map.get(&key)), (model.len(), model.get(&key)));
            }
            let text = serde_json::to_string(&map).expect("it can be written");
            prop_assert_eq!(serde_json::from_str::<StreamMap>(&text).expect("and read"), map);
        }
    }
}
