//! What every arena promises.

use tserve_shm::AllocateError;

use crate::kinds::{Kind, over_every_kind};

over_every_kind!(
    blocks_have_the_length_asked_for,
    live_blocks_never_overlap,
    a_full_arena_refuses_and_recovers,
    a_block_larger_than_the_arena_is_refused_for_good,
    threads_allocate_and_free_without_losing_a_byte,
    a_truncated_block_keeps_its_start,
);

fn blocks_have_the_length_asked_for<K: Kind>() {
    let arena = K::arena(1 << 20);
    for len in [0, 1, 1023, 1024, 1025, 4096, 4097, 100_000, 1 << 20] {
        let mut block = arena.allocate(len).unwrap();
        assert_eq!((block.len(), block.is_empty()), (len, len == 0));
        if let [first, .., last] = &mut block[..] {
            (*first, *last) = (7, 8);
            assert_eq!((block[0], block[len - 1]), (7, 8));
        }
    }
    assert_eq!(arena.used_bytes(), 0);
    assert_eq!(arena.capacity_bytes(), 1 << 20);
}

fn live_blocks_never_overlap<K: Kind>() {
    let arena = K::arena(1 << 20);
    let mut blocks = Vec::new();
    for round in 0_usize..200 {
        if round.is_multiple_of(3) && blocks.len() > 4 {
            blocks.swap_remove(round % blocks.len());
        }
        if let Ok(block) = arena.allocate(1 + (round * 769) % 20_000) {
            blocks.push(block);
        }
    }
    let mut spans: Vec<(u64, u64)> = blocks
        .iter()
        .map(|block| (block.offset(), block.offset() + block.len() as u64))
        .collect();
    spans.sort_unstable();
    assert!(spans.len() > 10);
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0));
}

fn a_full_arena_refuses_and_recovers<K: Kind>() {
    let arena = K::arena(64 << 10);
    let mut blocks = Vec::new();
    while let Ok(block) = arena.allocate(1024) {
        blocks.push(block);
    }
    assert_eq!(blocks.len(), 64);
    assert_eq!(arena.used_bytes(), 64 << 10);
    assert_eq!(arena.allocate(1).unwrap_err(), AllocateError::Full);
    assert_eq!(arena.allocate(64 << 10).unwrap_err(), AllocateError::Full);
    drop(blocks);
    assert_eq!(arena.allocate(64 << 10).unwrap().len(), 64 << 10);
    assert_eq!(arena.used_bytes(), 0);
}

fn a_block_larger_than_the_arena_is_refused_for_good<K: Kind>() {
    let arena = K::arena(100_000);
    for len in [100_001, 1 << 20, usize::MAX] {
        assert_eq!(arena.allocate(len).unwrap_err(), AllocateError::TooLarge);
    }
    assert!(arena.allocate(96_000).is_ok());
}

fn threads_allocate_and_free_without_losing_a_byte<K: Kind>() {
    let arena = K::arena(1 << 20);
    let rounds = if cfg!(miri) { 30 } else { 20_000 };
    std::thread::scope(|scope| {
        for thread in 0_u8..4 {
            let arena = &arena;
            scope.spawn(move || {
                let mut held = Vec::new();
                for round in 0_usize..rounds {
                    let len = 1 + (round * 7919 + usize::from(thread) * 131) % 9000;
                    if let Ok(mut block) = arena.allocate(len) {
                        let last = block.len() - 1;
                        (block[0], block[last]) = (thread, thread);
                        held.push(block);
                    }
                    if held.len() > 8 {
                        let block = held.swap_remove(round % 8);
                        assert_eq!((block[0], block[block.len() - 1]), (thread, thread));
                    }
                }
            });
        }
    });
    assert_eq!(arena.used_bytes(), 0);
    assert!(arena.allocate(1 << 20).is_ok());
}

fn a_truncated_block_keeps_its_start<K: Kind>() {
    let arena = K::arena(1 << 20);
    let mut block = arena.allocate(100).unwrap();
    block[..3].copy_from_slice(b"abc");
    let offset = block.offset();
    block.truncate(3);
    block.truncate(50);
    assert_eq!((&block[..], block.offset()), (&b"abc"[..], offset));
}
