//! Pictures → a dataset of patches.

use std::path::{Path, PathBuf};

use storage::documents::DocumentRow;
use storage::whitening::{self, Whitening};
use storage::{Dtype, Manifest, ModelRef, RowsAre, schema};

use super::draw::{Drawn, Rules, draw, shares};
use super::picture::{Picture, files, size};
use crate::harvest::{Sink, TableRows, with_lengths};
use crate::interop::activations::{Columns, Imported, Run};
use crate::whiten::{self, Moments};
use crate::{Error, Progress, Result};

/// Most numbers of a patch: the covariance has their square.
const WIDEST: usize = 4096;

/// Options of an import of pictures.
#[derive(Debug, Clone)]
pub struct ImagesConfig {
    /// PNG and JPEG files, and folders of them.
    pub inputs: Vec<PathBuf>,
    /// Pixels of a patch's side.
    pub patch: usize,
    /// Patches wanted.
    pub patches: usize,
    /// Red, green and blue instead of grey.
    pub colour: bool,
    /// Patches whose standard deviation, of pixels from 0 to 1, is less are left out.
    pub flat: f32,
    /// Whiten; else patches are stored as they are.
    pub whiten: bool,
    /// Share of the mean variance below which a component is not amplified further.
    pub floor: f64,
    /// Stored type.
    pub dtype: Dtype,
    /// Share of each picture's height that is held out.
    pub held_out_share: f64,
    /// Chooses places.
    pub seed: u64,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self {
            inputs: Vec::new(),
            patch: 16,
            patches: 100_000,
            colour: false,
            flat: 0.02,
            whiten: true,
            floor: whiten::FLOOR,
            dtype: Dtype::F32,
            held_out_share: 0.05,
            seed: 1,
        }
    }
}

impl ImagesConfig {
    /// Numbers of a patch.
    pub fn d(&self) -> usize {
        self.patch * self.patch * if self.colour { 3 } else { 1 }
    }

    fn check(&self) -> Result<()> {
        let ok = |ok: bool, problem: &str| if ok { Ok(()) } else { Err(Error::request(problem)) };
        ok(self.patch > 1 && self.d() <= WIDEST, "a patch must have 4 to 4096 numbers")?;
        ok(self.patches > 0, "patches must be more than 0")?;
        ok((0.0..0.5).contains(&self.flat), "the deviation of a flat patch must be 0 to 0.5")?;
        ok(self.floor > 0.0 && self.floor <= 1.0, "the floor must be more than 0 and at most 1")?;
        ok(
            (0.0..0.5).contains(&self.held_out_share),
            "the held-out share must be at least 0 and less than 0.5",
        )
    }

    fn rules(&self) -> Rules {
        let Self { patch, flat, held_out_share, seed, .. } = *self;
        Rules { patch, flat, held_out_share, seed }
    }

    fn header(&self, files: &[PathBuf]) -> Result<Manifest> {
        let model = ModelRef { id: "none: pictures".into(), ..ModelRef::default() };
        let mut header = Manifest::new(model, None, self.d(), self.dtype);
        header.rows_are = RowsAre::Patches;
        header.text = with_lengths(files)?;
        header.settings = serde_json::json!({"images": {
            "patch": self.patch,
            "colour": self.colour,
            "patches": self.patches,
            "flat": self.flat,
            "whitening": self.whiten.then_some("zca: activation = W (patch − mean), in the table `whitening`"),
            "floor": self.whiten.then_some(self.floor),
            "held_out_share": self.held_out_share,
            "seed": self.seed,
        }});
        Ok(header)
    }
}

/// The pictures and how many patches each gives.
struct Album<'a> {
    config: &'a ImagesConfig,
    files: Vec<PathBuf>,
    shares: Vec<usize>,
}

impl Album<'_> {
    /// Picture number `i` and its places.
    fn open(&self, i: usize) -> Result<(Picture, Drawn)> {
        let picture = Picture::open(&self.files[i], self.config.colour)?;
        let drawn = draw(&picture, i as u64, self.shares[i], self.config.rules());
        Ok((picture, drawn))
    }

    fn patches(&self, picture: &Picture, places: &[(usize, usize)]) -> Vec<f32> {
        let mut out = Vec::with_capacity(places.len() * self.config.d());
        places.iter().for_each(|(x, y)| picture.patch(*x, *y, self.config.patch, &mut out));
        out
    }
}

/// Imports; an interrupted import continues when it is asked for again with the same options.
///
/// # Errors
/// Files that are not pictures or damaged, pictures without a patch that is not flat, a folder that is taken.
pub fn run(config: &ImagesConfig, out: &Path, progress: &mut dyn Progress) -> Result<Imported> {
    config.check()?;
    let files = files(&config.inputs)?;
    let sizes: Vec<(usize, usize)> = files.iter().map(|file| size(file)).collect::<Result<_>>()?;
    let shares = shares(&sizes, config.patch, config.patches);
    let album = Album { config, files, shares };
    let header = config.header(&album.files)?;
    let mut sink = Sink::begin(out, header, 1 << 18)?;
    sink.note().iter().for_each(|note| progress.remark(note));
    let whitening = if config.whiten { Some(statistics(&album, progress)?) } else { None };

    progress.begin("import", Some(config.patches as u64), "patches");
    let mut documents = Vec::new();
    let mut rows = 0;
    let mut flat = 0;
    for i in 0..album.files.len() {
        let (picture, drawn) = album.open(i)?;
        let batch = batch(&album, &picture, &drawn, whitening.as_ref(), &mut documents, &mut rows, i)?;
        sink.write(
            i as u64,
            (drawn.kept.len() + drawn.held_out.len()) as u64,
            &[TableRows::activations(batch)],
        )?;
        flat += drawn.flat;
        progress.advance(rows, "");
        stopped(progress, || sink.commit(i as u64 + 1))?;
    }
    if rows == 0 {
        let problem =
            format!("the pictures have no patch of {0} × {0} pixels that is not flat", config.patch);
        return Err(Error::request(problem));
    }
    if rows < config.patches as u64 {
        progress.remark(&format!("{rows} of {} patches: {flat} tries were flat", config.patches));
    }
    let mut tables = vec![(schema::DOCUMENTS, storage::documents::to_batch(&documents)?)];
    if let Some(whitening) = &whitening {
        tables.push((schema::WHITENING, whitening::to_batch(whitening)?));
    }
    sink.finish(album.files.len() as u64, &tables)?;
    let held_out = documents.iter().filter(|d| d.held_out).count() as u64;
    progress.end(&format!("{rows} patches of {} pictures, in {}", album.files.len(), out.display()));
    Ok(Imported {
        dataset: out.to_path_buf(),
        rows,
        d_model: config.d(),
        rows_are: RowsAre::Patches,
        documents: documents.len() as u64,
        held_out,
    })
}

fn stopped(progress: &dyn Progress, keep: impl FnOnce() -> Result<()>) -> Result<()> {
    if !progress.stop_requested() {
        return Ok(());
    }
    keep()?;
    Err(Error::stopped("what is whole is kept").with_remedy("give the same command again to continue"))
}

/// The whitening of the patches that are trained on.
fn statistics(album: &Album<'_>, progress: &mut dyn Progress) -> Result<Whitening> {
    let config = album.config;
    let mut moments = Moments::new(config.d());
    progress.begin("statistics", Some(config.patches as u64), "patches");
    for i in 0..album.files.len() {
        let (picture, drawn) = album.open(i)?;
        moments.add(&album.patches(&picture, &drawn.kept));
        progress.advance(moments.rows(), "");
        stopped(progress, || Ok(()))?;
    }
    if moments.rows() <= config.d() as u64 {
        return Err(Error::request(format!(
            "{} patches that are not flat and not held out, of {} numbers each: a covariance needs more",
            moments.rows(),
            config.d()
        ))
        .with_remedy("take smaller patches, more of them, more pictures, or --no-whitening"));
    }
    let (mean, covariance) = moments.finish();
    let whitening = whiten::zca(&mean, &covariance, config.floor, || progress.stop_requested());
    progress.end(&format!("covariance of {} patches", moments.rows()));
    whitening.ok_or_else(|| Error::stopped("nothing is kept"))
}

/// Rows of one picture, and its documents.
fn batch(
    album: &Album<'_>,
    picture: &Picture,
    drawn: &Drawn,
    whitening: Option<&Whitening>,
    documents: &mut Vec<DocumentRow>,
    rows: &mut u64,
    i: usize,
) -> Result<arrow::array::RecordBatch> {
    let file = &album.files[i];
    let of =
        |part: Option<&std::ffi::OsStr>| part.map_or_else(String::new, |p| p.to_string_lossy().into_owned());
    let (name, domain) = (of(file.file_name()), of(file.file_stem()));
    let mut columns = Columns { places: Some((Vec::new(), Vec::new())), ..Columns::default() };
    for (places, held_out) in [(&drawn.kept, false), (&drawn.held_out, true)] {
        let number = documents.len() as u32;
        documents.push(DocumentRow {
            document: number,
            name: if held_out { format!("{name}, held out") } else { name.clone() },
            source: file.display().to_string(),
            domain: domain.clone(),
            held_out,
            first_row: *rows,
            tokens: places.len() as u32,
        });
        *rows += places.len() as u64;
        columns.documents.extend(std::iter::repeat_n(number, places.len()));
        columns.positions.extend(0..places.len() as u32);
        columns.values.extend(album.patches(picture, places));
        if let Some((x, y)) = &mut columns.places {
            x.extend(places.iter().map(|place| place.0 as u32));
            y.extend(places.iter().map(|place| place.1 as u32));
        }
    }
    if let Some(whitening) = whitening {
        whiten::apply(whitening, &mut columns.values);
    }
    let (d, dtype) = (album.config.d(), album.config.dtype);
    let domains = [Run { domain, rows: columns.documents.len() }];
    columns.batch(RowsAre::Patches, d, dtype, &domains, |row| format!("{}: patch {row}", file.display()))
}
