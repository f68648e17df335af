//! Small datasets and runs for tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float32Array, ListArray, RecordBatch, UInt16Array, UInt32Array,
};
use arrow::datatypes::{DataType, Int32Type};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use storage::documents::DocumentRow;
use storage::{Dataset, DatasetWriter, Dtype, Layout, Manifest, ModelRef, RunRecord, schema, vector};

use crate::dictionary::{Dictionary, DictionaryInfo, Normalisation, Selection};
use lm::model::{Config, Decoder, LanguageModel, ModelSource, Weights};
use lm::pretrain::{Architecture, ModelConfig, Parameters, PretrainConfig};

/// A document of a fixture.
#[derive(Debug, Clone)]
pub struct Text {
    pub domain: &'static str,
    pub held_out: bool,
    pub tokens: Vec<u32>,
}

/// Documents of random tokens below `vocabulary`, every third held out, domains in turn.
pub fn texts(lengths: &[usize], vocabulary: u32, seed: u64) -> Vec<Text> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let text = |(i, &length): (usize, &usize)| Text {
        domain: ["prose", "code"][i % 2],
        held_out: i % 3 == 2,
        tokens: (0..length).map(|_| rng.random_range(0..vocabulary)).collect(),
    };
    lengths.iter().enumerate().map(text).collect()
}

/// A dictionary whose feature f fires where component f of d is positive, with that activation.
pub fn components(d: usize) -> Dictionary {
    let identity: Vec<f32> = (0..d * d).map(|i| f32::from(u8::from(i.is_multiple_of(d + 1)))).collect();
    Dictionary {
        d_in: d,
        d_sae: d,
        w_enc: identity.clone(),
        b_enc: vec![0.0; d],
        w_dec: identity,
        b_dec: vec![0.0; d],
        selection: Selection::TopK(d),
        prune_below: None,
        normalisation: Normalisation::None,
        target: None,
        info: DictionaryInfo::default(),
    }
}

/// A tokenizer of three tokens, which is all that a test of token numbers needs.
const TOKENIZER: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
"pre_tokenizer":null,"post_processor":null,"decoder":null,"model":{"type":"BPE","dropout":null,"unk_token":null,
"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,
"vocab":{"<s>":0,"a":1,"b":2},"merges":[]}}"#;

/// Writes a mixture-of-experts model with large random weights (so that what it predicts depends on what it
/// sees) and loads it: two layers, width 16, 60 tokens, BOS 0.
pub fn model(folder: &Path) -> LanguageModel {
    let config = Architecture {
        vocab_size: 60,
        hidden_size: 16,
        intermediate_size: 8,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 2,
        max_position_embeddings: 64,
        num_experts: 4,
        num_experts_per_tok: 2,
        tie_word_embeddings: false,
        eos_token_id: None,
        pad_token_id: None,
        ..PretrainConfig::default().olmoe()
    };
    let config = ModelConfig::from(config);
    let parameters = Parameters::random(&config, 17).unwrap();
    for (_, variable) in parameters.iter() {
        let louder = (variable.as_tensor() * 12.0).unwrap();
        if louder.dims().len() > 1 {
            variable.set(&louder).unwrap();
        }
    }
    std::fs::create_dir_all(folder).unwrap();
    parameters.save(&config, folder).unwrap();
    std::fs::write(folder.join("tokenizer.json"), TOKENIZER).unwrap();
    LanguageModel::load(&ModelSource::Folder(folder.to_owned())).unwrap()
}

/// How a dataset names that model.
pub fn model_ref(model: &LanguageModel) -> ModelRef {
    let path = Some(model.source().to_string());
    ModelRef { id: model.id().into(), path, sha256: model.sha256().into() }
}

/// Random activations `[rows, d]`.
pub fn activations(rows: usize, d: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..rows * d).map(|_| rng.random::<f32>() * 4.0 - 1.5).collect()
}

/// A dictionary with random weights and decoder rows of many norms.
pub fn dictionary(d: usize, features: usize, k: usize, seed: u64) -> Dictionary {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |n: usize| (0..n).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect::<Vec<f32>>();
    Dictionary {
        d_in: d,
        d_sae: features,
        w_enc: draw(features * d),
        b_enc: draw(features),
        w_dec: draw(features * d),
        b_dec: draw(d),
        selection: Selection::TopK(k),
        prune_below: None,
        normalisation: Normalisation::None,
        target: None,
        info: DictionaryInfo::default(),
    }
}

fn numbers(values: impl IntoIterator<Item = u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(values))
}

/// A header for a dataset at `blocks.0.hook_resid_post`.
pub fn header(d: usize) -> Manifest {
    let model = ModelRef { id: "fixture".into(), path: None, sha256: "00".into() };
    let mut header = Manifest::new(model, Some("blocks.0.hook_resid_post".into()), d, Dtype::F32);
    header.context_length = 8;
    header.left_out = vec!["BOS".into(), "padding".into()];
    header
}

/// Writes a dataset; document numbers are 10, 11, … so that nobody takes them for indices.
pub fn dataset(dir: &Path, header: Manifest, texts: &[Text], activations: &[f32], parts: usize) -> Dataset {
    let words: Vec<String> = (0..50u32).map(|t| format!("w{t}")).collect();
    dataset_of_words(dir, header, texts, activations, parts, &words)
}

/// The same with other texts of the tokens.
pub fn dataset_of_words(
    dir: &Path,
    header: Manifest,
    texts: &[Text],
    activations: &[f32],
    parts: usize,
    words: &[String],
) -> Dataset {
    let d = header.d_model;
    let mut rows = Vec::new();
    for (document, text) in texts.iter().enumerate() {
        let row = |(position, &token)| (10 + document as u32, position as u32, token, text.domain);
        rows.extend(text.tokens.iter().enumerate().map(row));
    }
    assert_eq!(activations.len(), rows.len() * d);
    let mut writer = DatasetWriter::begin(dir, header).unwrap();
    let columns_of = schema::activations(d, Dtype::F32, false);
    let mut written = Vec::new();
    for (rows, values) in
        rows.chunks(rows.len().div_ceil(parts)).zip(activations.chunks(rows.len().div_ceil(parts) * d))
    {
        // A test may well want values that are not finite.
        let (values, _) = vector::column_from_rows(values, d, Dtype::F32).unwrap();
        let domain: DictionaryArray<Int32Type> = rows.iter().map(|r| r.3).collect();
        let columns = vec![
            numbers(rows.iter().map(|r| r.0)),
            numbers(rows.iter().map(|r| r.1)),
            numbers(rows.iter().map(|r| r.2)),
            Arc::new(domain) as ArrayRef,
            Arc::new(values),
        ];
        let mut part =
            writer.next_part(schema::ACTIVATIONS, columns_of.clone(), &Layout::activations()).unwrap();
        part.write(&RecordBatch::try_new(columns_of.clone(), columns).unwrap()).unwrap();
        written.push((schema::ACTIVATIONS.to_owned(), part.finish().unwrap()));
    }
    written.push(write_documents(&mut writer, texts));
    let words: Vec<(String, Vec<u8>)> =
        words.iter().map(|word| (word.clone(), word.clone().into_bytes())).collect();
    let mut part =
        writer.next_part(schema::VOCABULARY, schema::vocabulary(), &Layout::small_table()).unwrap();
    part.write(&storage::vocabulary::to_batch(&words).unwrap()).unwrap();
    written.push((schema::VOCABULARY.to_owned(), part.finish().unwrap()));
    writer.commit(written, serde_json::json!({})).unwrap();
    writer.finish().unwrap()
}

/// One routed token: document, position, token, layer, experts, weights, entropy.
pub type Routed = (u32, u32, u32, u16, Vec<u32>, Vec<f32>, f32);

/// Writes a dataset of a routing table alone.
pub fn routing(dir: &Path, header: Manifest, texts: &[Text], routed: &[Routed]) -> Dataset {
    let mut writer = DatasetWriter::begin(dir, header).unwrap();
    let columns_of = schema::routing();
    let list = |name: &str, lengths: Vec<usize>, values: ArrayRef| -> ArrayRef {
        let DataType::List(inner) = columns_of.field_with_name(name).unwrap().data_type() else {
            panic!("a list")
        };
        let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths);
        Arc::new(ListArray::new(inner.clone(), offsets, values, None))
    };
    let experts = UInt32Array::from_iter_values(routed.iter().flat_map(|r| r.4.iter().copied()));
    let weights = Float32Array::from_iter_values(routed.iter().flat_map(|r| r.5.iter().copied()));
    let columns = vec![
        numbers(routed.iter().map(|r| r.0)),
        numbers(routed.iter().map(|r| r.1)),
        numbers(routed.iter().map(|r| r.2)),
        Arc::new(UInt16Array::from_iter_values(routed.iter().map(|r| r.3))) as ArrayRef,
        list("experts", routed.iter().map(|r| r.4.len()).collect(), Arc::new(experts)),
        list("weights", routed.iter().map(|r| r.5.len()).collect(), Arc::new(weights)),
        Arc::new(Float32Array::from_iter_values(routed.iter().map(|r| r.6))),
    ];
    let mut part = writer.next_part(schema::ROUTING, columns_of.clone(), &Layout::routing()).unwrap();
    part.write(&RecordBatch::try_new(columns_of, columns).unwrap()).unwrap();
    let part = part.finish().unwrap();
    let documents = write_documents(&mut writer, texts);
    writer.commit(vec![(schema::ROUTING.to_owned(), part), documents], serde_json::json!({})).unwrap();
    writer.finish().unwrap()
}

fn write_documents(writer: &mut DatasetWriter, texts: &[Text]) -> (String, storage::Part) {
    let mut first_row = 0;
    let mut documents = Vec::new();
    for (document, text) in texts.iter().enumerate() {
        documents.push(DocumentRow {
            document: 10 + document as u32,
            name: format!("text {document}"),
            source: "fixture".into(),
            domain: text.domain.into(),
            held_out: text.held_out,
            first_row,
            tokens: text.tokens.len() as u32,
        });
        first_row += text.tokens.len() as u64;
    }
    let mut part = writer.next_part(schema::DOCUMENTS, schema::documents(), &Layout::small_table()).unwrap();
    part.write(&storage::documents::to_batch(&documents).unwrap()).unwrap();
    (schema::DOCUMENTS.to_owned(), part.finish().unwrap())
}

/// Writes a run folder around a dictionary.
pub fn run(dir: &Path, dictionary: &Dictionary, data: &Path) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    let mut record = RunRecord::new();
    record.hook = "blocks.0.hook_resid_post".into();
    record.data = data.display().to_string();
    (record.d_in, record.d_sae) = (dictionary.d_in, dictionary.d_sae);
    record.write(dir).unwrap();
    dictionary.save(dir).unwrap();
    dir.to_owned()
}

/// Where the tiny models of every family are.
pub fn families() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/families")
}

/// A tiny model of a family, whatever its configuration is changed to.
pub fn family(name: &str, change: impl Fn(&mut serde_json::Value)) -> Decoder {
    let folder = families().join(name);
    let path = folder.join("config.json");
    let mut json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut json);
    let config = Config::from_json(&json, &path).unwrap();
    Decoder::new(config, Weights::open_safetensors(&folder.join("model.safetensors")).unwrap()).unwrap()
}
