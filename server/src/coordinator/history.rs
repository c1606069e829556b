//! Versions that are made of versions: rollbacks and clones.

use std::net::SocketAddr;

use lfsfs_metadata::{CacheParams, CloneParams, MadeParams, MetadataError, RollbackParams};
use lfsfs_proto::status::Fault;
use lfsfs_proto::v1;
use lfsfs_types::VersionNumber;

use super::files::version_id;
use super::projects::make_with_clone;
use super::request::project_name;
use super::{Coordinator, log_published};

/// Packages of a cache version, where a caller does not say how many.
const PACKS_USUALLY: usize = 1000;

/// Publishes a version that has the tree of an earlier one.
pub(super) async fn roll_back(
    coordinator: &Coordinator,
    client: SocketAddr,
    request: v1::RollbackRequest,
) -> Result<v1::RollbackResponse, Fault> {
    let version = version_id(&request.version_id)?;
    let name = project_name(&request.project)?;
    coordinator.check_room().await?;
    let rolled = coordinator.metadata(move |metadata| {
        let params = RollbackParams {
            project: metadata.project(&name)?.id,
            to: VersionNumber(request.version),
            version,
            author: request.author,
            message: request.message,
        };
        Ok::<_, MetadataError>((name, metadata.rollback(&params)?))
    });
    let (name, published) = rolled.await?;
    log_published(&name, &published, client);
    Ok(v1::RollbackResponse {
        version: published.record.number.0,
        is_new: published.is_new,
    })
}

/// Publishes a version of a project that has the tree of a version of another one.
pub(super) async fn clone_version(
    coordinator: &Coordinator,
    client: SocketAddr,
    request: v1::CloneToProjectRequest,
) -> Result<v1::CloneToProjectResponse, Fault> {
    let version = version_id(&request.version_id)?;
    let from = VersionNumber(request.version);
    let (source, name) = (
        project_name(&request.source)?,
        project_name(&request.target)?,
    );
    coordinator.check_room().await?;
    let cloned = coordinator.metadata(move |metadata| {
        let source = metadata.project(&source)?;
        // Before a project is made for it.
        metadata.version(source.id, from)?;
        let params = |project| CloneParams {
            project,
            source: source.id,
            from,
            version,
            author: request.author,
            message: request.message,
        };
        let published = match metadata.project(&name) {
            Err(error) if error.is_not_found() && request.create => {
                make_with_clone(metadata, &name, source.settings, params)
            }
            found => metadata.clone_version(&params(found?.id)),
        };
        Ok::<_, MetadataError>((name, published?))
    });
    let (name, published) = cloned.await?;
    log_published(&name, &published, client);
    Ok(v1::CloneToProjectResponse {
        version: published.record.number.0,
        is_new: published.is_new,
    })
}

/// Publishes a version of the packages that most projects use.
pub(super) async fn make_cache(
    coordinator: &Coordinator,
    client: SocketAddr,
    request: v1::MakeCacheRequest,
) -> Result<v1::MakeCacheResponse, Fault> {
    let version = version_id(&request.version_id)?;
    let name = project_name(&request.project)?;
    let packs = match request.packs {
        0 => PACKS_USUALLY,
        packs => packs as usize,
    };
    coordinator.check_room().await?;
    let made = coordinator.metadata(move |metadata| {
        let params = CacheParams {
            made: MadeParams {
                project: metadata.project(&name)?.id,
                version,
                author: request.author,
                message: request.message,
            },
            packs,
        };
        Ok::<_, MetadataError>((name, metadata.make_cache(&params)?))
    });
    let (name, published) = made.await?;
    log_published(&name, &published, client);
    Ok(v1::MakeCacheResponse {
        version: published.record.number.0,
        is_new: published.is_new,
    })
}
