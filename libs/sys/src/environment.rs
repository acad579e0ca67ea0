//! The process's environment, which may only be changed while there is one thread (setenv(3)).

use std::ffi::OsStr;
use std::io;

/// Sets variables, or removes them. Nothing is changed after an error.
///
/// # Errors
/// EBUSY when there is more than one thread; EINVAL for a name or a value that none can have.
pub fn change<N: AsRef<OsStr>, V: AsRef<OsStr>>(changes: &[(N, Option<V>)]) -> io::Result<()> {
    let zero = |text: &OsStr| text.as_encoded_bytes().contains(&0);
    for (name, value) in changes {
        let (name, value) = (name.as_ref(), value.as_ref().map(AsRef::as_ref));
        let is_name = !name.is_empty() && !zero(name) && !name.as_encoded_bytes().contains(&b'=');
        if !is_name || value.is_some_and(zero) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
    }
    if crate::arguments::stat()?.threads != 1 {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    for (name, value) in changes {
        match value {
            // SAFETY: no other thread is there to read the environment meanwhile.
            Some(value) => unsafe { std::env::set_var(name, value) },
            // SAFETY: as above.
            None => unsafe { std::env::remove_var(name) },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_one_thread_changes_it() {
        let busy = std::thread::scope(|scope| {
            let (hold, held) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || held.recv());
            let result = change(&[("SYS_ENVIRONMENT_TEST", Some("1"))]);
            drop(hold);
            result
        });
        assert_eq!(busy.unwrap_err().raw_os_error(), Some(libc::EBUSY));
        for name in ["", "a=b", "a\0b"] {
            let removed: [(&str, Option<&str>); 1] = [(name, None)];
            assert_eq!(change(&removed).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        }
    }
}
