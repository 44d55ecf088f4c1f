//! Listings: every key once, whatever the size of a page.

use aws_sdk_s3::types::{Delete, EncodingType, ObjectIdentifier};

use super::*;

/// Keys and common prefixes, page by page.
async fn list(client: &Client, prefix: &str, delimiter: Option<&str>, page: i32) -> Vec<Vec<String>> {
    let request = client.list_objects_v2().bucket("clean").prefix(prefix).max_keys(page);
    let mut pages = request.set_delimiter(delimiter.map(str::to_owned)).into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        let prefixes = page.common_prefixes().iter().filter_map(|p| p.prefix());
        found.push(page.contents().iter().filter_map(|o| o.key()).chain(prefixes).map(str::to_owned).collect());
    }
    found
}

#[tokio::test]
async fn pages_hold_every_key_once_and_in_order() {
    let (_server, client) = server().await;
    let keys = ["a", "a/1", "a/2", "b c+d", "x/../y", "zé"];
    for key in keys {
        put(&client, "clean", key, b"x").await;
    }
    for size in 1..=7 {
        let pages = list(&client, "", None, size).await;
        assert!(pages.iter().all(|page| page.len() <= usize::try_from(size).unwrap()));
        assert_eq!(pages.concat(), keys, "{size}");
    }
    assert_eq!(list(&client, "a/", None, 1000).await, [["a/1", "a/2"]]);
    let after = client.list_objects_v2().bucket("clean").start_after("b").send().await.unwrap();
    assert_eq!(after.key_count(), Some(3));
    let none = client.list_objects_v2().bucket("clean").max_keys(0).send().await.unwrap();
    assert_eq!((none.key_count(), none.is_truncated()), (Some(0), Some(false)));
    let nonsense = client.list_objects_v2().bucket("clean").continuation_token("!").send().await;
    assert_eq!(refusal(nonsense), refused(400, "InvalidArgument"));
}

#[tokio::test]
async fn a_delimiter_rolls_keys_up_across_pages() {
    let (_server, client) = server().await;
    for key in ["a", "a/1", "a/2", "b", "c/d/1", "c/d/2", "c/e"] {
        put(&client, "clean", key, b"x").await;
    }
    for size in [1, 2, 1000] {
        let mut found = list(&client, "", Some("/"), size).await.concat();
        found.sort();
        assert_eq!(found, ["a", "a/", "b", "c/"], "{size}");
    }
    assert_eq!(list(&client, "c/", Some("/"), 1000).await, [["c/e", "c/d/"]]);
}

#[tokio::test]
async fn deleted_keys_are_not_listed() {
    let (_server, client) = server().await;
    put(&client, "quarantine", "k", b"x").await;
    client.delete_object().bucket("quarantine").key("k").send().await.unwrap();
    let listed = client.list_objects_v2().bucket("quarantine").send().await.unwrap();
    assert!(listed.contents().is_empty());
}

#[tokio::test]
async fn versions_are_listed_newest_first_across_pages() {
    let (_server, client) = server().await;
    let mut ids = Vec::new();
    for key in ["a", "b"] {
        for _ in 0..2 {
            ids.push((key.to_owned(), put(&client, "quarantine", key, b"x").await.unwrap()));
        }
    }
    let expected = [1, 0, 3, 2].map(|index: usize| ids[index].clone());
    for size in 1..=5 {
        let (mut found, mut key, mut version) = (Vec::new(), None, None);
        loop {
            let request = client.list_object_versions().bucket("quarantine").max_keys(size);
            let page = request.set_key_marker(key).set_version_id_marker(version).send().await.unwrap();
            found.extend(
                page.versions().iter().map(|v| (v.key().unwrap().to_owned(), v.version_id().unwrap().to_owned())),
            );
            if page.is_truncated() != Some(true) {
                break;
            }
            (key, version) = (page.next_key_marker, page.next_version_id_marker);
        }
        assert_eq!(found, expected, "{size}");
    }
}

#[tokio::test]
async fn a_bucket_can_be_emptied_page_by_page() {
    let (_server, client) = server().await;
    for _ in 0..3 {
        put(&client, "quarantine", "a", b"x").await;
        put(&client, "quarantine", "b", b"x").await;
        client.delete_object().bucket("quarantine").key("b").send().await.unwrap();
    }
    let (mut key, mut version, mut deleted) = (None, None, 0);
    loop {
        let request = client.list_object_versions().bucket("quarantine").max_keys(2);
        let page = request.set_key_marker(key).set_version_id_marker(version).send().await.unwrap();
        let versions = page.versions().iter().map(|v| (v.key(), v.version_id()));
        let markers = page.delete_markers().iter().map(|m| (m.key(), m.version_id()));
        let objects = versions
            .chain(markers)
            .map(|(key, id)| ObjectIdentifier::builder().key(key.unwrap()).version_id(id.unwrap()).build().unwrap());
        let delete = Delete::builder().set_objects(Some(objects.collect())).build().unwrap();
        let done = client.delete_objects().bucket("quarantine").delete(delete).send().await.unwrap();
        assert!(done.errors().is_empty());
        deleted += done.deleted().len();
        if page.is_truncated() != Some(true) {
            break;
        }
        (key, version) = (page.next_key_marker, page.next_version_id_marker);
    }
    assert_eq!(deleted, 9);
    let left = client.list_object_versions().bucket("quarantine").send().await.unwrap();
    assert!(left.versions().is_empty() && left.delete_markers().is_empty());
}

#[tokio::test]
async fn names_are_percent_encoded_for_clients_that_ask() {
    let (_server, client) = server().await;
    put(&client, "clean", "a b/\n+é", b"x").await;
    let listed = client.list_objects_v2().bucket("clean").encoding_type(EncodingType::Url).send().await.unwrap();
    assert_eq!(listed.contents()[0].key(), Some("a%20b/%0A%2B%C3%A9"));
}
