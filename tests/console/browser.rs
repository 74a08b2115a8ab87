//! A browser without a screen: it keeps the console's cookie, and says what browsers say of their requests.

use http::Method;
use url::form_urlencoded::Serializer;

use crate::support::{Answer, Daemon, post_form, request};

/// One browser.
#[derive(Default)]
pub(crate) struct Browser {
    pub(crate) root: String,
    /// The session's cookie.
    pub(crate) cookie: Option<String>,
    /// The one by which a browser that ended a consent is known again.
    pub(crate) known_by: Option<String>,
    /// What each request carries besides.
    pub(crate) headers: Vec<(String, String)>,
}

impl Browser {
    /// One that nobody is signed in with.
    pub(crate) fn new(daemon: &Daemon) -> Self {
        Self {
            root: daemon.http(),
            ..Self::default()
        }
    }

    /// Signs in with a new link: as the owner, or as the operator without one.
    pub(crate) fn signed_in(daemon: &Daemon, owner: Option<&str>) -> Self {
        let mut browser = Self::new(daemon);
        let answer = browser.follow_link(&link(daemon, owner));
        assert_eq!(answer.status, 303, "{}", answer.text());
        browser
    }

    /// Opens a link and says that it is right.
    pub(crate) fn follow_link(&mut self, link: &str) -> Answer {
        let token = link.split_once("link=").unwrap().1;
        let token = token.split('&').next().unwrap();
        self.post("/console/sign-in", &[("link", token)])
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], String::new())
    }

    /// Sends a form as this origin's own page would.
    pub(crate) fn post(&mut self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        let origin = url::Url::parse(&self.root)
            .unwrap()
            .origin()
            .ascii_serialization();
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", origin.as_str()),
            ("sec-fetch-site", "same-origin"),
        ];
        let form = Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.send(Method::POST, path, &headers, form)
    }

    /// The same, with the token that the pages' own forms carry.
    pub(crate) fn submit(&mut self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        let token = self.form_token();
        let mut all = vec![("form_token", token.as_str())];
        all.extend_from_slice(pairs);
        self.post(path, &all)
    }

    /// What this session's forms carry.
    pub(crate) fn form_token(&mut self) -> String {
        let page = self.get("/console/agents");
        let text = page.text();
        let (_, rest) = text
            .split_once("name=\"form_token\" value=\"")
            .unwrap_or_else(|| panic!("no form token in {text}"));
        rest.split('"').next().unwrap().to_owned()
    }

    pub(crate) fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let own = self.headers.clone();
        let mut all: Vec<(&str, &str)> = own.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        all.extend_from_slice(headers);
        let cookies: Vec<String> = self.cookie.iter().chain(&self.known_by).cloned().collect();
        let cookies = cookies.join("; ");
        if !cookies.is_empty() {
            all.push(("cookie", &cookies));
        }
        let url = match path.strip_prefix("http") {
            Some(_) => path.to_owned(),
            None => format!("{}{path}", self.root),
        };
        let answer = request(method, &url, &all, body).unwrap();
        for set in answer.headers.get_all("set-cookie") {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            let kept = if pair.contains("token-broker-browser=") {
                &mut self.known_by
            } else {
                &mut self.cookie
            };
            *kept = Some(pair.to_owned());
        }
        answer
    }

    /// Begins a consent in the console; where Google's page is.
    pub(crate) fn begin_consent(&mut self, pairs: &[(&str, &str)]) -> String {
        let page = self.submit("/console/connect", pairs);
        assert_eq!(page.status, 200, "{}", page.text());
        let (_, rest) = page.text().split_once("content=\"0;url=").unwrap();
        // Of what askama escapes, an address holds this alone.
        rest.split('"').next().unwrap().replace("&#38;", "&")
    }

    /// Connects `account`, with every box ticked.
    pub(crate) fn connect(&mut self, owner: &str, account: &str, capabilities: &[&str]) -> Answer {
        let mut pairs = vec![("owner", owner)];
        pairs.extend(capabilities.iter().map(|key| ("capability", *key)));
        let url = self.begin_consent(&pairs);
        let back = approve(&url, account);
        self.get(&back)
    }
}

/// Approves everything on Google's page; where Google sends the browser.
pub(crate) fn approve(url: &str, account: &str) -> String {
    let asked = url::Url::parse(url).unwrap();
    let scopes = asked.query_pairs().find(|(name, _)| name == "scope").unwrap().1;
    let mut form = vec![("account", account), ("decision", "allow")];
    form.extend(scopes.split(' ').map(|scope| ("scope", scope)));
    let answer = post_form(url, &form);
    assert!(answer.status.is_redirection(), "{}", answer.text());
    answer.header("location").to_owned()
}

/// A new link to the console.
pub(crate) fn link(daemon: &Daemon, owner: Option<&str>) -> String {
    let mut args = vec!["console", "--no-browser"];
    args.extend(owner.iter().flat_map(|owner| ["--owner", owner]));
    daemon.cli(&args).expect_ok().stdout.trim_end().to_owned()
}
