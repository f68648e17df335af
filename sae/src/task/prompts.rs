//! Prompts of a task, and the same with one attribute changed.

use std::collections::BTreeMap;

use kernels::chance::{Generator, Purpose, below, generator};
use lm::model::Tokenizer;

use super::file::{Part, TaskFile, parts};
use crate::{Error, Result};

/// Where the streams of prompts begin, apart from other controls.
const PROMPTS: u64 = 7 << 40;
/// Draws of a prompt that fits before it is given up.
const DRAWS: usize = 10_000;

/// Which prompts: combinations of values belong to one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Supervised dictionaries and labels are made from these.
    Train,
    /// Everything is measured on these.
    Test,
}

/// A prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The text.
    pub text: String,
    /// Its tokens, without BOS.
    pub tokens: Vec<u32>,
    /// Value of each attribute, an index into its values.
    pub values: Vec<usize>,
    /// Token of each position.
    pub positions: Vec<usize>,
    /// Tokens of the answer and of the alternative.
    pub answers: [u32; 2],
    pub(super) template: usize,
    pub(super) fillers: BTreeMap<String, usize>,
}

/// What prompts are made of.
#[derive(Debug)]
pub struct Maker<'a> {
    file: &'a TaskFile,
    tokenizer: &'a Tokenizer,
    /// Names of the attributes; the variant is the last, where there is one.
    pub attributes: Vec<String>,
    /// Values of each.
    pub values: Vec<Vec<String>>,
    /// The token of every value as an answer, of those that are answers or alternatives.
    tokens: BTreeMap<String, u32>,
    /// Names of the positions.
    pub positions: Vec<String>,
    /// Values that were left out because they are several tokens.
    pub left_out: usize,
    seed: u64,
}

impl<'a> Maker<'a> {
    /// # Errors
    /// Fewer than four values of an answer that are one token.
    pub fn new(file: &'a TaskFile, tokenizer: &'a Tokenizer, seed: u64) -> Result<Self> {
        let mut attributes: Vec<String> = file.attributes.keys().cloned().collect();
        let (mut values, mut tokens, mut left_out) = (Vec::new(), BTreeMap::new(), 0);
        for name in &attributes {
            let list = &file.lists[&file.attributes[name]];
            let mut kept = Vec::new();
            for value in list {
                // What follows a prompt follows a space.
                match tokenizer.encode(&format!(" {value}"))?.as_slice() {
                    [token] => {
                        tokens.insert(value.clone(), *token);
                        kept.push(value.clone());
                    }
                    _ if [&file.answer, &file.instead].contains(&name) => left_out += 1,
                    _ => kept.push(value.clone()),
                }
            }
            if kept.len() < 4 {
                return Err(Error::request(format!(
                    "{} values of `{name}` are one token of this model, expected 4 or more",
                    kept.len()
                ))
                .with_remedy("put other values into the task's file, or use a different model"));
            }
            values.push(kept);
        }
        let first = file.templates.first().and_then(|template| template.values().next());
        let mut positions = Vec::new();
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        let slots = first.map(|text| parts(text).map_err(Error::request)).transpose()?.unwrap_or_default();
        for part in &slots {
            if let Part::Slot(slot) = part
                && file.attributes.contains_key(slot)
            {
                let n = times.entry(slot).or_default();
                *n += 1;
                positions.push(format!("{slot} {n}"));
            }
        }
        // In the order of names, since variants have slots in different orders.
        positions.sort();
        positions.push("last".to_owned());
        if let Some(variant) = &file.variant {
            attributes.push(variant.clone());
            values.push(file.variants());
        }
        Ok(Self { file, tokenizer, attributes, values, tokens, positions, left_out, seed })
    }

    /// `count` prompts of a split.
    ///
    /// # Errors
    /// A text that cannot be tokenised; constraints that leave no prompts.
    pub fn prompts(&self, split: Split, count: usize) -> Result<Vec<Prompt>> {
        let mut rng = generator(self.seed, Purpose::Controls, PROMPTS + split as u64, 0);
        (0..count).map(|_| self.draw(split, &mut rng)).collect()
    }

    fn draw(&self, split: Split, rng: &mut Generator) -> Result<Prompt> {
        for _ in 0..DRAWS {
            let values: Vec<usize> = self.values.iter().map(|values| below(values.len(), rng)).collect();
            if !self.fits(&values) || self.split_of(&values) != split {
                continue;
            }
            let template = below(self.file.templates.len(), rng);
            let fillers = self.file.fillers.iter();
            let fillers =
                fillers.map(|(slot, list)| (slot.clone(), below(self.file.lists[list].len(), rng))).collect();
            return self.prompt(values, template, fillers);
        }
        Err(Error::request("the task's values leave hardly any prompts").with_remedy("give it more values"))
    }

    /// The same prompt with a different value of the attribute.
    ///
    /// # Errors
    /// As [`Maker::prompts`].
    pub fn changed(&self, prompt: &Prompt, attribute: usize, number: u64) -> Result<Prompt> {
        let mut rng = generator(self.seed, Purpose::Controls, PROMPTS + 2 + attribute as u64, number);
        let mut values = prompt.values.clone();
        for _ in 0..DRAWS {
            values[attribute] = below(self.values[attribute].len(), &mut rng);
            if values[attribute] != prompt.values[attribute] && self.fits(&values) {
                return self.prompt(values, prompt.template, prompt.fillers.clone());
            }
        }
        Err(Error::request(format!("`{}` has no different value", self.attributes[attribute])))
    }

    fn fits(&self, values: &[usize]) -> bool {
        let value = |name: &String| {
            let at = self.attributes.iter().position(|attribute| attribute == name)?;
            Some(&self.values[at][values[at]])
        };
        self.file.different.iter().all(|group| {
            let all: Vec<_> = group.iter().filter_map(value).collect();
            all.iter().enumerate().all(|(i, one)| !all[..i].contains(one))
        })
    }

    /// Of which split a combination of values is: the variant does not matter, so that both variants are of one.
    fn split_of(&self, values: &[usize]) -> Split {
        let own = self.file.attributes.len();
        let number = values[..own]
            .iter()
            .fold(0_u64, |sum, value| sum.wrapping_mul(1_000_003).wrapping_add(*value as u64 + 1));
        match generator(self.seed, Purpose::Controls, PROMPTS + 1_000, number).next_u64() & 1 {
            0 => Split::Train,
            _ => Split::Test,
        }
    }

    fn prompt(
        &self,
        values: Vec<usize>,
        template: usize,
        fillers: BTreeMap<String, usize>,
    ) -> Result<Prompt> {
        let value = |name: &str| {
            let at = self.attributes.iter().position(|attribute| attribute == name).unwrap_or_default();
            &self.values[at][values[at]]
        };
        let key = match &self.file.variant {
            Some(variant) => value(variant).clone(),
            None => self.file.variants().swap_remove(0),
        };
        let (mut text, mut ends, mut times) =
            (String::new(), BTreeMap::new(), BTreeMap::<&str, usize>::new());
        let parts = parts(&self.file.templates[template][&key]).map_err(Error::request)?;
        for part in &parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Slot(slot) => match self.file.fillers.get(slot) {
                    Some(list) => text.push_str(&self.file.lists[list][fillers[slot]]),
                    None => {
                        text.push_str(value(slot));
                        let n = times.entry(slot).or_default();
                        *n += 1;
                        ends.insert(format!("{slot} {n}"), text.len());
                    }
                },
            }
        }
        let (tokens, places) = self.tokenizer.encode_with_places(&text)?;
        // The token that has the slot's last byte.
        let token_at = |end: usize| places.iter().position(|place| place.end >= end);
        let last = tokens.len().checked_sub(1);
        let position = |name: &String| ends.get(name).map_or(last, |end| token_at(*end));
        let positions: Option<Vec<usize>> = self.positions.iter().map(position).collect();
        let positions = positions.ok_or_else(|| Error::data(format!("`{text}` has no tokens")))?;
        let answers = [&self.file.answer, &self.file.instead].map(|name| self.tokens[value(name)]);
        Ok(Prompt { text, tokens, values, positions, answers, template, fillers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lm::model::{LanguageModel, ModelSource};
    use std::collections::BTreeSet;

    #[test]
    fn splits_share_no_pair_and_changes_change_one_thing() {
        let file = TaskFile::open("ioi").unwrap();
        let model = LanguageModel::load(&ModelSource::Default).unwrap();
        // The small vocabulary has few names: all that are several tokens are left out.
        let maker = match Maker::new(&file, model.tokenizer(), 3) {
            Ok(maker) => maker,
            Err(error) => return assert!(error.to_string().contains("one token"), "{error}"),
        };
        assert_eq!(maker.positions, ["io 1", "s 1", "s 2", "last"]);
        let pairs = |split| -> BTreeSet<Vec<usize>> {
            maker.prompts(split, 200).unwrap().into_iter().map(|p| p.values[..2].to_vec()).collect()
        };
        assert!(pairs(Split::Train).is_disjoint(&pairs(Split::Test)));
        for (number, prompt) in maker.prompts(Split::Test, 20).unwrap().iter().enumerate() {
            let at = |i: usize| model.tokenizer().decode(&prompt.tokens[..=prompt.positions[i]]).unwrap();
            assert!(at(0).ends_with(&maker.values[0][prompt.values[0]]), "{}: {}", prompt.text, at(0));
            assert!(at(2).ends_with(&maker.values[1][prompt.values[1]]) && at(1).len() < at(2).len());
            assert_eq!(prompt.positions[3], prompt.tokens.len() - 1);
            for attribute in 0..3 {
                let other = maker.changed(prompt, attribute, number as u64).unwrap();
                let changed: Vec<usize> = (0..3).filter(|i| other.values[*i] != prompt.values[*i]).collect();
                assert_eq!(changed, [attribute]);
                assert_eq!((other.template, &other.fillers), (prompt.template, &prompt.fillers));
            }
        }
    }
}
