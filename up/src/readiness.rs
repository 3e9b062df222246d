//! The wait at the end of every start.

use std::time::Duration;

use jiff::Timestamp;
use parbake_cluster::Client;
use parbake_cluster::api::nodes::set_labels_and_taints;
use parbake_cluster::readiness::{DnsProbe, Expected, Milestones, wait_until_ready};
use parbake_cluster::wait::TimedOut;
use parbake_machine::supervisor::Running;
use tracing::Instrument;

use crate::config::{self, Config, ConfigError};
use crate::error::Error;
use crate::events::Log;
use crate::services_ready;

/// A cluster whose machines have been started.
pub(crate) struct Starting<'a> {
    pub(crate) running: &'a Running,
    pub(crate) client: &'a Client,
    pub(crate) expected: &'a Expected<'a>,
    pub(crate) config: &'a Config,
    /// Exempt only namespaces older than this from pod security; `None` exempts all that exist.
    pub(crate) exempt_before: Option<Timestamp>,
    pub(crate) log: &'a Log,
    pub(crate) limit: Duration,
}

/// The outcome of the wait.
pub(crate) struct Ready {
    pub(crate) milestones: Result<Milestones, TimedOut>,
    /// The outcome of configuring nodes and namespaces.
    pub(crate) configured: Result<(), ConfigError>,
}

impl Starting<'_> {
    /// Configures nodes and namespaces through the API, and waits until everything in the cluster is ready.
    pub(crate) async fn wait(&self) -> Result<Ready, Error> {
        let Self {
            client,
            expected,
            config,
            limit,
            ..
        } = *self;
        let [for_readiness, for_services] =
            [(), ()].map(|()| DnsProbe::for_cluster(self.running, expected.cluster));
        let services_probes = for_services?;
        let ready = wait_until_ready(client, expected, for_readiness?, limit, self.log.milestones());
        let ready = ready.instrument(tracing::info_span!(
            "step",
            what = "wait until everything is ready"
        ));
        let services =
            services_ready::wait_until_ready(self.running, expected.cluster, &services_probes, limit);
        let settings = config::labels_and_taints(config, expected.cluster.nodes());
        let (milestones, services, marked, exempted) = tokio::join!(
            ready,
            services,
            set_labels_and_taints(client, &settings, limit),
            config::exempt_namespaces(config, client, self.exempt_before, limit),
        );
        Ok(Ready {
            milestones: milestones.and_then(|milestones| services.map(|()| milestones)),
            configured: marked.map_err(ConfigError::Cluster).and(exempted),
        })
    }
}
