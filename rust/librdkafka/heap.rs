//! Gives librdkafka a heap in which one thread may free what another one made without waiting for it.
//!
//! A consumer's thread makes an object of each record, by `calloc`, and the thread that counts frees it. In glibc both
//! take the lock of the heap that it is from, record by record, so that they are hardly faster side by side than one
//! after the other. mimalloc keeps what other threads free in lists that need no lock (Leijen, Zorn, de Moura:
//! "Mimalloc: Free List Sharding in Action", 2019).
//!
//! librdkafka can't be told which functions to use. But it calls them by way of tables that the loader has filled in
//! (System V ABI, "Dynamic Linking"), and here they are filled in anew, for this library alone. Python, `RocksDB` and
//! all else keep their heap.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::ops::Range;
use std::ptr;

use libmimalloc_sys as mimalloc;

/// `mi_option_arena_eager_commit` and `mi_option_purge_delay` of mimalloc 3: what is not used is neither asked of the
/// system nor kept for long, since a worker's memory is counted. A fetch's buffer is used again within the delay.
const ARENA_EAGER_COMMIT: mimalloc::mi_option_t = 4;
const PURGE_DELAY: mimalloc::mi_option_t = 15;
const PURGE_MILLISECONDS: c_long = 100;

unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    // SAFETY: as for the C library's.
    unsafe { mimalloc::mi_malloc(size) }
}

unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    // SAFETY: as for the C library's.
    unsafe { mimalloc::mi_calloc(count, size) }
}

unsafe extern "C" fn realloc(memory: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: as for the C library's; what is of its heap, such as what `strdup` makes, stays there.
    unsafe {
        if memory.is_null() || mimalloc::mi_is_in_heap_region(memory) {
            mimalloc::mi_realloc(memory, size)
        } else {
            libc::realloc(memory, size)
        }
    }
}

unsafe extern "C" fn free(memory: *mut c_void) {
    // SAFETY: as for the C library's; what is of its heap goes back there.
    unsafe {
        if mimalloc::mi_is_in_heap_region(memory) {
            mimalloc::mi_free(memory);
        } else {
            libc::free(memory);
        }
    }
}

/// Has the library that `within` is in use mimalloc from now on; none of its threads may run yet.
///
/// What it has made by now may stay where it is. False where that can't be: it goes on as before then.
pub fn replace(within: *const c_void) -> bool {
    let Some(tables) = Tables::of(within.addr()) else {
        return false;
    };
    // SAFETY: nothing has been made with it yet, and no other thread sets options.
    unsafe {
        mimalloc::mi_option_set(ARENA_EAGER_COMMIT, 0);
        mimalloc::mi_option_set(PURGE_DELAY, PURGE_MILLISECONDS);
    }
    // All that frees knows either heap before anything is made in the new one.
    let names: [(&CStr, usize); 4] = [
        (c"free", free as *const () as usize),
        (c"realloc", realloc as *const () as usize),
        (c"calloc", calloc as *const () as usize),
        (c"malloc", malloc as *const () as usize),
    ];
    let mut changed = false;
    for (name, function) in names {
        for place in tables.places(name) {
            if !tables.write(place, function) {
                return false; // whatever frees knows the C library's heap, too
            }
            changed = true;
        }
    }
    changed
}

/// `Elf64_Dyn`.
#[repr(C)]
struct Dynamic {
    tag: i64,
    value: usize,
}

const DT_PLTRELSZ: i64 = 2;
const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_RELA: i64 = 7;
const DT_RELASZ: i64 = 8;
const DT_JMPREL: i64 = 23;

/// `Elf64_Rela`.
#[repr(C)]
struct Relocation {
    offset: usize,
    kind: u32,
    symbol: u32,
    addend: i64,
}

/// Those that are a function's address and nothing else: `R_*_64` or `ABS64`, `GLOB_DAT` and `JUMP_SLOT`.
#[cfg(target_arch = "x86_64")]
const KINDS: [u32; 3] = [1, 6, 7];
#[cfg(target_arch = "aarch64")]
const KINDS: [u32; 3] = [257, 1025, 1026];

/// What the loader knows of a library.
struct Tables {
    base: usize,
    /// What the loader made read-only when it had filled it in, whole pages of it.
    sealed: Range<usize>,
    page: usize,
    relocations: Vec<&'static Relocation>,
    symbols: *const libc::Elf64_Sym,
    names: *const c_char,
}

impl Tables {
    fn of(address: usize) -> Option<Self> {
        let mut found = Search {
            address,
            object: None,
        };
        // SAFETY: `visit` is called with `found` before this returns, and with nothing else.
        unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut found).cast()) };
        let (base, headers) = found.object?;
        let header = |kind| headers.iter().find(|header| header.p_type == kind);
        // SAFETY: it has no conditions.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
        let sealed = header(libc::PT_GNU_RELRO).map_or(0..0, |header| {
            let sealed = span(base, header);
            sealed.start / page * page..sealed.end / page * page
        });
        let dynamic = span(base, header(libc::PT_DYNAMIC)?);
        let count = dynamic.len() / size_of::<Dynamic>();
        // SAFETY: the loader has it there, and a library that is linked to stays loaded.
        let dynamic = unsafe { std::slice::from_raw_parts(dynamic.start as *const Dynamic, count) };
        let value = |tag| Some(dynamic.iter().find(|entry| entry.tag == tag)?.value);
        // glibc has made addresses of them, unless the linker made the table read-only (`-z rodynamic`).
        let table = |tag| value(tag).map(|at| if at < base { base + at } else { at });
        let mut relocations = Vec::new();
        for (at, size) in [(DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)] {
            if let (Some(at), Some(size)) = (table(at), value(size)) {
                let count = size / size_of::<Relocation>();
                // SAFETY: as above.
                relocations
                    .extend(unsafe { std::slice::from_raw_parts(at as *const Relocation, count) });
            }
        }
        Some(Self {
            base,
            sealed,
            page,
            relocations,
            symbols: table(DT_SYMTAB)? as *const libc::Elf64_Sym,
            names: table(DT_STRTAB)? as *const c_char,
        })
    }

    /// Where the library has the address of another library's function.
    fn places(&self, name: &CStr) -> impl Iterator<Item = usize> {
        self.relocations
            .iter()
            .filter(|relocation| KINDS.contains(&relocation.kind) && relocation.addend == 0)
            // SAFETY: a relocation's symbol is in the table, and its name in that of names.
            .filter(move |relocation| unsafe {
                let symbol = &*self.symbols.add(relocation.symbol as usize);
                symbol.st_shndx == 0
                    && CStr::from_ptr(self.names.add(symbol.st_name as usize)) == name
            })
            .map(|relocation| self.base + relocation.offset)
    }

    /// Returns whether the system lets it.
    fn write(&self, place: usize, function: usize) -> bool {
        let sealed = self.sealed.contains(&place);
        if sealed && !self.protect(place, libc::PROT_READ | libc::PROT_WRITE) {
            return false;
        }
        // SAFETY: the loader has written an address there, which is aligned, and nobody uses it yet.
        unsafe { ptr::write_volatile(place as *mut usize, function) };
        if sealed {
            self.protect(place, libc::PROT_READ);
        }
        true
    }

    fn protect(&self, place: usize, how: c_int) -> bool {
        let page = place / self.page * self.page;
        // SAFETY: the page is the loader's, and whoever reads it still can.
        unsafe { libc::mprotect(page as *mut c_void, self.page, how) == 0 }
    }
}

/// Where a part of a library is that is loaded at `base`.
fn span(base: usize, header: &libc::Elf64_Phdr) -> Range<usize> {
    let start = base + usize::try_from(header.p_vaddr).unwrap_or(0);
    start..start + usize::try_from(header.p_memsz).unwrap_or(0)
}

struct Search {
    address: usize,
    /// Where it is loaded, and its program headers.
    object: Option<(usize, &'static [libc::Elf64_Phdr])>,
}

/// Looks whether a library is the one that is searched for; anything but 0 ends the search.
unsafe extern "C" fn visit(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    search: *mut c_void,
) -> c_int {
    // SAFETY: the loader's, and `Tables::of`'s.
    let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
    let Ok(base) = usize::try_from(info.dlpi_addr) else {
        return 0;
    };
    // SAFETY: the loader says so; they are part of the library.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let found = headers.iter().any(|header| {
        header.p_type == libc::PT_LOAD && span(base, header).contains(&search.address)
    });
    if found {
        search.object = Some((base, headers));
    }
    found.into()
}
