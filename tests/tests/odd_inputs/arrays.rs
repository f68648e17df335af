//! Activations that other programs made, from the import to the index.

use std::path::Path;

use tests::Chance;

use super::{Cell, Row, Table};

const N: usize = 3000;
const D: usize = 16;

/// A `.npy` file of this type, order and shape.
fn npy(path: &Path, descr: &str, fortran: bool, shape: &str, numbers: impl IntoIterator<Item = Vec<u8>>) {
    let order = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    numbers.into_iter().for_each(|number| bytes.extend(number));
    std::fs::write(path, bytes).unwrap();
}

/// Sums of a few directions, `[N, D]`.
fn planted() -> Vec<f32> {
    let mut chance = Chance::new(7);
    let directions: Vec<f32> = (0..12 * D).map(|_| chance.unit() as f32 - 0.5).collect();
    let directions: Vec<&[f32]> = directions.chunks_exact(D).collect();
    let mut rows = Vec::with_capacity(N * D);
    for _ in 0..N {
        let mut row = [0.5f32; D];
        for _ in 0..3 {
            let amount = 2.0 * chance.unit() as f32;
            row.iter_mut().zip(*chance.one_of(&directions)).for_each(|(x, v)| *x += amount * v);
        }
        rows.extend(row);
    }
    rows
}

fn inputs(at: &Path) {
    let rows = planted();
    let whole = format!("({N}, {D})");
    let put = |name: &str, shape: &str, rows: &[f32]| {
        npy(&at.join(name), "<f4", false, shape, rows.iter().map(|x| x.to_le_bytes().to_vec()));
    };
    put("tidy.npy", &whole, &rows);
    let turned = (0..D).flat_map(|j| (0..N).map(move |i| (i, j)));
    let turned = turned.map(|(i, j)| rows[i * D + j].to_le_bytes().to_vec());
    npy(&at.join("fortran.npy"), "<f4", true, &whole, turned);
    npy(&at.join("f8.npy"), "<f8", false, &whole, rows.iter().map(|x| f64::from(*x).to_le_bytes().to_vec()));
    let upper = rows.iter().map(|x| x.to_bits().to_le_bytes()[2..].to_vec());
    npy(&at.join("bf16.npy"), "|V2", false, &whole, upper);
    put("sequences.npy", &format!("(30, 100, {D})"), &rows);
    let changed = |change: &dyn Fn(&mut Vec<f32>)| {
        let mut rows = rows.clone();
        change(&mut rows);
        rows
    };
    put(
        "huge.npy",
        &whole,
        &changed(&|rows| {
            rows.chunks_exact_mut(D).step_by(500).for_each(|row| row.iter_mut().for_each(|x| *x *= 1e4));
        }),
    );
    put("offset.npy", &whole, &changed(&|rows| rows.iter_mut().for_each(|x| *x += 300.0)));
    put("nan.npy", &whole, &changed(&|rows| rows[7 * D + 3] = f32::NAN));
    put("constant.npy", &whole, &rows[..D].repeat(N));
    put("zero.npy", &whole, &vec![0.0; N * D]);
    put("one.npy", &format!("(1, {D})"), &rows[..D]);
    put("none.npy", &format!("(0, {D})"), &[]);
    put("flat.npy", &format!("({},)", N * D), &rows);
    put("cut.npy", &whole, &rows[..N * D - 3]);
    npy(
        &at.join("whole-numbers.npy"),
        "<i4",
        false,
        &whole,
        rows.iter().map(|x| (*x as i32).to_le_bytes().to_vec()),
    );
    npy(&at.join("objects.npy"), "|O", false, "(1, 1)", [vec![0; 8]]);
}

pub fn table(at: &Path) -> Table {
    inputs(at);
    let row = |what: &'static str, input: &str, import: Cell, train: Cell, later: bool, left_out: bool| {
        let right =
            |parts: &[&str]| Cell::Right("runs, no NaN", parts.iter().map(|s| (*s).to_owned()).collect());
        let evaluated: &[&str] = if left_out { &["left out"] } else { &["FVE"] };
        let (evaluate, index) =
            if later { (right(evaluated), right(&["features     32"])) } else { (Cell::None, Cell::None) };
        let cells = vec![
            (format!("import {input}.npy --out data-{input}"), import),
            (
                format!(
                    "train --data data-{input} --d-sae 32 --k 3 --tokens 30000 --batch 512 --out run-{input}"
                ),
                train,
            ),
            (format!("evaluate run-{input}"), evaluate),
            (format!("index run-{input}"), index),
        ];
        Row { what, cells }
    };
    let rows = |n: usize| Cell::Right("every row", vec![format!("rows       {n} rows of {D} numbers")]);
    let trained = || Cell::Right("trained", vec!["L0      3.0".to_owned()]);
    let good = [
        ("rows of f32", "tidy"),
        ("Fortran order", "fortran"),
        ("f64", "f8"),
        ("bfloat16 as numpy's `|V2`", "bf16"),
        ("sequences, `[30, 100, d]`", "sequences"),
        ("a constant vector far larger than what varies", "offset"),
    ];
    let mut made: Vec<Row> =
        good.iter().map(|(what, input)| row(what, input, rows(N), trained(), true, false)).collect();
    let left_out = Cell::Right(
        "huge rows left out, and said",
        vec!["left out".to_owned(), "because of their norm".to_owned()],
    );
    made.push(row("0.2 % of rows 10⁴ times as long", "huge", rows(N), left_out, true, true));
    let same: &[&str] = &["are the same vector", "sae inspect"];
    made.push(row("constant rows", "constant", rows(N), Cell::Refused(1, same), false, false));
    made.push(row("zeros", "zero", rows(N), Cell::Refused(1, &["sampled activations are 0"]), false, false));
    made.push(row("one row", "one", rows(1), Cell::Refused(1, same), false, false));
    let refused: [(&'static str, &str, &'static [&'static str]); 6] = [
        ("NaN in row 7", "nan", &["nan.npy: row 7", "NaN"]),
        ("no rows", "none", &["none.npy", "there are no numbers"]),
        ("one dimension", "flat", &["expected [rows, d] or [sequences, tokens, d]"]),
        ("a file that ends too early", "cut", &["cut.npy", "does not take so many"]),
        ("whole numbers", "whole-numbers", &["holds integers"]),
        ("Python objects", "objects", &["|O", "astype"]),
    ];
    for (what, input, parts) in refused {
        made.push(row(what, input, Cell::Refused(1, parts), Cell::None, false, false));
    }
    Table {
        title: "Activations from elsewhere",
        columns: &["import", "train", "evaluate", "index"],
        rows: made,
    }
}
