//! What csi-sanity asks for a volume: a Controller service that belongs to the test, not to the driver, and that says
//! about each volume what the kubelet would.

use std::{collections::HashMap, convert::Infallible, path::Path};

use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use token_broker::proto::csi::{
    CreateVolumeRequest, CreateVolumeResponse, DeleteVolumeRequest, DeleteVolumeResponse, Volume,
};
use tokio::net::UnixListener;
use tonic::{Request, Response, Status, body::Body, server::Grpc};
use tonic_prost::ProstCodec;

use crate::support::{block_on, runtime};

/// Serves `CreateVolume` and `DeleteVolume` at `endpoint`; each volume has this context.
pub(crate) fn serve(endpoint: &Path, context: HashMap<String, String>) {
    let listener = block_on(async { UnixListener::bind(endpoint).unwrap() });
    runtime().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let context = context.clone();
            let service = hyper::service::service_fn(move |request| answer(request, context.clone()));
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

async fn answer(
    request: http::Request<Incoming>,
    context: HashMap<String, String>,
) -> Result<http::Response<Body>, Infallible> {
    Ok(match request.uri().path() {
        "/csi.v1.Controller/CreateVolume" => {
            let create = tower::service_fn(move |request: Request<CreateVolumeRequest>| {
                let volume = Volume {
                    volume_id: request.into_inner().name,
                    volume_context: context.clone(),
                    ..Volume::default()
                };
                let volume = Some(volume);
                async move { Ok::<_, Status>(Response::new(CreateVolumeResponse { volume })) }
            });
            let codec = ProstCodec::<CreateVolumeResponse, CreateVolumeRequest>::default();
            Grpc::new(codec).unary(create, request).await
        }
        "/csi.v1.Controller/DeleteVolume" => {
            let delete = tower::service_fn(|_: Request<DeleteVolumeRequest>| async {
                Ok::<_, Status>(Response::new(DeleteVolumeResponse {}))
            });
            let codec = ProstCodec::<DeleteVolumeResponse, DeleteVolumeRequest>::default();
            Grpc::new(codec).unary(delete, request).await
        }
        _ => Status::unimplemented("only what csi-sanity needs for a volume").into_http(),
    })
}
