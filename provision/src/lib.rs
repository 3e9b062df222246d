//! The bake: inputs, shared layers, boot, kubeadm, settle, freeze.

mod attestation;
pub mod bake;
pub mod inputs;
mod kubeadm;
mod node;
pub mod provider;
pub mod upgrade;
