//! All ways in which threads can meet in `lifetime` and `deliveries`, gone through by loom: `make model`.

#![cfg(loom)]

#[allow(dead_code, reason = "each of the tests uses a part")]
mod deliveries;
#[allow(dead_code, reason = "each of the tests uses a part")]
mod lifetime;

use std::time::Duration;

use loom::model;
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::sync::atomic::Ordering::SeqCst;
use loom::thread;

use deliveries::Deliveries;
use lifetime::{Client, Parts, User};

/// In a model nobody waits for time to pass: a wake-up that is lost is a deadlock, which loom tells.
const LONG: Duration = Duration::from_secs(3600);

/// Whether librdkafka has freed the client.
type Freed = Arc<AtomicBool>;

struct Part(Freed);

impl Part {
    fn touch(&self) {
        assert!(!self.0.load(SeqCst), "the client is gone");
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.touch();
    }
}

struct Reader(Parts<Part>);

impl User for Reader {
    fn end(&self) {
        self.0.end();
    }
}

#[test]
fn nobody_touches_a_client_that_has_ended() {
    model(|| {
        let freed = Freed::default();
        let client = Arc::new(Client::new(()));
        let user = {
            let (client, freed) = (client.clone(), freed.clone());
            thread::spawn(move || {
                let open = |()| {
                    let part = Part(freed.clone());
                    part.touch();
                    Ok::<_, ()>(Reader(Parts::new(part)))
                };
                if let Some(Ok(reader)) = client.claim(open) {
                    for _ in 0..2 {
                        if reader.0.with(|part| part.touch()).is_none() {
                            assert!(reader.0.with(|part| part.touch()).is_none());
                        }
                    }
                }
            })
        };
        client.end();
        freed.store(true, SeqCst);
        user.join().expect("no panic");
        assert!(
            client
                .claim(|()| Ok::<_, ()>(Reader(Parts::new(Part(freed)))))
                .is_none()
        );
    });
}

#[test]
fn a_client_has_one_user() {
    model(|| {
        let freed = Freed::default();
        let client = Arc::new(Client::new(()));
        let claim = |client: &Client<()>, freed: &Freed| {
            let open = |()| Ok::<_, ()>(Reader(Parts::new(Part(freed.clone()))));
            client.claim(open).is_some()
        };
        let other = {
            let (client, freed) = (client.clone(), freed.clone());
            thread::spawn(move || claim(&client, &freed))
        };
        let first = claim(&client, &freed);
        assert!(first ^ other.join().expect("no panic"));
    });
}

#[test]
fn who_waits_is_woken_when_enough_is_acknowledged() {
    for (sent, left) in [(1, 0), (2, 0), (2, 1)] {
        model(move || {
            let deliveries = Arc::new(Deliveries::<usize>::default());
            deliveries.give(sent + 1);
            let threads: Vec<_> = (0..sent)
                .map(|_| {
                    let deliveries = deliveries.clone();
                    thread::spawn(move || deliveries.acknowledge(|told| *told += 1))
                })
                .collect();
            deliveries.take_back(1);
            deliveries.settle(left, LONG);
            assert!(deliveries.told(|told| *told) >= sent - left);
            for thread in threads {
                thread.join().expect("no panic");
            }
            deliveries.settle(0, LONG);
            assert_eq!(deliveries.told(|told| *told), sent);
        });
    }
}
