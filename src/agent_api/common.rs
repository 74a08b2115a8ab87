//! The standard services beside ours: health and server reflection.

use std::convert::Infallible;

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic_health::{ServingStatus, pb::health_server::HealthServer};
use tonic_reflection::server::Builder;
use tower::util::BoxCloneSyncService;

use crate::{agent_files::error::DeliveryError, proto};

/// A service of any kind.
pub(crate) type Route = BoxCloneSyncService<Request<Incoming>, Response<Body>, Infallible>;

const TOKEN_SERVICE: &str = "tokenbroker.v1.TokenService";
/// The largest request that these services read.
const REQUEST_BYTES: usize = 16 * 1024;

/// `grpc.health.v1` and server reflection (v1, and v1alpha for older clients).
#[derive(Clone)]
pub(crate) struct CommonServices {
    health: Route,
    reflection: Route,
    reflection_alpha: Route,
}

impl CommonServices {
    pub(crate) fn new() -> Result<Self, DeliveryError> {
        // What serves is healthy. How an agent stands is for GetStatus to say.
        let (reporter, _) = tonic_health::server::health_reporter();
        // Done at once: nobody else has the reporter yet.
        let _ = reporter
            .set_service_status(TOKEN_SERVICE, ServingStatus::Serving)
            .now_or_never();
        let health = tonic_health::server::HealthService::from_health_reporter(reporter);
        let unreadable =
            |error: tonic_reflection::server::Error| DeliveryError::Descriptors(error.to_string());
        let v1 = describe(TOKEN_SERVICE).build_v1().map_err(unreadable)?;
        let v1alpha = describe(TOKEN_SERVICE).build_v1alpha().map_err(unreadable)?;
        Ok(Self {
            health: Route::new(HealthServer::new(health).max_decoding_message_size(REQUEST_BYTES)),
            reflection: Route::new(v1.max_decoding_message_size(REQUEST_BYTES)),
            reflection_alpha: Route::new(v1alpha.max_decoding_message_size(REQUEST_BYTES)),
        })
    }

    /// Who answers calls to `path`, if one of these does; and whether the answer is a stream, which stays open.
    pub(crate) fn route(&self, path: &str) -> Option<(Route, bool)> {
        let (service, method) = path.trim_start_matches('/').split_once('/')?;
        let route = match service {
            "grpc.health.v1.Health" => &self.health,
            "grpc.reflection.v1.ServerReflection" => &self.reflection,
            "grpc.reflection.v1alpha.ServerReflection" => &self.reflection_alpha,
            _ => return None,
        };
        Some((route.clone(), method != "Check"))
    }
}

/// Reflection that lists `service` and the standard ones: what is served on one socket, and no more.
pub(crate) fn describe(service: &'static str) -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(service)
        .with_service_name("grpc.health.v1.Health")
        .with_service_name("grpc.reflection.v1.ServerReflection")
        .with_service_name("grpc.reflection.v1alpha.ServerReflection")
}
