//! SAE.
