//! Tokens per second of greedy continuations, with keys and values kept and by passes over the whole text, in turns.
//!
//! ```sh
//! cargo run --release -p lm --example continuations -- MODEL [TOKENS] [ROUNDS]
//! ```
//!
//! A text of TOKENS tokens (200) is continued by one token in each of ROUNDS rounds (15), once each way; the tokens must be the same.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use lm::model::{KeyValueCache, LanguageModel, ModelSource, NoTap};
use lm::text::Contexts;

fn contexts(tokens: &[u32], from: usize) -> Contexts {
    let len = tokens.len() - from;
    Contexts {
        rows: 1,
        len,
        tokens: tokens[from..].to_vec(),
        segments: vec![1; len],
        positions: (from as u32..tokens.len() as u32).collect(),
        origin: vec![None; len],
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> lm::Result<()> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "default".to_owned());
    let mut number = |or: usize| args.next().and_then(|n| n.parse().ok()).unwrap_or(or);
    let (n, rounds) = (number(200), number(15));
    let model = LanguageModel::load(&ModelSource::parse(&name))?;
    let (decoder, layers) = (model.decoder(), model.config().num_hidden_layers);
    let text = include_str!("../src/lib.rs");
    let mut tokens: Vec<u32> =
        model.bos().into_iter().chain(model.tokenizer().encode(text)?).take(n).collect();
    let next = |residual: &candle_core::Tensor| -> lm::Result<u32> {
        let last = residual.narrow(1, residual.dim(1)? - 1, 1)?;
        Ok(decoder.logits(&last)?.flatten_all()?.argmax(0)?.to_scalar()?)
    };
    let mut cache = KeyValueCache::default();
    decoder.residual_after(&contexts(&tokens[..tokens.len() - 1], 0), &mut cache, &mut NoTap)?;
    let (mut kept, mut whole, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begun = Instant::now();
        let token =
            next(&decoder.residual_after(&contexts(&tokens, cache.len()), &mut cache, &mut NoTap)?)?;
        kept.push(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        let again = next(&decoder.residual(&contexts(&tokens, 0), layers, &mut NoTap)?)?;
        whole.push(begun.elapsed().as_secs_f64());
        assert_eq!(token, again, "both ways choose the same token");
        ratios.push(whole[whole.len() - 1] / kept[kept.len() - 1]);
        tokens.push(token);
    }
    println!("{} after {n} tokens, {}, medians of {rounds}", model.id(), kernels::processor());
    println!(
        "kept {:.1} tokens/s, whole passes {:.2} tokens/s, ratio {:.1}",
        1.0 / median(&mut kept),
        1.0 / median(&mut whole),
        median(&mut ratios)
    );
    Ok(())
}
