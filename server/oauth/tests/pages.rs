//! What people see, and what other sites cannot do with it.

use super::*;

#[tokio::test]
async fn b_10_the_page_is_plain_html_that_no_site_can_frame_or_script() {
    let server = Server::new().await;
    let page = server.get(&server.authorize()).await;
    let said = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((page.status().as_u16(), said("content-type").as_str()), (200, "text/html; charset=utf-8"));
    let policy = said("content-security-policy");
    for part in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self' https://app.example;",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("script") && !policy.contains("unsafe"), "{policy}");
    assert_eq!((said("x-frame-options").as_str(), said("referrer-policy").as_str()), ("DENY", "no-referrer"));
    assert!(page.headers().get("set-cookie").is_none() && said("cache-control") == "no-store");
    let html = text(page).await;
    assert!(
        html.contains("&lt;b&gt;App&lt;/b&gt;") && !html.contains("<b>App"),
        "what the client says is escaped"
    );
    assert!(
        !html.contains("<script")
            && html.contains("<html lang=\"en\">")
            && html.contains("<label for=\"key\">")
    );
}

#[tokio::test]
async fn b_9_a_request_that_is_not_certain_ends_on_a_page_and_never_elsewhere() {
    let server = Server::new().await;
    let good = server.authorize();
    for (from, to) in [
        ("https%3A%2F%2Fapp.example%2Fcb", "https%3A%2F%2Fevil.example%2Fcb"),
        ("https%3A%2F%2Fapp.example%2Fcb", "%2F%2Fevil.example"),
        ("client_id=client_", "client_id=klient_"),
        ("redirect_uri=", "redirect_uri=https%3A%2F%2Fevil.example&redirect_uri="),
        ("client_id=", "client_id=x&client_id="),
    ] {
        let wrong = good.replacen(from, to, 1);
        assert_ne!(wrong, good);
        let reply = server.get(&wrong).await;
        assert_eq!((reply.status().as_u16(), reply.headers().get("location")), (400, None), "{wrong}");
        assert!(!text(reply).await.contains("evil.example"));
    }
    let twice = server.get(&format!("{good}&scope=models.read&scope=models.read")).await;
    assert_eq!((twice.status().as_u16(), param(&twice, "error").as_deref()), (303, Some("invalid_request")));
    assert_eq!(param(&twice, "iss").as_deref(), Some(ISSUER));
}

#[tokio::test]
async fn a_wrong_key_is_said_on_the_page_and_locks_its_address() {
    let server = Server::new().await;
    let seal = server.seal(&[]).await;
    let wrong = [("request", seal.as_str()), ("key", "tmk_x"), ("decision", "key")];
    for _ in 0..10 {
        let reply = server.post(AUTHORIZE, &wrong).await;
        assert_eq!(reply.status(), 403);
        let html = text(reply).await;
        assert!(html.contains("role=\"alert\"") && html.contains("This key is not valid."));
        assert_eq!(field(&html), seal, "the person can try again");
    }
    let locked = server.post(AUTHORIZE, &wrong).await;
    assert_eq!(locked.status(), 429);
    assert!(locked.headers().contains_key("retry-after"));
    let right = [("request", seal.as_str()), ("key", &server.key), ("decision", "key")];
    assert_eq!(server.post(AUTHORIZE, &right).await.status(), 303, "s_7: a valid one passes");
}

#[tokio::test]
async fn no_other_site_answers_for_a_user_who_is_signed_in() {
    let server = Server::new().await;
    server.directory.add_user(&Owner::new("ann").unwrap()).await.unwrap();
    let ann = (USER, "ann");
    let page = server.send_from("10.0.0.1", Method::GET, &server.authorize(), &[ann], String::new()).await;
    let html = text(page).await;
    assert!(html.contains("Allow as ann"));
    let (of_ann, of_nobody) = (field(&html), server.seal(&[]).await);
    let answer = async |address: &str, seal: &str, headers: &[(&str, &str)]| {
        let body = encoded(&[("request", seal), ("decision", "user")]);
        let headers = [&[FORM], headers].concat();
        server.send_from(address, Method::POST, AUTHORIZE, &headers, body).await.status().as_u16()
    };
    for site in ["cross-site", "same-site", "x"] {
        assert_eq!(answer("10.0.0.1", &of_ann, &[ann, ("sec-fetch-site", site)]).await, 400, "{site}");
    }
    assert_eq!(answer("10.0.0.1", &of_ann, &[ann, ("origin", "https://evil.example")]).await, 400);
    assert_eq!(answer("10.0.0.1", &of_nobody, &[ann]).await, 400, "a page that the attacker was shown");
    assert_eq!(answer("10.0.0.1", &of_ann, &[(USER, "bob")]).await, 403, "bob is no user");
    assert_eq!(answer("203.0.113.7", &of_ann, &[ann]).await, 403, "nobody believes a stranger's header");
    assert_eq!(answer("10.0.0.1", &of_ann, &[ann, ann]).await, 400, "two names");
    let own = [ann, ("sec-fetch-site", "same-origin"), ("origin", "null")];
    assert_eq!(answer("10.0.0.1", &of_ann, &own).await, 303);
    assert_eq!(answer("10.0.0.1", &of_ann, &own).await, 400, "once");
}

#[tokio::test]
async fn the_page_of_a_device_asks_for_its_code_and_then_for_a_key() {
    let server = Server::new().await;
    let device = "urn:ietf:params:oauth:grant-type:device_code";
    let made = server.register(&json!({"client_name": "TV", "grant_types": [device]})).await.unwrap();
    let id = made["client_id"].as_str().unwrap();
    let started = json_of(server.post(DEVICE_AUTHORIZATION, &[("client_id", id)]).await).await;
    let (user_code, device_code) =
        (started["user_code"].as_str().unwrap(), started["device_code"].as_str().unwrap());
    assert_eq!((started["expires_in"].as_u64(), started["interval"].as_u64()), (Some(600), Some(5)));
    assert_eq!(started["verification_uri"], format!("{ISSUER}/oauth2/device"));
    assert!(text(server.get(DEVICE).await).await.contains("name=\"user_code\""));
    let unknown = server.get(&format!("{DEVICE}?user_code=BBBB-BBBB")).await;
    assert!(unknown.status() == 400 && text(unknown).await.contains("role=\"alert\""));
    let page = text(server.get(&format!("{DEVICE}?user_code={user_code}")).await).await;
    assert!(page.contains(user_code) && page.contains("TV"));
    let answer = [("request", field(&page)), ("key", server.key.clone()), ("decision", "key".to_owned())];
    let answer: Vec<_> = answer.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let done = server.post(DEVICE, &answer).await;
    assert_eq!(done.status(), 200);
    assert!(text(done).await.contains("The device is connected"));
    let poll = [("grant_type", device), ("client_id", id), ("device_code", device_code)];
    assert_eq!(server.post(TOKEN, &poll).await.status(), 200);
    assert_eq!(server.post(DEVICE, &answer).await.status(), 400, "once");
}
