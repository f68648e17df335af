//! Features in a plane: close together if their decoder rows are similar.
//!
//! The method is UMAP's (McInnes, Healy & Melville 2018, arXiv:1802.03426) on the neighbours that the index
//! has already found by cosine: a fuzzy graph of them ([`graph`]), places along the two main directions of
//! the decoder at first ([`start`]), then attraction along the edges and repulsion from random points
//! ([`descend`]). Everything that is random depends on the seed only, and one thread does the descent, so the
//! same index gives the same map on any machine of a kind.

mod descend;
mod graph;
mod start;

use std::path::Path;

use storage::Run;
use storage::map::{FILE, PointRow};

use crate::dictionary::Dictionary;
use crate::{Error, Progress, Result};

/// Number of features from which fewer passes are enough.
const MANY: usize = 10_000;

/// Lays out the features of the indexed run in `dir`, writes `features/map.parquet` and returns how many have
/// a place: those that fired at all.
///
/// # Errors
/// A run without an index or with one of a different dictionary, or [`Error::Stopped`].
pub fn map(dir: &Path, epochs: Option<usize>, seed: u64, progress: &mut dyn Progress) -> Result<usize> {
    crate::rows::must_be_run(dir, "a map")?;
    let run = Run::open(dir)?;
    let table = run.features()?.ok_or_else(|| {
        Error::request(format!("{} has no feature index", dir.display()))
            .with_remedy("make it with `sae index`")
    })?;
    let neighbours = storage::features::neighbours(&table)?;
    let dead = storage::features::scalar_columns(&table)?.dead;
    let dictionary = super::layers::described(dir)?;
    if neighbours.len() != dictionary.d_sae {
        return Err(Error::data(format!(
            "{}: the index has {} features, the dictionary {}",
            dir.display(),
            neighbours.len(),
            dictionary.d_sae
        ))
        .with_remedy("make the index again with `sae index`"));
    }
    write(&run.features_dir(), &dictionary, &alive(dead.into_iter()), &neighbours, epochs, seed, progress)
}

/// The features that are not dead.
pub(super) fn alive(dead: impl Iterator<Item = bool>) -> Vec<u32> {
    (0..).zip(dead).filter(|(_, dead)| !dead).map(|(feature, _)| feature).collect()
}

/// Lays out the features `alive` and writes `FOLDER/map.parquet`; how many there are.
pub(super) fn write(
    folder: &Path,
    dictionary: &Dictionary,
    alive: &[u32],
    neighbours: &[Vec<(u32, f32)>],
    epochs: Option<usize>,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<usize> {
    let places = places(dictionary, alive, neighbours, epochs, seed, progress)?;
    let rows: Vec<PointRow> = alive
        .iter()
        .zip(&places)
        .map(|(&feature, place)| PointRow { feature, x: place[0], y: place[1] })
        .collect();
    storage::row::write(&folder.join(FILE), &rows)?;
    Ok(rows.len())
}

/// The place of each of `alive`, ascending.
fn places(
    dictionary: &Dictionary,
    alive: &[u32],
    neighbours: &[Vec<(u32, f32)>],
    epochs: Option<usize>,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<Vec<[f32; 2]>> {
    let epochs = epochs.unwrap_or(if alive.len() < MANY { 500 } else { 200 });
    let edges = graph::edges(alive, neighbours);
    let mut places = start::along_main_directions(&dictionary.w_dec, dictionary.d_out(), alive, seed);
    progress.begin("map", Some(epochs as u64), "passes");
    let mut descent = descend::Descent::new(&edges, epochs, seed);
    for epoch in 0..epochs {
        descent.pass(&mut places, epoch);
        progress.advance(epoch as u64 + 1, "");
        if progress.stop_requested() {
            return Err(Error::stopped("no map was written; an older one is kept"));
        }
    }
    progress.end(&format!("{} features", alive.len()));
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;
    use crate::rows::fixture;

    /// Five bundles of directions, and for each feature the ten nearest.
    fn bundles() -> (Dictionary, Vec<Vec<(u32, f32)>>) {
        let (d, n) = (16, 300);
        let mut dictionary = fixture::dictionary(d, n, 4, 5);
        for f in 0..n {
            for i in 0..d {
                let noise = dictionary.w_dec[f * d + i] * 0.2;
                dictionary.w_dec[f * d + i] = noise + f32::from(u8::from(i == f % 5));
            }
        }
        let norms: Vec<f32> =
            dictionary.w_dec.chunks(d).map(|r| r.iter().map(|x| x * x).sum::<f32>().sqrt()).collect();
        let neighbours = super::super::rows::neighbours(&dictionary.w_dec, &norms, d, 0..n, 10);
        (dictionary, neighbours)
    }

    #[test]
    fn what_is_alike_lies_together() {
        let (dictionary, neighbours) = bundles();
        let alive: Vec<u32> = (0..300).filter(|f| f % 7 != 3).collect();
        let places = places(&dictionary, &alive, &neighbours, None, 3, &mut Quiet).unwrap();
        assert!(places.iter().flatten().all(|x| x.is_finite()));
        let distance = |a: usize, b: usize| (places[a][0] - places[b][0]).hypot(places[a][1] - places[b][1]);
        let mut own = 0;
        for a in 0..alive.len() {
            let mut others: Vec<usize> = (0..alive.len()).filter(|b| *b != a).collect();
            others.sort_by(|x, y| distance(a, *x).total_cmp(&distance(a, *y)));
            own += others[..10].iter().filter(|b| alive[**b] % 5 == alive[a] % 5).count();
        }
        // One in five by chance.
        let share = own as f64 / (10 * alive.len()) as f64;
        assert!(share > 0.95, "{share} of the ten nearest on the map are of the same bundle");
    }

    #[test]
    fn the_same_seed_gives_the_same_map() {
        let (dictionary, neighbours) = bundles();
        let alive: Vec<u32> = (0..300).collect();
        let of = |seed| places(&dictionary, &alive, &neighbours, Some(20), seed, &mut Quiet).unwrap();
        let found = of(1);
        // Sums of the first places are made by many threads: their number must not show.
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(|| of(1));
        let many = rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap().install(|| of(1));
        assert!(alone == found && many == found, "the map depends on the number of threads");
        assert_ne!(found, of(2));
    }
}
