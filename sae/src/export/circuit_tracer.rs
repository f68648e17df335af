//! circuit-tracer reads sets of transcoders. A run of this program is a sparse autoencoder: it reconstructs what it reads.

use super::Job;
use super::weights::Subject;
use crate::{Error, Result};

pub(super) fn write(subject: &Subject, _: &mut Job<'_>) -> Result<u64> {
    let hook = subject.hook().unwrap_or("its hook");
    Err(Error::request(format!(
        "{} is a sparse autoencoder: it reads {hook} and reconstructs the same; circuit-tracer takes transcoders, which predict an \
         MLP's output from its input",
        subject.dir.display()
    ))
    .with_remedy("export it to saelens, sparsify or dictionary-learning"))
}
