//! Features and experts: which features live in which expert, which expert is a feature.
//!
//! One pass over a run's dataset: every token is encoded, and what fired is counted together with what the
//! routers chose for the same (document, position).

mod exact;
mod join;
mod joint;
mod pairs;

pub use exact::{Correction, LogFactorials, Table, wilson};
pub use join::{FeatureExperts, FeatureExpertsOptions, feature_experts};
pub(in crate::experts) use join::{Walk, layers, open_routing};
pub use joint::Joint;
pub use pairs::{Criteria, PairTests, test};
