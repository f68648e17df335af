//! What will be sent, told before anything is.

use lm::remote::{Address, ChatRequest};

use super::options::LanguageModelOptions;
use crate::{Error, Progress, Result};

/// Bytes of a token, about: English text in most vocabularies.
const BYTES: usize = 4;

/// How much will be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plan {
    pub requests: u64,
    /// About so many.
    pub prompt_tokens: u64,
    /// At most so many.
    pub answer_tokens: u64,
}

impl Plan {
    pub fn of<'a>(requests: impl IntoIterator<Item = &'a ChatRequest>) -> Self {
        requests.into_iter().fold(Self::default(), |plan, request| Self {
            requests: plan.requests + 1,
            prompt_tokens: plan.prompt_tokens
                + (request.system.len() + request.user.len()).div_ceil(BYTES) as u64,
            answer_tokens: plan.answer_tokens + u64::from(request.max_tokens),
        })
    }
}

/// A sum of money, by the prices of a million tokens of requests and answers.
pub fn cost(price: Option<[f64; 2]>, prompt_tokens: u64, answer_tokens: u64) -> Option<f64> {
    price.map(|[up, down]| (prompt_tokens as f64 * up + answer_tokens as f64 * down) / 1e6)
}

/// Says what will be sent where, and refuses to send it to a host that is not this machine without consent.
///
/// # Errors
/// [`Error::Request`] with what would be sent.
pub fn ask(plan: Plan, options: &LanguageModelOptions, progress: &mut dyn Progress) -> Result<()> {
    let host = place(&options.address);
    if plan.requests == 0 {
        progress.remark(&format!("everything has been answered before: nothing is sent to {host}"));
        return Ok(());
    }
    let cost = cost(options.price, plan.prompt_tokens, plan.answer_tokens)
        .map_or_else(String::new, |cost| format!(", at most about {cost:.2} by the given price"));
    let what = format!(
        "up to {} requests with passages of the documents, about {} tokens, and at most {} tokens of answers{cost}",
        plan.requests, plan.prompt_tokens, plan.answer_tokens
    );
    if !options.address.is_local() && !options.consent {
        return Err(Error::request(format!("this would send {what}, to {host}, which is not this machine"))
            .with_remedy("give --yes if they may be sent there"));
    }
    progress.remark(&format!("sending {what}, to {host}"));
    if options.key.is_some() && options.address.is_plain() && !options.address.is_local() {
        progress.remark(
            "the key and the passages travel unencrypted: the address begins with http and not with https",
        );
    }
    Ok(())
}

fn place(address: &Address) -> String {
    address.host().to_owned()
}
