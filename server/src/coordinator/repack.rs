//! Packs follow the patterns of their project behind the answer to the call that changed these.
//!
//! The metadata keeps a mark of each such project, so that a coordinator that starts anew goes on.

use std::time::Duration;

use lfsfs_metadata::MadeParams;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_types::{ProjectId, VersionId};

use super::Coordinator;
use crate::ids::random_id;

/// After so long the coordinator tries again what failed.
const PAUSE: Duration = Duration::from_secs(10 * 60);

impl Coordinator {
    /// Repacks projects whose patterns have changed, as long as the coordinator runs.
    pub(super) async fn keep_packs(&self) {
        loop {
            if let Err(fault) = self.repack_due().await {
                tracing::warn!(
                    reason = fault.message,
                    "packs do not follow their patterns yet"
                );
            }
            // Without a call for so long, it looks again.
            drop(tokio::time::timeout(PAUSE, self.repacks.notified()).await);
        }
    }

    async fn repack_due(&self) -> Result<(), Fault> {
        for project in self
            .metadata(|metadata| metadata.projects_to_repack())
            .await?
        {
            match self.repack(project).await {
                // It is deleted. If it is brought back, the next look finds it again.
                Err(fault) if fault.kind == FaultKind::ProjectNotFound => {}
                repacked => repacked?,
            }
        }
        Ok(())
    }

    async fn repack(&self, project: ProjectId) -> Result<(), Fault> {
        self.check_room().await?;
        let params = MadeParams {
            project,
            version: VersionId(random_id()?.0),
            author: "lfsfsd".to_owned(),
            message: "the packs follow other patterns; nothing else changed".to_owned(),
        };
        let repacked = self
            .metadata(move |metadata| metadata.repack(&params))
            .await?;
        if repacked.is_new {
            tracing::info!(%project, version = %repacked.record.number, "repacked");
        }
        Ok(())
    }
}
