#!/usr/bin/env bash
# Fetches ten photographs under free licences into target/photographs and checks their SHA-256. Nothing is fetched twice.
# Needs pip, unzip and sha256sum.
#
# From scikit-image (public domain or CC0, as skimage/data/_fetchers.py says of each): astronaut (NASA), camera, chelsea, coffee, rocket
# (SpaceX), and the textures brick, grass and gravel. From scikit-learn, CC BY 2.0: china (danielbuechele on Flickr) and flower (vultilion).
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=${CARGO_TARGET_DIR:-target}/photographs
sums='88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5  astronaut.png
7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf  brick.png
b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a  camera.png
596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb  chelsea.png
8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29  china.jpg
cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7  coffee.png
a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638  flower.jpg
b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89  grass.png
c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12  gravel.png
c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c  rocket.jpg'
whole() { (cd "$1" && echo "$sums" | sha256sum -c --status 2>/dev/null); }

mkdir -p "$folder"
whole "$folder" && exit 0
work=$(mktemp -d "$folder/../photographs.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/whole"
python3 -m pip download -q --no-deps --only-binary :all: -d "$work" scikit-image==0.25.2 scikit-learn==1.7.2
unzip -q -o -j "$work"/scikit_image-*.whl 'skimage/data/*.png' 'skimage/data/*.jpg' -d "$work/all"
unzip -q -o -j "$work"/scikit_learn-*.whl 'sklearn/datasets/images/*.jpg' -d "$work/all"
echo "$sums" | while read -r _ name; do mv "$work/all/$name" "$work/whole/"; done
whole "$work/whole" || { echo "a photograph is not the file that was expected: its SHA-256 differs" >&2; exit 1; }
mv "$work"/whole/* "$folder/"
