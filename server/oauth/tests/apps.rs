//! What apps call.

use super::*;

#[tokio::test]
async fn b_2_b_5_the_metadata_is_of_the_settings_and_check_29_no_host_changes_it() {
    let server = Server::new().await;
    let paths = [
        SERVER_METADATA,
        "/.well-known/oauth-authorization-server/v1",
        RESOURCE_METADATA,
        "/.well-known/oauth-protected-resource",
        JWKS,
    ];
    for path in paths {
        let plain = server.get(path).await;
        assert_eq!(
            (plain.status().as_u16(), &plain.headers()["cache-control"]),
            (200, &"no-store".parse().unwrap())
        );
        let plain = text(plain).await;
        let evil = [
            ("host", "evil.example"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "host=evil.example"),
        ];
        let reply = server.send_from("10.0.0.1", Method::GET, path, &evil, String::new()).await;
        assert_eq!(text(reply).await, plain, "{path}");
    }
    let says = json_of(server.get(SERVER_METADATA).await).await;
    assert_eq!(says["issuer"], ISSUER);
    assert_eq!(says["authorization_endpoint"], format!("{ISSUER}/oauth2/authorize"));
    assert_eq!(says["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(says["token_endpoint_auth_methods_supported"], json!(["none"]));
    assert_eq!(says["authorization_response_iss_parameter_supported"], true);
    let says = json_of(server.get(RESOURCE_METADATA).await).await;
    assert_eq!(says["resource"], format!("{ISSUER}/v1"), "b_3");
    assert_eq!(says["authorization_servers"], json!([ISSUER]));
    let keys = json_of(server.get(JWKS).await).await;
    assert_eq!((keys["keys"][0]["kty"].as_str(), keys["keys"][0]["d"].as_str()), (Some("EC"), None), "b_5");
    let refused = server.send(Method::GET, "/v1/models", &[("host", "evil.example")], String::new()).await;
    let pointer = format!("Bearer resource_metadata=\"{ISSUER}{RESOURCE_METADATA}\"");
    assert_eq!(refused.headers()["www-authenticate"], pointer.as_str(), "b_33");
}

#[tokio::test]
async fn b_1_without_it_every_path_of_it_is_404_also_for_who_shows_nothing() {
    let app = absent();
    for path in [AUTHORIZE, TOKEN, REGISTER, REVOKE, DEVICE, JWKS, SERVER_METADATA, RESOURCE_METADATA] {
        for method in [Method::GET, Method::POST] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            assert_eq!(app.clone().oneshot(request).await.unwrap().status(), 404, "{path}");
        }
    }
    let closed = Server::with(Rules { open_registration: false, ..rules() }, Rates::default()).await;
    assert_eq!(closed.register(&json!({"redirect_uris": [BACK]})).await.unwrap_err().0, 404);
    let says = json_of(closed.get(SERVER_METADATA).await).await;
    assert!(says.get("registration_endpoint").is_none());
}

#[tokio::test]
async fn b_6_b_7_a_registration_says_what_became_of_it() {
    let server = Server::new().await;
    let made = server.register(&json!({"redirect_uris": [BACK], "logo_uri": "ignored"})).await.unwrap();
    assert_eq!(made["grant_types"], json!(["authorization_code", "refresh_token"]));
    assert_eq!(
        (made["response_types"].clone(), made["token_endpoint_auth_method"].clone()),
        (json!(["code"]), json!("none"))
    );
    assert!(made["client_id_issued_at"].is_u64() && made.get("client_secret").is_none());
    for (metadata, error) in [
        (json!([]), "invalid_request"),
        (json!({"redirect_uris": "x"}), "invalid_request"),
        (json!({}), "invalid_redirect_uri"),
        (json!({"redirect_uris": ["http://app.example/cb"]}), "invalid_redirect_uri"),
        (json!({"redirect_uris": ["javascript:alert(1)"]}), "invalid_redirect_uri"),
        (
            json!({"redirect_uris": [BACK], "token_endpoint_auth_method": "client_secret_basic"}),
            "invalid_client_metadata",
        ),
        (json!({"redirect_uris": [BACK], "grant_types": ["implicit"]}), "invalid_client_metadata"),
        (json!({"redirect_uris": [BACK], "response_types": ["token"]}), "invalid_client_metadata"),
        (json!({"redirect_uris": [BACK], "scope": "admin"}), "invalid_client_metadata"),
    ] {
        let (status, said) = server.register(&metadata).await.unwrap_err();
        assert_eq!((status, said["error"].as_str()), (400, Some(error)), "{metadata}");
        assert!(said["error_description"].is_string());
    }
}

#[tokio::test]
async fn b_14_b_20_an_answer_brings_a_code_and_that_tokens_which_nobody_may_keep() {
    let server = Server::new().await;
    let tokens = server.tokens().await;
    assert_eq!((tokens["token_type"].as_str(), tokens["expires_in"].as_u64()), (Some("Bearer"), Some(600)));
    assert_eq!(tokens["scope"], "responses.read models.read");
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let called = server.send(Method::GET, "/v1/models", &[("authorization", &bearer)], String::new()).await;
    assert_eq!(called.status(), 200);
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", server.client.as_str()),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    let renewed = server.post(TOKEN, &form).await;
    assert_eq!(
        (renewed.headers()["cache-control"].as_bytes(), renewed.headers()["pragma"].as_bytes()),
        (&b"no-store"[..], &b"no-cache"[..]),
        "b_18"
    );
    assert_eq!(renewed.status(), 200);
    let again = server.post(TOKEN, &form).await;
    assert_eq!((again.status().as_u16(), again.headers()["x-should-retry"].as_bytes()), (400, &b"false"[..]));
    assert_eq!(json_of(again).await["error"], "invalid_grant");
    let called = server.send(Method::GET, "/v1/models", &[("authorization", &bearer)], String::new()).await;
    assert_eq!(called.status(), 401);
    let two = server
        .send(Method::GET, "/v1/models", &[("authorization", &bearer), ("x-api-key", "x")], String::new())
        .await;
    assert_eq!(two.status(), 400, "two credentials");
}

#[tokio::test]
async fn b_18_what_is_no_token_request_is_refused_by_name() {
    let server = Server::new().await;
    let id = server.client.clone();
    for (form, error) in [
        (vec![("client_id", id.as_str())], "invalid_request"),
        (vec![("grant_type", "password"), ("client_id", &id)], "unsupported_grant_type"),
        (vec![("grant_type", "client_credentials"), ("client_id", &id)], "unsupported_grant_type"),
        (vec![("grant_type", "authorization_code"), ("client_id", &id), ("code", "x")], "invalid_request"),
        (vec![("grant_type", "refresh_token"), ("client_id", &id), ("refresh_token", "x")], "invalid_grant"),
        (vec![("grant_type", "refresh_token"), ("refresh_token", "x")], "invalid_request"),
        (
            vec![("grant_type", "refresh_token"), ("grant_type", "refresh_token"), ("client_id", &id)],
            "invalid_request",
        ),
        (
            vec![
                ("grant_type", "refresh_token"),
                ("client_id", &id),
                ("client_secret", "x"),
                ("refresh_token", "x"),
            ],
            "invalid_client",
        ),
    ] {
        let reply = server.post(TOKEN, &form).await;
        assert_eq!(reply.status(), 400, "{form:?}");
        assert_eq!(json_of(reply).await["error"], error, "{form:?}");
    }
    let json =
        server.send(Method::POST, TOKEN, &[("content-type", "application/json")], "{}".to_owned()).await;
    assert_eq!(json.status(), 400);
    let basic = [FORM, ("authorization", "Basic eDp5")];
    let reply =
        server.send(Method::POST, TOKEN, &basic, "grant_type=refresh_token&refresh_token=x".to_owned()).await;
    assert_eq!(
        (reply.status().as_u16(), reply.headers()["www-authenticate"].as_bytes()),
        (401, &b"Basic"[..])
    );
    let none = server.post(REVOKE, &[("client_id", &id)]).await;
    assert_eq!(none.status(), 400, "no token");
    let unknown = server.post(REVOKE, &[("client_id", &id), ("token", "x")]).await;
    assert_eq!(unknown.status(), 200);
}

#[tokio::test]
async fn b_s9_only_the_operator_may_ask_what_a_token_is_worth() {
    let server = Server::new().await;
    let tokens = server.tokens().await;
    let token = tokens["access_token"].as_str().unwrap();
    let ask = async |bearer: Option<&str>| {
        let bearer = bearer.map(|bearer| format!("Bearer {bearer}"));
        let mut headers = vec![FORM];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        server.send(Method::POST, INTROSPECT, &headers, encoded(&[("token", token)])).await
    };
    assert_eq!(ask(None).await.status(), 401);
    assert_eq!(ask(Some(&server.key)).await.status(), 403);
    assert_eq!(ask(Some(token)).await.status(), 403, "a token does not speak for itself");
    let says = json_of(ask(Some(SECRET)).await).await;
    assert_eq!((says["active"].as_bool(), says["sub"].as_str()), (Some(true), Some("acme")));
}

#[tokio::test(start_paused = true)]
async fn b_37_b_s8_an_address_may_ask_so_often_and_a_device_every_five_seconds() {
    let rate = |count, seconds| {
        Some(Rate { count: NonZeroU32::new(count).unwrap(), period: Duration::from_secs(seconds) })
    };
    let rates = Rates {
        oauth: rate(3, 60),
        registrations: rate(2, 3600),
        device_polls: rate(1, 5),
        ..Rates::default()
    };
    let server = Server::with(rules(), rates).await;
    let new = json!({"redirect_uris": [BACK]});
    assert!(server.register(&new).await.is_ok(), "the second one");
    assert_eq!(server.register(&new).await.unwrap_err().0, 429);
    let poll = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", server.client.as_str()),
        ("device_code", "tmd_x"),
    ];
    let said =
        [json_of(server.post(TOKEN, &poll).await).await, json_of(server.post(TOKEN, &poll).await).await];
    assert_eq!([&said[0]["error"], &said[1]["error"]], ["invalid_grant", "slow_down"]);
    assert_eq!(server.get(&server.authorize()).await.status(), 200);
    let many = server.get(&server.authorize()).await;
    assert_eq!(many.status(), 429);
    assert!(many.headers().contains_key("retry-after"));
    let other = server.send_from("203.0.113.9", Method::GET, &server.authorize(), &[], String::new()).await;
    assert_eq!(other.status(), 200, "another address");
}
