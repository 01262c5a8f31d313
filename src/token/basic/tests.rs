use super::*;
use crate::clock::SeededRandom;

const NOW: Timestamp = Timestamp(1_000_000);

/// One person, `one`, with this hash.
struct One(Option<String>);

impl PasswordSource for One {
    fn any(&self) -> Fetched<'_, bool> {
        Box::pin(std::future::ready(Ok(self.0.is_some())))
    }

    fn hash<'a>(&'a self, id: &'a str) -> Fetched<'a, Option<String>> {
        Box::pin(std::future::ready(Ok(self.0.clone().filter(|_| id == "one"))))
    }
}

fn basic(username: &str, password: &str) -> Basic {
    let header = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
    Basic::read(&header).unwrap().unwrap()
}

fn holder(revision: u64) -> Holder {
    Holder { number: 7, revision, id: "one".into(), api: true }
}

async fn passwords() -> Passwords {
    let random: Arc<dyn Random> = Arc::new(SeededRandom::new(3));
    let hashes = PasswordHashes::new(Arc::clone(&random));
    let hash = hashes.hash(Password::new("right".into()), None).await.unwrap();
    Passwords::new(Arc::new(One(Some(hash))), &random)
}

#[test]
fn a_header_has_one_form() {
    assert!(Basic::read("Bearer x").is_none() && Basic::read("").is_none() && Basic::read("Basic").is_none());
    let read = |text: &str| Basic::read(&format!("bAsIc {text}")).unwrap();
    let plain = |text: &str| read(&STANDARD.encode(text));
    let good = plain("jdoe:a:b ü").ok().unwrap();
    assert_eq!((good.username.as_str(), good.password.bytes()), ("jdoe", "a:b ü".as_bytes()));
    let longest = format!("{}:{}", "u".repeat(320), "p".repeat(1024));
    assert!(plain(&longest).is_ok());
    for wrong in ["", ":x", "jdoe:", "jdoe", "j\u{0}doe:x", "jdoe:x\n", &format!("u{longest}"), &format!("{longest}p")]
    {
        assert_eq!(plain(wrong).err(), Some(CredentialFault::UnreadableBasic), "{wrong:?}");
    }
    for wrong in ["amRvZTp4=", "amRvZTp", "%%%", "/w==", &"A".repeat(LONGEST + 4)] {
        assert_eq!(read(wrong).err(), Some(CredentialFault::UnreadableBasic), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_success_belongs_to_one_state_of_the_person_and_ends() {
    let passwords = passwords().await;
    let right = basic("jdoe", "right");
    assert_eq!(passwords.holds(&right, Some((7, 1)), NOW), Err(CredentialFault::NotBearer), "not asked yet");
    passwords.prepare(&right, Some(&holder(1)), None, NOW).await;
    let at = |revision, after: i64| passwords.holds(&right, Some((7, revision)), Timestamp(NOW.0 + after)).is_ok();
    assert!(at(1, 0) && at(1, REMEMBERED - 1));
    assert!(!at(1, REMEMBERED) && !at(1, -1) && !at(2, 0));
    assert!(passwords.holds(&right, Some((8, 1)), NOW).is_err() && passwords.holds(&right, None, NOW).is_err());
    assert!(passwords.holds(&basic("jdoe", "wrong"), Some((7, 1)), NOW).is_err());
}

#[tokio::test]
async fn whoever_does_not_hold_hears_the_same() {
    let passwords = passwords().await;
    let dashboard = Holder { api: false, ..holder(1) };
    let without = Holder { id: "two".into(), number: 8, ..holder(1) };
    for (name, password, holder) in [
        ("jdoe", "wrong", Some(holder(1))),
        ("nobody", "right", None),
        ("dash", "right", Some(dashboard)),
        ("two", "right", Some(without)),
    ] {
        let basic = basic(name, password);
        passwords.prepare(&basic, holder.as_ref(), None, NOW).await;
        let person = holder.map(|holder| (holder.number, holder.revision));
        assert_eq!(passwords.holds(&basic, person, NOW), Err(CredentialFault::WrongPassword), "{name}");
    }
}

#[tokio::test]
async fn where_nobody_ever_had_a_password_basic_is_not_understood() {
    let random: Arc<dyn Random> = Arc::new(SeededRandom::new(3));
    for passwords in [Passwords::default(), Passwords::new(Arc::new(One(None)), &random)] {
        let basic = basic("jdoe", "right");
        passwords.prepare(&basic, Some(&holder(1)), None, NOW).await;
        assert_eq!(passwords.holds(&basic, Some((7, 1)), NOW), Err(CredentialFault::NotBearer));
        assert!(!passwords.in_use());
    }
}

#[tokio::test]
async fn that_somebody_has_a_password_is_found_without_being_shown_one() {
    let passwords = passwords().await;
    assert!(!passwords.in_use(), "not looked yet");
    passwords.clone().keep_looking().await;
    assert!(passwords.in_use());
}

#[tokio::test]
async fn after_ten_failures_the_right_one_waits_a_minute() {
    let passwords = passwords().await;
    let (here, there): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    for at in 0..10 {
        passwords.prepare(&basic("JDoe", &format!("wrong-{at}")), Some(&holder(1)), Some(here), NOW).await;
    }
    let right = basic("jdoe", "right");
    let holds = |now| passwords.holds(&right, Some((7, 1)), now).is_ok();
    passwords.prepare(&right, Some(&holder(1)), Some(here), NOW).await;
    assert!(!holds(NOW), "the username is the same without case");
    let later = Timestamp(NOW.0 + WINDOW);
    passwords.prepare(&right, Some(&holder(1)), Some(here), later).await;
    assert!(holds(later));
    // Another address is not held up, and successes do not count.
    for revision in 2..20 {
        passwords.prepare(&right, Some(&holder(revision)), Some(there), NOW).await;
        assert!(passwords.holds(&right, Some((7, revision)), NOW).is_ok());
    }
}

#[tokio::test]
async fn many_who_show_one_password_at_once_share_one_comparison() {
    let passwords = passwords().await;
    let (right, wrong) = (basic("jdoe", "right"), basic("jdoe", "wrong"));
    let (one, here) = (holder(1), Some(IpAddr::from([10, 0, 0, 1])));
    let ask = |basic| {
        let (passwords, one) = (&passwords, &one);
        async move {
            passwords.prepare(basic, Some(one), here, NOW).await;
            passwords.holds(basic, Some((7, 1)), NOW).is_ok()
        }
    };
    let mut all: Vec<_> = (0..50).map(|_| Box::pin(ask(&right))).collect();
    assert!(joined(&mut all).await.iter().all(|holds| *holds), "more than the failures that a minute allows");
    let mut all: Vec<_> = (0..50).map(|_| Box::pin(ask(&wrong))).collect();
    assert!(joined(&mut all).await.iter().all(|holds| !*holds));
    let inner = passwords.0.as_ref().unwrap();
    assert!(inner.flights.lock().unwrap().is_empty());
    let counted = inner.failures.lock().unwrap()[&inner.counters(&wrong, here)[0].0].count;
    assert_eq!(counted, 1, "one try, however often it was made at once");
}

#[tokio::test]
async fn a_comparison_ends_although_nobody_waits_for_it_any_more() {
    let passwords = passwords().await;
    let (right, one) = (basic("jdoe", "right"), holder(1));
    let mut gone = Box::pin(passwords.prepare(&right, Some(&one), None, NOW));
    assert!(std::future::poll_fn(|context| std::task::Poll::Ready(gone.as_mut().poll(context).is_pending())).await);
    drop(gone);
    passwords.prepare(&right, Some(&one), None, NOW).await;
    assert!(passwords.holds(&right, Some((7, 1)), NOW).is_ok());
    let failures = passwords.0.as_ref().unwrap().failures.lock().unwrap();
    assert!(failures.values().all(|failures| failures.count == 0), "it was no failure");
}

/// All of them side by side.
async fn joined<T>(all: &mut [Pin<Box<impl Future<Output = T>>>]) -> Vec<T> {
    let mut done: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in all.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(context) {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn counters_are_bounded() {
    let passwords = passwords().await;
    let inner = passwords.0.as_deref().unwrap();
    let admits = |at: u32, now| {
        let peer = Some(IpAddr::from(at.to_be_bytes()));
        inner.admits(&inner.counters(&basic("jdoe", "x"), peer), now)
    };
    let most = u32::try_from(MOST_COUNTERS / 2).unwrap();
    assert!((0..most).all(|at| admits(at, NOW)));
    assert!(!admits(most, NOW) && admits(most, Timestamp(NOW.0 + WINDOW)));
    assert_eq!(inner.failures.lock().unwrap().len(), 2);
    let one = Some(IpAddr::from([9, 9, 9, 9]));
    let names = (0..700).filter(|at| inner.admits(&inner.counters(&basic(&format!("u{at}"), "x"), one), NOW));
    assert_eq!(names.count(), 600);
}
