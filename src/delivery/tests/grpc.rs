use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_stream::StreamExt;
use tonic::{
    Code, Streaming,
    transport::{Channel, Endpoint, Uri},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt;

use super::{Scene, in_time};
use crate::{
    broker::AgentState,
    proto::v1::{
        self, GetAccessTokenRequest, GetStatusRequest, WatchAccessTokenRequest, WatchAccessTokenResponse,
        token_service_client::TokenServiceClient, watch_access_token_response::Event,
    },
    testing::{snapshot, token},
};

async fn channel(scene: &Scene, agent: &str) -> Channel {
    let path = scene.socket(agent);
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    });
    let endpoint = Endpoint::from_static("http://broker");
    in_time(endpoint.connect_with_connector(connector)).await.unwrap()
}

#[tokio::test]
async fn a_token() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    let mut client = TokenServiceClient::new(channel(&scene, "a").await);
    let request = GetAccessTokenRequest::default();
    let answer = in_time(client.get_access_token(request)).await.unwrap();
    let token = answer.into_inner().token.unwrap();
    assert_eq!(
        (&*token.access_token, &*token.token_type, token.expires_in),
        ("sesame", "Bearer", 3540)
    );
    assert_eq!(token.expires_at.unwrap().seconds, 1_705_314_600);
    assert_eq!(
        token.capabilities,
        ["google.gmail.send", "google.calendar.readonly"]
    );
}

#[tokio::test]
async fn a_failure_says_who_can_fix_it() {
    let scene = Scene::new();
    scene
        .add(snapshot("a").in_state(AgentState::ReconnectRequired))
        .await;
    let mut client = TokenServiceClient::new(channel(&scene, "a").await);
    let request = GetAccessTokenRequest::default();
    let status = in_time(client.get_access_token(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.message(), "This is reconnect_required.");
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (&*info.reason, &*info.domain),
        ("reconnect_required", "token-broker")
    );
    assert_eq!(info.metadata["action_url"], "http://127.0.0.1:8420/fix/a");
    let request = GetAccessTokenRequest {
        integration: "aws".to_owned(),
        ..GetAccessTokenRequest::default()
    };
    let status = in_time(client.get_access_token(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_status_without_secrets() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    let mut client = TokenServiceClient::new(channel(&scene, "a").await);
    let answer = in_time(client.get_status(GetStatusRequest {})).await.unwrap();
    let status = answer.into_inner().status.unwrap();
    assert!(!format!("{status:?}").contains("sesame"));
    assert_eq!(
        (&*status.agent, &*status.owner, &*status.account),
        ("a", "alice", "alice@example.com")
    );
    assert_eq!(status.state(), v1::AgentState::Active);
    let capability = &status.capabilities[1];
    assert_eq!(
        (&*capability.key, &*capability.satisfied_by, capability.granted),
        ("google.calendar.readonly", "google.calendar", true)
    );
}

async fn watched(scene: &Scene, agent: &str) -> Streaming<WatchAccessTokenResponse> {
    let mut client = TokenServiceClient::new(channel(scene, agent).await);
    let request = WatchAccessTokenRequest::default();
    in_time(client.watch_access_token(request))
        .await
        .unwrap()
        .into_inner()
}

async fn event(stream: &mut Streaming<WatchAccessTokenResponse>) -> Event {
    in_time(stream.next()).await.unwrap().unwrap().event.unwrap()
}

#[tokio::test]
async fn watching_tells_tokens_and_states_and_the_end() {
    let scene = Scene::new();
    let agent = scene.add(snapshot("a").with_token(token("first"))).await;
    let mut stream = watched(&scene, "a").await;
    let Event::Token(first) = event(&mut stream).await else {
        panic!("a token first")
    };
    assert_eq!(first.access_token, "first");
    scene
        .publish(&agent, snapshot("a").with_token(token("second")))
        .await;
    let Event::Token(second) = event(&mut stream).await else {
        panic!("the new token")
    };
    assert_eq!(second.access_token, "second");
    scene
        .publish(&agent, snapshot("a").in_state(AgentState::Revoked))
        .await;
    let Event::Status(status) = event(&mut stream).await else {
        panic!("the loss")
    };
    assert_eq!(status.state(), v1::AgentState::Revoked);
    assert_eq!(status.action_url, "http://127.0.0.1:8420/fix/a");
    scene.remove(&agent).await;
    let end = in_time(stream.next()).await.unwrap().unwrap_err();
    assert_eq!(end.code(), Code::NotFound);
}

#[tokio::test]
async fn without_a_token_the_state_comes_first() {
    let scene = Scene::new();
    scene.add(snapshot("a").in_state(AgentState::NotConnected)).await;
    let mut stream = watched(&scene, "a").await;
    let Event::Status(status) = event(&mut stream).await else {
        panic!("a status")
    };
    assert_eq!(status.state(), v1::AgentState::NotConnected);
    scene.shutdown.cancel();
    let end = in_time(stream.next()).await.unwrap().unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
}

#[tokio::test]
async fn health_and_reflection() {
    let scene = Scene::new();
    scene.add(snapshot("a")).await;
    let channel = channel(&scene, "a").await;
    let health = in_time(HealthClient::new(channel.clone()).check(HealthCheckRequest::default())).await;
    assert_eq!(health.unwrap().into_inner().status, 1);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let requests = tokio_stream::once(request);
    let answers = in_time(reflection.server_reflection_info(requests))
        .await
        .unwrap();
    let answer = in_time(answers.into_inner().next()).await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("a list")
    };
    let names: Vec<_> = list.service.iter().map(|service| &*service.name).collect();
    assert!(names.contains(&"tokenbroker.v1.TokenService"), "{names:?}");
    assert!(!names.contains(&"tokenbroker.v1.AdminService"), "{names:?}");
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented_and_its_path_is_not_repeated_whole() {
    let scene = Scene::new();
    scene.add(snapshot("a")).await;
    let mut client = tonic::client::Grpc::new(channel(&scene, "a").await);
    let codec = tonic_prost::ProstCodec::<GetStatusRequest, v1::GetStatusResponse>::default();
    let long = format!("/tokenbroker.v1.TokenService/{}", "n".repeat(8000));
    for path in [
        "/tokenbroker.v1.TokenService/Nothing",
        "/nobody.v1.Nothing/Nothing",
        &long,
    ] {
        in_time(client.ready()).await.unwrap();
        let request = tonic::Request::new(GetStatusRequest {});
        let path = path.parse().unwrap();
        let status = in_time(client.unary(request, path, codec.clone()))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.message().len() < 256, "{}", status.message().len());
    }
}

#[tokio::test]
async fn a_service_accounts_token_is_asked_for_and_watched_by_name() {
    let scene = Scene::new();
    let both = snapshot("a")
        .with_token(token("person"))
        .with_service(Some(token("robot")));
    let agent = scene.add(both).await;
    scene.add(snapshot("b").with_token(token("person"))).await;
    let mut client = TokenServiceClient::new(channel(&scene, "a").await);
    let request = GetAccessTokenRequest {
        integration: "google-sa".to_owned(),
        ..Default::default()
    };
    let answer = in_time(client.get_access_token(request)).await.unwrap();
    assert_eq!(answer.into_inner().token.unwrap().access_token, "robot");
    let status = in_time(client.get_status(GetStatusRequest {})).await.unwrap();
    let status = status.into_inner().status.unwrap();
    assert_eq!(status.service_account, "robot@project.iam.gserviceaccount.com");

    let of_robot = || WatchAccessTokenRequest {
        integration: "google-sa".to_owned(),
    };
    let stream = in_time(client.watch_access_token(of_robot())).await;
    let mut stream = stream.unwrap().into_inner();
    for (person, robot) in [("person", "robot"), ("person-2", "robot-2")] {
        let next = snapshot("a")
            .with_token(token(person))
            .with_service(Some(token(robot)));
        scene.publish(&agent, next).await;
        let Event::Token(told) = event(&mut stream).await else {
            panic!("a token")
        };
        assert_eq!(told.access_token, robot);
    }
    let mut other = TokenServiceClient::new(channel(&scene, "b").await);
    let refused = in_time(other.watch_access_token(of_robot())).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, "not_declared");
}
