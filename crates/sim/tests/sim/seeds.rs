//! Random histories: fixed seeds, a few fresh ones, and one seed twice.

use sim::explore;

/// Seeds that once found something, and some that did not yet.
const SEEDS: std::ops::Range<u64> = 0..6;
/// Fresh ones a run, unless `HIKAE_SIM_RUNS` wants more.
const FRESH: u64 = 3;

#[tokio::test]
async fn seeds() {
    if let Ok(seed) = std::env::var("HIKAE_SIM_SEED") {
        let explored = explore(seed.parse().expect("HIKAE_SIM_SEED is a number")).await;
        explored.expect("a scenario without violations");
        return;
    }
    let mut fresh = [0; 8];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").expect("chance"), &mut fresh)
        .expect("fresh seeds");
    let fresh = u64::from_le_bytes(fresh) >> 1;
    let runs = std::env::var("HIKAE_SIM_RUNS").map_or(FRESH, |runs| runs.parse().expect("a number"));
    let (mut points, mut scheduled) = (0, 0);
    for seed in SEEDS.chain(fresh..fresh + runs) {
        match explore(seed).await {
            Ok(explored) => {
                points += explored.points;
                scheduled += explored.scheduled;
            }
            Err(what) => panic!("{what}"),
        }
    }
    assert!(points > 0 && scheduled > 0, "scenarios that never leave a point test nothing");
}

#[tokio::test]
async fn the_same_seed_is_the_same_world() {
    for seed in [3, 77] {
        let once = explore(seed).await.expect("a scenario without violations");
        let twice = explore(seed).await.expect("a scenario without violations");
        assert_eq!(once, twice);
    }
}
