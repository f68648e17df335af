//! What is loaded of the page of text in front: tokens, routing, features, raw rows; each on its own, in the
//! background.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::codes::{self, TokenCodes};
use crate::data::dataset::{self, TEXT_PAGE};
use crate::data::{DocumentRow, DocumentText, Routing, RowFacts, Rows, routing, rows};
use crate::load::{KeyedRequest, Lane, Problem, Workers};

/// Document and first position.
pub type At = (u32, u32);

/// The parts of the page.
#[derive(Debug, Default)]
pub struct Page {
    at: Option<At>,
    run: Option<PathBuf>,
    text: KeyedRequest<At, DocumentText>,
    routing: KeyedRequest<At, Routing>,
    codes: KeyedRequest<(PathBuf, At), TokenCodes>,
    rows: KeyedRequest<At, Rows>,
    facts: KeyedRequest<(At, u32), RowFacts>,
    wants_routing: bool,
    wants_rows: bool,
}

/// What the view needs besides the text.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageNeeds<'a> {
    /// The routers' choices.
    pub routing: bool,
    /// The features of this run.
    pub codes: Option<&'a Path>,
    /// The raw rows, and what there is to say of the one at this position.
    pub row: Option<u32>,
}

/// Dimensions and neighbours of a row that are listed.
const LISTED: usize = 6;

impl Page {
    /// Asks for what is missing of the page of `document` that begins at `start`.
    pub fn logic(
        &mut self,
        workers: &Workers,
        dir: &Path,
        document: &DocumentRow,
        start: u32,
        wants: PageNeeds<'_>,
    ) {
        let at = (document.document, start);
        self.at = Some(at);
        (self.wants_routing, self.wants_rows) = (wants.routing, wants.row.is_some());
        let of = |dir: &Path| (dir.to_owned(), document.clone());
        let (folder, row) = of(dir);
        self.text.want(workers, Lane::Pages, &at, move || dataset::read_text(&folder, &row, start));
        if wants.routing {
            let (folder, row) = of(dir);
            self.routing.want(workers, Lane::Pages, &at, move || {
                routing::read(&folder, row.document, dataset::page(&row, start))
            });
        }
        self.run = wants.codes.map(Path::to_owned);
        if let Some(run) = wants.codes {
            let (run, row) = of(run);
            self.codes.want(workers, Lane::Pages, &(run.clone(), at), move || {
                codes::read(&run, row.document, dataset::page(&row, start))
            });
        }
        if let Some(position) = wants.row {
            let (folder, row) = of(dir);
            self.rows.want(workers, Lane::Pages, &at, move || rows::read(&folder, &row, start, TEXT_PAGE));
            if let Some(rows) = self.rows.get(&at) {
                self.facts
                    .want(workers, Lane::Sort, &(at, position), move || Ok(rows.facts(position, LISTED)));
            }
        }
    }

    /// The tokens, or why not.
    pub fn text(&self) -> Option<Result<Arc<DocumentText>, Problem>> {
        part(&self.text, self.at.as_ref()?)
    }

    /// The routing, or why not.
    pub fn routing(&self) -> Option<Result<Arc<Routing>, Problem>> {
        part(&self.routing, self.at.as_ref()?)
    }

    /// The features, or why not.
    pub fn codes(&self) -> Option<Result<Arc<TokenCodes>, Problem>> {
        part(&self.codes, &(self.run.clone()?, self.at?))
    }

    /// The raw rows, or why not.
    pub fn rows(&self) -> Option<Result<Arc<Rows>, Problem>> {
        part(&self.rows, self.at.as_ref()?)
    }

    /// What there is to say of the row at `position`.
    pub fn facts(&self, position: u32) -> Option<Arc<RowFacts>> {
        self.facts.get(&(self.at?, position))
    }

    /// Whether there is routing to be read.
    pub fn wants_routing(&self) -> bool {
        self.wants_routing
    }

    /// Whether there are rows to be read.
    pub fn wants_rows(&self) -> bool {
        self.wants_rows
    }

    /// Asks for everything again.
    pub fn again(&mut self) {
        self.text.again();
        self.routing.again();
        self.codes.again();
        self.rows.again();
    }
}

/// `None` while it is on its way.
fn part<K, T>(keyed: &KeyedRequest<K, T>, key: &K) -> Option<Result<Arc<T>, Problem>>
where
    K: Clone + PartialEq + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    if let Some(value) = keyed.get(key) {
        return Some(Ok(value));
    }
    keyed.problem(key).map(|problem| Err(problem.clone()))
}
