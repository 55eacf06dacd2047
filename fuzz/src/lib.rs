//! What the targets share: memory that is counted, sums that fit, a server's first words.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use wire::RawRequest;

/// Counts what is taken, to compare it with what the input justifies.
struct Counting;

static TAKEN: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: all work is the system allocator's; this only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let taken = TAKEN.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(taken, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

/// A node of 1024 children, a few error texts: what an input of no length at all may cost.
const CONSTANT: usize = 512 << 10;
/// Bytes taken for each byte of input.
const MULTIPLE: usize = 64;

/// Runs what reads an input of this length.
///
/// # Panics
/// When it has taken more memory than that length justifies.
pub fn bounded<T>(len: usize, read: impl FnOnce() -> T) -> T {
    let before = TAKEN.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let value = read();
    let taken = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    assert!(taken <= CONSTANT + MULTIPLE * len, "{taken} bytes were taken for {len}");
    value
}

/// The input as it is, and with the sum that a checked object ends with: no fuzzer guesses that.
pub fn with_sum(input: &[u8]) -> [Vec<u8>; 2] {
    let mut summed = input.to_vec();
    // A seed brings its own, which is replaced.
    if input.len() > 32 && blake3::hash(&input[..input.len() - 32]).as_bytes() == &input[input.len() - 32..] {
        summed.truncate(input.len() - 32);
    }
    let sum = blake3::hash(&summed);
    summed.extend_from_slice(sum.as_bytes());
    [input.to_vec(), summed]
}

thread_local! {
    static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"),
    );
}

/// One runtime for all inputs: making one takes longer than most of them.
pub fn on_runtime(work: impl Future<Output = ()>) {
    RUNTIME.with_borrow(|runtime| runtime.block_on(work));
}

/// What a server says until its export is open: structured replies, two contexts, 1 MiB.
pub fn handshake() -> Vec<u8> {
    let mut said = Vec::new();
    said.extend(0x4e42_444d_4147_4943_u64.to_be_bytes());
    said.extend(0x4948_4156_454f_5054_u64.to_be_bytes());
    said.extend(3_u16.to_be_bytes());
    let mut reply = |option: u32, kind: u32, data: &[u8]| {
        said.extend(0x0003_e889_0455_65a9_u64.to_be_bytes());
        said.extend(option.to_be_bytes());
        said.extend(kind.to_be_bytes());
        said.extend(u32::try_from(data.len()).expect("short").to_be_bytes());
        said.extend(data);
    };
    reply(8, 1, &[]);
    reply(10, 4, &[&1_u32.to_be_bytes()[..], b"base:allocation"].concat());
    reply(10, 4, &[&2_u32.to_be_bytes()[..], b"qemu:dirty-bitmap:b"].concat());
    reply(10, 1, &[]);
    reply(7, 3, &[&0_u16.to_be_bytes()[..], &(1_u64 << 20).to_be_bytes(), &1_u16.to_be_bytes()].concat());
    reply(7, 1, &[]);
    said
}

/// Reads `METHOD path?query HTTP/1.1`, headers and a body, as loosely as it can.
pub fn raw_request(input: &[u8]) -> Option<RawRequest> {
    let split = input.windows(2).position(|two| two == b"\n\n").map(|at| (at, at + 2));
    let split =
        split.or_else(|| input.windows(4).position(|four| four == b"\r\n\r\n").map(|at| (at, at + 4)));
    let (head, body) = split.map_or((input, &input[..0]), |(head, body)| (&input[..head], &input[body..]));
    let mut lines = std::str::from_utf8(head).ok()?.lines();
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = lines.filter_map(|line| line.split_once(':'));
    Some(RawRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect(),
        body: body.to_vec(),
    })
}

/// The parameters, read as those of every operation.
pub fn parse_all(params: &wire::Params) {
    use wire::{ecs, hbr};
    macro_rules! each {
        ($($of:ident :: $name:ident),* $(,)?) => { $(let _ = $of::$name::parse(params);)* };
    }
    each!(
        hbr::CreatePolicyBindings,
        hbr::DescribePolicyBindings,
        hbr::DeletePolicyBinding,
        hbr::CreateBackupJob,
        hbr::CancelBackupJob,
        hbr::DescribeBackupJobs2,
        hbr::DescribeUdmSnapshots,
        hbr::DeleteSnapshot,
        hbr::CreatePolicyV2,
        hbr::DescribePoliciesV2,
        hbr::DeletePolicyV2,
        hbr::ExecutePolicyV2,
        hbr::CreateRestoreJob,
        hbr::DescribeRestoreJobs2,
        ecs::DescribeDisks,
        ecs::DescribeSnapshotGroups,
        ecs::DescribeInstances,
        ecs::StartInstance,
        ecs::StopInstance,
        ecs::DescribeSnapshots,
    );
}
