//! Labels of nodes, with the rules of Kubernetes.

use std::str::FromStr;

use parbake_cluster::InvalidValue;
use parbake_cluster::model::labels_and_taints::{check_key, check_value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::text_newtype;

/// The key of a label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", inline)]
pub struct LabelKey(String);

/// The value of a label, which may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", inline, extend("pattern" = "^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$"))]
pub struct LabelValue(String);

text_newtype!(LabelKey, InvalidValue, check_key);
text_newtype!(LabelValue, InvalidValue, check_value);

/// The value of `--label`: `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(pub LabelKey, pub LabelValue);

impl FromStr for Label {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        Ok(Self(key.parse()?, value.parse()?))
    }
}
