//! What several tests make artifacts of.

use jiff::Timestamp;
use parbake_artifact::{Draft, Layer, MachineLayers};

/// One machine that has all of the layers.
pub(crate) fn draft(layers: &[Layer]) -> Draft {
    Draft {
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
