//! libvirt's C library, opened at run time: the only unsafe code, behind owned handles.
//!
//! Opened rather than linked, so that a machine without hypervisor runs the same binary and the build
//! needs no headers. Every call copies the thread's own last error out before it returns.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

use libloading::Library;

type Handle = *mut c_void;

/// An error of libvirt's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VirError {
    pub(crate) code: i32,
    pub(crate) message: String,
}

impl VirError {
    fn local(message: impl Into<String>) -> Self {
        Self { code: code::INTERNAL, message: message.into() }
    }
}

/// The error numbers we tell apart.
pub(crate) mod code {
    pub(crate) const INTERNAL: i32 = 1;
    pub(crate) const NO_SUPPORT: i32 = 3;
    pub(crate) const NO_DOMAIN: i32 = 42;
    pub(crate) const OPERATION_INVALID: i32 = 55;
    pub(crate) const CONFIG_UNSUPPORTED: i32 = 67;
    pub(crate) const OPERATION_TIMEOUT: i32 = 68;
    pub(crate) const BLOCK_COPY_ACTIVE: i32 = 83;
    pub(crate) const OPERATION_UNSUPPORTED: i32 = 84;
    pub(crate) const RESOURCE_BUSY: i32 = 87;
    pub(crate) const NO_CHECKPOINT: i32 = 103;
    pub(crate) const NO_BACKUP: i32 = 104;
    pub(crate) const CHECKPOINT_INCONSISTENT: i32 = 109;
}

pub(crate) const XML_INACTIVE: c_uint = 2;
pub(crate) const XML_MIGRATABLE: c_uint = 8;
pub(crate) const CHECKPOINT_XML_NO_DOMAIN: c_uint = 2;
pub(crate) const CHECKPOINT_XML_SIZE: c_uint = 4;
pub(crate) const CHECKPOINT_DELETE_METADATA_ONLY: c_uint = 2;
const CHECKPOINT_LIST_TOPOLOGICAL: c_uint = 2;
pub(crate) const AFFECT_LIVE: c_uint = 1;
pub(crate) const AFFECT_CONFIG: c_uint = 2;
pub(crate) const UNDEFINE_MANAGED_SAVE: c_uint = 1;
pub(crate) const UNDEFINE_SNAPSHOTS_METADATA: c_uint = 2;
pub(crate) const UNDEFINE_NVRAM: c_uint = 4;
pub(crate) const UNDEFINE_CHECKPOINTS_METADATA: c_uint = 16;
const BACKUP_BEGIN_REUSE_EXTERNAL: c_uint = 1;
const MONITOR_HMP: c_uint = 1;

#[repr(C)]
struct RawError {
    code: c_int,
    domain: c_int,
    message: *mut c_char,
    // More fields follow; only libvirt makes these, so only the head is described.
}

#[repr(C)]
#[derive(Default)]
struct RawBlockInfo {
    capacity: c_ulonglong,
    allocation: c_ulonglong,
    physical: c_ulonglong,
}

#[repr(C)]
#[derive(Default)]
struct RawJobInfo {
    kind: c_int,
    numbers: [c_ulonglong; 11],
}

type ErrorHandler = unsafe extern "C" fn(*mut c_void, *mut RawError);

macro_rules! functions {
    ($($name:ident($($argument:ty),*) -> $result:ty;)*) => {
        #[allow(non_snake_case)]
        struct Api {
            $($name: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Api {
            /// # Safety
            /// `library` is libvirt.so.0, whose functions have these very signatures for ever.
            unsafe fn load(library: &'static Library) -> Result<Self, libloading::Error> {
                Ok(Self {
                    // SAFETY: the caller's promise.
                    $($name: unsafe { *library.get(concat!(stringify!($name), "\0").as_bytes())? },)*
                })
            }
        }
    };
}

functions! {
    virInitialize() -> c_int;
    virSetErrorFunc(*mut c_void, ErrorHandler) -> ();
    virGetLastError() -> *const RawError;
    virEventRegisterDefaultImpl() -> c_int;
    virEventRunDefaultImpl() -> c_int;
    virConnectOpen(*const c_char) -> Handle;
    virConnectClose(Handle) -> c_int;
    virConnectIsAlive(Handle) -> c_int;
    virConnectSetKeepAlive(Handle, c_int, c_uint) -> c_int;
    virConnectListAllDomains(Handle, *mut *mut Handle, c_uint) -> c_int;
    virDomainLookupByUUID(Handle, *const u8) -> Handle;
    virDomainDefineXMLFlags(Handle, *const c_char, c_uint) -> Handle;
    virDomainFree(Handle) -> c_int;
    virDomainGetUUID(Handle, *mut u8) -> c_int;
    virDomainGetXMLDesc(Handle, c_uint) -> *mut c_char;
    virDomainGetState(Handle, *mut c_int, *mut c_int, c_uint) -> c_int;
    virDomainGetBlockInfo(Handle, *const c_char, *mut RawBlockInfo, c_uint) -> c_int;
    virDomainHasManagedSaveImage(Handle, c_uint) -> c_int;
    virDomainManagedSave(Handle, c_uint) -> c_int;
    virDomainCreate(Handle) -> c_int;
    virDomainResume(Handle) -> c_int;
    virDomainShutdown(Handle) -> c_int;
    virDomainDestroyFlags(Handle, c_uint) -> c_int;
    virDomainUndefineFlags(Handle, c_uint) -> c_int;
    virDomainAttachDeviceFlags(Handle, *const c_char, c_uint) -> c_int;
    virDomainBackupBegin(Handle, *const c_char, *const c_char, c_uint) -> c_int;
    virDomainBackupGetXMLDesc(Handle, c_uint) -> *mut c_char;
    virDomainAbortJob(Handle) -> c_int;
    virDomainGetJobInfo(Handle, *mut RawJobInfo) -> c_int;
    virDomainListAllCheckpoints(Handle, *mut *mut Handle, c_uint) -> c_int;
    virDomainCheckpointGetName(Handle) -> *const c_char;
    virDomainCheckpointGetXMLDesc(Handle, c_uint) -> *mut c_char;
    virDomainCheckpointDelete(Handle, c_uint) -> c_int;
    virDomainCheckpointFree(Handle) -> c_int;
}

static API: OnceLock<Result<Api, String>> = OnceLock::new();

/// The library, ready: errors silenced, event loop registered and running. Registered before the
/// first connection is opened, or keepalives and the embedded driver never work.
fn api() -> Result<&'static Api, VirError> {
    API.get_or_init(load).as_ref().map_err(|error| VirError::local(error.clone()))
}

fn load() -> Result<Api, String> {
    // SAFETY: libvirt's initialisers have no requirements; the library is never unloaded.
    let library = unsafe { Library::new("libvirt.so.0") };
    let library: &'static Library =
        Box::leak(Box::new(library.map_err(|error| format!("libvirt is not installed here: {error}"))?));
    // SAFETY: it is libvirt.so.0.
    let api = unsafe { Api::load(library) }.map_err(|error| format!("libvirt is too old: {error}"))?;
    // SAFETY: the handler lives for ever and does nothing; the other two take no arguments.
    let ready = unsafe {
        (api.virSetErrorFunc)(null_mut(), silent);
        (api.virInitialize)() == 0 && (api.virEventRegisterDefaultImpl)() == 0
    };
    if !ready {
        return Err("libvirt cannot be initialised".into());
    }
    let turn = api.virEventRunDefaultImpl;
    std::thread::Builder::new()
        .name("libvirt-events".into())
        // SAFETY: the implementation was registered above; one thread alone runs it.
        .spawn(move || while unsafe { turn() } == 0 {})
        .map_err(|error| error.to_string())?;
    Ok(api)
}

/// libvirt prints every error to the process's stderr unless told otherwise; we return them.
unsafe extern "C" fn silent(_: *mut c_void, _: *mut RawError) {}

impl Api {
    fn error(&self) -> VirError {
        // SAFETY: the error belongs to this thread and lives until its next call into libvirt.
        unsafe {
            let error = (self.virGetLastError)();
            if error.is_null() {
                return VirError::local("libvirt failed without a reason");
            }
            let message = (*error).message;
            let message = if message.is_null() {
                String::new()
            } else {
                CStr::from_ptr(message).to_string_lossy().into_owned()
            };
            VirError { code: (*error).code, message }
        }
    }

    fn check(&self, result: c_int) -> Result<c_int, VirError> {
        if result < 0 { Err(self.error()) } else { Ok(result) }
    }

    fn handle(&self, handle: Handle) -> Result<Handle, VirError> {
        if handle.is_null() { Err(self.error()) } else { Ok(handle) }
    }

    /// Takes over a string that libvirt allocated.
    fn text(&self, text: *mut c_char) -> Result<String, VirError> {
        if text.is_null() {
            return Err(self.error());
        }
        // SAFETY: a NUL-terminated string from malloc, ours to free; it is not used again.
        unsafe {
            let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
            libc::free(text.cast());
            Ok(copy)
        }
    }

    /// Takes over a list of handles that libvirt allocated.
    fn handles(&self, list: *mut Handle, count: c_int) -> Result<Vec<Handle>, VirError> {
        let count = usize::try_from(self.check(count)?).unwrap_or(0);
        if list.is_null() {
            return Ok(Vec::new());
        }
        // SAFETY: `count` handles from malloc; the array is freed, the handles are now ours.
        unsafe {
            let handles = std::slice::from_raw_parts(list, count).to_vec();
            libc::free(list.cast());
            Ok(handles)
        }
    }
}

fn c(text: &str) -> Result<CString, VirError> {
    CString::new(text).map_err(|_| VirError::local("text with a NUL byte"))
}

macro_rules! owned {
    ($(#[$doc:meta])* $name:ident, $free:ident) => {
        $(#[$doc])*
        pub(crate) struct $name {
            api: &'static Api,
            handle: Handle,
        }
        // SAFETY: libvirt's objects are reference counted and locked; any thread may use them.
        unsafe impl Send for $name {}
        // SAFETY: as above.
        unsafe impl Sync for $name {}
        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the handle is ours and not used again. A failure to free frees nothing more.
                unsafe { (self.api.$free)(self.handle) };
            }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

owned! {
    /// An open connection. Domains keep it open behind their own reference.
    Connection, virConnectClose
}
owned! { Domain, virDomainFree }
owned! { Checkpoint, virDomainCheckpointFree }

// SAFETY of every `unsafe` below: the handle is alive as long as `self`; C strings and out-parameters
// live across the call; signatures are those of libvirt's headers.

impl Connection {
    pub(crate) fn open(uri: &str) -> Result<Self, VirError> {
        let api = api()?;
        let uri = c(uri)?;
        let handle = api.handle(unsafe { (api.virConnectOpen)(uri.as_ptr()) })?;
        let connection = Self { api, handle };
        // Not every driver has keepalives (the embedded one needs none): no error.
        unsafe { (api.virConnectSetKeepAlive)(handle, 5, 3) };
        Ok(connection)
    }

    pub(crate) fn is_alive(&self) -> bool {
        unsafe { (self.api.virConnectIsAlive)(self.handle) == 1 }
    }

    pub(crate) fn domains(&self) -> Result<Vec<Domain>, VirError> {
        let mut list = null_mut();
        let count = unsafe { (self.api.virConnectListAllDomains)(self.handle, &raw mut list, 0) };
        let handles = self.api.handles(list, count)?;
        Ok(handles.into_iter().map(|handle| Domain { api: self.api, handle }).collect())
    }

    pub(crate) fn domain(&self, uuid: &[u8; 16]) -> Result<Domain, VirError> {
        let handle = unsafe { (self.api.virDomainLookupByUUID)(self.handle, uuid.as_ptr()) };
        Ok(Domain { api: self.api, handle: self.api.handle(handle)? })
    }

    pub(crate) fn define(&self, xml: &str) -> Result<Domain, VirError> {
        let xml = c(xml)?;
        let handle = unsafe { (self.api.virDomainDefineXMLFlags)(self.handle, xml.as_ptr(), 0) };
        Ok(Domain { api: self.api, handle: self.api.handle(handle)? })
    }
}

impl Domain {
    pub(crate) fn uuid(&self) -> Result<[u8; 16], VirError> {
        let mut uuid = [0; 16];
        self.api.check(unsafe { (self.api.virDomainGetUUID)(self.handle, uuid.as_mut_ptr()) })?;
        Ok(uuid)
    }

    pub(crate) fn xml(&self, flags: c_uint) -> Result<String, VirError> {
        self.api.text(unsafe { (self.api.virDomainGetXMLDesc)(self.handle, flags) })
    }

    /// State and reason, as libvirt numbers them.
    pub(crate) fn state(&self) -> Result<(i32, i32), VirError> {
        let (mut state, mut reason) = (0, 0);
        let got = unsafe { (self.api.virDomainGetState)(self.handle, &raw mut state, &raw mut reason, 0) };
        self.api.check(got)?;
        Ok((state, reason))
    }

    /// What the guest sees of this disk, in bytes.
    pub(crate) fn capacity(&self, device: &str) -> Result<u64, VirError> {
        let device = c(device)?;
        let mut info = RawBlockInfo::default();
        let got = unsafe { (self.api.virDomainGetBlockInfo)(self.handle, device.as_ptr(), &raw mut info, 0) };
        self.api.check(got)?;
        Ok(info.capacity)
    }

    pub(crate) fn has_managed_save(&self) -> Result<bool, VirError> {
        let got = unsafe { (self.api.virDomainHasManagedSaveImage)(self.handle, 0) };
        Ok(self.api.check(got)? == 1)
    }

    /// Suspends it to disk. Only tests do.
    pub(crate) fn managed_save(&self) -> Result<(), VirError> {
        self.api.check(unsafe { (self.api.virDomainManagedSave)(self.handle, 0) }).map(drop)
    }

    pub(crate) fn create(&self) -> Result<(), VirError> {
        self.api.check(unsafe { (self.api.virDomainCreate)(self.handle) }).map(drop)
    }

    pub(crate) fn resume(&self) -> Result<(), VirError> {
        self.api.check(unsafe { (self.api.virDomainResume)(self.handle) }).map(drop)
    }

    pub(crate) fn shut_down(&self) -> Result<(), VirError> {
        self.api.check(unsafe { (self.api.virDomainShutdown)(self.handle) }).map(drop)
    }

    pub(crate) fn destroy(&self) -> Result<(), VirError> {
        self.api.check(unsafe { (self.api.virDomainDestroyFlags)(self.handle, 0) }).map(drop)
    }

    pub(crate) fn undefine(&self, flags: c_uint) -> Result<(), VirError> {
        self.api.check(unsafe { (self.api.virDomainUndefineFlags)(self.handle, flags) }).map(drop)
    }

    pub(crate) fn attach(&self, xml: &str, flags: c_uint) -> Result<(), VirError> {
        let xml = c(xml)?;
        let got = unsafe { (self.api.virDomainAttachDeviceFlags)(self.handle, xml.as_ptr(), flags) };
        self.api.check(got).map(drop)
    }

    /// Begins a backup job on scratch files that are there already.
    pub(crate) fn backup_begin(&self, backup: &str, checkpoint: Option<&str>) -> Result<(), VirError> {
        let backup = c(backup)?;
        let checkpoint = checkpoint.map(c).transpose()?;
        let checkpoint = checkpoint.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
        let flags = BACKUP_BEGIN_REUSE_EXTERNAL;
        let got = unsafe { (self.api.virDomainBackupBegin)(self.handle, backup.as_ptr(), checkpoint, flags) };
        self.api.check(got).map(drop)
    }

    /// The running backup job, if there is one.
    pub(crate) fn backup_xml(&self) -> Result<Option<String>, VirError> {
        let text = unsafe { (self.api.virDomainBackupGetXMLDesc)(self.handle, 0) };
        match self.api.text(text) {
            Ok(xml) => Ok(Some(xml)),
            Err(error) if error.code == code::NO_BACKUP => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn abort_job(&self) -> Result<(), VirError> {
        self.api.check(unsafe { (self.api.virDomainAbortJob)(self.handle) }).map(drop)
    }

    /// Some job (a migration, a save, a backup) holds the domain.
    pub(crate) fn has_job(&self) -> Result<bool, VirError> {
        let mut info = RawJobInfo::default();
        self.api.check(unsafe { (self.api.virDomainGetJobInfo)(self.handle, &raw mut info) })?;
        // 1 and 2 are running jobs, bounded and not; the others are none and ended ones.
        Ok(info.kind == 1 || info.kind == 2)
    }

    /// All checkpoints, parents before children.
    pub(crate) fn checkpoints(&self) -> Result<Vec<Checkpoint>, VirError> {
        let mut list = null_mut();
        let count = unsafe {
            let flags = CHECKPOINT_LIST_TOPOLOGICAL;
            (self.api.virDomainListAllCheckpoints)(self.handle, &raw mut list, flags)
        };
        let handles = self.api.handles(list, count)?;
        Ok(handles.into_iter().map(|handle| Checkpoint { api: self.api, handle }).collect())
    }

    /// A command of QEMU's human monitor. It taints the domain, so only tests use it; its library is
    /// opened for them alone.
    pub(crate) fn monitor(&self, command: &str) -> Result<String, VirError> {
        type Monitor = unsafe extern "C" fn(Handle, *const c_char, *mut *mut c_char, c_uint) -> c_int;
        let command = c(command)?;
        let mut text = null_mut();
        unsafe {
            let library =
                Library::new("libvirt-qemu.so.0").map_err(|error| VirError::local(error.to_string()))?;
            let monitor = library
                .get::<Monitor>(b"virDomainQemuMonitorCommand\0")
                .map_err(|error| VirError::local(error.to_string()))?;
            self.api.check(monitor(self.handle, command.as_ptr(), &raw mut text, MONITOR_HMP))?;
        }
        self.api.text(text)
    }
}

impl Checkpoint {
    pub(crate) fn name(&self) -> String {
        // SAFETY: the name belongs to the checkpoint, which is alive.
        unsafe {
            let name = (self.api.virDomainCheckpointGetName)(self.handle);
            if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() }
        }
    }

    pub(crate) fn xml(&self, flags: c_uint) -> Result<String, VirError> {
        self.api.text(unsafe { (self.api.virDomainCheckpointGetXMLDesc)(self.handle, flags) })
    }

    pub(crate) fn delete(&self, flags: c_uint) -> Result<(), VirError> {
        self.api.check(unsafe { (self.api.virDomainCheckpointDelete)(self.handle, flags) }).map(drop)
    }
}
