//! Continuations against whole passes over all tokens before them.

use super::*;

/// The greedy continuation against argmax of whole passes; the same noise gives the same draws; changes for
/// chosen tokens end with the text.
#[test]
fn continuations_follow_the_predictions() {
    let prompter = at("blocks.0.hook_resid_post");
    let reading = prompter.read("abba").unwrap();
    let greedy = |with| prompter.continuation(&reading, with, 6, Sampling::Greedy, &mut Quiet).unwrap();
    let found = greedy(Intervention::Nothing);
    let mut all = reading.tokens.clone();
    for (step, &token) in found.tokens.iter().enumerate() {
        let batch = prompter.batch(&all).unwrap();
        let logits = prompter.model.forward(&batch.contexts, &mut NoTap).unwrap();
        let logits: Vec<Vec<f32>> = logits.squeeze(0).unwrap().to_vec2().unwrap();
        let last = &logits[all.len()];
        let best = (0..60).max_by(|&a, &b| last[a].total_cmp(&last[b]).then(b.cmp(&a))).unwrap();
        assert_eq!(token as usize, best, "step {step}");
        let sum: f64 = last.iter().map(|&v| f64::from(v).exp()).sum();
        let log = f64::from(last[best]) - sum.ln();
        assert!((f64::from(found.log_probabilities[step]) - log).abs() < 1e-4);
        all.push(token);
    }
    assert_eq!((found.tokens.len(), found.ended), (6, false));
    let plan = prompter.plan(&reading, &[]).unwrap();
    assert_eq!(greedy(Intervention::Changes(&plan)), found);
    let drawn = |seed, temperature| {
        let sampling = Sampling::Drawn { temperature, seed };
        prompter.continuation(&reading, Intervention::Nothing, 12, sampling, &mut Quiet).unwrap().tokens
    };
    // By definition, from whole passes: the largest of logit / T + Gumbel noise, whose stream is that of (seed, step).
    let mut all = reading.tokens.clone();
    for (step, token) in (0..).zip(drawn(1, 3.0)) {
        let batch = prompter.batch(&all).unwrap();
        let logits = prompter.model.forward(&batch.contexts, &mut NoTap).unwrap();
        let logits: Vec<Vec<f32>> = logits.squeeze(0).unwrap().to_vec2().unwrap();
        let mut rng = generator(1, Purpose::Continuations, step, 0);
        let noisy: Vec<f64> =
            logits[all.len()].iter().map(|&v| f64::from(v / 3.0) - (-uniform(&mut rng).ln()).ln()).collect();
        let best = (0..60).max_by(|&a: &usize, &b: &usize| noisy[a].total_cmp(&noisy[b])).unwrap();
        assert_eq!(token as usize, best, "step {step}");
        all.push(token);
    }
    assert_ne!(drawn(1, 3.0), drawn(2, 3.0));
    // Cold drawing is greedy.
    assert_eq!(drawn(1, 1e-4)[..6], found.tokens);
    // A feature that is added everywhere continues at the tokens after the text; one at a token does not.
    let feature = reading.codes.features[0];
    let longer = prompter.batch(&all).unwrap();
    let (value, ..) = prompter.clean(&longer).unwrap();
    for (at, changed) in [(Scope::Everywhere, all.len()), (Scope::Tokens(vec![0, 3]), 2)] {
        let change = Change { feature, edit: Edit::Add(1.0), at };
        let plan = prompter.plan(&reading, &[change]).unwrap();
        let (_, deltas) = prompter.changed(&longer, &value, Intervention::Changes(&plan)).unwrap().unwrap();
        assert_eq!(deltas.iter().filter(|delta| **delta > 0.0).count(), changed);
    }
}

/// Every token of a continuation against a pass over all tokens before it, at hooks between blocks and inside them:
/// what was computed for earlier tokens is kept with the changes that were made to them.
#[test]
fn continuations_with_changes_are_those_of_whole_passes() {
    let sites = [
        "hook_resid_pre",
        "attn.hook_q",
        "attn.hook_k",
        "attn.hook_v",
        "attn.hook_rot_k",
        "attn.hook_z",
        "hook_attn_out",
        "hook_mlp_in",
        "hook_mlp_out",
        "hook_resid_post",
    ];
    for site in sites {
        let prompter = at(&format!("blocks.0.{site}"));
        let reading = prompter.read(TEXT).unwrap();
        let feature = reading.codes.features[0];
        let add = |at| Change { feature, edit: Edit::Add(2.0), at };
        let everywhere = prompter.plan(&reading, &[add(Scope::Everywhere)]).unwrap();
        let two = prompter.plan(&reading, &[add(Scope::Tokens(vec![1, 7]))]).unwrap();
        let direction = prompter.direction(3, 0);
        let interventions = [
            Intervention::Nothing,
            Intervention::Changes(&everywhere),
            Intervention::Changes(&two),
            Intervention::Control(&everywhere, &direction),
        ];
        let mut plain = None;
        for (which, with) in interventions.into_iter().enumerate() {
            let made = prompter.continuation(&reading, with, 40, Sampling::Greedy, &mut Quiet).unwrap();
            let mut all = reading.tokens.clone();
            for (step, (&token, log)) in made.tokens.iter().zip(&made.log_probabilities).enumerate() {
                let residual = through(&prompter, &prompter.batch(&all).unwrap(), with);
                let logits = prompter.model.decoder().logits(&residual).unwrap();
                let logits: Vec<Vec<f32>> = logits.squeeze(0).unwrap().to_vec2().unwrap();
                let last = &logits[all.len()];
                let best = (0..60).max_by(|&a, &b| last[a].total_cmp(&last[b]).then(b.cmp(&a))).unwrap();
                assert_eq!(token as usize, best, "{site}, intervention {which}, step {step}");
                let sum: f64 = last.iter().map(|&v| f64::from(v).exp()).sum();
                assert!((f64::from(*log) - (f64::from(last[best]) - sum.ln())).abs() < 1e-4);
                all.push(token);
            }
            let logs = plain.get_or_insert_with(|| made.log_probabilities.clone());
            assert_eq!(
                *logs == made.log_probabilities,
                which == 0,
                "{site}: intervention {which} does something"
            );
        }
    }
}

/// A text of one token after no begin token is padded to two: the padding is not continued.
#[test]
fn one_token_without_a_begin_token_is_continued() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = fixture::model(folder.path());
    model.begin_with(None).unwrap();
    let prompter = prompter(model, "blocks.0.hook_resid_post", None);
    let reading = prompter.read("a").unwrap();
    assert_eq!((reading.batch.contexts.len, reading.batch.tokens), (2, 1));
    let made =
        prompter.continuation(&reading, Intervention::Nothing, 5, Sampling::Greedy, &mut Quiet).unwrap();
    let mut all = reading.tokens;
    for &token in &made.tokens {
        let batch = prompter.batch(&all).unwrap();
        let logits = prompter.model.forward(&batch.contexts, &mut NoTap).unwrap();
        let logits: Vec<Vec<f32>> = logits.squeeze(0).unwrap().to_vec2().unwrap();
        let last = &logits[all.len() - 1];
        let best = (0..60).max_by(|&a, &b| last[a].total_cmp(&last[b]).then(b.cmp(&a))).unwrap();
        assert_eq!(token as usize, best);
        all.push(token);
    }
}

/// Frequencies of drawn tokens against softmax(logits / T).
#[test]
fn drawing_is_from_the_softmax() {
    let prompter = at("blocks.0.hook_resid_post");
    let reading = prompter.read("ab").unwrap();
    let logits = prompter.model.forward(&reading.batch.contexts, &mut NoTap).unwrap();
    let logits: Vec<Vec<f32>> = logits.squeeze(0).unwrap().to_vec2().unwrap();
    let weights: Vec<f64> = logits[2].iter().map(|&v| f64::from(v / 4.0).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mut counts = [0_u32; 60];
    let draws = 600;
    for seed in 0..draws {
        let sampling = Sampling::Drawn { temperature: 4.0, seed };
        let made = prompter.continuation(&reading, Intervention::Nothing, 1, sampling, &mut Quiet).unwrap();
        counts[made.tokens[0] as usize] += 1;
    }
    for (count, weight) in counts.iter().zip(weights) {
        let (p, n) = (weight / sum, f64::from(draws as u32));
        let deviation = (n * p * (1.0 - p)).sqrt();
        // 5 σ, and one more for the rare ones.
        assert!((f64::from(*count) - n * p).abs() < 5.0 * deviation + 1.5, "{count} of {n}, p {p}");
    }
}
