//! A map that forgets what was used least recently when its values weigh too much together.

use std::hash::Hash;
use std::sync::{Arc, Mutex};

use lru::LruCache;

/// What a value takes in memory, about.
pub trait Weight {
    /// Returns the bytes.
    fn weight(&self) -> usize;
}

impl<T: Weight> Weight for Arc<T> {
    fn weight(&self) -> usize {
        (**self).weight()
    }
}

/// A bounded map for several threads; values are cheap to clone.
#[derive(Debug)]
pub struct WeightedCache<K: Hash + Eq, V> {
    weight_max: usize,
    state: Mutex<State<K, V>>,
}

#[derive(Debug)]
struct State<K: Hash + Eq, V> {
    entries: LruCache<K, V>,
    weight: usize,
}

impl<K: Hash + Eq, V: Weight + Clone> WeightedCache<K, V> {
    /// Returns an empty map for values of so many bytes together. One value always fits.
    #[must_use]
    pub fn new(weight_max: usize) -> Self {
        let state = State {
            entries: LruCache::unbounded(),
            weight: 0,
        };
        Self {
            weight_max,
            state: Mutex::new(state),
        }
    }

    /// Returns a value, which counts as used now.
    pub fn find(&self, key: &K) -> Option<V> {
        self.with(|state| state.entries.get(key).cloned())
    }

    /// Returns true if there is a value. It does not count as used.
    pub fn contains(&self, key: &K) -> bool {
        self.with(|state| state.entries.contains(key))
    }

    /// Adds a value, or replaces it, and drops others if there is no room.
    pub fn insert(&self, key: K, value: V) {
        self.with(|state| {
            state.weight += self.weigh(&value);
            if let Some((_, old)) = state.entries.push(key, value) {
                state.weight -= self.weigh(&old);
            }
            while state.weight > self.weight_max && state.entries.len() > 1 {
                if let Some((_, old)) = state.entries.pop_lru() {
                    state.weight -= self.weigh(&old);
                }
            }
        });
    }

    /// Drops a value.
    pub fn remove(&self, key: &K) {
        self.with(|state| {
            if let Some(old) = state.entries.pop(key) {
                state.weight -= self.weigh(&old);
            }
        });
    }

    /// Takes all of `other`, which is left empty, but for these keys, whose values are dropped. What
    /// is here stays.
    pub fn inherit<'k>(&self, other: &Self, without: impl IntoIterator<Item = &'k K>)
    where
        K: 'k,
    {
        let empty = State {
            entries: LruCache::unbounded(),
            weight: 0,
        };
        let mut taken = other.with(|state| std::mem::replace(state, empty));
        for key in without {
            if let Some(value) = taken.entries.pop(key) {
                taken.weight -= self.weigh(&value);
            }
        }
        let own = self.with(|state| std::mem::replace(state, taken));
        for (key, value) in own.entries {
            self.insert(key, value);
        }
    }

    /// Returns the first answer of `look`, asking the values used last first.
    pub fn find_map<R>(&self, look: impl FnMut((&K, &V)) -> Option<R>) -> Option<R> {
        self.with(|state| state.entries.iter().find_map(look))
    }

    /// Returns the number of values and their weight in bytes.
    pub fn load(&self) -> (usize, usize) {
        self.with(|state| (state.entries.len(), state.weight))
    }

    /// A value counts for half of the limit at most. Otherwise the largest directory and its parent,
    /// which are used in turns, would drive each other out for ever.
    fn weigh(&self, value: &V) -> usize {
        value.weight().min((self.weight_max / 2).max(1))
    }

    fn with<R>(&self, work: impl FnOnce(&mut State<K, V>) -> R) -> R {
        work(&mut self.state.lock().expect("no holder of this lock panics"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weight for usize {
        fn weight(&self) -> usize {
            *self
        }
    }

    #[test]
    fn what_was_used_least_recently_goes_first() {
        let cache = WeightedCache::new(10);
        cache.insert('a', 4);
        cache.insert('b', 4);
        assert_eq!(cache.find(&'a'), Some(4));
        cache.insert('c', 4);
        assert_eq!((cache.find(&'a'), cache.find(&'b')), (Some(4), None));
        assert_eq!(cache.load(), (2, 8));
    }

    #[test]
    fn weights_add_up_through_replacements_and_removals() {
        let cache = WeightedCache::new(20);
        cache.insert('a', 4);
        cache.insert('a', 6);
        assert_eq!(cache.load(), (1, 6));
        cache.remove(&'a');
        cache.remove(&'a');
        assert_eq!(cache.load(), (0, 0));
    }

    #[test]
    fn a_value_above_the_limit_stays_beside_what_is_used_with_it() {
        let cache = WeightedCache::new(10);
        cache.insert('a', 40);
        for other in 'b'..'g' {
            cache.insert(other, 3);
            assert_eq!(cache.find(&'a'), Some(40));
        }
        assert_eq!(cache.load(), (2, 8));
        cache.insert('z', 50);
        cache.insert('y', 60);
        assert_eq!((cache.find(&'a'), cache.load()), (None, (2, 10)));
    }
}
