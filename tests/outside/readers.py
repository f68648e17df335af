"""Opens datasets and a run with pyarrow and DuckDB and compares them with expected.json.

    cargo run -p storage --example make_sample -- DIR
    python readers.py DIR
"""

import json
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

checks = 0


def same(what, found, expected):
    global checks
    checks += 1
    if found != expected:
        sys.exit(f"{what}: found {found!r}, expected {expected!r}")


def one(sql):
    rows = duckdb.sql(sql).fetchall()
    return rows[0][0] if len(rows[0]) == 1 else list(rows[0])


def flat_sum(column):
    """Sum of all values of a column of lists, in f64."""
    values = pc.list_flatten(column)
    return pc.sum(pc.cast(values, pa.float64())).as_py()


def dataset_with_pyarrow(path, expected, value_type):
    manifest = json.loads((path / "dataset.json").read_text())
    parts = manifest["tables"]["activations"]["parts"]
    table = pa.concat_tables(pq.read_table(path / part["file"]) for part in parts)
    same("pyarrow rows", table.num_rows, expected["rows"])
    same("manifest rows", manifest["rows"], expected["rows"])
    schema = table.schema
    for name in ("document", "position", "token"):
        same(name, schema.field(name).type, pa.uint32())
    same("domain", schema.field("domain").type, pa.dictionary(pa.int32(), pa.string()))
    vector = schema.field("activation").type
    same("activation", (vector.value_type, vector.list_size), (value_type, expected["d_model"]))
    same("pyarrow activation sum", flat_sum(table["activation"]), expected["activation_sum"])
    same("pyarrow gradient sum", flat_sum(table["gradient"]), expected["gradient_sum"])
    same("pyarrow token sum", pc.sum(table["token"]).as_py(), expected["token_sum"])
    same("pyarrow domains", pc.sum(pc.equal(pc.cast(table["domain"], pa.string()), "code")).as_py(), expected["code_rows"])
    for part in parts:
        metadata = pq.ParquetFile(path / part["file"]).metadata
        same("part rows", metadata.num_rows, part["rows"])
        same("page index", metadata.row_group(0).column(0).has_offset_index, True)
        same("column index", metadata.row_group(0).column(0).has_column_index, True)
    routing = pq.read_table(path / "routing-00000.parquet")
    same("pyarrow routing", routing.num_rows, expected["routing_rows"])
    same("pyarrow experts", flat_sum(routing["experts"]), expected["expert_sum"])
    same("pyarrow weights", flat_sum(routing["weights"]), expected["weight_sum"])
    vocabulary = pq.read_table(path / "vocabulary.parquet")
    same("pyarrow vocabulary", vocabulary.num_rows, expected["vocabulary_rows"])
    same("pyarrow text", vocabulary["text"][7].as_py(), expected["text_of_7"])
    same("pyarrow bytes", list(vocabulary["bytes"][49].as_py()), expected["bytes_of_49"])


def dataset_with_duckdb(path, expected):
    activations = f"'{path}/activations-*.parquet'"
    same("duckdb rows", one(f"select count(*) from {activations}"), expected["rows"])
    same("duckdb token sum", one(f"select sum(token)::bigint from {activations}"), expected["token_sum"])
    for name in ("activation", "gradient"):
        total = one(f"select sum(v::double) from (select unnest({name}) v from {activations})")
        same(f"duckdb {name} sum", total, expected[f"{name}_sum"])
    same("duckdb widths", one(f"select min(len(activation)), max(len(activation)) from {activations}"), [expected["d_model"]] * 2)
    same("duckdb domains", one(f"select count(*) from {activations} where domain = 'code'"), expected["code_rows"])
    same("duckdb pushdown", one(f"select count(*) from {activations} where document = 12"), 100)
    routing = f"'{path}/routing-*.parquet'"
    same("duckdb experts", one(f"select sum(v)::bigint from (select unnest(experts) v from {routing})"), expected["expert_sum"])
    same("duckdb weights", one(f"select sum(v::double) from (select unnest(weights) v from {routing})"), expected["weight_sum"])
    same("duckdb text", one(f"select text from '{path}/vocabulary.parquet' where token = 7"), expected["text_of_7"])
    same("duckdb bytes", list(one(f"select bytes from '{path}/vocabulary.parquet' where token = 49")), expected["bytes_of_49"])
    same("duckdb documents", one(f"select count(*), sum(held_out::int)::bigint from '{path}/documents.parquet'"), [expected["documents"], expected["held_out"]])
    same("duckdb load", one(f"select count(*) from '{path}/experts/load.parquet'"), expected["load_rows"])
    same("duckdb balance", one(f"select k from '{path}/experts/balance.parquet'"), 2)


def run_with_pyarrow(path, expected):
    features = pq.read_table(path / "features/features.parquet")
    same("pyarrow features", features.num_rows, expected["features"])
    same("pyarrow dead", pc.sum(features["dead"]).as_py(), expected["dead"])
    logits = [[pair["token"], pair["logit"]] for pair in features["top_logits"][5].as_py()]
    same("pyarrow logits", logits, expected["top_logit_of_5"])
    same("pyarrow label", features["label"][5].as_py(), expected["label_of_5"])
    same("pyarrow no label", features["label"][6].as_py(), None)
    one_feature = pq.read_table(path / "features/activations-00000.parquet", filters=[("feature", "=", 59)])
    same("pyarrow one feature", one_feature.num_rows, expected["activations_of_59"])
    examples = pq.read_table(path / "features/examples.parquet")
    same("pyarrow examples", examples.num_rows, expected["examples"])
    same("pyarrow example tokens", flat_sum(examples["tokens"]), expected["example_token_sum"])
    metrics = pq.read_table(path / "metrics.parquet")
    same("pyarrow metrics", metrics.num_rows, expected["metrics_rows"])
    same("pyarrow l0", pc.sum(metrics["metrics/l0"]).as_py(), expected["l0_sum"])
    same("pyarrow nulls", metrics["metrics/fvu"].null_count, expected["metrics_rows"])


def run_with_duckdb(path, expected):
    features = f"'{path}/features/features.parquet'"
    same("duckdb features", one(f"select count(*), sum(dead::int)::bigint from {features}"), [expected["features"], expected["dead"]])
    same("duckdb logits", [[t, v] for t, v in duckdb.sql(f"select u.token, u.logit from (select unnest(top_logits) u from {features} where feature = 5)").fetchall()], expected["top_logit_of_5"])
    same("duckdb label", one(f"select label from {features} where feature = 5"), expected["label_of_5"])
    activations = f"'{path}/features/activations-*.parquet'"
    same("duckdb activations", one(f"select count(*) from {activations}"), expected["activations"])
    found = one(f"select count(*), sum(value::double) from {activations} where feature = 59")
    same("duckdb one feature", found, [expected["activations_of_59"], expected["value_sum_of_59"]])
    joined = one(f"select count(*) from {features} f join {activations} a using (feature) where f.dead")
    same("duckdb dead features have no rows", joined, 0)
    examples = f"'{path}/features/examples.parquet'"
    same("duckdb example tokens", one(f"select sum(v)::bigint from (select unnest(tokens) v from {examples})"), expected["example_token_sum"])
    same("duckdb l0", one(f"select sum(\"metrics/l0\") from '{path}/metrics.parquet'"), expected["l0_sum"])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = Path(sys.argv[1])
    expected = json.loads((root / "expected.json").read_text())
    for name, value_type in (("f16", pa.float16()), ("f32", pa.float32())):
        dataset_with_pyarrow(root / name, expected["datasets"][name], value_type)
        dataset_with_duckdb(root / name, expected["datasets"][name])
    run_with_pyarrow(root / "run", expected["run"])
    run_with_duckdb(root / "run", expected["run"])
    print(f"{checks} checks with pyarrow {pa.__version__} and DuckDB {duckdb.__version__}: all as expected")


main()
