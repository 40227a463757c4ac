//! What a ticket is worth (D-40).

use tidemark_store::LogId;

use super::*;

const ONE: LogId = LogId::from_bytes([1; 16]);
const OTHER: LogId = LogId::from_bytes([2; 16]);

fn order(rights: Rights, seconds: u64) -> TicketOrder {
    TicketOrder::new(rights, Some(Duration::from_secs(seconds))).unwrap()
}

impl Room {
    /// A ticket of `maker` to read [`ONE`] for a minute.
    async fn ticket(&self, maker: &Principal) -> String {
        let minted = self.access.mint(maker, ONE, &order(Rights::Read, 60)).await.unwrap();
        minted.value.expose_secret().to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn a_ticket_opens_one_response_and_nothing_else() {
    let room = Room::new();
    let (key, id) = room.key("acme", "responses.read responses.write", None).await;
    let maker = room.enter(&key).await.unwrap();
    let holder = room.enter(&room.ticket(&maker).await).await.unwrap();
    assert!(holder.may_see(&owner("acme"), ONE));
    assert!(!holder.may_see(&owner("acme"), OTHER) && !holder.may_see(&owner("bob"), ONE));
    assert_eq!(
        (holder.credential().to_string(), holder.until()),
        (id.to_string(), Some(room.in_seconds(60)))
    );
    assert!(holder.require_for_one(Scope::ResponsesRead).is_ok());
    assert!(holder.require_for_one(Scope::ResponsesWrite).is_err(), "it was not asked to cancel");
    for scope in Scope::ALL {
        assert!(holder.require(scope).is_err(), "a call that is not about its response: {scope}");
    }
    assert!(room.access.mint(&holder, ONE, &order(Rights::Read, 60)).await.is_err(), "no ticket by a ticket");
    assert!(holder.acting_as(owner("acme")).is_err());

    let both = room.access.mint(&maker, ONE, &order(Rights::ReadAndCancel, 60)).await.unwrap();
    let holder = room.enter(both.value.expose_secret()).await.unwrap();
    assert!(holder.require_for_one(Scope::ResponsesWrite).is_ok());
    assert!(holder.narrowed_to(Scopes::NONE).require_for_one(Scope::ResponsesRead).is_err());
}

#[tokio::test(start_paused = true)]
async fn nobody_makes_a_ticket_for_what_they_may_not_do() {
    let room = Room::new();
    let (key, _) = room.key("acme", "responses.read", None).await;
    let reader = room.enter(&key).await.unwrap();
    let error = room.access.mint(&reader, ONE, &order(Rights::ReadAndCancel, 60)).await.unwrap_err();
    assert_eq!(error.scope(), Some("responses.write"));
    let (key, _) = room.key("acme", "responses.write", None).await;
    let writer = room.enter(&key).await.unwrap();
    let error = room.access.mint(&writer, ONE, &order(Rights::Read, 60)).await.unwrap_err();
    assert_eq!(error.scope(), Some("responses.read"));
}

#[tokio::test(start_paused = true)]
async fn a_ticket_ends_by_itself_and_with_the_key_that_made_it() {
    let room = Room::new();
    let made = async || {
        let (key, id) = room.key("acme", "responses.read", None).await;
        let ticket = room.ticket(&room.enter(&key).await.unwrap()).await;
        assert!(room.enter(&ticket).await.is_ok());
        (ticket, id.to_string())
    };
    let (disabled, id) = made().await;
    room.directory.set_key_disabled(&operator(), &id, true).await.unwrap();
    room.refused(&disabled).await;
    room.directory.set_key_disabled(&operator(), &id, false).await.unwrap();
    assert!(room.enter(&disabled).await.is_ok(), "it comes back with its key");
    let (deleted, id) = made().await;
    room.directory.delete_key(&operator(), &id).await.unwrap();
    room.refused(&deleted).await;
    let (replaced, id) = made().await;
    room.directory.rotate_key(&operator(), &id, Duration::ZERO).await.unwrap();
    room.refused(&replaced).await;
    let (overlapping, id) = made().await;
    room.directory.rotate_key(&operator(), &id, Duration::from_secs(30)).await.unwrap();
    assert_eq!(room.enter(&overlapping).await.unwrap().until(), Some(room.in_seconds(30)));
    tokio::time::advance(Duration::from_secs(30)).await;
    room.refused(&overlapping).await;

    let (key, _) = room.key("acme", "responses.read", Some(room.in_seconds(20))).await;
    let short = room.ticket(&room.enter(&key).await.unwrap()).await;
    assert_eq!(room.enter(&short).await.unwrap().until(), Some(room.in_seconds(20)), "not after its key");
    let (lasting, _) = made().await;
    tokio::time::advance(Duration::from_secs(59)).await;
    room.refused(&short).await;
    let holder = room.enter(&lasting).await.unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    room.refused(&lasting).await;
    assert!(room.access.check(&holder).await.is_err(), "and so does whoever came in with it");
}

#[tokio::test(start_paused = true)]
async fn a_ticket_is_good_only_where_it_was_made() {
    let (room, elsewhere) = (Room::new(), Room::new());
    let by_operator = room.ticket(&operator()).await;
    assert!(room.enter(&by_operator).await.is_ok());
    elsewhere.ticket(&operator()).await;
    elsewhere.refused(&by_operator).await;

    let other_secret = Mode::Keys { operator: Some(Digest::of(b"another secret")) };
    let no_secret = Mode::Keys { operator: None };
    for mode in [other_secret, no_secret, Mode::Off] {
        let access = Access::new(mode, room.directory.clone());
        let presented = Presented { bearer: Some(&by_operator), ..Presented::default() };
        assert_eq!(access.identify(presented).await.unwrap_err().code(), ErrorCode::Unauthorized);
    }
    let off = Access::new(Mode::Off, room.directory.clone());
    let minted = off.mint(&Principal::local(owner("acme")), ONE, &order(Rights::Read, 60)).await.unwrap();
    let anonymous = minted.value.expose_secret();
    let presented = Presented { bearer: Some(anonymous), ..Presented::default() };
    assert_eq!(off.identify(presented).await.unwrap().owner(), &owner("acme"));
    room.refused(anonymous).await;
}

#[tokio::test(start_paused = true)]
async fn a_deputy_makes_tickets_for_the_owner_it_acts_for() {
    let room = Room::new();
    let (key, _) = room.key("agency", "responses.read owners.act_as", None).await;
    let deputy = room.enter(&key).await.unwrap().acting_as(owner("acme")).unwrap();
    let holder = room.enter(&room.ticket(&deputy).await).await.unwrap();
    assert!(holder.may_see(&owner("acme"), ONE) && !holder.may_see(&owner("agency"), ONE));
    assert!(room.access.check(&holder).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn secrets_are_replaced_and_old_tickets_stay_good_for_their_time() {
    let room = Room::new();
    let maker = operator();
    let first = room.ticket(&maker).await;
    let day = Duration::from_secs(24 * 3600);
    let long = TicketOrder::new(Rights::Read, Some(MAX_LIFETIME)).unwrap();
    tokio::time::advance(30 * day - Duration::from_secs(1)).await;
    room.refused(&first).await;
    let last_of_its_secret = room.access.mint(&maker, ONE, &long).await.unwrap();
    tokio::time::advance(day / 2).await;
    let of_the_next = room.ticket(&maker).await;
    assert!(room.enter(&of_the_next).await.is_ok());
    assert!(room.enter(last_of_its_secret.value.expose_secret()).await.is_ok());
    tokio::time::advance(day / 2).await;
    room.refused(last_of_its_secret.value.expose_secret()).await;
    // Another process over the same store knows the secrets too.
    let again = Directory::new(room.store.clone(), room.clock.clone(), Tasks::new());
    let operator = Some(Digest::of(SECRET.as_bytes()));
    let access = Access::new(Mode::Keys { operator }, again);
    let ticket = room.ticket(&maker).await;
    let presented = Presented { bearer: Some(&ticket), ..Presented::default() };
    assert!(access.identify(presented).await.is_ok());
}
