//! The figures of connections, from `scim` to `/metrics`.

use std::sync::Arc;

use crate::scim::{Scim, Standing};
use crate::telemetry::metrics::{ConnectionFigures, ProvisioningFigures, ProvisioningSource};

/// Where `/metrics` finds them.
pub(super) fn figures(scim: &Arc<Scim>) -> ProvisioningSource {
    let scim = Arc::clone(scim);
    Box::new(move || {
        let one = |(connection, standing): (String, Standing)| ConnectionFigures {
            connection,
            requests: standing.counts.iter().map(|(class, count)| (class.name(), *count)).collect(),
            last_success: standing.last_success,
            failure_ratio: standing.failure_ratio(),
            alarm: standing.alarm.is_some(),
        };
        let connections = scim.standings().into_iter().map(one).collect();
        ProvisioningFigures { connections, lost_events: scim.lost_events() }
    })
}
