//! Leases while leaders change and clocks jump by a day, in the virtual world.
//!
//! `cargo xtask sim --story leases --seeds 1 --first-seed N` tells one of these stories again.

use convoke_sim::consensus::tell_leases;

#[test]
fn no_lease_ends_early_whatever_clocks_do() {
    for seed in 0..8 {
        let told = tell_leases(seed, 0);
        assert!(told.broken.is_empty(), "{told}: {:?}", told.broken);
    }
}

#[test]
fn a_story_of_leases_is_the_same_twice() {
    assert_eq!(tell_leases(3, 0), tell_leases(3, 0));
}
