//! Unit tests of the reply area's book-keeping.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::ReplySpace;

#[test]
fn an_empty_area_starts_over_at_its_start() {
    let mut space = ReplySpace::new(4096);
    for _ in 0..100 {
        assert_eq!(space.take(1000), Some(0));
        assert_eq!(space.take(1000), Some(1000));
        space.give_back();
        space.give_back();
    }
}

#[test]
fn a_frame_that_does_not_fit_at_the_end_goes_to_the_start() {
    let mut space = ReplySpace::new(4096);
    assert_eq!(space.take(2000), Some(0));
    assert_eq!(space.take(1000), Some(2000));
    space.give_back();
    assert_eq!(space.take(1500), Some(0));
    // The gap before the oldest frame is 2000 - 1504 bytes.
    assert_eq!(space.take(500), None);
    assert_eq!(space.take(496), Some(1504));
    assert_eq!(space.take(1), None);
}

#[test]
fn the_whole_area_can_be_one_frame() {
    let mut space = ReplySpace::new(4096);
    assert_eq!(space.take(4097), None);
    assert_eq!(space.take(u64::MAX), None);
    assert_eq!(space.take(4096), Some(0));
    assert_eq!(space.take(1), None);
    space.give_back();
    assert_eq!(space.take(4090), Some(0));
}

proptest! {
    #[test]
    fn spans_in_use_never_overlap(steps in proptest::collection::vec(0_u64..3000, 1..300)) {
        let mut space = ReplySpace::new(8192);
        let mut live: VecDeque<(u64, u64)> = VecDeque::new();
        for step in steps {
            if step < 1200 && !live.is_empty() {
                space.give_back();
                live.pop_front();
                continue;
            }
            match space.take(step) {
                Some(start) => {
                    let end = start + step.max(1);
                    prop_assert!(start.is_multiple_of(8) && end <= 8192);
                    prop_assert!(live.iter().all(|(from, to)| end <= *from || *to <= start));
                    live.push_back((start, end));
                }
                // Never refused without need.
                None => prop_assert!(!live.is_empty()),
            }
            prop_assert_eq!(space.len(), live.len());
        }
    }
}
