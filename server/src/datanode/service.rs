//! The DataNode service.

use std::sync::Arc;

use lfsfs_proto::convert::{ProtocolError, id};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_proto::v1::data_node_server::DataNode as Service;
use lfsfs_types::ChunkId;
use tonic::{Request, Response, Status, Streaming};

use super::check::Check;
use super::download::{self, Download};
use super::peers::COPY_FIELD;
use super::upload::SenderKind;
use super::{DataNode, copy, upload};
use crate::blocking::{IntoFault as _, blocking};
use crate::calls::Call;
use crate::process_key::Callers;
use crate::streams::Answers;

/// Longest reason that is logged.
const REASON_LEN_MAX: usize = 1024;

type Answer<T> = Result<Response<T>, Status>;

/// Serves the DataNode service.
#[derive(Debug, Clone)]
pub(crate) struct DataNodeService {
    node: Arc<DataNode>,
    /// Which callers may delete chunks.
    callers: Callers,
}

impl DataNodeService {
    pub(crate) fn new(node: Arc<DataNode>, callers: Callers) -> Self {
        Self { node, callers }
    }

    async fn delete(&self, chunk: &[u8], reason: &str, generation: u64) -> Result<(), Fault> {
        self.node.check_generation(generation)?;
        let chunk =
            id("chunk_id", chunk, ChunkId::from_slice).map_err(ProtocolError::into_fault)?;
        if reason.len() > REASON_LEN_MAX {
            let text = format!("reason is wrong: it has more than {REASON_LEN_MAX} bytes");
            return Err(Fault::new(FaultKind::Invalid, text));
        }
        let deleted = self.node.delete(chunk, generation).await?;
        tracing::info!(%chunk, deleted, reason, "a caller asked to delete a chunk");
        Ok(())
    }
}

#[tonic::async_trait]
impl Service for DataNodeService {
    async fn prepare_chunk_upload(
        &self,
        request: Request<v1::PrepareChunkUploadRequest>,
    ) -> Answer<v1::PrepareChunkUploadResponse> {
        let call = Call::of(&request)?;
        let prepared = upload::prepare(&self.node, &call, request.into_inner());
        Ok(Response::new(prepared.await?))
    }

    type UploadChunkStreamStream = Answers<v1::ChunkAck>;

    async fn upload_chunk_stream(
        &self,
        request: Request<Streaming<v1::ChunkFrame>>,
    ) -> Answer<Self::UploadChunkStreamStream> {
        let call = Call::of(&request)?;
        let sender = if request.metadata().contains_key(COPY_FIELD) {
            SenderKind::DataNode
        } else {
            SenderKind::Client
        };
        let (node, stream) = (Arc::clone(&self.node), request.into_inner());
        let tasks = &self.node.tasks;
        let receiving = call.clone();
        let acks = tasks.answer(call, move |sink| {
            upload::receive(node, receiving, sender, stream, sink)
        });
        Ok(Response::new(acks))
    }

    async fn prepare_chunk_download(
        &self,
        request: Request<v1::PrepareChunkDownloadRequest>,
    ) -> Answer<v1::PrepareChunkDownloadResponse> {
        let prepared = download::prepare(&self.node, request.into_inner());
        Ok(Response::new(prepared.await?))
    }

    type DownloadChunkStreamStream = Answers<v1::ChunkFrame>;

    async fn download_chunk_stream(
        &self,
        request: Request<v1::DownloadChunkStreamRequest>,
    ) -> Answer<Self::DownloadChunkStreamStream> {
        let call = Call::of(&request)?;
        let download = Download::open(&self.node, request.into_inner()).await?;
        let frames = self
            .node
            .tasks
            .answer(call, move |sink| download.send(sink));
        Ok(Response::new(frames))
    }

    async fn copy_chunk(
        &self,
        request: Request<v1::CopyChunkRequest>,
    ) -> Answer<v1::CopyChunkResponse> {
        self.callers.check(&request)?;
        let call = Call::of(&request)?;
        copy::copy(&self.node, &call, request.into_inner()).await?;
        Ok(Response::new(v1::CopyChunkResponse {}))
    }

    async fn delete_chunk(
        &self,
        request: Request<v1::DeleteChunkRequest>,
    ) -> Answer<v1::DeleteChunkResponse> {
        self.callers.check(&request)?;
        let request = request.into_inner();
        self.delete(&request.chunk_id, &request.reason, request.generation)
            .await?;
        Ok(Response::new(v1::DeleteChunkResponse {}))
    }

    async fn bulk_delete_chunk(
        &self,
        request: Request<v1::BulkDeleteChunkRequest>,
    ) -> Answer<v1::BulkDeleteChunkResponse> {
        self.callers.check(&request)?;
        let request = request.into_inner();
        let mut failed = Vec::new();
        for chunk in request.chunk_ids {
            let deleted = self.delete(&chunk, &request.reason, request.generation);
            if deleted.await.is_err() {
                failed.push(chunk);
            }
        }
        Ok(Response::new(v1::BulkDeleteChunkResponse { failed }))
    }

    type CheckChunksStream = Answers<v1::CheckChunksResponse>;

    async fn check_chunks(
        &self,
        request: Request<v1::CheckChunksRequest>,
    ) -> Answer<Self::CheckChunksStream> {
        let call = Call::of(&request)?;
        let check = Check::begin(&self.node, request.into_inner())?;
        let answers = self.node.tasks.answer(call, move |sink| check.run(sink));
        Ok(Response::new(answers))
    }

    async fn health_check(
        &self,
        _: Request<v1::HealthCheckRequest>,
    ) -> Answer<v1::HealthCheckResponse> {
        let store = Arc::clone(&self.node.store);
        let stats = blocking(move || store.stats()).await?;
        Ok(Response::new(v1::HealthCheckResponse {
            node: Some(self.node.info().await?),
            disk_total_bytes: stats.total_bytes,
            disk_free_bytes: stats.free_bytes,
            chunks: stats.chunks,
            full: stats.is_full,
        }))
    }
}
