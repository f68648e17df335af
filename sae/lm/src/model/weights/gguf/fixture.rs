//! A GGUF file written by hand for tests; `tests/hostile_models.rs` uses it too.

// Each of the two uses a part of it.
#![allow(dead_code, missing_docs)]

/// The bytes of a file in the making. Shapes are given slowest first.
#[derive(Default, Clone)]
pub struct File {
    keys: Vec<Vec<u8>>,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl File {
    pub fn of(architecture: &str) -> Self {
        Self::default().text("general.architecture", architecture)
    }

    fn key(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.keys.push([&text(key)[..], &kind.to_le_bytes(), value].concat());
        self
    }

    pub fn text(self, key: &str, value: &str) -> Self {
        self.key(key, 8, &text(value))
    }

    pub fn size(self, key: &str, value: u32) -> Self {
        self.key(key, 4, &value.to_le_bytes())
    }

    pub fn float(self, key: &str, value: f32) -> Self {
        self.key(key, 6, &value.to_le_bytes())
    }

    pub fn flag(self, key: &str, value: bool) -> Self {
        self.key(key, 7, &[value.into()])
    }

    fn array(self, key: &str, kind: u32, values: &[Vec<u8>]) -> Self {
        let head = [&kind.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        self.key(key, 9, &[head, values.concat()].concat())
    }

    pub fn texts(self, key: &str, values: &[&str]) -> Self {
        self.array(key, 8, &values.iter().map(|v| text(v)).collect::<Vec<_>>())
    }

    pub fn integers(self, key: &str, values: &[i32]) -> Self {
        self.array(key, 5, &values.iter().map(|v| v.to_le_bytes().to_vec()).collect::<Vec<_>>())
    }

    pub fn floats(self, key: &str, values: &[f32]) -> Self {
        self.array(key, 6, &values.iter().map(|v| v.to_le_bytes().to_vec()).collect::<Vec<_>>())
    }

    /// An f32 tensor that counts from `from`.
    pub fn counted(self, name: &str, shape: &[u64], from: f32) -> Self {
        let numbers = shape.iter().product::<u64>() as usize;
        let bytes = (0..numbers).flat_map(|i| (from + i as f32).to_le_bytes()).collect();
        self.tensor(name, shape, 0, bytes)
    }

    pub fn tensor(mut self, name: &str, shape: &[u64], kind: u32, bytes: Vec<u8>) -> Self {
        self.tensors.push((name.to_owned(), shape.to_vec(), kind, bytes));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.keys.len() as u64).to_le_bytes());
        file.extend(self.keys.concat());
        let mut data = Vec::new();
        for (name, shape, kind, bytes) in &self.tensors {
            file.extend(text(name));
            file.extend((shape.len() as u32).to_le_bytes());
            file.extend(shape.iter().rev().flat_map(|n| n.to_le_bytes()));
            file.extend(kind.to_le_bytes());
            file.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(data);
        file
    }
}
