//! Who is let in, and within which bounds.

use super::*;

#[tokio::test]
async fn wrong_keys_and_no_keys_are_refused() {
    let (server, _) = server().await;
    let admin = server.admin().clone();
    let wrong = client_of(&server, &Credentials { secret_key: "wrong".to_owned(), ..admin.clone() });
    let listed = wrong.list_objects_v2().bucket("clean").send().await;
    assert_eq!(refusal(listed), refused(403, "SignatureDoesNotMatch"));
    let stranger = client_of(&server, &Credentials { access_key: "stranger".to_owned(), ..admin });
    let listed = stranger.list_objects_v2().bucket("clean").send().await;
    assert_eq!(refusal(listed), refused(403, "InvalidAccessKeyId"));
    let nobody = Client::from_conf(config(&server).allow_no_auth().build());
    let put = nobody.put_object().bucket("clean").key("k").send().await;
    assert_eq!(refusal(put), refused(403, "AccessDenied"));
}

#[tokio::test]
async fn an_app_may_do_only_what_it_was_granted() {
    let (server, admin) = server().await;
    let grants = vec![Grant::new("quarantine", &[Action::Write]), Grant::new("clean", &[Action::Read])];
    server.add_user("app", "app-secret", grants);
    let keys = Credentials { access_key: "app".to_owned(), secret_key: "app-secret".to_owned() };
    let app = client_of(&server, &keys);
    put(&app, "quarantine", "upload", b"hello").await;
    put(&admin, "clean", "result", b"world").await;
    assert_eq!(get(&app, "clean", "result").await, b"world");

    let denied = refused(403, "AccessDenied");
    assert_eq!(refusal(app.get_object().bucket("quarantine").key("upload").send().await), denied);
    assert_eq!(refusal(app.delete_object().bucket("quarantine").key("upload").send().await), denied);
    assert_eq!(refusal(app.list_objects_v2().bucket("quarantine").send().await), denied);
    assert_eq!(refusal(app.put_object().bucket("clean").key("k").send().await), denied);
    assert_eq!(refusal(app.create_bucket().bucket("mine").send().await), denied);
    assert_eq!(refusal(app.list_buckets().send().await), denied);
    // Which keys exist is for those who may list.
    assert_eq!(refusal(app.get_object().bucket("clean").key("absent").send().await), denied);
}

#[tokio::test]
async fn a_copy_needs_the_right_to_read_its_source() {
    let (server, admin) = server().await;
    server.add_user("app", "app-secret", vec![Grant::new("clean", &[Action::Read, Action::Write])]);
    let keys = Credentials { access_key: "app".to_owned(), secret_key: "app-secret".to_owned() };
    let app = client_of(&server, &keys);
    put(&admin, "quarantine", "k", b"secret").await;
    let copy = app.copy_object().bucket("clean").key("k").copy_source("quarantine/k").send().await;
    assert_eq!(refusal(copy), refused(403, "AccessDenied"));
}

#[tokio::test]
async fn buckets_are_made_once_and_say_whether_they_keep_versions() {
    let (_server, admin) = server().await;
    admin.create_bucket().bucket("third_one").send().await.unwrap();
    let again = admin.create_bucket().bucket("third_one").send().await;
    assert_eq!(refusal(again), refused(409, "BucketAlreadyOwnedByYou"));
    let names = admin.list_buckets().send().await.unwrap();
    let names: Vec<_> = names.buckets().iter().filter_map(|b| b.name()).collect();
    assert_eq!(names, ["clean", "quarantine", "third_one"]);
    assert_eq!(refusal(admin.head_bucket().bucket("absent").send().await).0, 404);
    let versioning = |bucket: &str| admin.get_bucket_versioning().bucket(bucket).send();
    assert_eq!(versioning("quarantine").await.unwrap().status().unwrap().as_str(), "Enabled");
    assert_eq!(versioning("clean").await.unwrap().status(), None);
}

#[tokio::test]
async fn dropping_the_server_closes_its_port() {
    let (server, client) = server().await;
    put(&client, "clean", "k", b"x").await;
    let address = server.address;
    drop(server);
    let closed = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), closed).await.unwrap();
    assert!(client.get_object().bucket("clean").key("k").send().await.is_err());
}

#[tokio::test]
async fn two_servers_do_not_share_a_port() {
    let (server, _) = server().await;
    let taken = EmbeddedS3::start(server.address.port()).await.unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn a_secret_is_never_printed() {
    let credentials = Credentials::random("airlock");
    assert!(!format!("{credentials:?}").contains(&credentials.secret_key));
}
