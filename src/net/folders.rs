//! The folders that sockets and directories lie in.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// Makes a folder and what is missing above it. Agents of other users pass through, whatever the umask.
pub(crate) fn make_folders(folder: &Path) -> std::io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    for path in missing.into_iter().rev() {
        match fs::create_dir(path) {
            // Another part of the daemon made it meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => continue,
            made => made?,
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o711))?;
    }
    Ok(())
}
