//! Taking and giving back blocks, beside the heap.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tserve_shm::{Arena, ArenaLimits};

fn allocate(criterion: &mut Criterion) {
    let limits = ArenaLimits {
        capacity_bytes: 1 << 30,
    };
    let arena = Arena::new(&limits).expect("a memory file can be made");
    let mut group = criterion.benchmark_group("allocate");
    for len in [512_usize, 16 << 10, 1 << 20] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("arena", len), |bencher| {
            bencher.iter(|| black_box(arena.allocate(black_box(len))));
        });
        group.bench_function(BenchmarkId::new("heap", len), |bencher| {
            bencher.iter(|| black_box(Vec::<u8>::with_capacity(black_box(len))));
        });
    }
    group.finish();
}

fn fill(criterion: &mut Criterion) {
    let limits = ArenaLimits {
        capacity_bytes: 1 << 30,
    };
    let arena = Arena::new(&limits).expect("a memory file can be made");
    let mut group = criterion.benchmark_group("allocate_and_fill");
    for len in [16_usize << 10, 1 << 20, 16 << 20] {
        let body = vec![7; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |bencher| {
            bencher.iter(|| {
                let mut block = arena.allocate(len).expect("the arena is empty otherwise");
                block.copy_from_slice(black_box(&body));
                block
            });
        });
    }
    group.finish();
}

criterion_group!(benches, allocate, fill);
criterion_main!(benches);
