//! Which servers are reached through a proxy, and how.

use std::collections::HashMap;

use tokio::net::TcpListener;

use crate::http_client::{proxy::*, testing::TestProxy};

fn egress(variables: &[(&str, &str)]) -> Result<Egress, InvalidProxy> {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    Egress::from_environment(|name| variables.get(name).map(|value| (*value).to_owned()))
}

async fn through(proxy: &str, address: &'static str) -> io::Result<Connection> {
    let egress = egress(&[("HTTPS_PROXY", proxy)]).unwrap();
    let Connector(mut connector) = Connector::new(egress, Duration::from_secs(60));
    connector.call(Uri::from_static(address)).await
}

#[test]
fn https_leaves_through_the_proxy_and_this_machine_does_not() {
    let egress = egress(&[
        ("HTTPS_PROXY", "http://robot:canary-password@proxy.example:3128"),
        ("NO_PROXY", ".internal, 10.0.0.0/8"),
    ])
    .unwrap();
    assert_eq!(
        egress
            .proxy_before("https://oauth2.googleapis.com/token")
            .as_deref(),
        Some("the proxy proxy.example:3128 (HTTPS_PROXY)")
    );
    for direct in [
        "http://oauth2.googleapis.com/token",
        "https://localhost:8443/token",
        "https://127.0.0.1:8443/token",
        "https://[::1]:8443/token",
        "https://login.internal/token",
        "https://10.1.2.3/token",
    ] {
        assert_eq!(egress.proxy_before(direct), None, "{direct}");
    }
}

#[test]
fn the_first_variable_that_says_something_counts() {
    let google = "https://oauth2.googleapis.com/token";
    let proxy = |variables: &[(&str, &str)]| egress(variables).unwrap().proxy_before(google);
    assert_eq!(proxy(&[]), None);
    assert_eq!(proxy(&[("HTTPS_PROXY", ""), ("HTTP_PROXY", "http://a:1")]), None);
    let set = [
        ("HTTPS_PROXY", " "),
        ("https_proxy", "b:1"),
        ("ALL_PROXY", "http://c:1"),
    ];
    assert_eq!(proxy(&set).unwrap(), "the proxy b:1 (https_proxy)");
    assert_eq!(proxy(&set[2..]).unwrap(), "the proxy c:1 (ALL_PROXY)");
    assert_eq!(proxy(&[("ALL_PROXY", "c:1"), ("no_proxy", "*")]), None);
}

#[test]
fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
    for wrong in [
        "https://robot:canary-password@proxy.example",
        "socks5://robot:canary-password@proxy.example",
        "canary-password in words",
        "http://",
    ] {
        let error = egress(&[("HTTPS_PROXY", wrong)]).err().unwrap().to_string();
        assert!(error.starts_with("HTTPS_PROXY names no HTTP proxy"), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn a_tunnel_is_asked_for_with_name_and_password() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = TestProxy::start("HTTP/1.1 200 OK\r\n\r\n", server.local_addr().unwrap()).await;
    let address = format!("http://robot:p%40ss@127.0.0.1:{}", proxy.port);
    assert!(
        through(&address, "https://oauth2.googleapis.com/token")
            .await
            .is_ok()
    );
    server.accept().await.unwrap();
    let heads = proxy.heads();
    assert_eq!(heads[0][0], "CONNECT oauth2.googleapis.com:443 HTTP/1.1");
    // `robot:p@ss` in base64.
    let sent = "Proxy-Authorization: Basic cm9ib3Q6cEBzcw==";
    assert!(heads[0].iter().any(|line| line == sent), "{heads:?}");
}

#[tokio::test]
async fn a_proxy_that_gives_no_connection_is_named() {
    let nowhere = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let refused = async |answer: &'static str, credentials: &str| {
        let proxy = TestProxy::start(answer, nowhere).await;
        let address = format!("http://{credentials}127.0.0.1:{}", proxy.port);
        let error = through(&address, "https://oauth2.googleapis.com/token").await;
        let error = error.err().unwrap();
        let named = format!("the proxy 127.0.0.1:{} (HTTPS_PROXY)", proxy.port);
        let said = error.to_string();
        assert!(said.starts_with(&named) && !said.contains("canary"), "{said}");
        (error, said)
    };
    let (_, said) = refused("HTTP/1.1 403 No\r\n\r\n", "").await;
    assert!(
        said.contains("opens no way to oauth2.googleapis.com: ") && said.contains("unsuccessful"),
        "{said}"
    );
    for (credentials, words) in [
        ("", "wants a name and a password, and HTTPS_PROXY gives none"),
        (
            "robot:canary@",
            "does not take the name and password that HTTPS_PROXY gives",
        ),
    ] {
        let (error, said) = refused("HTTP/1.1 407 Who\r\n\r\n", credentials).await;
        assert!(said.ends_with(words), "{said}");
        assert!(error.get_ref().unwrap().is::<ProxyCredentials>());
    }
    let error = through(&nowhere.to_string(), "https://oauth2.googleapis.com/token").await;
    let error = error.err().unwrap().to_string();
    assert!(
        error.contains(&nowhere.to_string()) && error.contains("refused"),
        "{error}"
    );
}
