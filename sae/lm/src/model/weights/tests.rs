use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};

use super::Weights;

/// Written by the format's own crate.
fn written(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
    let views: BTreeMap<&str, TensorView<'_>> = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()))
        .collect();
    safetensors::serialize(views, None).unwrap()
}

fn file() -> Vec<u8> {
    let numbers = [1.0f32, -2.5, 0.5, 8.0, -16.0, 3.0];
    written(&[
        ("single", Dtype::F32, &[2, 3], numbers.iter().flat_map(|x| x.to_le_bytes()).collect()),
        ("half", Dtype::F16, &[2, 3], numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect()),
        ("brain", Dtype::BF16, &[6], numbers.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect()),
        ("double", Dtype::F64, &[6], numbers.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect()),
        ("mask", Dtype::BOOL, &[3], vec![1, 0, 1]),
    ])
}

fn open(bytes: &[u8]) -> crate::Result<Weights> {
    Weights::from_safetensors(bytes, Path::new("m.safetensors"))
}

#[test]
fn every_float_type_becomes_f32() {
    let mut weights = open(&file()).unwrap();
    let flat = [1.0f32, -2.5, 0.5, 8.0, -16.0, 3.0];
    for (name, shape) in [("single", &[2, 3][..]), ("half", &[2, 3]), ("brain", &[6]), ("double", &[6])] {
        let tensor = weights.take(name, shape).unwrap();
        assert_eq!(tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap(), flat, "{name}");
    }
    assert_eq!(weights.unused().collect::<Vec<_>>(), ["mask"]);
    let error = weights.take("mask", &[3]).unwrap_err().to_string();
    assert!(
        error.starts_with("m.safetensors: ") && error.contains("`mask`") && error.contains("BOOL"),
        "{error}"
    );
}

#[test]
fn a_tensor_is_taken_once_and_in_its_shape() {
    let mut weights = open(&file()).unwrap();
    assert_eq!(weights.names().count(), 5);
    assert_eq!(weights.shape_of("half"), Some(&[2, 3][..]));
    let error = weights.take("half", &[3, 2]).unwrap_err().to_string();
    assert!(error.contains("[2, 3]") && error.contains("[3, 2]"), "{error}");
    assert!(weights.has("half"), "a wrong shape takes nothing");
    weights.take("half", &[2, 3]).unwrap();
    assert!(!weights.has("half") && weights.take("half", &[2, 3]).is_err());
    assert!(weights.take_optional("half", &[2, 3]).unwrap().is_none());
    assert!(weights.take_optional("brain", &[6]).unwrap().is_some());
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let bytes = |x: f32| [1.0, x].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    for x in [f32::NAN, f32::INFINITY] {
        let mut weights = open(&written(&[("w", Dtype::F32, &[2], bytes(x))])).unwrap();
        assert!(weights.take("w", &[2]).unwrap_err().to_string().contains("NaN"));
        let tensor = Tensor::new(&[1.0, x], &Device::Cpu).unwrap();
        let mut weights = Weights::new(HashMap::from([("w".to_owned(), tensor)]), "memory");
        assert!(weights.take("w", &[2]).unwrap_err().to_string().contains("NaN"));
    }
    // 1e300 is a number of its own type and none of ours.
    let mut weights = open(&written(&[("w", Dtype::F64, &[1], 1e300f64.to_le_bytes().to_vec())])).unwrap();
    assert!(weights.take("w", &[1]).is_err());
}

#[test]
fn a_variable_is_passed_through() {
    let variable = Var::new(&[1.0f32, 2.0], &Device::Cpu).unwrap();
    let tensors = HashMap::from([("w".to_owned(), variable.as_tensor().clone())]);
    let taken = Weights::new(tensors, "memory").take("w", &[2]).unwrap();
    let loss = taken.sqr().unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    assert_eq!(gradients.get(&variable).unwrap().to_vec1::<f32>().unwrap(), [2.0, 4.0]);
}

#[test]
fn shards_are_one_model() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| folder.path().join(format!("{name}.safetensors")));
    let one = |name: &str, x: f32| written(&[(name, Dtype::F32, &[1], x.to_le_bytes().to_vec())]);
    std::fs::write(&paths[0], one("first", 1.0)).unwrap();
    std::fs::write(&paths[1], one("second", 2.0)).unwrap();
    let mut weights = Weights::open_shards(&paths, folder.path()).unwrap();
    assert_eq!(weights.take("second", &[1]).unwrap().to_vec1::<f32>().unwrap(), [2.0]);
    assert_eq!(weights.take("first", &[1]).unwrap().to_vec1::<f32>().unwrap(), [1.0]);
    std::fs::write(&paths[1], one("first", 2.0)).unwrap();
    let error = Weights::open_shards(&paths, folder.path()).unwrap_err().to_string();
    assert!(error.contains("b.safetensors") && error.contains("`first`"), "{error}");
}

fn with_header(json: &str, data: usize) -> String {
    let bytes = [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &vec![0; data]].concat();
    open(&bytes).map(|_| ()).map_err(|e| e.to_string()).err().unwrap_or_default()
}

#[test]
fn a_header_that_does_not_describe_the_file_is_refused() {
    let tensor = |dtype: &str, shape: &str, range: &str| {
        format!(r#"{{"w": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {range}}}}}"#)
    };
    // Bytes of no tensor, as writers leave them that align, are passed over.
    for (range, data) in [("[0, 8]", 8), ("[0, 8]", 9), ("[4, 12]", 12)] {
        assert_eq!(with_header(&tensor("F32", "[2]", range), data), "");
    }
    let cases = [
        (tensor("F32", "[2]", "[0, 8]"), 7, "`w`"),
        (tensor("F32", "[3]", "[0, 8]"), 8, "`w`"),
        (tensor("F32", "[2]", "[8, 0]"), 8, "`w`"),
        (tensor("F32", "[2]", "[4, 12]"), 11, "`w`"),
        (tensor("Q4", "[2]", "[0, 8]"), 8, "type Q4"),
        (tensor("F32", "[4611686018427387904, 4]", "[0, 0]"), 0, "`w`"),
        (tensor("F32", "[-1]", "[0, 8]"), 8, "`w`"),
        (tensor("F4", "[3]", "[0, 1]"), 1, "`w`"),
        (r#"{"w": 1}"#.to_owned(), 0, "`w`"),
        ("[]".to_owned(), 0, "valid"),
        (format!("{}{}", "[".repeat(5000), "]".repeat(5000)), 0, "valid"),
    ];
    for (json, data, expected) in cases {
        let error = with_header(&json, data);
        assert!(error.starts_with("m.safetensors: ") && error.contains(expected), "{json}: {error}");
    }
    let one = r#""w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}"#;
    assert!(with_header(&format!("{{{one}, {one}}}"), 1).contains("twice"));
    let two = one.replace("\"w\"", "\"v\"");
    assert!(with_header(&format!("{{{one}, {two}}}"), 1).contains("a place from 1 to 1"));
    for len in [0u64, 7, u64::MAX] {
        assert!(open(&len.to_le_bytes()[..7]).is_err());
        assert!(len == 0 || open(&len.to_le_bytes()).unwrap_err().to_string().contains("header"));
    }
}

/// Two rows of one block each: the codes in order from the low half of the first byte on, times 2^(scale −
/// 127); rows become columns.
#[test]
fn mxfp4_by_hand() {
    let counted: Vec<u8> = (0..8u8).map(|i| (2 * i) | ((2 * i + 1) << 4)).collect();
    let blocks = [&counted[..], &counted, &[0x22; 16]].concat();
    let file = |scales: Vec<u8>, shape: &[usize]| {
        written(&[
            ("e_blocks", Dtype::U8, &[1, 2, 1, 16], blocks.clone()),
            ("e_scales", Dtype::U8, shape, scales),
            ("f_blocks", Dtype::U8, &[1], vec![0]),
        ])
    };
    let mut weights = open(&file(vec![128, 126], &[1, 2, 1])).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["e", "f_blocks"]);
    let tensor = weights.take("e", &[1, 32, 2]).unwrap().squeeze(0).unwrap().t().unwrap();
    let rows: Vec<Vec<f32>> = tensor.to_vec2().unwrap();
    let codes = [0.0f32, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];
    assert_eq!(rows[0], [codes, codes].concat());
    assert_eq!(rows[1], [0.5; 32]);
    let error = open(&file(vec![255, 126], &[1, 2, 1])).unwrap().take("e", &[1, 32, 2]).unwrap_err();
    assert!(error.to_string().contains("`e` holds NaN"), "{error}");
    let error = open(&file(vec![128, 126], &[2, 1, 1])).unwrap_err().to_string();
    assert!(error.contains("`e`") && error.contains("[2, 1, 1]"), "{error}");
}
