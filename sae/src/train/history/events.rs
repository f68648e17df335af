//! What became of a feature, read off its snapshots.
//!
//! | word | meaning |
//! |---|---|
//! | born | the first snapshot by which it had fired |
//! | dead | at a snapshot: it had not fired for `dead_after` tokens, as training counts it |
//! | died | the first of the snapshots at which it is dead to the end; a feature that never fired was not born and does not die |
//! | revived | it fired after a snapshot at which it was dead |
//! | moved | 1 − cosine of its decoder rows at two snapshots that follow each other |
//! | settled | the first snapshot from which on the cosine with its last row stays at [`SAME_COSINE`] or above: it became itself |
//!
//! A snapshot is known by the tokens trained on, so an event lies between the snapshot before and the one that is named.

use storage::history::{EventsRow, HistoryRow, HistorySummary, Quantiles};

/// From this cosine on, a direction counts as the one that it became.
pub const SAME_COSINE: f32 = 0.9;

/// The events of one feature from its rows in the order of steps. No rows give a feature to which nothing happened.
pub fn events(rows: &[HistoryRow]) -> EventsRow {
    let Some(last) = rows.last() else { return EventsRow::default() };
    let born = rows.iter().find(|row| row.fired > 0).map(|row| row.tokens);
    let since = |holds: &dyn Fn(&HistoryRow) -> bool| {
        let from = rows.iter().rposition(|row| !holds(row)).map_or(0, |i| i + 1);
        rows.get(from).map(|row| row.tokens)
    };
    let largest = rows.iter().filter_map(|row| Some((row.moved?, row.tokens)));
    let largest = largest.reduce(|a, b| if b.0 > a.0 { b } else { a });
    EventsRow {
        feature: last.feature,
        born,
        died: born.and_then(|_| since(&|row| row.dead)),
        revivals: revivals(rows),
        settled: since(&|row| row.cosine_final.is_some_and(|cosine| cosine >= SAME_COSINE)),
        moved: rows.iter().filter_map(|row| row.moved).reduce(|a, b| a + b),
        largest_move: largest.map(|(moved, _)| moved),
        largest_move_at: largest.map(|(_, tokens)| tokens),
        cosine_first: last.cosine_first,
    }
}

/// How often a feature fired after a snapshot at which it was dead. A first firing is a birth, however late.
fn revivals(rows: &[HistoryRow]) -> u32 {
    let (mut born, mut dead, mut revivals) = (false, false, 0);
    for row in rows {
        if row.fired > 0 {
            revivals += u32::from(born && dead);
            (born, dead) = (true, false);
        }
        // It may have fired and fallen silent since the snapshot before.
        dead |= row.dead;
    }
    revivals
}

/// All features together.
pub fn summary(events: &[EventsRow]) -> HistorySummary {
    let count = |holds: &dyn Fn(&EventsRow) -> bool| events.iter().filter(|row| holds(row)).count() as u64;
    let cosines: Vec<f64> = events.iter().filter_map(|row| row.cosine_first.map(f64::from)).collect();
    let alive = events.iter().filter(|row| row.born.is_some() && row.died.is_none());
    HistorySummary {
        features: events.len() as u64,
        never_fired: count(&|row| row.born.is_none()),
        died: count(&|row| row.died.is_some()),
        revived: count(&|row| row.revivals > 0),
        born: quantiles(events.iter().filter_map(|row| row.born).collect()),
        settled: quantiles(alive.filter_map(|row| row.settled).collect()),
        mean_cosine_first: (!cosines.is_empty()).then(|| cosines.iter().sum::<f64>() / cosines.len() as f64),
    }
}

/// Of `times` the smallest by which at least a tenth, a quarter, … had come.
fn quantiles(mut times: Vec<u64>) -> Option<Quantiles> {
    times.sort_unstable();
    let by = |per_cent: usize| times.get((times.len() * per_cent).div_ceil(100).saturating_sub(1)).copied();
    Some(Quantiles { q10: by(10)?, q25: by(25)?, q50: by(50)?, q75: by(75)?, q90: by(90)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::chance::{Purpose, generator};
    /// A feature's life as a picture, a letter a snapshot: `f` it fired, `.` it did not, `d` it did not and is dead, `x` it fired and is
    /// dead.
    fn life(picture: &str) -> Vec<HistoryRow> {
        let row = |(i, letter): (usize, char)| HistoryRow {
            feature: 7,
            tokens: 10 * i as u64,
            fired: if matches!(letter, 'f' | 'x') { 3 } else { 0 },
            dead: matches!(letter, 'd' | 'x'),
            ..HistoryRow::default()
        };
        picture.chars().enumerate().map(row).collect()
    }

    fn told(picture: &str) -> (Option<u64>, Option<u64>, u32) {
        let events = events(&life(picture));
        (events.born, events.died, events.revivals)
    }

    #[test]
    fn lives_are_told_as_they_were() {
        assert_eq!(told(".fff"), (Some(10), None, 0));
        assert_eq!(told("...."), (None, None, 0), "it did not fire, but is not dead yet");
        assert_eq!(told("..dd"), (None, None, 0), "never born, so it did not die");
        assert_eq!(told(".f.dd"), (Some(10), Some(30), 0));
        assert_eq!(told(".fdfdd"), (Some(10), Some(40), 1));
        assert_eq!(
            told(".fd.f"),
            (Some(10), None, 1),
            "a new row (resampling) is not a firing, and then it fires"
        );
        assert_eq!(told(".fd.d"), (Some(10), Some(40), 0), "a new row, and dead again without firing");
        assert_eq!(told("..df"), (Some(30), None, 0), "a late birth is not a revival");
        assert_eq!(told(".xfx"), (Some(10), Some(30), 1));
        assert_eq!(told(""), (None, None, 0));
    }

    #[test]
    fn directions_settle_where_they_stay() {
        let with = |cosines: &[Option<f32>]| {
            let row = |(i, &cosine_final): (usize, &Option<f32>)| HistoryRow {
                tokens: 10 * i as u64,
                cosine_final,
                moved: (i > 0).then_some([0.0, 0.25, 0.5, 0.125][i]),
                cosine_first: Some(1.0 - i as f32 / 4.0),
                ..HistoryRow::default()
            };
            events(&cosines.iter().enumerate().map(row).collect::<Vec<_>>())
        };
        let some = |cosines: [f32; 4]| cosines.map(Some);
        assert_eq!(with(&some([0.1, 0.95, 0.9, 1.0])).settled, Some(10), "0.9 is enough");
        assert_eq!(with(&some([0.95, 0.8999, 0.95, 1.0])).settled, Some(20), "it must stay");
        assert_eq!(with(&some([1.0; 4])).settled, Some(0));
        assert_eq!(
            with(&[Some(1.0), Some(1.0), None, None]).settled,
            None,
            "a row of zeros has no direction"
        );
        let moved = with(&some([1.0; 4]));
        assert_eq!((moved.moved, moved.largest_move), (Some(0.875), Some(0.5)));
        assert_eq!((moved.largest_move_at, moved.cosine_first), (Some(20), Some(0.25)));
    }

    /// The definitions once more, each as a search through all pairs of snapshots.
    fn naive(rows: &[HistoryRow]) -> EventsRow {
        let n = rows.len();
        let first = |holds: &dyn Fn(usize) -> bool| (0..n).find(|&i| holds(i)).map(|i| rows[i].tokens);
        let born = first(&|i| (0..=i).any(|j| rows[j].fired > 0));
        let died = first(&|i| born.is_some() && (i..n).all(|j| rows[j].dead));
        let settled = first(&|i| (i..n).all(|j| rows[j].cosine_final.unwrap_or(-2.0) >= 0.9));
        // A revival is a snapshot with firing that has a dead one before it, with no firing in between, and firing before that or in it.
        let revivals = (0..n)
            .filter(|&i| {
                rows[i].fired > 0
                    && (0..i).any(|j| {
                        rows[j].dead
                            && (j + 1..i).all(|k| rows[k].fired == 0)
                            && (0..=j).any(|k| rows[k].fired > 0)
                    })
            })
            .count();
        let moves: Vec<(f32, u64)> = rows.iter().filter_map(|r| Some((r.moved?, r.tokens))).collect();
        let largest = moves.iter().copied().find(|(m, _)| moves.iter().all(|(other, _)| other <= m));
        EventsRow {
            feature: rows[n - 1].feature,
            born,
            died,
            revivals: revivals as u32,
            settled,
            moved: (!moves.is_empty()).then(|| moves.iter().map(|(m, _)| m).sum()),
            largest_move: largest.map(|(m, _)| m),
            largest_move_at: largest.map(|(_, at)| at),
            cosine_first: rows[n - 1].cosine_first,
        }
    }

    #[test]
    fn events_are_those_of_the_definitions() {
        let mut rng = generator(1, Purpose::Rows, 5, 5);
        let mut seen = [0; 4];
        for feature in 0..4000 {
            let mut draw = |n: u32| rng.next_u32() % n;
            let rows: Vec<HistoryRow> = (0..=draw(9))
                .map(|i| HistoryRow {
                    feature,
                    tokens: u64::from(i * i) * 100,
                    fired: u64::from(draw(3).saturating_sub(1)),
                    dead: draw(2) == 0,
                    moved: (i > 0).then(|| draw(8) as f32 / 8.0),
                    cosine_final: (draw(20) > 0).then(|| 0.85 + draw(4) as f32 * 0.05),
                    cosine_first: Some(draw(5) as f32 / 4.0),
                    ..HistoryRow::default()
                })
                .collect();
            let found = events(&rows);
            assert_eq!(found, naive(&rows), "{rows:?}");
            let has =
                [found.born.is_some(), found.died.is_some(), found.revivals > 1, found.settled.is_some()];
            seen.iter_mut().zip(has).for_each(|(n, has)| *n += u32::from(has));
        }
        assert!(seen.iter().all(|&n| n > 100), "{seen:?}");
    }

    #[test]
    fn all_together_are_counted_and_ranked() {
        let row = |born: Option<u64>, died: Option<u64>, settled: Option<u64>, revivals: u32| EventsRow {
            born,
            died,
            settled,
            revivals,
            cosine_first: born.map(|b| b as f32 / 100.0),
            ..EventsRow::default()
        };
        let mut rows: Vec<EventsRow> = (1..=10).map(|i| row(Some(i), None, Some(10 * i), 0)).collect();
        rows.extend([row(None, None, Some(0), 0), row(Some(11), Some(50), Some(7), 2)]);
        let all = summary(&rows);
        assert_eq!((all.features, all.never_fired, all.died, all.revived), (12, 1, 1, 1));
        // Of 1 to 11 a tenth is 1.1: two of them.
        assert_eq!(all.born, Some(Quantiles { q10: 2, q25: 3, q50: 6, q75: 9, q90: 10 }));
        // The one that never fired and the dead one have no part in it.
        assert_eq!(all.settled, Some(Quantiles { q10: 10, q25: 30, q50: 50, q75: 80, q90: 90 }));
        assert!((all.mean_cosine_first.unwrap() - 0.06).abs() < 1e-8);
        assert_eq!(summary(&[]), HistorySummary::default());
        assert_eq!(quantiles(vec![4]).map(|q| (q.q10, q.q90)), Some((4, 4)));
    }
}
