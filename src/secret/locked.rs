//! Keys on pages of their own, which the kernel is asked never to swap out.

use std::sync::Once;

use region::LockGuard;
use zeroize::Zeroize;

/// Aligned to the largest page that the architecture has, so that no page holds two keys, or a key and something else:
/// locks do not add up, and to unlock a page unlocks all that is on it.
#[cfg_attr(target_arch = "x86_64", repr(align(4096)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(align(65536)))]
struct Page([u8; 32]);

/// 32 bytes on a locked page, wiped when dropped. Where the limit of locked memory is reached, the log says so once, and the
/// page is one that may be swapped out.
pub(super) struct Locked {
    page: Box<Page>,
    lock: Option<LockGuard>,
}

impl Locked {
    /// Takes the bytes, and leaves zeros behind.
    pub(super) fn take(bytes: &mut [u8; 32]) -> Self {
        let mut page = Box::new(Page([0; 32]));
        // Before the key is there.
        let lock = region::lock(page.0.as_ptr(), page.0.len())
            .map_err(|error| tell_once(&error))
            .ok();
        page.0.copy_from_slice(bytes);
        bytes.zeroize();
        Self { page, lock }
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.page.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.page.0.zeroize();
        // While the page is still this key's: freed, it may be the next key's already.
        drop(self.lock.take());
    }
}

fn tell_once(error: &region::Error) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tracing::warn!(
            "keys may be swapped out to disk, since their pages cannot be locked ({error}): raise the limit of locked memory \
             (LimitMEMLOCK= of a systemd unit, --ulimit memlock= of a container, ulimit -l) to 8 MiB, or run without swap"
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The KiB of locked memory of the mapping that holds this address.
    fn locked_kib(address: *const u8) -> u64 {
        let address = address.addr();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut within = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let bound = |text| usize::from_str_radix(text, 16);
            if let Some((Ok(from), Ok(to))) = range.map(|(from, to)| (bound(from), bound(to))) {
                within = (from..to).contains(&address);
            } else if within && let Some(rest) = line.strip_prefix("Locked:") {
                return rest.trim().trim_end_matches(" kB").parse().unwrap();
            }
        }
        panic!("{address:x} is mapped");
    }

    #[test]
    fn a_key_is_moved_to_a_locked_page_of_its_own() {
        let (mut one, mut other) = ([1; 32], [2; 32]);
        let (first, second) = (Locked::take(&mut one), Locked::take(&mut other));
        assert_eq!((one, other), ([0; 32], [0; 32]), "moved");
        let page = |key: &Locked| key.bytes().as_ptr().addr() / region::page::size();
        assert_ne!(page(&first), page(&second));
        assert!(second.lock.is_some(), "the limit allows a page");
        drop(first);
        assert_eq!(second.bytes(), &[2; 32]);
        assert!(
            locked_kib(second.bytes().as_ptr()) > 0,
            "also when its neighbour went"
        );
    }
}
