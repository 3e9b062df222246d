//! Artifacts for several tests.

use jiff::Timestamp;
use parbake_artifact::{Layer, MachineLayers, NewArtifact};

/// An artifact of one machine with all of the layers.
pub(crate) fn draft(layers: &[Layer]) -> NewArtifact {
    NewArtifact {
        created: Timestamp::UNIX_EPOCH,
        provider: "test".to_owned(),
        machines: vec![MachineLayers {
            name: "node01".to_owned(),
            layers: layers.iter().map(|layer| layer.digest.clone()).collect(),
        }],
        cluster: serde_json::Value::Null,
        layers: layers.to_vec(),
        secrets: None,
    }
}
