//! The standard services beside ours: health and server reflection.

use std::convert::Infallible;

use http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder;
use tower::util::BoxCloneSyncService;

use super::error::DeliveryError;
use crate::proto;

/// A service of any kind.
pub(super) type Route = BoxCloneSyncService<Request<Incoming>, Response<Body>, Infallible>;

/// The largest request that these services read.
const REQUEST_BYTES: usize = 16 * 1024;

/// `grpc.health.v1` and server reflection (v1, and v1alpha for older clients).
#[derive(Clone)]
pub(super) struct CommonServices {
    health: Route,
    reflection: Route,
    reflection_alpha: Route,
}

impl CommonServices {
    pub(super) fn new() -> Result<Self, DeliveryError> {
        // What serves is healthy. How an agent stands is for GetStatus to say.
        let (reporter, _) = tonic_health::server::health_reporter();
        let health = tonic_health::server::HealthService::from_health_reporter(reporter);
        let unreadable =
            |error: tonic_reflection::server::Error| DeliveryError::Descriptors(error.to_string());
        let v1 = describe().build_v1().map_err(unreadable)?;
        let v1alpha = describe().build_v1alpha().map_err(unreadable)?;
        Ok(Self {
            health: Route::new(HealthServer::new(health).max_decoding_message_size(REQUEST_BYTES)),
            reflection: Route::new(v1.max_decoding_message_size(REQUEST_BYTES)),
            reflection_alpha: Route::new(v1alpha.max_decoding_message_size(REQUEST_BYTES)),
        })
    }

    /// Who answers calls to `path`, if one of these does.
    pub(super) fn route(&self, path: &str) -> Option<Route> {
        let service = path.trim_start_matches('/').split('/').next();
        let route = match service? {
            "grpc.health.v1.Health" => &self.health,
            "grpc.reflection.v1.ServerReflection" => &self.reflection,
            "grpc.reflection.v1alpha.ServerReflection" => &self.reflection_alpha,
            _ => return None,
        };
        Some(route.clone())
    }
}

/// Only what is served on this socket is listed.
fn describe() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("tokenbroker.v1.TokenService")
        .with_service_name("grpc.health.v1.Health")
        .with_service_name("grpc.reflection.v1.ServerReflection")
        .with_service_name("grpc.reflection.v1alpha.ServerReflection")
}
