//! Those who do the same, each as its documentation has it done.

pub(crate) mod rpcnet;
pub(crate) mod tonic;
