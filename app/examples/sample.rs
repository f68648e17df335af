//! Writes a believable folder to look at: `cargo run --example sample -- FOLDER [FEATURES]`, and a mixture-of-experts model's
//! in `FOLDER/moe`.

#[allow(dead_code, clippy::unwrap_used, reason = "the tests use more of it")]
#[path = "../tests/common/routed.rs"]
mod routed;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/common/sample.rs"]
mod sample;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let folder = args.next().ok_or("usage: sample FOLDER [FEATURES]")?;
    let features = args.next().and_then(|n| n.to_str()?.parse().ok()).unwrap_or(2048);
    sample::folder(folder.as_ref(), features)?;
    routed::folder(&std::path::Path::new(&folder).join("moe"))
}
