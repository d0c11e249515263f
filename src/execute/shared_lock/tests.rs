//! Locks in a store in memory. What happens in time is in [`super::simulation`].

use super::*;

const TERMS: Terms = Terms {
    lease: Duration::from_secs(60),
};

async fn acquire(store: &Store, environment: &str, patience: u64) -> Result<SharedLock, LockError> {
    let patience = Duration::from_secs(patience);
    SharedLock::acquire(store, "shop", environment, "apply", TERMS, patience).await
}

async fn names(store: &Store, environment: &str) -> Vec<String> {
    let listed = store.list(&["locks", "shop", environment]).await;
    let mut names: Vec<_> = listed
        .expect("listed")
        .into_iter()
        .map(|it| it.name)
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn one_holds_it_and_the_other_learns_who() {
    let store = Store::in_memory();
    let first = acquire(&store, "main", 0).await.expect("free");
    let other = acquire(&store, "pr-1", 0)
        .await
        .expect("another environment");
    let error = acquire(&store, "main", 0).await.expect_err("held");
    let text = error.to_string();
    let pid = std::process::id().to_string();
    assert!(
        text.starts_with("shop / main is locked by `dewpoint apply` (process "),
        "{text}"
    );
    assert!(
        text.contains(&pid) && text.ends_with("UTC), in memory"),
        "{text}"
    );
    assert_eq!(names(&store, "main").await, ["0000000001"]);
    first.lease().check().expect("it is ours");
    let lease = first.lease().clone();
    first.release().await;
    assert!(lease.check().is_err(), "nothing is sent once it was let go");
    // The highest number stays, marked: were it deleted, it could come again.
    let second = acquire(&store, "main", 0).await.expect("let go");
    assert_eq!(second.lease().number(), 2);
    other.lease().check().expect("not touched");
}

#[tokio::test]
async fn of_many_at_once_one_gets_it() {
    let store = Store::in_memory();
    let all = futures_util::future::join_all((0..12).map(|_| acquire(&store, "main", 0))).await;
    let mut locks = Vec::new();
    for lock in all {
        match lock {
            Ok(lock) => locks.push(lock),
            Err(error) => assert!(matches!(error, LockError::HeldInStore { .. }), "{error}"),
        }
    }
    assert_eq!(locks.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_it_when_it_is_let_go() {
    let store = Store::in_memory();
    let first = acquire(&store, "main", 0).await.expect("free");
    let (second, ()) = tokio::join!(acquire(&store, "main", 60), async {
        sleep(Duration::from_secs(5)).await;
        first.release().await;
    });
    let second = second.expect("it was let go in time");
    assert_eq!(second.lease().number(), 2);
}

#[tokio::test]
async fn what_is_no_lock_is_told() {
    let store = Store::in_memory();
    let name = ["locks", "shop", "main", "0000000007"];
    store
        .write(&name, Bytes::from("{}"))
        .await
        .expect("written");
    let error = acquire(&store, "main", 0).await.expect_err("unreadable");
    assert!(
        matches!(error, LockError::Store(StoreError::Unreadable { .. })),
        "{error}"
    );
}
