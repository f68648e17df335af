//! Chats as a model's own template writes them.
//!
//! Templates are Jinja, written for Python: they use functions that transformers gives them, and methods of
//! Python's texts, lists and tables. [`ChatTemplate`] has the ones that published templates use.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, ErrorKind, State, context};

use super::python::{json, python_method, strftime, today};
use crate::model::text_of;
use crate::{Error, Result};

/// The messages of a chat: a list of tables with `role` and `content`, in the order of the file.
#[derive(Debug, Clone)]
pub struct Chat(pub(super) Value);

impl PartialEq for Chat {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Chat {
    /// The messages of a JSON text.
    ///
    /// # Errors
    /// A text that is not a list of objects that each have a `role`.
    pub fn from_json(text: &str) -> Result<Self, String> {
        Self::of(serde_json::from_str(text).map_err(|e| e.to_string())?)
            .ok_or_else(|| "not a list of messages".to_owned())
    }

    /// The messages, if they are a list of tables with a `role` each.
    pub(super) fn of(messages: Value) -> Option<Self> {
        let all = (messages.kind() == ValueKind::Seq).then(|| messages.try_iter().ok()).flatten()?;
        let mut count = 0;
        for message in all {
            message.get_attr("role").ok()?.as_str()?;
            count += 1;
        }
        (count > 0).then_some(Self(messages))
    }

    fn messages(&self) -> impl Iterator<Item = (String, Vec<String>)> {
        self.0.try_iter().into_iter().flatten().map(|message| {
            let role = message.get_attr("role").ok().and_then(|r| r.as_str().map(str::to_owned));
            (role.unwrap_or_default(), texts(&message.get_attr("content").unwrap_or_default()))
        })
    }

    /// Bytes of all contents.
    pub(super) fn bytes(&self) -> u64 {
        self.messages().flat_map(|(_, texts)| texts).map(|text| text.len() as u64).sum()
    }

    /// Where in `rendered` the contents of the messages of `roles` are.
    ///
    /// None if a content is not there as it was written, so that nobody could say which tokens are whose.
    pub fn places(&self, rendered: &str, roles: &[String]) -> Option<Vec<Range<usize>>> {
        let (mut places, mut from) = (Vec::new(), 0);
        for (role, contents) in self.messages() {
            for content in contents {
                // Many templates trim what a message says.
                let content = content.trim();
                let at = from + rendered[from..].find(content)?;
                from = at + content.len();
                if roles.contains(&role) {
                    places.push(at..from);
                }
            }
        }
        Some(places)
    }
}

/// The texts of a content: itself, or those of its parts.
fn texts(content: &Value) -> Vec<String> {
    match content.as_str() {
        Some(text) => vec![text.to_owned()],
        None if content.kind() == ValueKind::Seq => {
            let parts = content.try_iter().into_iter().flatten();
            parts.filter_map(|part| part.get_attr("text").ok()?.as_str().map(str::to_owned)).collect()
        }
        None => Vec::new(),
    }
}

/// How a model writes a chat.
#[derive(Debug)]
pub struct ChatTemplate {
    /// Or what is wrong with the template, which matters only to a text that has chats.
    environment: Result<Environment<'static>, String>,
    bos: String,
    eos: String,
}

/// What a template may cost at one chat, as Jinja for Rust counts it: an instruction, or 64 bytes made or looked at.
/// Published ones take a few hundred per message.
const FUEL: u64 = 250_000;
/// … and for every byte of the chat.
const FUEL_PER_BYTE: u64 = 16;

/// The name of the template in its environment.
const NAME: &str = "chat_template";

impl ChatTemplate {
    /// From the text of a template.
    pub fn new(source: &str, bos: &str, eos: &str) -> Self {
        let environment = guarded(|| environment(source)).map_err(|e| said(&e));
        Self { environment, bos: bos.to_owned(), eos: eos.to_owned() }
    }

    /// `chat_template.jinja` of a model's folder, or `chat_template` of its `tokenizer_config.json`.
    ///
    /// # Errors
    /// Files that are there and cannot be read.
    pub fn of_folder(folder: &Path) -> Result<Option<Self>> {
        let read = |name: &str| {
            let path = folder.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok(Some(text)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(Error::io(path, e)),
            }
        };
        let name = "tokenizer_config.json";
        let config = match read(name)? {
            Some(text) => serde_json::from_str(&text)
                .map_err(|e| Error::format(folder.join(name), format!("is not JSON: {e}")))?,
            None => serde_json::Value::Null,
        };
        let source = read("chat_template.jinja")?.or_else(|| default_of(&config["chat_template"]));
        let token = |key: &str| text_of(&config[key]).unwrap_or_default();
        Ok(source.map(|source| Self::new(&source, token("bos_token"), token("eos_token"))))
    }

    /// The text of a chat.
    ///
    /// # Errors
    /// [`Error::Request`] if the template is not one, [`Error::Data`] with what it says about messages that
    /// it does not take.
    pub fn render(&self, chat: &Chat) -> Result<String> {
        let context = context! {
            messages => chat.0.clone(), bos_token => self.bos.clone(), eos_token => self.eos.clone(),
            add_generation_prompt => false, tools => Value::from(()), documents => Value::from(()),
        };
        let environment = self
            .environment
            .as_ref()
            .map_err(|e| Error::request(format!("the model's chat template cannot be used: {e}")))?;
        let size = serde_json::to_string(&chat.0).map_or(0, |text| text.len() as u64);
        let mut environment = environment.clone();
        environment.set_fuel(Some(FUEL + FUEL_PER_BYTE * size));
        let render = || environment.get_template(NAME).and_then(|template| template.render(context));
        guarded(render).map_err(|e| Error::data(format!("the model's chat template: {}", said(&e))))
    }
}

/// Runs the library of templates. It checks much, but not everything (`loop.cycle()` without values): a panic in
/// there is an error of the template, not of this program.
fn guarded<T>(run: impl FnOnce() -> Result<T, minijinja::Error>) -> Result<T, minijinja::Error> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, "it asks for what cannot be computed"))
    })
}

fn said(error: &minijinja::Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return "it takes more steps than a chat of this length needs; perhaps it never ends".to_owned();
    }
    error.detail().map_or_else(|| error.to_string(), str::to_owned)
}

/// As transformers sets Jinja up.
fn environment(source: &str) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_unknown_method_callback(|state, value, method, arguments| {
        python_method(state, value, method, arguments)
    });
    environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: String| strftime(&format, today()));
    // Nothing can be said of the items of None, which Python's Jinja does not call iterable.
    environment.add_test("iterable", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Iterable | ValueKind::Map
        )
    });
    let tojson = |state: &State<'_, '_>, value: Value, options: Kwargs| -> Result<String, minijinja::Error> {
        json(state, &value, options.get::<Option<usize>>("indent")?)
    };
    environment.add_filter("tojson", tojson);
    environment.add_template_owned(NAME, without_generation(source))?;
    Ok(environment)
}

/// `chat_template` is a text, or a list of named ones.
fn default_of(templates: &serde_json::Value) -> Option<String> {
    let named = |wanted: &str| {
        let all = templates.as_array()?;
        all.iter().find(|t| t["name"] == wanted)?["template"].as_str()
    };
    templates.as_str().or_else(|| named("default")).map(str::to_owned)
}

/// Marks of what an assistant says are for training with transformers; what is between them stays.
fn without_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let Some(end) = rest[at + 2..].find("%}").map(|end| end + 2) else { break };
        let tag = &rest[at..at + end + 2];
        let word = tag[2..tag.len() - 2].trim_matches(|c: char| c == '-' || c == '+' || c.is_whitespace());
        out.push_str(&rest[..at]);
        match word {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = &rest[at + end + 2..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(json: &str) -> Chat {
        Chat::from_json(json).unwrap()
    }

    const TALK: &str = r#"[{"role": "system", "content": "Be brief."}, {"role": "user", "content": " Hi <you> "},
        {"role": "assistant", "content": "Hello."}]"#;

    #[test]
    fn chatml_and_llama_write_a_chat_as_transformers_does() {
        // Written out by hand from the published templates.
        let chatml = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
        let template = ChatTemplate::new(chatml, "", "");
        assert_eq!(
            template.render(&chat(TALK)).unwrap(),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <you> <|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
        );
        let llama = "{{- bos_token }}\n{%- if messages[0]['role'] == 'system' %}\n    {%- set system = messages[0]['content']|trim %}\n    {%- set messages = messages[1:] %}\n{%- endif %}\n{{- '[' + system.upper() + ']' }}\n{%- for m in messages %}\n    {{- m.role.strip() + ': ' + m['content'].strip() + eos_token }}\n{%- endfor %}";
        let template = ChatTemplate::new(llama, "<s>", "</s>");
        assert_eq!(
            template.render(&chat(TALK)).unwrap(),
            "<s>[BE BRIEF.]user: Hi <you></s>assistant: Hello.</s>"
        );
    }

    #[test]
    fn what_templates_use_of_python_is_there() {
        let render = |source: &str| {
            ChatTemplate::new(source, "<s>", "</s>").render(&chat(TALK)).map_err(|e| e.to_string())
        };
        assert_eq!(
            render("{{ {'b': [1, 'ü'], 'a': none} | tojson }}").unwrap(),
            r#"{"b": [1, "ü"], "a": null}"#
        );
        assert_eq!(render("{{ [true, false, 2.5] | tojson }}{{ true }}").unwrap(), "[true, false, 2.5]True");
        assert_eq!(
            render("{{ tools is iterable and tools | length > 0 }}{{ 'x' is iterable }}{{ messages is iterable }}")
                .unwrap(),
            "FalseTrueTrue"
        );
        assert_eq!(render("{{ {'a': [1]} | tojson(indent=2) }}").unwrap(), "{\n  \"a\": [\n    1\n  ]\n}");
        assert_eq!(render("{{ '<{}>'.format(messages | length) }}").unwrap(), "<3>");
        assert_eq!(render("{{ '</think>a</think>b'.split('</think>')[-1].lstrip('\\n') }}").unwrap(), "b");
        assert_eq!(
            render("{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}").unwrap(),
            "role=system;content=Be brief.;"
        );
        assert_eq!(
            render("{{ messages[0].get('name', 'none') }}{{ 'ab'.startswith('a') }}").unwrap(),
            "noneTrue"
        );
        assert_eq!(
            render("{% generation %}x{% endgeneration %}{% for m in messages %}{% break %}{% endfor %}")
                .unwrap(),
            "x"
        );
        let nothing = render("{% for m in messages %}{{ loop.cycle() }}{% endfor %}").unwrap_err();
        assert!(nothing.contains("cannot be computed"), "{nothing}");
        assert!(render("a {%} b").is_err(), "a tag of one sign");
        let deep = "{% set n = namespace(x=[]) %}{% for i in range(500) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x | tojson }}";
        assert!(render(deep).unwrap_err().contains("deep"));
        assert!(render("{{ messages | tojson(indent=1000000000000) }}").unwrap_err().contains("indent"));
        let huge = "{% set a = 'a' * 99999 %}{{ a.replace('a', a).replace('a', a) }}";
        assert!(render(huge).unwrap_err().contains("perhaps it never ends"));
        let endless = "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}";
        assert!(render(endless).unwrap_err().contains("perhaps it never ends"));
        let error = render("{{ raise_exception('roles must alternate') }}").unwrap_err();
        assert!(error.contains("roles must alternate"), "{error}");
        let broken = ChatTemplate::new("{% if %}", "", "").render(&chat(TALK)).unwrap_err();
        assert!(matches!(broken, Error::Request(_)), "{broken}");
    }

    #[test]
    fn the_words_of_a_role_are_found_in_the_rendered_text() {
        let roles = ["assistant".to_owned()];
        let places = |text: &str| chat(TALK).places(text, &roles);
        assert_eq!(places("Be brief.|Hi <you>|Hello.|"), Some(vec![19..25]));
        assert_eq!(places("Be brief.|HI|Hello."), None, "the template changed what the user said");
        assert!(Chat::from_json(r#"[{"content": "x"}]"#).is_err() && Chat::from_json("[]").is_err());
    }
}
