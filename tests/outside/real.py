"""Opens every table of a real folder (data, runs) with pyarrow and DuckDB, and compares tables that must agree.

    cargo run --example sample -- DIR
    python real.py DIR
"""

import json
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

root = Path(sys.argv[1])
checks = 0


def same(what, found, expected):
    global checks
    checks += 1
    if found != expected:
        sys.exit(f"{what}: {found}, expected {expected}")


def rows_of(query):
    return duckdb.sql(query).fetchall()


def one(query):
    return rows_of(query)[0][0]


tables = sorted(root.rglob("*.parquet"))
same("some tables", len(tables) > 30, True)
for path in tables:
    table = pq.read_table(path)
    # Every value is read, not the footer alone.
    counted = rows_of(f"select * from '{path}'")
    same(f"rows of {path}", len(counted), table.num_rows)
    same(f"columns of {path}", [c[0] for c in rows_of(f"describe select * from '{path}'")], table.column_names)

for data in (root / "data", root / "later"):
    manifest = json.loads((data / "dataset.json").read_text())
    rows = one(f"select count(*) from '{data}/activations-*.parquet'")
    same("rows of the manifest", rows, manifest["rows"])
    same("tokens of the documents", one(f"select sum(tokens)::bigint from '{data}/documents.parquet'"), rows)
    same("layers of the routing", one(f"select count(*) from '{data}/routing-*.parquet'"), 4 * rows)
    words = f"'{data}/vocabulary.parquet'"
    text = one(f"select string_agg(v.text, '' order by a.position) from '{data}/activations-*.parquet' a join {words} v using (token) where a.document = 3")
    same("the text of document 3", text.startswith("fn merge(left: &[u32]"), True)
    load = one(f"select sum(tokens)::bigint from '{data}/experts/load.parquet' where domain is null")
    same("two experts per token and layer", load, 2 * 4 * rows)

for run in (root / "topk", root / "variants/small"):
    features = f"'{run}/features/features.parquet'"
    pairs = one(f"select count(*) from '{run}/features/activations-*.parquet'")
    same("activations", one(f"select sum(count)::bigint from {features}"), pairs)
    same("codes", one(f"select sum(len(features))::bigint from '{run}/features/codes-*.parquet'"), pairs)
    largest = rows_of(f"select feature, max(value) from '{run}/features/activations-*.parquet' group by feature order by feature")
    same("largest activations", largest, rows_of(f"select feature, max from {features} where not dead order by feature"))

print(f"{checks} checks of {len(tables)} tables that the pipeline made: all agree")
