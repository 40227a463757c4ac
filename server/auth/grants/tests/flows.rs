//! From a request to tokens, and what is refused on the way.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_app_gets_tokens_for_the_holder_of_a_key_and_no_more_than_that() {
    let room = Room::new().await;
    let (key, id) = room.key("acme", "responses.read models.read keys.admin").await;
    let code = room.consent(&room.client, &key).await.unwrap();
    let issued = room.redeem(&code).await.unwrap();
    assert_eq!((issued.expires_in, issued.scope.as_str()), (10 * MINUTE, "responses.read models.read"));
    let principal = room.enter(&issued.access_token).await.unwrap();
    assert_eq!(principal.owner(), &owner("acme"));
    assert!(principal.require(Scope::ModelsRead).is_ok() && principal.require(Scope::KeysAdmin).is_err());
    let listed = room.listed(GrantQuery::default()).await;
    assert_eq!((listed[0].subject.clone(), listed[0].client_name.as_str()), (Subject::Key(id), "App"));
    assert_eq!(principal.credential().to_string(), listed[0].id.to_string());
    tokio::time::advance(10 * MINUTE).await;
    assert!(!room.opens(&issued.access_token).await, "it has ended");
    let next = room.refresh(&issued.refresh_token).await.unwrap();
    assert!(room.opens(&next.access_token).await);
    assert_ne!(next.refresh_token, issued.refresh_token);
}

#[tokio::test(start_paused = true)]
async fn b_9_what_is_not_certain_leads_nowhere_and_the_rest_back_to_the_app() {
    let room = Room::new().await;
    let challenge = Digest::of(b"x").encode();
    let good = || Asked { client_id: Some(&room.client), code_challenge: Some(&challenge), ..asked() };
    assert!(room.grants.request(&good(), None).await.is_ok());
    let long = "s".repeat(2049);
    let pages = [
        ("invalid_client", Asked { client_id: None, ..good() }),
        ("invalid_client", Asked { client_id: Some("client_00000000000000000000000000000000"), ..good() }),
        ("invalid_client", Asked { client_id: Some("<script>"), ..good() }),
        ("invalid_redirect_uri", Asked { redirect_uri: None, ..good() }),
        ("invalid_redirect_uri", Asked { redirect_uri: Some("https://evil.example/cb"), ..good() }),
        ("invalid_redirect_uri", Asked { redirect_uri: Some("https://app.example/cb?x=1"), ..good() }),
        ("invalid_redirect_uri", Asked { redirect_uri: Some("https://app.example/cb/../cb"), ..good() }),
        ("invalid_redirect_uri", Asked { redirect_uri: Some("https://app.example:444/cb"), ..good() }),
        ("invalid_redirect_uri", Asked { redirect_uri: Some("//app.example/cb"), ..good() }),
        ("invalid_request", Asked { state: Some(&long), ..good() }),
    ];
    for (code, asked) in pages {
        match room.grants.request(&asked, None).await.unwrap_err() {
            BadRequest::Page(refusal) => assert_eq!(refusal.code().name(), code, "{asked:?}"),
            BadRequest::Back(location) => panic!("{asked:?} leads to {location}"),
        }
    }
    let back = [
        ("invalid_scope", Asked { scope: Some("admin"), ..good() }),
        ("invalid_scope", Asked { scope: Some("models.read  responses.read"), ..good() }),
        ("unsupported_response_type", Asked { response_type: Some("token"), ..good() }),
        ("unsupported_response_type", Asked { response_type: None, ..good() }),
        ("invalid_request", Asked { response_mode: Some("fragment"), ..good() }),
        ("invalid_request", Asked { code_challenge: None, ..good() }),
        ("invalid_request", Asked { code_challenge: Some("short"), ..good() }),
        ("invalid_request", Asked { code_challenge_method: Some("plain"), ..good() }),
        ("invalid_request", Asked { code_challenge_method: None, ..good() }),
        ("invalid_target", Asked { resource: Some("https://other.example/v1"), ..good() }),
        ("invalid_request", Asked { repeated: true, ..good() }),
    ];
    for (code, asked) in back {
        let BadRequest::Back(location) = room.grants.request(&asked, None).await.unwrap_err() else {
            panic!("{asked:?} leads nowhere")
        };
        assert!(location.starts_with("https://app.example/cb?"), "{location}");
        assert_eq!(param(&location, "error").as_deref(), Some(code), "{asked:?}");
        assert_eq!(param(&location, "state").as_deref(), Some("ünd=&#"), "b_12: byte by byte");
        assert_eq!(param(&location, "iss").as_deref(), Some(ISSUER));
    }
    let resource = format!("{ISSUER}/v1");
    assert!(room.grants.request(&Asked { resource: Some(&resource), ..good() }, None).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn b_7_metadata_of_a_client_has_bounds() {
    let room = Room::new().await;
    let new = |name: &str, redirects: Vec<String>| NewClient {
        name: name.to_owned(),
        redirects,
        ..NewClient::default()
    };
    let one = || vec![BACK.to_owned()];
    for (client, code) in [
        (new(&"n".repeat(257), one()), "invalid_client_metadata"),
        (new("a\u{202e}b", one()), "invalid_client_metadata"),
        (new("a\nb", one()), "invalid_client_metadata"),
        (new("a", Vec::new()), "invalid_redirect_uri"),
        (new("a", vec![BACK.to_owned(); 17]), "invalid_redirect_uri"),
        (new("a", vec!["http://app.example/cb".to_owned()]), "invalid_redirect_uri"),
        (NewClient { scopes: Some(Scopes::all()), ..new("a", one()) }, "invalid_client_metadata"),
        (NewClient { scopes: Some(Scopes::NONE), ..new("a", one()) }, "invalid_client_metadata"),
    ] {
        assert_eq!(code_of(room.grants.register(client).await), code);
    }
    let unnamed = room.grants.register(new(" ", one())).await.unwrap();
    assert_eq!(unnamed.name, unnamed.id.to_string());
}

#[tokio::test(start_paused = true)]
async fn b_s8_registration_is_closed_unless_opened_and_has_a_limit() {
    let closed = Room::over(
        Arc::new(MemoryStore::new(Caps::default())),
        Arc::new(TestClock::default()),
        Rules { open_registration: false, ..rules() },
    );
    let new = || NewClient { redirects: vec![BACK.to_owned()], ..NewClient::default() };
    assert_eq!(code_of(closed.grants.register(new()).await), "access_denied");
    assert!(closed.directory.create_client(new(), &RedirectRules::default()).await.unwrap().by_operator);
    let room = Room::with(Rules { max_clients: 3, ..rules() }).await;
    let many = futures_util::future::join_all((0..10).map(|_| room.grants.register(new()))).await;
    assert_eq!(many.iter().filter(|made| made.is_ok()).count(), 2, "one is there already");
    assert_eq!(many.into_iter().find_map(Result::err).unwrap().status(), 503);
    assert!(room.directory.create_client(new(), &RedirectRules::default()).await.is_ok(), "the operator may");
}

#[tokio::test(start_paused = true)]
async fn b_8_a_stricter_rule_for_redirects_acts_on_old_clients() {
    let room = Room::new().await;
    let sealed = room.grants.seal(&room.request(&room.client, None).await).await.unwrap();
    let strict = RedirectRules { hosts: vec!["other.example".to_owned()], schemes: Vec::new() };
    let strict =
        Room::over(Arc::clone(&room.store), Arc::clone(&room.clock), Rules { redirects: strict, ..rules() });
    assert_eq!(code_of(strict.grants.unseal(&sealed).await), "invalid_redirect_uri");
    let challenge = Digest::of(b"x").encode();
    let asked = Asked { client_id: Some(&room.client), code_challenge: Some(&challenge), ..asked() };
    assert!(matches!(strict.grants.request(&asked, None).await, Err(BadRequest::Page(_))));
}

#[tokio::test(start_paused = true)]
async fn b_11_b_13_a_page_is_good_once_for_its_time_and_for_whom_it_was_made() {
    let room = Room::new().await;
    let (key, _) = room.key("acme", "models.read").await;
    let request = room.request(&room.client, None).await;
    let sealed = room.grants.seal(&request).await.unwrap();
    let again = room.grants.unseal(&sealed).await.unwrap();
    assert_eq!((again.id, again.scopes, again.challenge), (request.id, request.scopes, request.challenge));
    assert!(room.consent_to(&again, &key).await.is_ok());
    assert_eq!(code_of(room.consent_to(&again, &key).await), "invalid_request", "answered before");
    let (other, _) = room.key("bob", "models.read").await;
    assert_eq!(code_of(room.consent_to(&again, &other).await), "invalid_request", "by whomever");
    assert_eq!(code_of(room.grants.deny(&again, None).await), "invalid_request");

    let denied = room.request(&room.client, None).await;
    let location = room.grants.deny(&denied, None).await.unwrap();
    assert_eq!(param(&location, "error").as_deref(), Some("access_denied"));
    assert_eq!(param(&location, "iss").as_deref(), Some(ISSUER));
    assert_eq!(code_of(room.consent_to(&denied, &key).await), "invalid_request", "no is no");

    for place in 0..sealed.len() {
        let mut changed = sealed.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(code_of(room.grants.unseal(&changed).await), "invalid_request", "byte {place}");
    }
    for wrong in ["", "..", "0.e30.", "0.e30.AAAA", &"A".repeat(40_000)] {
        assert_eq!(code_of(room.grants.unseal(wrong).await), "invalid_request", "{wrong}");
    }
    tokio::time::advance(5 * MINUTE).await;
    assert_eq!(code_of(room.grants.unseal(&sealed).await), "invalid_request", "too old");

    room.directory.add_user(&owner("ann")).await.unwrap();
    let of_ann = room.request(&room.client, Some("ann")).await;
    for user in [None, Some(owner("bob"))] {
        let approval =
            room.grants.approval(&Identity::User, Some(&owner("ann")), of_ann.scopes).await.unwrap();
        let refused = room.grants.consent(&of_ann, approval, user.as_ref()).await;
        assert_eq!(code_of(refused), "invalid_request", "a page of ann in the browser of {user:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn b_15_whom_a_grant_stands_for() {
    let room = Room::new().await;
    room.directory.add_user(&owner("ann")).await.unwrap();
    let (anns, _) = room.key("ann", "models.read").await;
    let (acmes, id) = room.key("acme", "models.read").await;
    let approval = async |key: &str, user: Option<&str>| {
        let holder = Identity::Holder(room.access.key_holder(key).await.unwrap());
        room.grants.approval(&holder, user.map(owner).as_ref(), Grants::grantable()).await
    };
    assert_eq!(approval(&acmes, None).await.unwrap().subject, Subject::Key(id));
    assert_eq!(code_of(approval(&anns, None).await), "access_denied", "the user is not there");
    assert_eq!(code_of(approval(&anns, Some("bob")).await), "access_denied");
    let of_ann = approval(&anns, Some("ann")).await.unwrap();
    assert_eq!((of_ann.subject, of_ann.owner), (Subject::User, owner("ann")));
    assert_eq!(code_of(room.consent_of_user("nobody").await), "access_denied");
    let code = room.consent_of_user("ann").await.unwrap();
    assert!(room.redeem(&code).await.is_ok());
    room.directory.disable_user(&owner("ann")).await.unwrap();
    assert_eq!(code_of(room.consent_of_user("ann").await), "access_denied");
    let nothing = Identity::Holder(operator());
    assert_eq!(code_of(room.grants.approval(&nothing, None, Grants::grantable()).await), "access_denied");
    let (poor, _) = room.key("acme", "keys.admin").await;
    assert_eq!(code_of(approval(&poor, None).await), "access_denied", "it has nothing to give");
    let no_keys =
        Room::over(Arc::clone(&room.store), Arc::clone(&room.clock), Rules { keys: false, ..rules() });
    let holder = Identity::Holder(room.access.key_holder(&acmes).await.unwrap());
    assert_eq!(code_of(no_keys.grants.approval(&holder, None, Grants::grantable()).await), "access_denied");
}

#[tokio::test(start_paused = true)]
async fn b_19_a_code_is_good_for_its_client_its_address_and_its_verifier_alone() {
    let room = Room::new().await;
    let other = room.register("Other").await;
    let (key, _) = room.key("acme", "models.read").await;
    let code = room.consent(&room.client, &key).await.unwrap();
    let forged = {
        let (head, tail) = code.split_at(code.len() - 4);
        format!("{head}{}", if tail == "AAAA" { "BBBB" } else { "AAAA" })
    };
    let wrong_verifier = VERIFIER.replace('a', "b");
    for (client, code, back, verifier) in [
        (other.as_str(), code.as_str(), BACK, VERIFIER),
        ("client_x", &code, BACK, VERIFIER),
        (&room.client, &forged, BACK, VERIFIER),
        (&room.client, "tmc_x", BACK, VERIFIER),
        (&room.client, &code, "https://app.example/cb2", VERIFIER),
        (&room.client, &code, "nonsense", VERIFIER),
        (&room.client, &code, BACK, &wrong_verifier),
        (&room.client, &code, BACK, "short"),
    ] {
        assert_eq!(code_of(room.redeem_as(client, code, back, verifier).await), "invalid_grant");
    }
    let elsewhere = TokenRequest::Code {
        code: code.clone(),
        redirect_uri: BACK.to_owned(),
        verifier: VERIFIER.to_owned(),
    };
    let elsewhere = room.grants.token(room.client.clone(), elsewhere, Some("https://x.example".to_owned()));
    assert_eq!(code_of(elsewhere.await), "invalid_target");
    assert!(room.redeem(&code).await.is_ok(), "none of these has used it up");
    let late = room.consent(&room.client, &key).await.unwrap();
    tokio::time::advance(5 * MINUTE).await;
    assert_eq!(code_of(room.redeem(&late).await), "invalid_grant");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_may_ask_for_less_and_never_for_more() {
    let room = Room::new().await;
    let issued = room.granted("acme").await;
    let less = room.refresh_as(&room.client, &issued.refresh_token, Some("models.read")).await.unwrap();
    assert_eq!(less.scope, "models.read");
    let principal = room.enter(&less.access_token).await.unwrap();
    assert!(principal.require(Scope::ModelsRead).is_ok() && principal.require(Scope::ResponsesRead).is_err());
    let more = room.refresh_as(&room.client, &less.refresh_token, Some("responses.write")).await;
    assert_eq!(code_of(more), "invalid_scope");
    let all = room.refresh(&less.refresh_token).await.unwrap();
    assert_eq!(all.scope, "responses.read models.read", "less was for one token");
    let other = room.register("Other").await;
    assert_eq!(code_of(room.refresh_as(&other, &all.refresh_token, None).await), "invalid_grant");
    assert!(room.refresh(&all.refresh_token).await.is_ok(), "another client has not used it up");
}

#[tokio::test(start_paused = true)]
async fn b_s3_refresh_tokens_age() {
    let room = Room::new().await;
    let idle = room.granted("acme").await;
    let mut used = room.granted("acme").await;
    for _ in 0..3 {
        tokio::time::advance(29 * DAY).await;
        used = room.refresh(&used.refresh_token).await.unwrap();
    }
    assert_eq!(code_of(room.refresh(&idle.refresh_token).await), "invalid_grant", "not used for 30 days");
    tokio::time::advance(3 * DAY - 5 * MINUTE).await;
    used = room.refresh(&used.refresh_token).await.unwrap();
    assert_eq!(used.expires_in, 5 * MINUTE, "no token outlives the grant");
    tokio::time::advance(5 * MINUTE).await;
    assert_eq!(code_of(room.refresh(&used.refresh_token).await), "invalid_grant", "90 days");
    assert!(room.listed(GrantQuery::default()).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn b_s9_a_token_given_back_ends_its_grant_and_says_nothing() {
    let room = Room::new().await;
    let other = room.register("Other").await;
    for by_access in [true, false] {
        let issued = room.granted("acme").await;
        let token = if by_access { &issued.access_token } else { &issued.refresh_token };
        for nothing in [room.grants.revoke_token(token, &other), room.grants.revoke_token("x", &room.client)]
        {
            assert!(nothing.await.is_ok());
        }
        assert!(room.opens(&issued.access_token).await, "another client's");
        room.grants.revoke_token(token, &room.client).await.unwrap();
        assert!(!room.opens(&issued.access_token).await);
        assert_eq!(code_of(room.refresh(&issued.refresh_token).await), "invalid_grant");
        assert!(room.grants.revoke_token(token, &room.client).await.is_ok(), "again");
        assert_eq!(room.grants.introspect(token).await.unwrap(), Introspection::default());
    }
    let issued = room.granted("acme").await;
    for token in [&issued.access_token, &issued.refresh_token] {
        let says = room.grants.introspect(token).await.unwrap();
        assert!(says.active && says.sub.as_deref() == Some("acme"), "{says:?}");
        assert_eq!(says.client_id.as_deref(), Some(room.client.as_str()));
    }
    let next = room.refresh(&issued.refresh_token).await.unwrap();
    assert!(!room.grants.introspect(&issued.refresh_token).await.unwrap().active, "used");
    assert!(room.opens(&next.access_token).await, "asking is not using");
}

#[tokio::test(start_paused = true)]
async fn an_owner_has_so_many_grants_and_no_more() {
    let room = Room::new().await;
    let (key, _) = room.key("acme", "models.read").await;
    for _ in 0..consent::MAX_GRANTS_PER_OWNER {
        room.consent(&room.client, &key).await.unwrap();
    }
    assert_eq!(code_of(room.consent(&room.client, &key).await), "access_denied");
    let (other, _) = room.key("bob", "models.read").await;
    assert!(room.consent(&room.client, &other).await.is_ok());
}
