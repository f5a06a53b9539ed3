//! Runs the GPU kernels on the host: the same source, compiled as C++, on CPU tensors.
//!
//! Threads run one after the other. Every plan is run three times, with threads and blocks in
//! different orders, and must give the same bits each time: a result that depends on the order
//! would be a race on the device. A plan that creates no tensors updates memory through addresses
//! in its tables, and is run only once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CString, c_int, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use dbloss::ops::cuda::{Arguments, Launch, Made, Place, Plan, Runner, install};

/// As in grid.h: forwards, backwards, shuffled.
const ORDERS: c_int = 3;

thread_local! {
    /// Number of launches by this thread since its last call of [`take_launches`], by kernel.
    static LAUNCHES: RefCell<BTreeMap<&'static str, usize>> = RefCell::default();
}

/// The library of kernels; one launch at a time.
struct Kernels(Mutex<usize>);

/// Compiles the kernels and installs them for plans on CPU tensors, once per process.
pub(crate) fn use_host_kernels() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("kernels.so");
        compile(&library);
        let name = CString::new(library.as_os_str().as_encoded_bytes()).unwrap();
        // SAFETY: the library contains no code that runs when it is opened.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null(), "{} cannot be opened", library.display());
        install(Box::new(Kernels(Mutex::new(handle as usize))));
    });
}

/// Returns the launches of this thread since its last call.
pub(crate) fn take_launches() -> BTreeMap<&'static str, usize> {
    LAUNCHES.take()
}

fn compile(library: &Path) {
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/ops/cuda/kernels/kernels.cu"
    );
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let status = Command::new(&compiler)
        .args([
            "-x",
            "c++",
            "-std=c++17",
            "-O2",
            "-shared",
            "-fPIC",
            "-w",
            source,
            "-o",
        ])
        .arg(library)
        .status();
    let status = status.unwrap_or_else(|e| panic!("`{compiler}`: {e}; CXX names another"));
    assert!(status.success(), "`{compiler}` ended with {status}");
}

fn function(library: usize, name: &str) -> *mut c_void {
    let name = CString::new(name).unwrap();
    // SAFETY: an open library and a null-terminated string.
    let found = unsafe { libc::dlsym(library as *mut c_void, name.as_ptr()) };
    assert!(!found.is_null(), "no kernel {name:?}");
    found
}

/// The values of a tensor while it is created, 8 bytes each for alignment. Values that no kernel
/// writes keep a bit pattern that is not a number.
struct Buffer(Vec<u64>);

impl Buffer {
    fn new(made: &Made) -> Self {
        let bytes = made.shape.elem_count() * made.dtype.size_in_bytes();
        Buffer(vec![u64::MAX; bytes.div_ceil(8)])
    }

    fn address(&self) -> u64 {
        self.0.as_ptr() as u64
    }

    fn tensor(&self, made: &Made) -> candle_core::Result<Tensor> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        let bytes = &bytes[..made.shape.elem_count() * made.dtype.size_in_bytes()];
        Tensor::from_raw_buffer(bytes, made.dtype, made.shape.dims(), &Device::Cpu)
    }
}

impl Runner for Kernels {
    fn run(&self, plan: &Plan, given: &[Option<&Tensor>]) -> candle_core::Result<Vec<Tensor>> {
        let library = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Option<Vec<Buffer>> = None;
        let orders = if plan.made.is_empty() { 1 } else { ORDERS };
        for order in (0..ORDERS).rev().take(orders as usize) {
            let made: Vec<Buffer> = plan.made.iter().map(Buffer::new).collect();
            for launch in &plan.launches {
                launch_on_host(*library, launch, given, &made, order)?;
            }
            match &found {
                None => found = Some(made),
                Some(found) => {
                    let same = found.iter().zip(&made).all(|(a, b)| a.0 == b.0);
                    assert!(same, "the order of threads shows: {:?}", plan.launches);
                }
            }
        }
        LAUNCHES.with_borrow_mut(|launches| {
            for launch in &plan.launches {
                *launches.entry(launch.kernel).or_default() += 1;
            }
        });
        let buffers = found.unwrap_or_default();
        let pairs = buffers.iter().zip(&plan.made);
        pairs.map(|(buffer, made)| buffer.tensor(made)).collect()
    }
}

fn launch_on_host(
    library: usize,
    launch: &Launch,
    given: &[Option<&Tensor>],
    made: &[Buffer],
    order: c_int,
) -> candle_core::Result<()> {
    let arguments = launch.arguments(|place| match place {
        Place::Given(index) => given[index].map_or(0, address),
        Place::Made(index) => made[index].address(),
        Place::Null => 0,
    })?;
    // SAFETY: the functions of the source have these types.
    let (set, kernel) = unsafe {
        (
            std::mem::transmute::<*mut c_void, extern "C" fn(c_int, c_int, c_int)>(function(
                library, "host_set",
            )),
            std::mem::transmute::<*mut c_void, extern "C" fn(Arguments)>(function(
                library,
                launch.kernel,
            )),
        )
    };
    let blocks = launch.blocks as c_int;
    for number in 0..blocks {
        let block = if order == 0 {
            number
        } else {
            blocks - 1 - number
        };
        set(block, blocks, order);
        kernel(arguments);
    }
    Ok(())
}

/// Returns the address of the first value of a contiguous CPU tensor.
fn address(tensor: &Tensor) -> u64 {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        panic!("expected a tensor of the CPU");
    };
    let base = match storage {
        CpuStorage::F32(values) => values.as_ptr() as u64,
        CpuStorage::F64(values) => values.as_ptr() as u64,
        CpuStorage::U32(values) => values.as_ptr() as u64,
        CpuStorage::I64(values) => values.as_ptr() as u64,
        _ => panic!("no kernel takes {:?}", tensor.dtype()),
    };
    let size = DType::size_in_bytes(&tensor.dtype());
    base + (layout.start_offset() * size) as u64
}
