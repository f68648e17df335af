# Sourced by scripts: `skip WHAT WHY` reports what is not tested, as `fixtures::skip` does in Rust.
skip() {
    local line="SKIPPED $1: $2"
    echo "$line" >&2
    if [ -n "${SAE_SKIPPED:-}" ]; then echo "$line" >>"$SAE_SKIPPED"; fi
    if [ "${SAE_REQUIRE:-}" = all ]; then
        echo "SAE_REQUIRE=all allows no skips" >&2
        exit 1
    fi
}
