//! Names that the questions use.

/// The node that they are about; another one answers them.
pub(crate) const NODE: &str = "node-a";

/// Operations that do what they are asked for when everything in the document is asked once: there is no key of configuration of that name,
/// no lock, no proposal and no token.
pub(crate) const SERVED_LEAST: usize = 25;
