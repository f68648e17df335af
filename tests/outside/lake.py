"""Three questions of a researcher, asked of the files of a harvest in several shards by DuckDB, by Polars and by Spark, and compared with what
`sae` itself answers: the densest features of a domain, the tokens of an expert, the examples of a feature.

    lake.py SAE WORK [--spark]
"""

import json
import random
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl

SAE, WORK = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
SHARDS = 3
WORDS = {
    "code": "fn let mut return match impl struct if else for while self",
    "letters": "dear madam river summer yours house garden truly mother sincerely",
    "news": "minister parliament said price market on Monday report court police",
}
LAYER, EXPERT, FEATURES = 2, 5, 6
checks = 0


def sae(*words):
    done = subprocess.run([SAE, "--json", "--quiet", *map(str, words)], cwd=WORK, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"sae {words}: {done.stderr}")
    return json.loads(done.stdout) if done.stdout.strip() else None


def same(what, found, expected):
    global checks
    checks += 1
    if found != expected:
        sys.exit(f"{what}: {found}, expected {expected}")


def make():
    chance = random.Random(1)
    (WORK / "text").mkdir(parents=True)
    for domain, words in WORDS.items():
        lines = (" ".join(chance.choices(words.split(), k=60)) for _ in range(20))
        (WORK / "text" / f"{domain}.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    for shard in range(SHARDS):
        sae("harvest", "--text", "text", "--hook", "blocks.1.hook_resid_post", "--routing", "--out", "data", "--shard", f"{shard}/{SHARDS}")
    sae("harvest", "--merge", "--out", "data")
    sae("train", "--data", "data", "--d-sae", 256, "--k", 8, "--tokens", 60_000, "--out", "run")
    sae("index", "run")
    sae("experts", "data")
    for table in ("activations", "routing"):
        same(f"parts of {table}", len(list((WORK / "data").glob(f"{table}-*.parquet"))), SHARDS)


DENSEST = """
    SELECT a.feature AS feature, count(*) AS fired
    FROM activations a JOIN documents d ON a.document = d.document
    WHERE d.domain = 'code' GROUP BY a.feature ORDER BY fired DESC, feature LIMIT {n}"""
# Of every token of the layer: how often it was seen, and how often the expert was chosen for it.
TOKENS = """
    SELECT token, sum(chosen) AS chose, count(*) AS seen
    FROM (SELECT token, CASE WHEN {contains} THEN 1 ELSE 0 END AS chosen FROM routing WHERE layer = {layer}) t
    GROUP BY token HAVING sum(chosen) > 0 AND count(*) >= 10 ORDER BY token"""
EXAMPLES = """
    SELECT a.document AS document, a.position AS position, a.value AS value, t.text AS text
    FROM activations a JOIN rows r ON a.document = r.document AND a.position = r.position JOIN vocabulary t ON r.token = t.token
    WHERE a.feature = {feature} ORDER BY value DESC, document, position"""
FILES = {
    "activations": "run/features/activations-*.parquet",
    "documents": "data/documents.parquet",
    "routing": "data/routing-*.parquet",
    "rows": "data/activations-*.parquet",
    "vocabulary": "data/vocabulary.parquet",
}


class DuckDB:
    contains = f"list_contains(experts, {EXPERT})"

    def __init__(self):
        self.lake = duckdb.connect()
        for name, files in FILES.items():
            self.lake.execute(f"CREATE VIEW {name} AS SELECT * FROM '{WORK / files}'")

    def ask(self, query):
        return [tuple(row) for row in self.lake.execute(query).fetchall()]

    def densest(self):
        return self.ask(DENSEST.format(n=FEATURES))

    def tokens(self):
        return [tuple(map(int, row)) for row in self.ask(TOKENS.format(layer=LAYER, contains=self.contains))]

    def examples(self, feature):
        return self.ask(EXAMPLES.format(feature=feature))


class Spark(DuckDB):
    contains = f"array_contains(experts, {EXPERT})"

    def __init__(self):
        from pyspark.sql import SparkSession

        settings = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.sql.shuffle.partitions": "4", "spark.driver.host": "127.0.0.1"}
        builder = SparkSession.builder.master("local[2]").appName("lake")
        for key, value in settings.items():
            builder = builder.config(key, value)
        self.lake = builder.getOrCreate()
        self.lake.sparkContext.setLogLevel("ERROR")
        for name, files in FILES.items():
            reader = self.lake.read
            if name == "rows":
                # Spark knows no 16-bit floats and refuses a file that has them unless it is told the columns that are wanted.
                reader = reader.schema("document BIGINT, position BIGINT, token BIGINT, domain STRING")
            reader.parquet(str(WORK / files)).createOrReplaceTempView(name)

    def ask(self, query):
        return [tuple(row) for row in self.lake.sql(query).collect()]


class Polars:
    def __init__(self):
        self.tables = {name: pl.scan_parquet(WORK / files) for name, files in FILES.items()}

    def densest(self):
        documents = self.tables["documents"].filter(pl.col("domain") == "code").select("document")
        fired = self.tables["activations"].join(documents, on="document").group_by("feature").agg(pl.len().alias("fired"))
        return fired.sort(["fired", "feature"], descending=[True, False]).head(FEATURES).collect().rows()

    def tokens(self):
        rows = self.tables["routing"].filter(pl.col("layer") == LAYER)
        chosen = pl.col("experts").list.contains(pl.lit(EXPERT, pl.UInt32)).sum().cast(pl.Int64).alias("chose")
        counted = rows.group_by("token").agg(chosen, pl.len().cast(pl.Int64).alias("seen"))
        return counted.filter((pl.col("chose") > 0) & (pl.col("seen") >= 10)).sort("token").collect().rows()

    def examples(self, feature):
        of_feature = self.tables["activations"].filter(pl.col("feature") == feature)
        tokens = self.tables["rows"].select("document", "position", "token").join(self.tables["vocabulary"], on="token")
        joined = of_feature.join(tokens, on=["document", "position"]).select("document", "position", "value", "text")
        return joined.sort(["value", "document", "position"], descending=[True, False, False]).collect().rows()


def compare(engine, name):
    densest = engine.densest()
    same(f"{name}: features", len(densest), FEATURES)
    for feature, fired in densest:
        # `sae claim` counts over every activation, half of the documents at a time.
        claim = sae("claim", "run", feature, "domain code")
        same(f"{name}: tokens of code that feature {feature} fires on", claim["made"]["hits"] + claim["measured"]["hits"], fired)
    table = duckdb.sql(f"SELECT token, count, tokens FROM '{WORK}/data/experts/vocabulary.parquet' WHERE layer = {LAYER} AND expert = {EXPERT}").fetchall()
    found = {token: (chose, seen) for token, chose, seen in engine.tokens()}
    same(f"{name}: an expert with tokens", len(table) > 3, True)
    for token, chose, seen in table:
        same(f"{name}: token {token} of expert {EXPERT}", found.get(token), (chose, seen))
    feature = densest[0][0]
    examples = engine.examples(feature)
    ours = f"SELECT document, position, value FROM '{WORK}/run/features/examples.parquet' WHERE feature = {feature} AND interval = 0 ORDER BY rank"
    best = duckdb.sql(ours).fetchall()
    same(f"{name}: the strongest examples of feature {feature}", apart(examples, len(best)), best)
    return densest, engine.tokens(), examples


def apart(examples, n):
    """The n strongest whose windows of text do not overlap, which is what the product keeps."""
    options = json.loads((WORK / "run/features/index.json").read_text())["examples"]
    width, taken = options["before"] + options["after"], []
    for document, position, value, _ in examples:
        if all(d != document or abs(p - position) > width for d, p, _ in taken):
            taken.append((document, position, value))
    return taken[:n]


def pruned():
    """One feature is found by the statistics of row groups and pages: what an engine must read is a small part of the table."""
    import pyarrow.parquet as pq

    for path in sorted((WORK / "run/features").glob("activations-*.parquet")):
        metadata = pq.ParquetFile(path).metadata
        groups = [metadata.row_group(i).column(0) for i in range(metadata.num_row_groups)]
        same(f"statistics of {path.name}", all(group.statistics and group.has_column_index for group in groups), True)
        bounds = [(group.statistics.min, group.statistics.max) for group in groups]
        same(f"order of {path.name}", bounds, sorted(bounds))


def main():
    make()
    pruned()
    engines = [("DuckDB", DuckDB), ("Polars", Polars)] + [("Spark", Spark)] * ("--spark" in sys.argv)
    answers = [compare(engine(), name) for name, engine in engines]
    for answer, (name, _) in zip(answers[1:], engines[1:]):
        same(f"{name} and {engines[0][0]}", answer, answers[0])
    print(f"{checks} checks of three queries over {SHARDS} shards by {', '.join(name for name, _ in engines)}: all as `sae` has them")


main()
