//! Names, versions and default versions.
//!
//! Readers (every request) take one atomic snapshot and never wait. Writers are rare: they take
//! turns, copy the table and swap it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::error::Error;

/// Models of one server: names to versions to `V`, with one default version per name.
///
/// The first version of a name becomes its default and stays so until [`Registry::set_default`].
#[derive(Debug)]
pub struct Registry<V> {
    table: ArcSwap<Table<V>>,
    writer: Mutex<()>,
    is_closed: AtomicBool,
}

type Table<V> = BTreeMap<Arc<str>, Arc<Versions<V>>>;

/// The versions of one name, at one moment.
#[derive(Debug)]
pub struct Versions<V> {
    default: Arc<str>,
    by_version: BTreeMap<Arc<str>, Arc<V>>,
}

impl<V> Versions<V> {
    /// The version that requests get which name none.
    pub fn default_version(&self) -> &str {
        &self.default
    }

    /// The model behind [`Versions::default_version`].
    pub fn default_model(&self) -> &Arc<V> {
        &self.by_version[&self.default]
    }

    /// One version.
    pub fn get(&self, version: &str) -> Option<&Arc<V>> {
        self.by_version.get(version)
    }

    /// All versions, in string order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<V>)> {
        self.by_version.iter()
    }

    /// Number of versions, at least 1.
    pub fn count(&self) -> usize {
        self.by_version.len()
    }
}

impl<V> Clone for Versions<V> {
    fn clone(&self) -> Self {
        Self {
            default: Arc::clone(&self.default),
            by_version: self.by_version.clone(),
        }
    }
}

/// One page of the model list.
#[derive(Debug)]
pub struct Page<V> {
    /// Names with the models of their default versions, in name order.
    pub models: Vec<(Arc<str>, Arc<V>)>,
    /// Where the next page starts. As in the original it is also given when the page ends exactly
    /// at the last model.
    pub next: Option<usize>,
}

impl<V> Default for Registry<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Registry<V> {
    /// An empty registry.
    pub fn new() -> Self {
        Self {
            table: ArcSwap::from_pointee(BTreeMap::new()),
            writer: Mutex::new(()),
            is_closed: AtomicBool::new(false),
        }
    }

    /// One version of a model, or its default version. Never waits.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] or [`Error::VersionNotFound`].
    pub fn get(&self, name: &str, version: Option<&str>) -> Result<Arc<V>, Error> {
        let table = self.table.load();
        let versions = table.get(name).ok_or_else(|| self.missing(name))?;
        match version {
            None => Ok(Arc::clone(versions.default_model())),
            Some(version) => versions
                .get(version)
                .map(Arc::clone)
                .ok_or_else(|| Error::unknown_version(name, version)),
        }
    }

    /// All versions of a model, as they are now.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`].
    pub fn versions(&self, name: &str) -> Result<Arc<Versions<V>>, Error> {
        self.table
            .load()
            .get(name)
            .map(Arc::clone)
            .ok_or_else(|| self.missing(name))
    }

    /// Every name, in order, with its versions, as they are now.
    pub fn models(&self) -> Vec<(Arc<str>, Arc<Versions<V>>)> {
        let table = self.table.load();
        table
            .iter()
            .map(|(name, versions)| (Arc::clone(name), Arc::clone(versions)))
            .collect()
    }

    /// Adds a version.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is there already.
    pub fn insert(&self, name: &str, version: &str, model: Arc<V>) -> Result<(), Error> {
        self.change(|table| {
            let version: Arc<str> = version.into();
            match table.get_mut(name) {
                None => {
                    let versions = Versions {
                        default: Arc::clone(&version),
                        by_version: BTreeMap::from([(version, model)]),
                    };
                    table.insert(name.into(), Arc::new(versions));
                }
                Some(versions) if versions.by_version.contains_key(&version) => {
                    return Err(Error::Conflict(format!(
                        "Model version {version} is already registered for model {name}"
                    )));
                }
                Some(versions) => {
                    Arc::make_mut(versions).by_version.insert(version, model);
                }
            }
            Ok(())
        })
    }

    /// Makes a version the default one.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] or [`Error::VersionNotFound`].
    pub fn set_default(&self, name: &str, version: &str) -> Result<(), Error> {
        self.change(|table| {
            let versions = table
                .get_mut(name)
                .ok_or_else(|| Error::unknown_model(name))?;
            let Some((version, _)) = versions.by_version.get_key_value(version) else {
                // Worded unlike every other look-up: no colons.
                return Err(Error::VersionNotFound(format!(
                    "Model version {version} does not exist for model {name}"
                )));
            };
            let version = Arc::clone(version);
            Arc::make_mut(versions).default = version;
            Ok(())
        })
    }

    /// Removes a version, or the default one, and hands back its name and model.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] or [`Error::VersionNotFound`]; [`Error::DefaultVersion`] for the
    /// default version while others exist.
    pub fn remove(&self, name: &str, version: Option<&str>) -> Result<(Arc<str>, Arc<V>), Error> {
        self.change(|table| {
            let versions = table
                .get_mut(name)
                .ok_or_else(|| Error::unknown_model(name))?;
            let version = version.unwrap_or(&versions.default).to_owned();
            if !versions.by_version.contains_key(version.as_str()) {
                return Err(Error::unknown_version(name, &version));
            }
            if *version == *versions.default && versions.count() > 1 {
                return Err(Error::DefaultVersion(format!(
                    "Cannot remove default version for model {name}"
                )));
            }
            let removed = Arc::make_mut(versions)
                .by_version
                .remove_entry(version.as_str())
                .ok_or_else(|| Error::unknown_version(name, &version))?;
            if versions.by_version.is_empty() {
                table.remove(name);
            }
            Ok(removed)
        })
    }

    /// Removes a version that its own registration takes back, whether or not others exist; false
    /// if `model` is not there any more. Another version becomes the default one if it has to.
    pub fn withdraw(&self, name: &str, version: &str, model: &Arc<V>) -> bool {
        let withdrawn = self.change(|table| {
            let unknown = || Error::unknown_version(name, version);
            let versions = table.get_mut(name).ok_or_else(unknown)?;
            let found = versions.get(version).ok_or_else(unknown)?;
            if !Arc::ptr_eq(found, model) {
                return Err(unknown());
            }
            let versions = Arc::make_mut(versions);
            versions.by_version.remove(version);
            let first = versions.by_version.keys().next().map(Arc::clone);
            match first {
                None => {
                    table.remove(name);
                }
                Some(first) if *versions.default == *version => versions.default = first,
                Some(_) => {}
            }
            Ok(())
        });
        withdrawn.is_ok()
    }

    /// Empties the registry for good and hands back every model, for shutdown: of each name the
    /// versions that are not the default come first.
    pub fn close(&self) -> Vec<(Arc<str>, Arc<str>, Arc<V>)> {
        let table = {
            let _turn = self.turn();
            self.is_closed.store(true, Ordering::Relaxed);
            self.table.swap(Arc::default())
        };
        let mut drained = Vec::new();
        for (name, versions) in table.iter() {
            let mut all: Vec<_> = versions.iter().collect();
            all.sort_by_key(|(version, _)| **version == versions.default);
            drained.extend(all.into_iter().map(|(version, model)| {
                (Arc::clone(name), Arc::clone(version), Arc::clone(model))
            }));
        }
        drained
    }

    /// Models `offset..offset + limit` in name order, of those that `is_listed` accepts.
    pub fn page(&self, limit: usize, offset: usize, is_listed: impl Fn(&V) -> bool) -> Page<V> {
        let table = self.table.load();
        let mut total = 0;
        let mut models = Vec::new();
        for (name, versions) in table.iter() {
            let model = versions.default_model();
            if !is_listed(model) {
                continue;
            }
            if total >= offset && models.len() < limit {
                models.push((Arc::clone(name), Arc::clone(model)));
            }
            total += 1;
        }
        let next = offset.saturating_add(limit);
        Page {
            models,
            next: (next <= total).then_some(next),
        }
    }

    /// Applies a change to a copy of the table and publishes it; nothing is published on error.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Table<V>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _turn = self.turn();
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(stopping());
        }
        let mut table = Table::clone(&self.table.load());
        let result = change(&mut table)?;
        self.table.store(Arc::new(table));
        Ok(result)
    }

    /// Why there is no such model: it is unknown, or all are gone because the server stops.
    fn missing(&self, name: &str) -> Error {
        if self.is_closed.load(Ordering::Relaxed) {
            stopping()
        } else {
            Error::unknown_model(name)
        }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // The lock protects no data of its own, so a writer that panicked left nothing half done.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stopping() -> Error {
    Error::Unavailable("The server is stopping.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(entries: &[(&str, &str)]) -> Registry<String> {
        let registry = Registry::new();
        for (name, version) in entries {
            let model = Arc::new(format!("{name}@{version}"));
            registry.insert(name, version, model).unwrap();
        }
        registry
    }

    fn everything<V>(_: &V) -> bool {
        true
    }

    #[test]
    fn the_first_version_stays_default_until_it_is_changed() {
        let registry = registry(&[("m", "2"), ("m", "1"), ("m", "3")]);
        assert_eq!(*registry.get("m", None).unwrap(), "m@2");
        registry.set_default("m", "3").unwrap();
        assert_eq!(*registry.get("m", None).unwrap(), "m@3");
        assert_eq!(*registry.get("m", Some("1")).unwrap(), "m@1");
    }

    #[test]
    fn look_ups_fail_with_the_texts_clients_know() {
        let registry = registry(&[("m", "1")]);
        let text = |error: Error| (error.code().http(), error.to_string());
        assert_eq!(
            text(registry.get("x", None).unwrap_err()),
            (404, "Model not found: x".to_owned())
        );
        assert_eq!(
            text(registry.get("m", Some("2")).unwrap_err()),
            (
                404,
                "Model version: 2 does not exist for model: m".to_owned()
            )
        );
        assert_eq!(
            text(registry.set_default("m", "2").unwrap_err()),
            (404, "Model version 2 does not exist for model m".to_owned())
        );
        assert_eq!(
            text(registry.set_default("x", "2").unwrap_err()),
            (404, "Model not found: x".to_owned())
        );
        let conflict = registry.insert("m", "1", Arc::default()).unwrap_err();
        assert_eq!(
            text(conflict),
            (
                409,
                "Model version 1 is already registered for model m".to_owned()
            )
        );
    }

    #[test]
    fn the_default_version_goes_last() {
        let registry = registry(&[("m", "1"), ("m", "2")]);
        for version in [None, Some("1")] {
            let error = registry.remove("m", version).unwrap_err();
            assert_eq!(error.code().http(), 403);
            assert_eq!(
                error.to_string(),
                "Cannot remove default version for model m"
            );
        }
        assert!(matches!(
            registry.remove("m", Some("9")),
            Err(Error::VersionNotFound(_))
        ));
        let (version, model) = registry.remove("m", Some("2")).unwrap();
        assert_eq!((&*version, model.as_str()), ("2", "m@2"));
        let (version, _) = registry.remove("m", None).unwrap();
        assert_eq!(&*version, "1");
        assert!(matches!(
            registry.remove("m", None),
            Err(Error::ModelNotFound(_))
        ));
        assert!(registry.models().is_empty());
    }

    #[test]
    fn a_model_taken_before_its_removal_stays_usable() {
        let registry = registry(&[("m", "1")]);
        let held = registry.get("m", None).unwrap();
        registry.remove("m", None).unwrap();
        assert_eq!(*held, "m@1");
    }

    #[test]
    fn pages_are_in_name_order_and_a_token_follows_even_a_full_last_page() {
        let registry = registry(&[("b", "1"), ("a", "1"), ("c", "1"), ("a", "2")]);
        let names = |page: &Page<String>| {
            let names: Vec<_> = page
                .models
                .iter()
                .map(|(name, _)| name.to_string())
                .collect();
            names.join(" ")
        };
        let cases = [
            (100, 0, "a b c", None),
            (2, 0, "a b", Some(2)),
            (2, 2, "c", None),
            (3, 0, "a b c", Some(3)),
            (0, 0, "", Some(0)),
            (2, 7, "", None),
            (usize::MAX, usize::MAX, "", None),
        ];
        for (limit, offset, expected, next) in cases {
            let page = registry.page(limit, offset, everything);
            assert_eq!((names(&page).as_str(), page.next), (expected, next));
        }
        let some = registry.page(2, 0, |model| model != "a@1");
        assert_eq!((names(&some).as_str(), some.next), ("b c", Some(2)));
    }

    #[test]
    fn a_registration_takes_back_only_its_own_version() {
        let registry = registry(&[("m", "1"), ("m", "2"), ("k", "1")]);
        let (first, second) = (
            registry.get("m", Some("1")).unwrap(),
            registry.get("m", Some("2")).unwrap(),
        );
        assert!(!registry.withdraw("m", "1", &second));
        assert!(!registry.withdraw("m", "3", &first));
        assert!(registry.withdraw("m", "1", &first));
        assert_eq!(*registry.get("m", None).unwrap(), "m@2");
        assert!(registry.withdraw("m", "2", &second));
        assert!(matches!(
            registry.get("m", None),
            Err(Error::ModelNotFound(_))
        ));
        assert_eq!(registry.models().len(), 1);
    }

    #[test]
    fn closing_empties_it_for_good_with_default_versions_last() {
        let registry = registry(&[("m", "1"), ("m", "2"), ("k", "1")]);
        let versions: Vec<_> = registry
            .close()
            .into_iter()
            .map(|(name, version, _)| format!("{name}@{version}"))
            .collect();
        assert_eq!(versions, ["k@1", "m@2", "m@1"]);
        assert!(registry.close().is_empty());
        for refused in [
            registry.get("m", None).map(drop),
            registry.insert("m", "3", Arc::default()),
            registry.set_default("m", "1"),
            registry.remove("m", None).map(drop),
        ] {
            assert!(matches!(refused, Err(Error::Unavailable(_))));
        }
    }

    #[test]
    fn writers_in_many_threads_lose_nothing_while_readers_read() {
        let registry = registry(&[("m", "first")]);
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let registry = &registry;
                scope.spawn(move || {
                    for round in 0..50 {
                        let version = format!("{writer}-{round}");
                        registry
                            .insert("m", &version, Arc::new(version.clone()))
                            .unwrap();
                        assert_eq!(*registry.get("m", Some(&version)).unwrap(), version);
                        assert_eq!(*registry.get("m", None).unwrap(), "m@first");
                        if round % 2 == 0 {
                            registry.remove("m", Some(&version)).unwrap();
                        }
                    }
                });
            }
        });
        assert_eq!(registry.versions("m").unwrap().count(), 1 + 8 * 25);
    }
}
