//! Unit tests of the arena's book-keeping and of the pages it holds.

use super::{Arena, ArenaInner, ArenaLimits, class_index, plan};
use crate::{AllocateError, sync::Ordering};

fn arena(capacity_bytes: u64) -> Arena {
    Arena::new(&ArenaLimits { capacity_bytes }).unwrap()
}

/// Bytes of memory behind the arena.
fn resident_bytes(inner: &ArenaInner) -> u64 {
    let file = &inner.file.as_ref().unwrap().file;
    let blocks = rustix::fs::fstat(file).unwrap().st_blocks;
    u64::try_from(blocks).unwrap() * 512
}

#[test]
fn a_length_belongs_to_the_smallest_class_that_holds_it() {
    for (len, class) in [
        (0, 0),
        (1, 0),
        (1024, 0),
        (1025, 1),
        (2048, 1),
        (1 << 20, 10),
    ] {
        assert_eq!(class_index(len), class, "{len}");
    }
    assert!(class_index(u64::MAX) > 50);
}

#[test]
fn classes_do_not_overlap_and_suffice_for_the_capacity() {
    for capacity in [1, 1000, 1 << 20, (300 << 20) + 1, 7 << 30] {
        let (classes, total) = plan(capacity).unwrap();
        let starts = classes
            .iter()
            .map(|class| class.start)
            .skip(1)
            .chain([total]);
        for (class, end) in classes.iter().zip(starts) {
            assert!(class.start + class.size() <= end);
        }
        assert!(classes.last().unwrap().size() >= capacity);
    }
    assert!(plan(0).is_err());
    assert!(plan(u64::MAX).is_err());
}

#[test]
fn a_fresh_arena_costs_no_memory_and_a_block_only_what_it_touches() {
    let arena = arena(8 << 30);
    assert_eq!(resident_bytes(&arena.inner), 0);
    let mut block = arena.allocate(1 << 30).unwrap();
    block[0] = 1;
    block[(1 << 30) - 1] = 1;
    assert!(resident_bytes(&arena.inner) <= 4 << 20);
}

#[test]
fn free_big_blocks_keep_a_warm_budget_of_pages_and_no_more() {
    let arena = arena(1 << 30);
    let mut blocks: Vec<_> = (0..20).map(|_| arena.allocate(10 << 20).unwrap()).collect();
    for block in &mut blocks {
        block.fill(1);
    }
    assert!(resident_bytes(&arena.inner) >= 200 << 20);
    drop(blocks);
    let resident = resident_bytes(&arena.inner);
    assert!((40 << 20..=64 << 20).contains(&resident), "{resident}");
    assert_eq!(arena.used_bytes(), 0);

    // Warm pages are handed out first, and are counted right over many rounds.
    for _ in 0..50 {
        let mut blocks: Vec<_> = (0..10)
            .map(|_| arena.allocate((5 << 20) + 1).unwrap())
            .collect();
        for block in &mut blocks {
            block.fill(2);
        }
    }
    assert!(resident_bytes(&arena.inner) <= 64 << 20);
    let warm = arena.inner.warm[1].load(Ordering::Relaxed);
    assert!(warm <= 64 << 20, "{warm}");
}

#[test]
fn small_blocks_have_a_warm_budget_of_their_own() {
    let arena = arena(1 << 30);
    let fill = |len: usize, count: usize| {
        let mut blocks: Vec<_> = (0..count).map(|_| arena.allocate(len).unwrap()).collect();
        for block in &mut blocks {
            block.fill(1);
        }
    };
    fill(16 << 10, 8000);
    fill(4 << 20, 40);
    let resident = resident_bytes(&arena.inner);
    assert!((100 << 20..=128 << 20).contains(&resident), "{resident}");
}

#[test]
fn a_body_of_a_quarter_gigabyte_fits_into_little_more() {
    let arena = arena(257 << 20);
    let block = arena.allocate((256 << 20) + 1).unwrap();
    assert_eq!(block.len(), (256 << 20) + 1);
    assert_eq!(arena.allocate(1 << 20).unwrap_err(), AllocateError::Full);
    assert_eq!(
        arena.allocate(258 << 20).unwrap_err(),
        AllocateError::TooLarge
    );
}

#[test]
fn the_reader_cannot_write_and_the_size_is_sealed() {
    use crate::region::Region;

    let arena = arena(1 << 20);
    let fd = arena.reader_fd();
    assert!(Region::map(fd, 4096).is_err());
    assert!(rustix::io::write(fd, b"x").is_err());
    assert!(rustix::fs::ftruncate(fd, 0).is_err());
    let file = &arena.inner.file.as_ref().unwrap().file;
    assert!(rustix::fs::ftruncate(file, 0).is_err());
    let region = Region::map_read_only(fd, 4096).unwrap();
    assert!(!region.write(0, b"x"));
    let mut block = arena.allocate(3).unwrap();
    block.copy_from_slice(b"abc");
    assert_eq!(region.read(block.offset(), 3).unwrap(), b"abc");
}
